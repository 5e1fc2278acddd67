"""Turn the settings of one point into the spec of a run. Settings that cannot be run are refused with the key that is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import LARGEST_INTEGER
from scalinglaws.common.nearest import nearest, proposal
from scalinglaws.common.numbers import round_float, short
from scalinglaws.common.read import read_object
from scalinglaws.common.sums import REPAIR
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim import parametrization
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study import init
from scalinglaws.study.config import Settings
from scalinglaws.study.explain import explain
from scalinglaws.study.mixtures import end_of
from scalinglaws.study.resolve_rules import check_parametrization, resolve_batch, resolve_rate
from scalinglaws.study.spec import DROPOUT_RECIPE, RECIPE, CorpusSpec, MixtureSpec, Options, RunSpec, TokenizerSpec

COPIED = (
    *("n_ctx", "micro_batch_tokens", "warmup_tokens", "eval_tokens", "curve_tokens"),
    *("schedule", "stop", "optimizer", "precision", "threads", "seed", "architecture", "noise_every"),
)
MOST_PARAMETERS = 10**15  # of a model
ROUNDED = ("beta1", "beta2", "weight_decay", "grad_clip", "dropout")
# Fields of a spec that hold options of architectures, and their values where an architecture has none.
ABSENT: dict[str, Any] = {"n_heads": 0, "d_ff": 0, "d_attn": 0, "n_kv_heads": 0, "n_repeats": 1, "sharing": "cycle"}


def resolve_options(name: str, model: type[BaseModel] | None, given: dict[str, Any], where: str) -> Options:
    """Check the options of a registered entry by its pydantic model, before anything runs.

    Parameters
    ----------
    name
        What has the options, for errors: "optimizer lion".
    model
        The options that it declares, None where it has none.
    given
        The options that the config gives.
    where
        The place of ``given`` in the config: the point and the key.

    Returns
    -------
    Options
        Every option with its value, defaults filled in, sorted by name; floats are rounded to the digits that are hashed.

    Raises
    ------
    StudyError
        An option is unknown, missing or impossible, or its value is neither finite number, text nor truth value.
    """
    fields = model.model_fields if model else {}
    if unknown := sorted(set(given) - set(fields)):
        raise StudyError(f"{where}.{unknown[0]}: {name} has no such option: {proposal(unknown[0], fields, 'it has')}")
    if model is None:
        return ()
    try:
        values = model.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        raise StudyError(f"the options of {name} are not valid:\n{explain(error, model, where)}") from None
    for option, value in values.items():
        if wrong := _wrong_value(value):
            raise StudyError(f"{where}.{option}: {wrong}")
    return tuple((key, round_float(value) if isinstance(value, float) else value) for key, value in sorted(values.items()))


def _wrong_value(value: Any) -> str:
    """Say why a value cannot be that of an option; empty where it can."""
    if not isinstance(value, bool | int | float | str | None):
        return f"an option is a number, a text, true or false, not {value!r:.60}: split it into several"
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST_INTEGER):
        return f"an option is a finite number, not {value!r:.60}"
    return ""


def plugins_of(s: Settings) -> tuple[str, ...]:
    """Return the sha256 of each plug-in file that the settings use, sorted."""
    return tuple(sorted({ARCHITECTURES.plugin_of(s.architecture), OPTIMIZERS.plugin_of(s.optimizer)} - {""}))


def resolve_shape(s: Settings, where: str) -> dict[str, Any]:
    """Return the fields of a spec that make up a model.

    Raises StudyError for keys of ``model`` that the architecture does not have, or that it refuses.
    """
    try:
        architecture = ARCHITECTURES.find(s.architecture)
        given = {key: value for key, value in (s.model.model_extra or {}).items() if value is not None}
        # A model that says nothing of its heads has the width that the study gives to all of them.
        if s.head_width and "head_width" in architecture.options.model_fields and not {"n_heads", "head_width"} & given.keys():
            given["head_width"] = s.head_width
        options = architecture.options.model_validate(given).resolved(s.model.n_layer, s.model.d_model)
    except ValidationError as error:
        raise StudyError("\n".join(f"{where}: {line}" for line in _wrong_options(s.architecture, error))) from None
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    for name, value in sorted(options.items()):
        if wrong := _wrong_value(value):
            raise StudyError(f"{where}: model.{name}: {wrong}")
    options = {name: round_float(value) if isinstance(value, float) else value for name, value in options.items()}
    fields = ABSENT | {name: value for name, value in options.items() if name in ABSENT}
    others = tuple(sorted((name, value) for name, value in options.items() if name not in ABSENT))
    return {"n_layer": s.model.n_layer, "d_model": s.model.d_model, "options": others, **fields}


def _wrong_options(name: str, error: ValidationError) -> list[str]:
    """Return a line for each key of ``model`` that an architecture does not know, misses or refuses."""
    own = ARCHITECTURES.find(name).options.model_fields
    known = {key for architecture in ARCHITECTURES.values() for key in architecture.options.model_fields}
    lines = []
    for item in error.errors(include_url=False):
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden" and key in known:
            what = f"an architecture {name} has none"
        elif item["type"] == "extra_forbidden":
            close = nearest(key, ["n_layer", "d_model", *own])
            what = "unknown key" + (f": did you mean {close}?" if close else f" of an architecture {name}")
        elif item["type"] == "missing":
            what = f"architecture {name} needs it" + (f": {own[key].description}" if own[key].description else "")
        else:
            what = f"{item['msg'].removeprefix('Value error, ')}, found {item['input']!r:.60}"
        lines.append(f"model.{key}: {what}")
    return lines


def _budget(s: Settings, where: str) -> int:
    """Return the tokens to process. Raises StudyError where budget, stop and schedule do not fit together."""
    if s.stop == "early":
        if s.max_tokens is None or s.tokens is not None:
            raise StudyError(f"{where}: stop: early needs max_tokens (and no tokens): the budget at which a run is ended at last")
        if s.schedule == "wsd":
            raise StudyError(
                f"{where}: schedule: wsd decays at a known budget, which stop: early has not: use constant or cosine"
            )
    elif s.tokens is None or s.max_tokens is not None:
        raise StudyError(f"{where}: tokens: a budget is needed (max_tokens goes with stop: early)")
    tokens = s.max_tokens if s.stop == "early" else s.tokens
    assert tokens is not None
    return tokens


def _check_batch(s: Settings, tokens: int, batch: int, where: str) -> None:
    """Refuse a batch that the budget, the context or the noise scale cannot have. Raises StudyError."""
    if tokens < batch:
        key = "max_tokens" if s.stop == "early" else "tokens"
        raise StudyError(f"{where}: {key}: {short(tokens)} is less than one step of batch_tokens {short(batch)}")
    if batch % s.n_ctx:
        raise StudyError(f"{where}: batch_tokens: {batch} is not a multiple of n_ctx {s.n_ctx}")
    if s.noise_every and batch < 2 * s.n_ctx:
        raise StudyError(
            f"{where}: noise_every: the noise scale compares a batch with a part of it, so batch_tokens {batch} must "
            f"hold two contexts of n_ctx {s.n_ctx}: raise it, or set noise_every to 0"
        )


def _check_micro_batches(spec: RunSpec, where: str) -> None:
    try:
        assert spec.micro_contexts
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None


def _check_init(spec: RunSpec, where: str) -> None:
    try:
        init.check(spec)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None


def _check_data(s: Settings, spec: RunSpec, limit: int | None, where: str) -> None:
    if spec.dataset_tokens is None:
        return
    if spec.dataset_tokens <= s.n_ctx:
        raise StudyError(
            f"{where}: dataset_tokens: {spec.dataset_tokens} does not fill one context of n_ctx {s.n_ctx} and a target"
        )
    if limit is not None and spec.dataset_tokens > limit:
        raise StudyError(
            f"{where}: dataset_tokens: {short(spec.dataset_tokens)} is larger than the training split of corpus {s.corpus}, "
            f"{short(limit)} tokens at most: write all, or name a larger corpus"
        )


def resolve(
    s: Settings,
    corpus: CorpusSpec | MixtureSpec,
    tokenizer: TokenizerSpec,
    most: dict[str, int],
    where: str,
    rate_sweep: str = "",
) -> RunSpec:
    """Return the settings of a point as a spec. Raises StudyError that names the key that is wrong.

    ``most`` has the largest number of tokens that each split of the corpus can have, where it is known, and ``rate_sweep`` is the
    sweep that gives the learning rate, if one does.
    """
    tokens = _budget(s, where)
    batch = resolve_batch(s, tokens, where)
    _check_batch(s, tokens, batch, where)
    shape = resolve_shape(s, where)
    early, wsd = s.stop == "early", s.schedule == "wsd"
    model = ModelConfig(n_ctx=s.n_ctx, architecture=s.architecture, **shape | {"options": dict(shape["options"])})
    if not 0 < (size := n_params(model)) <= MOST_PARAMETERS:
        raise StudyError(f"{where}: model: {size:,} parameters without embeddings: there may be 1 to {MOST_PARAMETERS:,}")
    rate = 0.0 if rate_sweep else resolve_rate(s, size, tokens, where)
    own = OPTIMIZERS.find(s.optimizer).options
    optimizer_options = resolve_options(f"optimizer {s.optimizer}", own, s.optimizer_options, f"{where}: optimizer_options")
    given: dict[str, Any] = {key: getattr(s, key) for key in COPIED}
    given |= {key: round_float(getattr(s, key)) for key in ROUNDED}
    spec = RunSpec(
        corpus=corpus,
        tokenizer=tokenizer,
        batch_tokens=batch,
        learning_rate=rate,
        rate_sweep=rate_sweep,
        tokens=tokens,
        decay=round_float(s.decay) if wsd else 0.0,
        dataset_tokens=None if s.dataset_tokens == "all" else s.dataset_tokens,
        patience=s.patience if early else 0,
        optimizer_options=optimizer_options,
        parametrization=parametrization.pairs(s.parametrization),
        plugins=plugins_of(s),
        init=init.pairs(s.init),
        recipe=DROPOUT_RECIPE if s.dropout else RECIPE,
        **shape,
        **given,
    )
    check_parametrization(spec, where)
    _check_init(spec, where)
    _check_micro_batches(spec, where)
    if wsd and spec.warmup_steps > spec.stable_steps:
        raise StudyError(
            f"{where}: warmup_tokens: {short(s.warmup_tokens)} does not end before the decay of budget {short(tokens)} starts "
            f"at {short(spec.stable_steps * batch)}"
        )
    check_context(s.n_ctx, s.corpus, most, ("train", "test", "validation") if early else ("train", "test"), where)
    _check_data(s, spec, most.get("train"), where)
    return spec


def most_tokens(
    corpus: CorpusSpec | MixtureSpec, tokenizer: TokenizerSpec, declared: Mapping[CorpusSpec, int | None], tokens_root: Path
) -> dict[str, int]:
    """Return the tokens of each split: exact once it is tokenized, before that at most what the declared bytes give.

    A mixture ends where the first of its corpora has no more text.

    Splits of which neither is known are left out. Raises StudyError where the counts of a tokenized corpus cannot be read.
    """
    meta = tokens_root / corpus.id / tokenizer.id / "meta.json"
    if meta.exists():
        try:
            return {split: int(counts["tokens"]) for split, counts in read_object(meta)["splits"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StudyError(f"{meta} is damaged: {REPAIR}") from None
    if isinstance(corpus, MixtureSpec):
        sizes = {part: most_tokens(part, tokenizer, declared, tokens_root) for part in corpus.shares}
        ends = {split: end_of(corpus, sizes, split) for split in ("train", "validation", "test")}
        return {split: end[0] for split, end in ends.items() if end is not None}
    if not (size := declared[corpus]):
        return {}
    # A token stands for at least a byte, each passage ends with one more token, and the share of a split by hash varies a little;
    # that of a small split may vary much.
    shares = {"train": 1.01 * (1 - corpus.validation - corpus.test), "validation": 2 * corpus.validation, "test": 2 * corpus.test}
    return {split: int(size * share) for split, share in shares.items()}


def check_context(n_ctx: int, corpus: str, most: dict[str, int], splits: tuple[str, ...], where: str) -> None:
    """Refuse a context that a split of a corpus cannot fill, with a target, even once: nothing could be trained or measured.

    ``most`` has the tokens of each split at most. Raises StudyError.
    """
    for split in splits:
        if most.get(split, n_ctx + 1) <= n_ctx:
            raise StudyError(
                f"{where}: n_ctx: {n_ctx} tokens and a target do not fit into the {split} split of corpus {corpus}, which has "
                f"{most[split]} at most: lower n_ctx, or add text"
            )
