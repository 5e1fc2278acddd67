"""What a run is: frozen dataclasses of everything that changes its numbers, and the ids made from them. It imports no torch.

A spec's id is a readable slug and ten hex digits of the sha256 of its canonical JSON. Fields at their neutral value
("as before the field existed") are left out of that JSON, so a field added later renames nothing.

On a CPU a spec fixes the bits of its training. On a GPU they also depend on what is no part of it: whether the profile asks for
equal bits, and without that on whether the step was compiled, which follows from the steps that a process has left, and on
whether the run was trained in a stack (docs/gpu.md). Losses then differ by rounding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import round_float, short
from scalinglaws.common.read import read_object
from scalinglaws.common.sums import REWRITTEN
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim.parametrization import multipliers

# This is raised by hand when a change of the code changes the numbers that come out of training.
RECIPE = 1
# The recipe of runs with dropout, raised when their dropout changes: runs without dropout keep their ids.
DROPOUT_RECIPE = 2
DATA_RECIPE = 1
# The recipe of mixtures, raised when the order in which they take passages changes.
MIXTURE_RECIPE = 1

# Settings that only a plug-in knows, as (name, value) pairs sorted by name; an object in JSON. Values are plain JSON values.
Options = tuple[tuple[str, Any], ...]
OPTIONS = ("options", "optimizer_options", "parametrization", "init")


class Spec:
    """The base of all specs: it makes their JSON, once however many runs share a spec."""

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Return plain JSON values without fields at their neutral value. They are shared, so nobody may change them."""
        neutral = NEUTRAL[type(self)]
        out: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in neutral and value == neutral[field.name]:
                continue
            if isinstance(value, float):
                value = round_float(value)
            elif isinstance(value, Spec):
                value = value.plain
            elif field.name in OPTIONS:
                value = dict(value)
            elif isinstance(value, tuple):
                value = [item.plain if isinstance(item, Spec) else item for item in value]
            out[field.name] = value
        return out

    @cached_property
    def canonical(self) -> str:
        """Return the canonical JSON, with sorted keys and without spaces and neutral fields."""
        return json.dumps(self.plain, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @cached_property
    def digest(self) -> str:
        """Return ten hex digits of the sha256 of the canonical JSON."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Source(Spec):
    """Where text comes from. Which fields are set depends on ``kind``: wheel, files, huggingface or a plug-in's."""

    kind: str
    files: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    encoding: str = "utf-8"
    text: str | None = None  # the column of tables (.jsonl, .parquet, .tab)
    package: str | None = None
    version: str | None = None
    sha256: str | None = None  # hash of the wheel, or of the sorted files' contents for kind files
    repository: str | None = None
    revision: str | None = None
    options: Options = ()  # the keys of a plug-in's kind, as (name, value), sorted by name
    plugin: str = ""  # sha256 of the plug-in file that brings the kind


@dataclass(frozen=True)
class CorpusSpec(Spec):
    """Sources, and how they become passages and splits. Split sizes are fractions of the passages."""

    sources: tuple[Source, ...]
    passage_chars: int
    validation: float
    test: float
    seed: int
    corruption: float = 0.0  # the share of characters that are replaced by others
    recipe: int = DATA_RECIPE

    @cached_property
    def id(self) -> str:
        """Return the package, the data set or the kind of the first source, and the digest."""
        first = self.sources[0]
        name = first.package or (first.repository or "").rpartition("/")[2] or first.kind
        return f"{name}-{self.digest}"

    @property
    def shares(self) -> dict[CorpusSpec, float]:
        """Return the share of the tokens that each corpus has, as a mixture does: it has all of them."""
        return {self: 1.0}


@dataclass(frozen=True)
class MixtureSpec(Spec):
    """Passages of several corpora, sorted by their ids, in one stream, of whose tokens each has the share in ``weights``."""

    corpora: tuple[CorpusSpec, ...]
    weights: tuple[float, ...]
    recipe: int = MIXTURE_RECIPE

    @cached_property
    def id(self) -> str:
        """Return the word mixture and the digest."""
        return f"mixture-{self.digest}"

    @property
    def shares(self) -> dict[CorpusSpec, float]:
        """Return the share of the tokens that each corpus has."""
        return dict(zip(self.corpora, self.weights, strict=True))


@dataclass(frozen=True)
class TokenizerSpec(Spec):
    """A tokenizer: bytes, a bpe of n_vocab trained on the training split of ``corpus``, or file, a given tokenizer.json."""

    kind: str
    n_vocab: int | None = None
    corpus: CorpusSpec | MixtureSpec | None = None
    path: str | None = None
    sha256: str | None = None
    recipe: int = DATA_RECIPE

    @cached_property
    def id(self) -> str:
        """Return the kind, the size of a trained vocabulary, and the digest."""
        size = f"-{self.n_vocab}" if self.n_vocab else ""
        return f"{self.kind}{size}-{self.digest}"


@dataclass(frozen=True)
class RunSpec(Spec):
    """One training run. Tokens are counts of tokens, ``warmup_tokens`` too; ``decay`` is a fraction of ``tokens``.

    ``architecture`` names an entry of models/registry.py; fields of a model that it does not have are at their neutral values
    or zero. The trunk of a run is the same spec with ``tokens`` and ``decay`` at their neutral zero.
    """

    n_layer: int
    d_model: int
    n_heads: int
    d_ff: int
    d_attn: int
    corpus: CorpusSpec | MixtureSpec
    tokenizer: TokenizerSpec
    n_ctx: int
    batch_tokens: int
    learning_rate: float  # 0 where a sweep gives it
    warmup_tokens: int
    schedule: str  # wsd, cosine, linear, constant
    precision: str  # float32, bfloat16 (autocast)
    threads: int
    seed: int
    eval_tokens: int  # tokens of the test split for the final loss, and of the validation split for early stopping
    curve_tokens: int  # tokens of the test split, for the points of the curve
    tokens: int = 0
    decay: float = 0.0
    dataset_tokens: int | None = None  # None: the whole training split
    stop: str = "budget"  # at the budget, or early: on the validation loss
    patience: int = 0  # evaluations without a better validation loss
    optimizer: str = "adamw"
    beta1: float = 0.9  # sgd and muon: the momentum
    beta2: float = 0.95
    weight_decay: float = 0.0
    grad_clip: float = 0.0  # largest norm of the gradient; 0: none
    dropout: float = 0.0
    micro_batch_tokens: int | None = None  # None: no accumulation
    architecture: str = "transformer"
    n_repeats: int = 1
    sharing: str = "cycle"  # the order of recurrent layers A and B: ABAB, or sequence: AABB
    n_kv_heads: int = 0  # heads of keys and values in architectures whose queries may be grouped
    noise_every: int = 0  # steps between measurements of the gradient noise scale; 0: none
    options: Options = ()  # options of the architecture that no field above holds, as (name, value), sorted by name
    optimizer_options: Options = ()  # options of a plug-in's optimizer, as (name, value), sorted by name
    parametrization: Options = ()  # (): the standard one; else its name and its base, as (name, value), sorted by name
    rate_sweep: str = ""  # the id of the sweep whose rule gives the learning rate (study/sweeps.py); empty: none does
    plugins: tuple[str, ...] = ()  # sha256 of each plug-in file that the run uses, sorted
    init: Options = ()  # (): from nothing; else the published weights that it begins from (study/init.py), sorted by name
    recipe: int = RECIPE

    @cached_property
    def n_params(self) -> int:
        """Return N, the parameters without embeddings, biases and norms (equation 2.1 for a Transformer)."""
        return n_params(self.shape(0))

    @property
    def steps(self) -> int:
        """Return the number of whole optimizer steps in the budget."""
        return self.tokens // self.batch_tokens

    @cached_property
    def stable_steps(self) -> int:
        """Return the steps before the decay: floor((1 - decay) tokens / batch_tokens), exact for decimal fractions."""
        return int((1 - Fraction(repr(self.decay))) * self.tokens / self.batch_tokens)

    @property
    def warmup_steps(self) -> int:
        """Return the number of whole optimizer steps in the warm-up."""
        return self.warmup_tokens // self.batch_tokens

    @cached_property
    def tokens_id(self) -> str:
        """Return the folder of its token files below results/tokens."""
        return f"{self.corpus.id}/{self.tokenizer.id}"

    @cached_property
    def trunk(self) -> RunSpec:
        """Return what every budget of this model shares under ``schedule: wsd``."""
        return dataclasses.replace(self, tokens=0, decay=0.0)

    @cached_property
    def id(self) -> str:
        """Return a slug of architecture, N, dataset, budget and seed, and the digest."""
        budget = f"t{short(self.tokens)}" if self.tokens else "trunk"
        data = f"-d{short(self.dataset_tokens)}" if self.dataset_tokens else ""
        prefix = ARCHITECTURES.find(self.architecture).id_prefix
        return f"{prefix}-n{short(self.n_params)}{data}-{budget}-s{self.seed}-{self.digest}"

    def shape(self, n_vocab: int) -> ModelConfig:
        """Return the config of its model, which counts and modules are made from; n_vocab is known once the tokenizer is."""
        shared = {name: getattr(self, name) for name in MODEL_FIELDS}
        return ModelConfig(n_vocab=n_vocab, options=dict(self.options), multipliers=multipliers(self), **shared)

    @cached_property
    def micro_contexts(self) -> int:
        """Return the contexts of a micro-batch.

        Raises StudyError where a batch is no whole number of micro-batches of whole contexts.
        """
        micro = self.micro_batch_tokens or self.batch_tokens
        if self.batch_tokens % micro or micro % self.n_ctx:
            raise StudyError(
                f"micro_batch_tokens = {micro} must divide batch_tokens = {self.batch_tokens} and be a multiple of "
                f"n_ctx = {self.n_ctx}"
            )
        return micro // self.n_ctx


# The fields that a run shares with the config of its model.
MODEL_FIELDS = {f.name for f in dataclasses.fields(RunSpec)} & {f.name for f in dataclasses.fields(ModelConfig)} - {"options"}

# Frozen: each field's value "as before it existed". A new field needs an entry here; an entry is never changed.
NEUTRAL: dict[type, dict[str, Any]] = {
    Source: {"exclude": (), "text": None, "package": None, "version": None, "sha256": None}
    | {"repository": None, "revision": None, "encoding": "utf-8", "options": (), "plugin": ""},
    CorpusSpec: {"corruption": 0.0},
    MixtureSpec: {},
    TokenizerSpec: {"n_vocab": None, "corpus": None, "path": None, "sha256": None},
    RunSpec: {"tokens": 0, "decay": 0.0, "dataset_tokens": None, "stop": "budget", "patience": 0}
    | {"optimizer": "adamw", "dropout": 0.0, "micro_batch_tokens": None, "architecture": "transformer"}
    | {"n_kv_heads": 0}
    | {"n_repeats": 1, "sharing": "cycle", "noise_every": 0, "options": (), "optimizer_options": (), "plugins": ()}
    | {"parametrization": ()}
    | {"learning_rate": 0.0, "rate_sweep": ""}  # no rate is 0: it is left out where a sweep gives it
    | {"init": ()},
}


def _build(cls: type, data: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - known):
        raise StudyError(f"spec has unknown fields {', '.join(unknown)}: it was written by another version of scalinglaws")
    return cls(**{**NEUTRAL[cls], **data})


def _options(data: dict[str, Any]) -> dict[str, Options]:
    """Return the options in a spec's JSON as sorted pairs."""
    return {name: tuple(sorted(data[name].items())) for name in OPTIONS if name in data}


def corpus_from_dict(data: dict[str, Any]) -> CorpusSpec | MixtureSpec:
    """Return the spec of a corpus or of a mixture from its JSON. Raises StudyError for a field that is unknown."""
    if "weights" in data:
        corpora = tuple(corpus_from_dict(corpus) for corpus in data["corpora"])
        return _build(MixtureSpec, {**data, "corpora": corpora, "weights": tuple(data["weights"])})
    sources = tuple(
        _build(Source, {**s, "files": tuple(s["files"]), "exclude": tuple(s.get("exclude", ())), **_options(s)})
        for s in data["sources"]
    )
    return _build(CorpusSpec, {**data, "sources": sources})


def tokenizer_from_dict(data: dict[str, Any]) -> TokenizerSpec:
    """Return the spec of a tokenizer from its JSON. Raises StudyError for a field that is unknown."""
    corpus = corpus_from_dict(data["corpus"]) if data.get("corpus") else None
    return _build(TokenizerSpec, {**data, "corpus": corpus})


def run_from_dict(data: dict[str, Any]) -> RunSpec:
    """Return the spec of a run or trunk from its JSON. Raises StudyError for a field that is unknown."""
    nested = {"corpus": corpus_from_dict(data["corpus"]), "tokenizer": tokenizer_from_dict(data["tokenizer"])}
    return _build(RunSpec, {**data, **nested, **_options(data), "plugins": tuple(data.get("plugins", ()))})


# The folders of results whose names end with the digest of the spec in them.
FOLDERS = {"run": ("runs", "trunks"), "corpus": ("corpora",), "tokenizer": ("tokenizers",)}
_PARSERS = {"run": run_from_dict, "corpus": corpus_from_dict, "tokenizer": tokenizer_from_dict}


def read_spec(path: str | Path, kind: str = "run") -> Any:
    """Read the spec in a spec.json. ``kind`` is run (a trunk is one too), corpus or tokenizer.

    Raises StudyError where the file is missing, is not JSON, lacks a field or has an unknown one, and where its hash is not the
    one in the name of its folder of results.
    """
    values = read_object(Path(path), REWRITTEN)
    try:
        spec = _PARSERS[kind](values)
        digest = spec.digest
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StudyError(f"{path} is not a {kind} spec ({error}): {REWRITTEN}") from None
    folder = Path(path).parent
    if folder.parent.name in FOLDERS[kind] and folder.name.rpartition("-")[2] != digest:
        raise StudyError(f"{path} hashes to {_id(spec)}, not to its folder: it was edited by hand, or is damaged; {REWRITTEN}")
    return spec


def _id(spec: Any) -> str:
    """Return the id of a spec, or its digest where the plug-in that brings its architecture is not loaded."""
    try:
        return spec.id
    except StudyError:
        return spec.digest
