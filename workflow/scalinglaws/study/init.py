"""What a run begins from: nothing, which is the default, or published weights (continued training). It imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER
from scalinglaws.common.read import read_object
from scalinglaws.common.sums import REWRITTEN
from scalinglaws.models import published
from scalinglaws.models.config import ModelConfig
from scalinglaws.study import names
from scalinglaws.study.names import Sha256
from scalinglaws.study.source_rules import COMMIT

if TYPE_CHECKING:
    from scalinglaws.study.spec import Options, RunSpec

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
REPOSITORY, REVISION, ROWS = "huggingface", "revision", "vocab_size"  # names of the pairs in a spec, beside those of files


def repository(value: str) -> str:
    """Refuse what is no name of a model on the hub: owner/name, or a name alone."""
    try:
        return names.repository(value)
    except ValueError:
        raise ValueError("the name of a model on the hub is expected, such as openai-community/gpt2") from None


def commit(value: str) -> str:
    """Refuse a branch or a tag, which can move."""
    if not COMMIT.fullmatch(value):
        raise ValueError("a commit is expected, 40 hexadecimal digits: a branch or a tag can move")
    return value


def file_name(value: str) -> str:
    """Refuse the name of a file that is never fetched."""
    if not (value == CONFIG or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors", value)):
        raise ValueError(f"{CONFIG} or the name of a .safetensors file of the repository is expected")
    return value


class Init(BaseModel):
    """Published weights that a run begins from: a model on the hub of Hugging Face, at one commit.

    sha256 may pin each file by its name. The shape under ``model`` must be that of the weights. Where the published table of
    embeddings has more rows than the tokenizer has tokens, vocab_size says how many, and the rows beyond are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    huggingface: Annotated[str, AfterValidator(repository), Field(description="the model's name on the hub")]
    revision: Annotated[str, AfterValidator(commit), Field(json_schema_extra={"pattern": "^[0-9a-f]{40}$"})]
    sha256: Annotated[
        dict[Annotated[str, AfterValidator(file_name)], Sha256], Field(description="file -> the sha256 that it must have")
    ] = {}
    vocab_size: Annotated[int, Field(gt=0, le=10**9, description="rows of a padded table of embeddings"), NUMBER] | None = None

    def __str__(self) -> str:
        return f"{self.huggingface}@{self.revision[:10]}"


def pairs(init: Init | None) -> Options:
    """Return a checked value of the config key as pairs sorted by name, for a spec; none where a run begins from nothing."""
    if init is None:
        return ()
    rows = {} if init.vocab_size is None else {ROWS: init.vocab_size}
    return tuple(sorted({REPOSITORY: init.huggingface, REVISION: init.revision, **init.sha256, **rows}.items()))


@dataclass(frozen=True)
class Weights:
    """Published weights that a spec names: the repository, the commit, and the sha256 of files that the config pins."""

    repository: str
    revision: str
    sha256: Mapping[str, str]

    @property
    def canonical(self) -> str:
        """Return the canonical JSON, with sorted keys and without spaces: the pairs of a spec as an object."""
        values = {REPOSITORY: self.repository, REVISION: self.revision, **self.sha256}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Return the name of their folder in results/weights: the model's name, and digits of the sha256 of ``canonical``."""
        return f"{self.repository.rpartition('/')[2]}-{hashlib.sha256(self.canonical.encode()).hexdigest()[:10]}"


def weights_of(spec: RunSpec) -> Weights | None:
    """Return the published weights that a run or a trunk begins from; None where it begins from nothing."""
    return from_values(dict(spec.init)) if spec.init else None


def from_values(values: Mapping[str, Any]) -> Weights:
    """Return published weights from the pairs of a spec.

    Raises StudyError where a value is missing, or could leave its place in an address or a path.
    """
    others = {name: value for name, value in values.items() if name not in (REPOSITORY, REVISION, ROWS)}
    try:
        checked = Init.model_validate({REPOSITORY: values[REPOSITORY], REVISION: values[REVISION], "sha256": others})
    except (ValueError, KeyError) as error:
        raise StudyError(f"init in a spec is not valid: {error}") from None
    return Weights(checked.huggingface, checked.revision, checked.sha256)


def read_weights(path: Path) -> Weights:
    """Read the spec.json in a folder of results/weights.

    Raises StudyError where it is missing or damaged, and where its hash is not the one in the name of its folder.
    """
    found = from_values(read_object(path, REWRITTEN))
    if path.parent.parent.name == "weights" and path.parent.name != found.id:
        raise StudyError(f"{path} hashes to {found.id}, not to its folder: {REWRITTEN}")
    return found


def check(spec: RunSpec) -> None:
    """Check, before anything is fetched, that a run of this model can begin from published weights.

    Raises
    ------
    StudyError
        transformers has no class of the model, or its parametrization is not the standard one.
    """
    if not spec.init:
        return
    try:
        published.class_name(ModelConfig(**_shape(spec)))
    except StudyError as error:
        raise StudyError(f"init: no published weights fit: {error}") from None
    if spec.parametrization:
        raise StudyError("init: published weights are those of the standard parametrization: set parametrization: standard")


def _shape(spec: RunSpec) -> dict[str, Any]:
    fields = ("n_layer", "d_model", "d_attn", "architecture")
    return {name: getattr(spec, name) for name in fields} | {"options": dict(spec.options)}
