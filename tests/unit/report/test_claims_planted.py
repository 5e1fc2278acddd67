"""Each claim on planted tables and fits: one that makes it true, one that makes it false and one that is too noisy to tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars
import pytest

from fixtures import planted_models, planted_training
from scalinglaws.laws.allocation import CriticalBatch, LossNS
from scalinglaws.report.claims.catalogue import CLAIMS
from scalinglaws.report.claims.judge import MEASURES, Row, judge_one
from scalinglaws.report.claims.of_laws import Fits, Tables
from scalinglaws.report.claims.rules import CONTRADICTED, NOT_RESOLVED, REPRODUCED
from scalinglaws.study.questions import WORDS

WORD = (REPRODUCED, CONTRADICTED, NOT_RESOLVED)
Study = tuple[Tables, Fits]
SIZES = [1500, 3000, 6000, 12_000, 24_000, 48_000, 96_000, 192_000]
PLANTED: dict[int, Callable[[str], Study]] = {}


def plants(*numbers: int) -> Callable:
    """Register a function of a verdict that plants a study in which the claims have it."""

    def register(function: Callable[[str], Study]) -> Callable[[str], Study]:
        PLANTED.update(dict.fromkeys(numbers, function))
        return function

    return register


def of(word: str, true: Any, false: Any, unsure: Any) -> Any:
    return {REPRODUCED: true, CONTRADICTED: false, NOT_RESOLVED: unsure}[word]


def fit(values: dict[str, tuple[float, float]], points: Iterable[dict] = (), drawn: float = 0.0, **more: Any) -> dict[str, Any]:
    """Return a fit with (estimate, standard error) of its parameters; resamples scatter by ``drawn`` in the logarithm."""
    rng = np.random.default_rng(len(values))
    parameters = {
        name: {"estimate": at, "stderr": error, "ci_low": at - 2 * error, "ci_high": at + 2 * error}
        for name, (at, error) in values.items()
    }
    resamples = {name: (at * np.exp(drawn * rng.standard_normal(200))).tolist() for name, (at, _) in values.items()}
    return {"parameters": parameters, "points": list(points), "resamples": resamples, "n_trunks": 24, "flags": []} | more


def run(name: str, n_params: int, loss: float, **changes: Any) -> dict[str, Any]:
    width = round((n_params / 24) ** 0.5)
    row = planted_training.run(name, 1536, loss, **({"d_model": width, "d_ff": 4 * width, "d_attn": width} | changes))
    return row | {"n_params": n_params, "flops_6nd": changes.get("flops_6nd", 6.0 * n_params * row["tokens"])}


def zigzag(count: int, size: float) -> np.ndarray:
    return size * np.resize([1.0, -1.0], count)


@plants(1, 3, 16)
def of_one_variable(word: str) -> Study:
    """Claims 1, 3 and 16: an exponent that is sure, negative, or not told from 0."""
    alpha, error = of(word, (0.08, 0.005), (-0.05, 0.005), (0.08, 0.05))
    loss = 3.0 * (np.array(SIZES) / SIZES[0]) ** -alpha
    names = ("run", "trunk")
    points = [dict.fromkeys(names, f"n{n}") | {"n_params": n, "flops": 6.0 * n, "flops_min": 6.0 * n, "loss": at, "predicted": at}
              for n, at in zip(SIZES, loss * np.exp(zigzag(8, 0.003)), strict=True)]  # fmt: skip
    for point, at in zip(points, loss, strict=True):
        point["predicted"] = at
    runs = [run(f"n{n}", n, at) for n, at in zip(SIZES, loss, strict=True)]
    fits = {"power-n": fit({"alpha_N": (alpha, error)}, points), "power-c": fit({"alpha_C": (alpha, error)}, points * 1)}
    predicted = 1 / (1 / 0.3 + 1 / 0.7 + 1 / 0.25)
    fits["power-cmin"] = fit({"alpha_C": (predicted if word == REPRODUCED else alpha, error), "C_c": (1e9, 1.0)}, points, 0.02)
    return planted_training.tables(runs), fits | steps_fits(0.3, 0.7, 0.02)


def steps_fits(alpha_n: float, alpha_s: float, drawn: float, points: Iterable[dict] = ()) -> Fits:
    own = {"alpha_N": (alpha_n, alpha_n / 20), "alpha_S": (alpha_s, alpha_s / 20), "N_c": (1e8, 1e6), "S_c": (80.0, 1.0)}
    critical = {"B_star": (4e4, 1e3), "alpha_B": (0.25, 0.01)}
    return {"kaplan-ns": fit(own, points, drawn), "critical-batch": fit(critical, (), drawn, levels=[])}


def early_study(off: Callable[[int, int], float], sizes: list[int]) -> Study:
    """Return early-stopped runs of each size on six datasets, with a fit of L(N, D) that misses log losses by ``off``."""
    runs, points = [], []
    for i, n in enumerate(sizes):
        for k, tokens in enumerate((30_000, 60_000, 120_000, 240_000, 480_000, 10_000_000)):
            law = 2.0 * (n / sizes[0]) ** -0.08 * (1 + (collapsing(n, tokens) if tokens < 1e7 else 0.0))
            given = {"stop": "early", "schedule": "constant", "stopped": "patience", "dataset_tokens": tokens}
            loss = law * math.exp(off(i, k))
            runs.append(run(f"e{n}-{tokens}", n, loss, dataset_limited=tokens < 1e7, loss_stderr=0.004, **given))
            names = {name: runs[-1][name] for name in ("run", "trunk", "loss")}
            points.append(names | {"n_params": n, "dataset_tokens": tokens, "predicted": law})
    fits = {"kaplan-nd": fit({"alpha_N": (0.08, 0.004), "alpha_D": (0.1, 0.005), "N_c": (1e9, 1e8), "D_c": (1e9, 1e8)}, points)}
    largest = [point for point in points if point["n_params"] == sizes[-1]]
    return planted_training.tables(runs), fits | {"power-d": fit({"alpha_D": (0.1, 0.005)}, largest)}


def collapsing(n: int, tokens: int) -> float:
    """Return a δL that depends on N^0.8/D alone."""
    return 0.02 * (n**0.8 / tokens * 1e3) ** 0.7


@plants(2)
def of_data(word: str) -> Study:
    return early_study(lambda i, k: zigzag(6, of(word, 0.002, 0.25, 0.035))[k], [24_000])


@plants(4)
def of_both(word: str) -> Study:
    return early_study(lambda i, k: zigzag(6, of(word, 0.005, 0.1, 0.04))[k] * (-1) ** i, SIZES[2:6])


@plants(5)
def of_overfitting(word: str) -> Study:
    off = of(word, 0.002, 0.15, 0.035)
    return early_study(lambda i, k: off * (-1) ** i * (k < 5), [6000, 24_000])


@plants(6)
def of_shapes(word: str) -> Study:
    share, noise = of(word, (0.3, 0.001), (1.0, 0.001), (0.7, 0.04))
    rng = np.random.default_rng(3)
    found = [(one, share * excess) for one, excess in planted_models.shapes() if 20_000 < one.n_params < 30_000]
    rows = [planted_models.row(one, excess, noise=float(rng.normal(0, noise))) for one, excess in found]
    return planted_models.frames(rows, []), {}


@plants(7)
def of_embeddings(word: str) -> Study:
    rng = np.random.default_rng(5)
    rows = [planted_models.row(one) for one, _ in planted_models.depths() if one.n_layer > 1]
    for one in rows:
        x = one["n_params_total"] if word == CONTRADICTED else one["n_params"]
        one["loss"] = 8.0 * x**-0.1 * math.exp(float(rng.normal(0, of(word, 0.002, 0.002, 0.1))))
    return planted_models.frames(rows, []), {}


@plants(8)
def of_logarithm(word: str) -> Study:
    x, rng = np.array(SIZES), np.random.default_rng(1)
    loss = 4.0 - 0.25 * np.log(x / SIZES[0]) if word == CONTRADICTED else 4.0 * (x / SIZES[0]) ** -0.3
    loss = loss * np.exp(rng.normal(0, of(word, 0.003, 0.003, 0.1), len(x)))
    points = [
        {"run": f"n{n}", "trunk": f"n{n}", "n_params": n, "loss": at, "predicted": at} for n, at in zip(x, loss, strict=True)
    ]
    return planted_training.tables([run(f"n{n}", n, 2.0) for n in SIZES]), {"power-n": fit({"alpha_N": (0.3, 0.01)}, points)}


@plants(9, 10)
def of_lstms(word: str) -> Study:
    """Claims 9 and 10: LSTMs that are equal early and worse late; worse early and better late; now worse, now better."""
    runs = [run(f"t{n}", n, 2.0) for n in SIZES]
    runs += [run(f"l{n}", n + 500, 2.0, architecture="lstm", d_ff=0, d_attn=0, n_heads=0) for n in SIZES[1:-1]]
    evals = []
    for k, one in enumerate(runs):
        lstm = one["architecture"] == "lstm"
        early_by, late_by = of(word, (1.0, 1.06), (1.08, 0.95), (1 + 0.1 * (-1) ** k,) * 2) if lstm else (1.0, 1.0)
        level = 3.0 * (one["n_params"] / 1500) ** -0.07
        evals += planted_training.by_position(one, lambda t, a=level * early_by, b=level * late_by: a if t <= 8 else b)  # type: ignore[misc]
    return planted_training.tables(runs, (), evals), {}


def elsewhere(one: dict, corpus: str | None, loss: float) -> dict[str, Any]:
    given = {"run": one["run"], "step": one["best_step"], "position": None, "stderr": 0.004, "n_tokens": 1000}
    return given | {"corpus": corpus or one["corpus"], "loss": loss}


@plants(11)
def of_other_text(word: str) -> Study:
    rng = np.random.default_rng(2)
    runs = [run(f"t{n}", n, 2.6 * (n / 1500) ** -0.08) for n in SIZES]
    slope, noise = of(word, (1.0, 0.002), (0.5, 0.002), (1.0, 0.2))
    told = [
        elsewhere(one, text, 0.3 + slope * one["loss"] + float(rng.normal(0, noise))) for one in runs for text in ("mail", "news")
    ]
    return planted_training.tables(runs, (), [*told, *(elsewhere(one, None, one["loss"]) for one in runs)]), {}


@plants(12)
def of_depths(word: str) -> Study:
    shapes = [(1, 45), (2, 32), (4, 23), (8, 16), (16, 11)]
    runs = [run(f"d{n}", 24_576, 2.0 + 0.01 * n, n_layer=n, d_model=w, d_ff=4 * w, d_attn=w, n_heads=1) for n, w in shapes]
    change, off = of(word, (0.0, 0.001), (0.05, 0.001), (0.0, 0.05))
    told = [elsewhere(one, "mail", one["loss"] * 1.2 * math.exp(change * math.log2(one["n_layer"]) + off * (-1) ** k))
            for k, one in enumerate(runs)]  # fmt: skip
    return planted_training.tables(runs, (), [*told, *(elsewhere(one, None, one["loss"]) for one in runs)]), {}


@plants(13)
def of_critical_batch(word: str) -> Study:
    power, width = of(word, (0.0, 1.1), (0.8, 1.1), (0.0, 3.0))
    levels = []
    for n in (1536, 24_576):
        for loss in np.linspace(1.8, 2.4, 6):
            crit = 4e4 / loss**4 * (n / 1536) ** power
            levels.append({"n_params": n, "loss": loss, "b_crit": crit, "b_crit_low": crit / width, "b_crit_high": crit * width})
    return planted_training.tables([]), {"critical-batch": fit({"alpha_B": (0.25, 0.01)}, levels=levels)}


@plants(14)
def of_noise(word: str) -> Study:
    factors = of(word, [1.3] * 6, [12.0] * 6, [0.05, 20.0] * 3)
    law, critical, curves = LossNS(0.08, 0.7, 2e8, 80.0), CriticalBatch(4e4, 0.25), []
    runs = [run(f"t{n}", n, 2.0, noise_every=8) for n in SIZES[:6]]
    steps = [int(step) for step in np.geomspace(20, 4000, 80)]
    for one, factor in zip(runs, factors, strict=True):

        def loss(step: int, n: int = one["n_params"]) -> float:
            return float(law.loss(n, step))

        def trace(step: int, by: float = factor, loss: Callable = loss) -> float:
            return float(by * critical.tokens(loss(step)))

        curves += planted_training.curve(one, loss, steps, noise_square=lambda s: 1.0, noise_trace=trace)
    levels = [{"n_params": 1536, "loss": at, "b_crit": float(critical.tokens(at))} for at in (2.2, 3.6)]
    found = {"B_star": (4e4, 1e3), "alpha_B": (0.25, 0.01)}
    return planted_training.tables(runs, curves), {"critical-batch": fit(found, levels=levels)}


def step_points(law: LossNS, off: float, count: int = 1) -> list[dict[str, Any]]:
    steps = np.geomspace(30, 30_000, 60)
    return [{"trunk": f"t{n}-{k}", "run": f"t{n}-{k}", "n_params": n, "steps_min": float(s), "predicted": float(law.loss(n, s)),
             "loss": float(law.loss(n, s)) * math.exp(off * (-1) ** (i + k))}
            for i, n in enumerate(SIZES) for k in range(count) for s in steps]  # fmt: skip


@plants(15)
def of_steps(word: str) -> Study:
    points = step_points(LossNS(0.08, 0.7, 1e8, 80.0), of(word, 0.005, 0.1, 0.035))
    return planted_training.tables([]), steps_fits(0.08, 0.7, 0.02, points)


def equal_sizes() -> list[dict[str, Any]]:
    """Return points of which no two sizes cross, so that exponents come from equations 6.4 and 6.5."""
    return [point | {"loss": 2.0 + 1 / point["steps_min"]} for point in step_points(LossNS(0.08, 0.7, 1e8, 80.0), 0.0)]


@plants(17, 20)
def of_allocation(word: str) -> Study:
    alpha_n, alpha_s, drawn = of(word, (0.08, 0.7, 0.02), (0.4, 0.7, 0.02), (0.08, 0.7, 0.9))
    return planted_training.tables([]), steps_fits(alpha_n, alpha_s, drawn, equal_sizes())


@plants(18)
def of_least_steps(word: str) -> Study:
    alpha_s, drawn = of(word, (0.9, 0.02), (0.15, 0.02), (0.7, 0.9))
    return planted_training.tables([]), steps_fits(0.08, alpha_s, drawn, equal_sizes())


@plants(19)
def of_bound(word: str) -> Study:
    tables = planted_training.stopped(of(word, 1.6, 0.5, 1.6))
    limited = tables["runs"].filter(polars.col("dataset_limited")).with_row_index()
    early_by = polars.when((polars.col("index") % 2 == 0) & (word == NOT_RESOLVED)).then(0.4).otherwise(1.0)
    late = limited.with_columns(best_step=(polars.col("best_step") * early_by).cast(polars.Int64)).drop("index")
    runs = polars.concat([late, tables["runs"].filter(~polars.col("dataset_limited"))])
    return tables | {"runs": runs.with_columns(stopped=polars.lit("patience"))}, planted_training.step_fits()


@plants(21)
def of_sharing(word: str) -> Study:
    runs = [run(f"t{n}", n, 3.0 * (n / 1500) ** -0.07) for n in SIZES]
    for k, n in enumerate(SIZES[1:6]):
        excess = of(word, 0.04 + 0.002 * k, -0.04 - 0.002 * k, 0.05 * (-1) ** k)
        shared = {"architecture": "recurrent", "n_repeats": 2, "flops_6nd": 12.0 * n * 1000 * planted_training.BATCH}
        runs.append(run(f"r{n}", n, 3.0 * (2 * n / 1500) ** -0.07 * math.exp(excess), **shared))
    return planted_training.tables(runs), {}


@plants(22)
def of_positions(word: str) -> Study:
    trend, noise = of(word, (0.12, 0.001), (-0.12, 0.001), (0.0, 0.01))
    rng, runs, evals = np.random.default_rng(4), [run(f"p{n}", n, 2.0) for n in SIZES[::2]], []
    for one in runs:
        power = 0.6 + trend * math.log10(one["n_params"] / 20_000)
        evals += planted_training.by_position(one, lambda t, p=power: (1.4 + 1.6 * t**-p) * math.exp(float(rng.normal(0, noise))))  # type: ignore[misc]
    return planted_training.tables(runs, (), evals), {}


@plants(23)
def of_tokens(word: str) -> Study:
    power = of(word, -0.3, 0.3, 0.0)
    runs, curves = [run(f"n{n}", n, 2.0, tokens=2000 * 2048) for n in SIZES], []
    for k, one in enumerate(runs):
        slow = (one["n_params"] / 1500) ** power * (3.0 ** ((-1) ** (k // 2)) if word == NOT_RESOLVED else 1.0)
        curves += planted_training.curve(one, lambda s, by=slow: 6.0 * (s / by) ** -0.15, shared=True)  # type: ignore[misc]
    return planted_training.tables(runs, curves), {}


@plants(24)
def of_schedules(word: str) -> Study:
    spread, noise = of(word, (0.006, 0.002), (0.03, 0.002), (0.006, 0.05))
    kinds = [("wsd", 0.1), ("wsd", 0.3), ("cosine", 0.0), ("linear", 0.0), ("constant", 0.0)]
    runs = [run(f"s{k}", 6144, 2.0 * (1 + spread * k), schedule=name, decay=decay) for k, (name, decay) in enumerate(kinds)]
    others = [run(f"o{seed}", 6144, 2.5 * (1 + noise * (seed - 1)), seed=seed, tokens=500 * 2048) for seed in range(3)]
    return planted_training.tables([*runs, *others]), {}


def only(number: int, tables: Tables, fits: Fits) -> Row:
    """Judge one claim alone."""
    (claim,) = [claim for claim in CLAIMS if claim.number == number]
    return judge_one(claim, tables, fits, set(WORDS))


@pytest.mark.parametrize("word", WORD)
@pytest.mark.parametrize("number", sorted(MEASURES))
def test_a_planted_study_decides_the_claim(number: int, word: str) -> None:
    row = only(number, *PLANTED[number](word))
    assert row.verdict.word == word, (row.verdict, row.measured)
