"""The questions that a study's runs can answer: each is a kind of group of runs that differ in one thing.

It imports the standard library only. Laws (laws/registry.py) and figures (figures/registry.py) name the questions that they need.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable

from scalinglaws.study.spec import MixtureSpec, RunSpec

# The fields that make the shape of a model.
SHAPE = ("n_layer", "d_model", "n_heads", "n_kv_heads", "d_ff", "d_attn")
COMPARISONS: dict[str, tuple[str, tuple[str, ...], int]] = {
    # question: (the field that is compared, fields that may differ because they suit it, the fewest different values)
    "schedule": ("schedule", ("decay", "warmup_tokens", "learning_rate"), 3),
    "optimizer": ("optimizer", ("learning_rate", "beta1", "beta2", "weight_decay", "optimizer_options", "plugins"), 2),
    "parametrization": ("parametrization", ("learning_rate",), 2),
    "architecture": ("architecture", (*SHAPE, "learning_rate", "options"), 2),
    "seed": ("seed", (), 2),
    "quality": ("corpus", (), 2),
    "rate": ("learning_rate", (), 3),
    "context": ("n_ctx", (), 2),
}
# What a study needs so that it can answer a question, for the sentences of reports.
WORDS = {
    "size": "budgets on all the data",
    "curves": "runs that the study trains",
    "data": "early-stopped runs",
    "transfer": "runs evaluated on other text",
    "lstm": "LSTMs",
    "recurrent": "recurrent Transformers",
    "noise": "a measured gradient noise scale",
    "repetition": "budgets of more than one epoch",
    "batch": "three batch sizes of one model",
    "schedule": "three schedules of one run",
    "optimizer": "two optimizers",
    "parametrization": "two parametrizations",
    "architecture": "two architectures trained alike",
    "seed": "two seeds of one run",
    "quality": "the same run on two corpora",
    "mixture": "three mixtures of the same corpora",
    "rate": "three learning rates of one run",
    "context": "two context lengths",
    "shape": "three shapes of one size",
    "depth": "two depths of two sizes each",
    "forecast": "an experiment with forecast: true",
}
FEWEST_MIXTURES = 3  # mixtures of the same corpora, each corpus alone among them, whose losses are compared
FEWEST_BATCHES = 3  # batch sizes of one model that a critical batch can be fitted to
SAME_SIZE = 1.02  # largest factor between the N of two shapes that count as the same size


def kinds(runs: Iterable[RunSpec], transfer: bool) -> set[str]:
    """Return the questions that ``runs`` can answer.

    ``transfer`` says whether any of them is evaluated on other text.
    """
    runs = list(runs)
    budgets = [spec for spec in runs if spec.stop == "budget"]
    whole = [spec for spec in budgets if spec.dataset_tokens is None]
    has = {
        "size": bool(budgets),
        "curves": bool(runs),
        "data": len(budgets) < len(runs),
        "transfer": transfer,
        "noise": any(spec.noise_every for spec in budgets),
        "repetition": any(spec.dataset_tokens is not None and spec.tokens > spec.dataset_tokens for spec in budgets),
        "batch": any(len(sizes) >= FEWEST_BATCHES for sizes in _values(whole, "batch_tokens", "n_params")),
        "mixture": any(map(_has_mixtures, spec_groups(budgets, ("corpus",)))),
    }
    has |= {name: any(spec.architecture == name for spec in budgets) for name in ("lstm", "recurrent")}
    for kind, (field, follow, fewest) in COMPARISONS.items():
        # Mixtures of two corpora are no corpora of different quality.
        compared = [spec for spec in budgets if kind != "quality" or not isinstance(spec.corpus, MixtureSpec)]
        groups = spec_groups(compared, (field, *follow))
        has[kind] = any(len({getattr(spec, field) for spec in group}) >= fewest for group in groups)
    sizes = spec_groups([spec for spec in whole if spec.architecture == "transformer"], (*SHAPE, "learning_rate"))
    return {kind for kind, there in has.items() if there} | {kind for group in sizes for kind in _of_shapes(group)}


def _has_mixtures(group: list[RunSpec]) -> bool:
    """Tell whether runs that differ in nothing but their text were trained on enough mixtures of the same corpora."""
    several = {frozenset(spec.corpus.shares) for spec in group if isinstance(spec.corpus, MixtureSpec)}
    mixed = [{spec.corpus.id for spec in group if of >= spec.corpus.shares.keys()} for of in several]
    return any(len(texts) >= FEWEST_MIXTURES for texts in mixed)


def _of_shapes(group: list[RunSpec]) -> list[str]:
    """Return the questions about shapes that a group answers: shape takes three models of one size, depth two depths twice."""
    shapes = sorted({(spec.n_params, *(getattr(spec, name) for name in SHAPE)) for spec in group})
    close = any(last[0] <= SAME_SIZE * first[0] for first, last in zip(shapes, shapes[2:], strict=False))
    depths = [sizes for sizes in _values(group, "n_params", "n_layer") if len(sizes) > 1]
    return ["shape"] * close + ["depth"] * (len(depths) > 1)


def _values(runs: list[RunSpec], field: str, by: str) -> list[set]:
    """Return, for each value of the field ``by``, the set of values of ``field``."""
    out: dict[int, set] = {}
    for spec in runs:
        out.setdefault(getattr(spec, by), set()).add(getattr(spec, field))
    return list(out.values())


def spec_groups(specs: list[RunSpec], varied: tuple[str, ...]) -> list[list[RunSpec]]:
    """Return the specs in groups that agree in every field but those named."""
    # A corpus and a tokenizer are compared by their ids, which are made once, rather than field by field.
    values = operator.attrgetter(*(f"{name}.id" if name in ("corpus", "tokenizer") else name for name in fields_but(varied)))
    out: dict[tuple, list[RunSpec]] = {}
    for spec in specs:
        out.setdefault(values(spec), []).append(spec)
    return list(out.values())


def fields_but(varied: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields of a spec in which runs that are compared must agree: all but those ``varied``.

    What a learning rate comes from does not count: the rate itself does.
    """
    return tuple(field.name for field in dataclasses.fields(RunSpec) if field.name not in (*varied, "rate_sweep"))
