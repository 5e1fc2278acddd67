"""The typed model of config.yaml: every key, its type and its bounds. Unknown keys and impossible values are refused by path.

``load(path)`` returns a ``Config``; ``python -m scalinglaws schema`` exports its JSON schema for editors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import DELTAS, MOST_RESAMPLES, NUMBER, WIDEST, Count, CountOrZero, Fraction01, Rate, Seed, Share
from scalinglaws.common.numbers import round_float
from scalinglaws.common.registry import Registry
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim.batches import BatchTokens
from scalinglaws.optim.parametrization import Parametrization
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.optim.swept import LearningRate
from scalinglaws.study import plain, plugins, read_yaml
from scalinglaws.study.explain import Line, explain, no_line
from scalinglaws.study.init import Init
from scalinglaws.study.names import Encoding, Name, Package, PackageVersion, Repository, Revision, Sha256, StudyName, Text, Title
from scalinglaws.study.source_rules import check_pinned
from scalinglaws.study.text_sources import TEXT_SOURCES


def named(registry: Registry[Any]) -> tuple[AfterValidator, WithJsonSchema]:
    """Constrain a text to the names in a registry, plug-ins' included; editors propose those of the package."""

    def check(value: str) -> str:
        try:
            registry.find(value)
        except StudyError as error:
            raise ValueError(str(error).removeprefix(f"{registry.key}: ")) from None
        return value

    return AfterValidator(check), WithJsonSchema({"anyOf": [{"enum": list(registry)}, {"type": "string"}]})


def parse_model(value: Any) -> Any:
    """Read "2x32" as n_layer 2 and d_model 32. Other values are returned for pydantic to judge."""
    if isinstance(value, str):
        if not (match := re.fullmatch(r"([0-9]{1,18})x([0-9]{1,18})", value.strip())):
            raise ValueError("n_layer x d_model is expected, such as 2x32, or a mapping with both")
        return {"n_layer": int(match[1]), "d_model": int(match[2])}
    return value


class Strict(BaseModel):
    """A mapping of config keys that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ArchitectureName = Annotated[str, *named(ARCHITECTURES)]
OptimizerName = Annotated[str, *named(OPTIMIZERS)]


def _complete_model(schema: dict[str, Any]) -> None:
    """Let editors complete the options of every registered architecture, which ``resolve`` checks for the one that is chosen."""
    for architecture in ARCHITECTURES.values():
        schema["properties"] = architecture.options.model_json_schema().get("properties", {}) | schema["properties"]


class ModelShape(BaseModel):
    """A model's size and the options of its architecture. "2x32" is short for {n_layer: 2, d_model: 32}.

    By default d_attn = d_model and d_ff = 4 d_model, or 8/3 d_model in architectures llama and moe. A recurrent model uses each
    of its layers n_repeats times, A and B as ABAB (sharing: cycle) or AABB (sequence). docs/models.md explains every option.
    """

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_complete_model)

    n_layer: Annotated[int, Field(gt=0, le=100_000), NUMBER]
    d_model: Annotated[int, Field(gt=0, le=WIDEST), NUMBER]


Model = Annotated[ModelShape, BeforeValidator(parse_model, json_schema_input_type=ModelShape | str)]


class SourceConfig(Strict):
    """Text of one kind and encoding. Kinds: wheel, files, huggingface, and those of plug-ins, whose keys stand in ``options``."""

    kind: Annotated[str, *named(TEXT_SOURCES)]
    files: Annotated[list[Text], Field(min_length=1)]
    exclude: list[Text] = []
    encoding: Encoding = "utf-8"
    text: str | None = None
    package: Package | None = None
    version: PackageVersion | None = None
    sha256: Sha256 | None = None
    repository: Repository | None = None
    revision: Revision | None = None
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _complete(self) -> SourceConfig:
        kind = TEXT_SOURCES.find(self.kind)
        takes = {*kind.needs, "kind", "files", "exclude", "encoding", "text", "sha256"} | ({"options"} if kind.options else set())
        if missing := [key for key in kind.needs if getattr(self, key) is None]:
            raise ValueError(f"a source of kind {self.kind} needs {', '.join(missing)} to pin its text")
        if foreign := sorted(self.model_fields_set - takes):
            raise ValueError(f"a source of kind {self.kind} has no {', '.join(foreign)}")
        if kind.options:
            kind.options.model_validate(self.options)
        try:
            check_pinned(self)
        except StudyError as error:
            raise ValueError(str(error)) from None
        return self


class CorpusConfig(Strict):
    """Sources are cut into passages, shuffled by ``seed`` and split; then the share ``corruption`` of characters is replaced."""

    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    bytes: Count | None = None
    passage_chars: Annotated[int, Field(ge=50, le=10**8), NUMBER] = 2000
    validation: Share = 0.03
    test: Share = 0.03
    seed: Seed = 0
    corruption: Fraction01 = 0.0

    @model_validator(mode="after")
    def _some_training(self) -> CorpusConfig:
        if round_float(round_float(self.validation) + round_float(self.test)) >= 1:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self


class MixtureConfig(Strict):
    """A mixture of other corpora: their names, and weights that are in proportion to the tokens taken from each."""

    sources: Annotated[dict[Name, Annotated[Rate, Field(gt=0, le=1e9)]], Field(min_length=2)]


def _kind_of_text(value: Any) -> str:
    """Return the name of the model of a corpus or of a mixture, whose sources are a mapping from names to weights."""
    sources = value.get("sources") if isinstance(value, dict) else getattr(value, "sources", None)
    return (MixtureConfig if isinstance(sources, dict) else CorpusConfig).__name__


TextConfig = Annotated[
    Annotated[CorpusConfig, Tag("CorpusConfig")] | Annotated[MixtureConfig, Tag("MixtureConfig")], Discriminator(_kind_of_text)
]


class TokenizerConfig(Strict):
    """A tokenizer: bytes (256 tokens), bpe (n_vocab, trained on ``corpus``'s training split) or file (a tokenizer.json)."""

    kind: Literal["bytes", "bpe", "file"] = "bytes"
    n_vocab: Annotated[int, Field(gt=256, le=10**8), NUMBER] | None = None
    corpus: str | None = None
    path: Text | None = None
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _complete(self) -> TokenizerConfig:
        needs = {"bytes": set(), "bpe": {"n_vocab"}, "file": {"path", "sha256"}}[self.kind]
        takes = needs | {"kind"} | ({"corpus"} if self.kind == "bpe" else set())
        given = {key for key in self.model_fields_set if getattr(self, key) is not None}
        if missing := sorted(needs - given):
            raise ValueError(f"a tokenizer of kind {self.kind} needs {', '.join(missing)}")
        if foreign := sorted(given - takes):
            raise ValueError(f"a tokenizer of kind {self.kind} has no {', '.join(foreign)}")
        return self


class Settings(Strict):
    """Everything that a run needs; ``defaults``, an experiment, a grid axis and a point may each set any of these keys."""

    model: Model
    architecture: ArchitectureName = "transformer"
    head_width: (
        Annotated[
            int,
            Field(gt=0, le=WIDEST, description="least width of attention heads in models whose n_heads are not given"),
            NUMBER,
        ]
        | None
    ) = None
    corpus: str
    n_ctx: Annotated[Count, Field(le=2**30)]
    batch_tokens: BatchTokens
    learning_rate: LearningRate
    tokens: Count | None = None
    max_tokens: Count | None = None
    dataset_tokens: Count | Literal["all"] = "all"
    stop: Literal["budget", "early"] = "budget"
    patience: Annotated[int, Field(gt=0, le=10**6), NUMBER] = 4
    schedule: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    decay: Share = 0.2
    warmup_tokens: CountOrZero = 100_000
    optimizer: OptimizerName = "adamw"
    optimizer_options: Annotated[dict[str, Any], Field(description="the options that a plug-in's optimizer declares")] = {}
    parametrization: Parametrization = "standard"
    init: Init | None = None
    beta1: Fraction01 = 0.9
    beta2: Fraction01 = 0.95
    weight_decay: Annotated[Rate, Field(ge=0, le=1000)] = 0.0
    grad_clip: Annotated[Rate, Field(ge=0, le=1e9)] = 1.0
    dropout: Fraction01 = 0.0
    micro_batch_tokens: Count | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: Annotated[int, Field(gt=0, le=1024), NUMBER] = 1
    seed: Seed = 0
    eval_tokens: Count = 2**18
    curve_tokens: Count = 2**15
    noise_every: Annotated[int, Field(ge=0, le=10**12), NUMBER] = 0


def _values(kind: Any) -> Any:
    """Return the type of a list of at least one ``kind``."""
    return Annotated[list[kind], Field(min_length=1)]


def _partial(name: str, doc: str, wrap: Any, **more: Any) -> Any:
    """Return a model with the keys of Settings, each optional and of a wrapped type: a list of values for the axes of a grid."""
    fields: dict[str, Any] = {}
    for key, info in Settings.model_fields.items():
        annotation: Any = info.annotation
        for constraint in info.metadata:
            annotation = Annotated[annotation, constraint]
        fields[key] = (wrap(annotation), Field(default=None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields, **more)


Overrides: Any = _partial("Overrides", "Settings that differ from the defaults.", lambda kind: kind | None)
Grid: Any = _partial("Grid", "Lists of values; their product is run.", lambda kind: _values(kind) | None)
Experiment: Any = _partial(
    "Experiment",
    "A grid (a product of lists), points (a list) or both, and settings that differ from the defaults. fit says whether "
    "laws are fitted to its runs. With forecast, they are fitted to none of them: the fits of the other runs state the loss of "
    "each before it is trained.",
    lambda kind: kind | None,
    grid=(Grid | None, None),
    points=(list[Overrides], []),
    evaluate=(list[str], []),
    fit=(bool, True),
    forecast=(bool, False),
)


class Ladder(Strict):
    """The rungs of a trunk lie at base · ratio^k tokens. They are part of no run's identity."""

    base: Count = 400_000
    ratio: Annotated[Rate, Field(gt=1, le=1e6)] = 2.0


class FitsConfig(Strict):
    """How the laws are fitted. ``laws`` has their names, or is all that the study's experiments can feed.

    ``residuals`` are differences of log losses (log) or of losses (raw), and delta has their unit.
    """

    laws: Literal["all"] | list[str] = "all"
    objective: Literal["huber", "squared", "absolute"] = "huber"
    delta: Annotated[Rate, Field(ge=DELTAS[0], le=DELTAS[1])] = 1e-3
    residuals: Literal["log", "raw"] = "log"
    bootstrap: Annotated[int, Field(ge=0, le=MOST_RESAMPLES), NUMBER] = 1000
    seed: Seed = 0


class ExternalRuns(Strict):
    """A table of runs made elsewhere (.csv, .parquet, .jsonl); ``columns`` maps our names of columns to its own."""

    path: str
    columns: dict[str, str] = {}


class Config(Strict):
    """A study: the whole of config.yaml. One of ``external_runs`` alone trains nothing, without corpora and experiments."""

    study: StudyName
    corpora: dict[Name, TextConfig] = {}
    tokenizer: TokenizerConfig = TokenizerConfig()
    defaults: Overrides = Overrides()
    experiments: dict[Title, Experiment] = {}
    ladder: Ladder = Ladder()
    fits: FitsConfig = FitsConfig()
    figures: Literal["all"] | list[str] = "all"
    external_runs: list[ExternalRuns] = []
    plugins: Annotated[
        list[Text], Field(description="Python files that register architectures or optimizers; relative to the working directory")
    ] = []

    @model_validator(mode="after")
    def _some_runs(self) -> Config:
        if not self.experiments and not self.external_runs:
            raise ValueError("there are no runs: name experiments to train, or external_runs, tables of runs made elsewhere")
        if self.experiments and not self.corpora:
            raise ValueError("there is no text: experiments train models, so name corpora to train them on")
        return self


def parse(data: Any, name: str = "config.yaml", line: Line = no_line) -> Config:
    """Load the plug-ins that the parsed YAML lists, then check it.

    ``line`` tells where a key stands in its file. Raises StudyError with a line for each wrong key, or for a plug-in that cannot
    be loaded.
    """
    if not isinstance(data, dict):
        raise StudyError(f"{name}: a mapping with keys such as study, corpora and experiments is expected")
    plain.check(data, name)
    listed = data.get("plugins")
    plugins.load(listed if isinstance(listed, list) and all(isinstance(path, str) for path in listed) else [])
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise StudyError(f"{name} is not a valid study:\n{explain(error, Config, line=line)}") from None


def load(path: str | Path) -> Config:
    """Read and check a config file. Raises StudyError where it is missing, is not YAML or is not valid."""
    document = read_yaml.read(path)
    return parse(document.data, str(path), document.where)
