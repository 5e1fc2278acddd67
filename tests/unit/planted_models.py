"""A study that never was, of models compared: shapes, LSTMs, shared layers, other text, corrupted text, seeds. What differs
is planted in percent of a loss that depends on N and the budget alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import polars
import pyarrow

from scalinglaws import aggregate, tables
from scalinglaws.models.count import flops_6nd, n_params_total
from scalinglaws.spec import CorpusSpec, RunSpec, Source, TokenizerSpec
from unit.planted import BATCH, loss_ns

BOOKS = CorpusSpec((Source("files", ("*.txt",), sha256="0" * 64),), 2000, 0.03, 0.03, 0)
NOISY = tuple(dataclasses.replace(BOOKS, corruption=share) for share in (0.05, 0.2))
OTHER = {
    name: dataclasses.replace(BOOKS, sources=(Source("files", (f"{name}.txt",), sha256="1" * 64),))
    for name in ("mail", "news", "tales")
}
NAMES = {BOOKS.id: "books", NOISY[0].id: "books-5", NOISY[1].id: "books-20"} | {spec.id: name for name, spec in OTHER.items()}
SEED_SD = 0.004  # of the log loss, between seeds
STDERR = 0.006
TRANSFER = {"mail": (0.5, 1.2), "news": (0.3, 1.0), "tales": (0.1, 0.9)}  # loss there = offset + slope · loss
CORRUPTED = {0.0: 0.0, 0.05: 0.02, 0.2: 0.09}  # log loss on the books of models trained on corrupted ones
LSTM, SHARED = 0.05, -0.03  # excess log loss at equal N
# Of a shape: (its best, change of the log loss with the squared logarithm of the distance from it).
FEED_FORWARD, ASPECT, HEAD = (4.0, 0.006), (16.0, 0.004), (8.0, 0.0)


def spec(n_layer: int, d_model: int, **changes: Any) -> RunSpec:
    """A Transformer of the usual proportions with heads 8 wide, or near it, for 2M tokens."""
    heads = max(h for h in range(1, max(1, d_model // 8) + 1) if d_model % h == 0)
    values: dict[str, Any] = {"n_layer": n_layer, "d_model": d_model, "n_heads": heads, "d_ff": 4 * d_model, "d_attn": d_model}
    values |= {"corpus": BOOKS, "tokenizer": TokenizerSpec("bytes"), "n_ctx": 128, "batch_tokens": BATCH, "tokens": 2_000_000}
    values |= {"learning_rate": 0.01, "warmup_tokens": 100_000, "schedule": "wsd", "precision": "float32", "threads": 1}
    return RunSpec(**(values | {"seed": 0, "eval_tokens": 131072, "curve_tokens": 16384, "decay": 0.1} | changes))


def row(run: RunSpec, excess: float = 0.0, noise: float = 0.0) -> dict[str, Any]:
    """A row of runs whose log loss lies ``excess`` and ``noise`` above that of its N and budget."""
    loss = float(loss_ns(run.n_params, run.steps, True)) * math.exp(excess + noise)
    metrics: dict[str, Any] = {"n_params": run.n_params, "n_params_total": n_params_total(run.shape(256)), "n_vocab": 256}
    metrics |= {"steps": run.steps, "tokens": run.tokens, "dataset_tokens": 10**7, "best_step": run.steps, "status": "ok"}
    metrics |= {"flops_6nd": float(flops_6nd(run.shape(256), run.tokens)), "flops_last_layer": 0.0, "flops_attention": 0.0}
    metrics |= {"loss": loss, "loss_stderr": STDERR, "loss_train": loss, "bits_per_byte": loss / math.log(2)}
    return aggregate.run_row(run, metrics, ["models"], True)


def shapes(seeds: int = 2) -> list[tuple[RunSpec, float]]:
    """Models of N near 24.6k with other feed-forward ratios, aspect ratios and head widths."""
    wide = [(24, 208), (40, 74), (44, 52), (48, 32)]
    found = [spec(2, width, d_ff=d_ff, n_heads=width // 4 if width == 44 else width // 8) for width, d_ff in wide]
    found += [spec(n_layer, width) for n_layer, width in ((1, 45), (2, 32), (3, 26), (8, 16), (12, 13), (32, 8))]
    found += [spec(2, 32, n_heads=heads) for heads in (1, 2, 8, 16)]
    large = [spec(n_layer, width) for n_layer, width in ((1, 90), (8, 32), (32, 16))]
    both = [(one, seed) for one in found for seed in range(seeds)] + [(one, 0) for one in large]
    return [(dataclasses.replace(one, seed=seed), shape_excess(one)) for one, seed in both]


def shape_excess(run: RunSpec) -> float:
    ratios = (run.d_ff / run.d_model, FEED_FORWARD), (run.d_model / run.n_layer, ASPECT), (run.d_attn / run.n_heads, HEAD)
    return sum(change * math.log(ratio / best) ** 2 for ratio, (best, change) in ratios)


def depths() -> list[tuple[RunSpec, float]]:
    """Depths by widths; models of one layer lose 4 %. They differ from the other runs in their context."""
    found = [spec(n_layer, width, n_ctx=64) for n_layer in (1, 2, 4, 8) for width in (8, 16, 32, 64)]
    return [(run, 0.04 * (run.n_layer == 1)) for run in found]


def sizes() -> list[tuple[RunSpec, float]]:
    found = [spec(2, width, tokens=tokens) for width in (8, 16, 32, 48, 64) for tokens in (500_000, 1_000_000, 2_000_000)]
    return [(run, 0.0) for run in found]


def lstms() -> list[tuple[RunSpec, float]]:
    none = {"n_heads": 0, "d_ff": 0, "d_attn": 0, "architecture": "lstm", "learning_rate": 0.02}
    return [(spec(n_layer, width, **none), LSTM) for n_layer in (1, 2) for width in (12, 20, 40, 60)]


def shared() -> list[tuple[RunSpec, float]]:
    forms = [(2, "cycle"), (4, "cycle"), (2, "sequence")]
    return [
        (spec(2, width, architecture="recurrent", n_repeats=uses, sharing=order), SHARED)
        for width in (8, 16, 32, 48)
        for uses, order in forms
    ]


def corrupted() -> list[tuple[RunSpec, float]]:
    return [(spec(2, width, corpus=text), 1.5 * text.corruption) for text in NOISY for width in (8, 16, 32, 48, 64)]


def seeded(seeds: int = 6) -> list[tuple[RunSpec, float]]:
    return [(spec(2, width, seed=seed), 0.0) for width in (8, 64) for seed in range(1, seeds)]


def positions(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Losses by position that fall to the run's; an LSTM's stop falling at position 32."""
    place = np.arange(1, run["n_ctx"] + 1)
    seen = np.minimum(place, 32) if run["architecture"] == "lstm" else place
    return [_eval(run, BOOKS.id, index, float(run["loss"] * (1 + 0.6 / at))) for index, at in enumerate(seen)]


def _eval(run: dict[str, Any], corpus: str, position: int | None, loss: float) -> dict[str, Any]:
    mean = position is None
    found = {"run": run["id"], "step": run["best_step"], "corpus": corpus, "position": position, "loss": loss, "stderr": STDERR}
    return found | {"nats_per_byte": loss if mean else None, "n_tokens": 131072 if mean else 1024}


def evals(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Transformers on other text; those trained on corrupted books on the books too; positions of LSTMs and Transformers."""
    found = []
    for run in runs:
        found += [_eval(run, run["corpus"], None, run["loss"])]
        if run["architecture"] == "recurrent" or run["n_ctx"] != 128:
            continue
        found += positions(run) if run["corpus"] == BOOKS.id else []
        if run["architecture"] == "transformer" and run["corpus"] == BOOKS.id:
            told = {name: offset + slope * run["loss"] for name, (offset, slope) in TRANSFER.items()}
            found += [_eval(run, OTHER[name].id, None, loss) for name, loss in told.items()]
        if run["corruption"]:
            clean = run["loss"] * math.exp(CORRUPTED[run["corruption"]] - 1.5 * run["corruption"])
            found.append(_eval(run, BOOKS.id, None, clean))
    return found


def frames(runs: list[dict[str, Any]], measured: list[dict[str, Any]]) -> dict[str, polars.DataFrame]:
    """Tables as aggregate writes them."""
    rows = {"runs": runs, "curves": [], "evals": measured}
    for name in ("runs", "evals"):
        aggregate.name_corpora(rows[name], NAMES)
    arrow = {name: pyarrow.Table.from_pylist(rows[name], schema=tables.SCHEMAS[name]) for name in rows}
    return {name: polars.DataFrame(polars.from_arrow(table)) for name, table in arrow.items()}


def asked() -> list[tuple[RunSpec, float]]:
    """Every run with its excess, a run asked for twice once, sorted by id."""
    found: dict[str, tuple[RunSpec, float]] = {}
    for run, excess in [*shapes(), *depths(), *sizes(), *lstms(), *shared(), *corrupted(), *seeded()]:
        found.setdefault(run.id, (run, excess))
    return [found[name] for name in sorted(found)]


def study(noise: float = SEED_SD, seed: int = 0) -> dict[str, polars.DataFrame]:
    """All of it in one set of tables, with a run that diverged. ``noise``: sd of the log loss between runs."""
    rng = np.random.default_rng(seed)
    runs = [row(run, excess, noise=float(rng.normal(0, noise))) for run, excess in asked()]
    measured = evals(runs)
    lost = dataclasses.replace(spec(2, 24), seed=9)
    runs.append(row(lost) | {"status": "diverged", "loss": None, "loss_stderr": None})
    return frames(runs, measured)
