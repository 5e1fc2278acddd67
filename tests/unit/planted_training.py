"""Tables with runs for the figures of training, in which what the figures derive is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars

from scalinglaws.laws.allocation import CriticalBatch, LossNS
from scalinglaws.tables import CURVES, EVALS, RUNS

Row = dict[str, Any]
SHAPES = {1536: 8, 6144: 16, 24576: 32, 55296: 48}  # N of two layers: d_model
SIZES = list(SHAPES)
BATCH, N_CTX = 2048, 128
LAW, B_CRIT = LossNS(0.08, 0.7, 2e8, 80.0), CriticalBatch(4e4, 0.25)
STEPS = [int(step) for step in np.unique(np.geomspace(8, 2000, 40).round())]


def run(name: str, n_params: int, loss: float | None, **changes: Any) -> Row:
    """A row of runs: 1000 steps of wsd, unless ``changes`` say otherwise."""
    row: Row = dict.fromkeys(RUNS.names)
    row |= {
        "id": name,
        "trunk": f"trunk-{name}",
        "experiments": ["own"],
        "fitted": True,
        "n_layer": 2,
        "d_model": SHAPES[n_params],
    }
    row |= {"n_heads": 2, "d_ff": 4 * SHAPES[n_params], "d_attn": SHAPES[n_params], "corpus": "books", "tokenizer": "bytes"}
    row |= {"n_ctx": N_CTX, "batch_tokens": BATCH, "learning_rate": 0.01, "warmup_tokens": 100 * BATCH, "schedule": "wsd"}
    row |= {"precision": "float32", "threads": 1, "seed": 0, "eval_tokens": 128_000, "curve_tokens": 16_000, "decay": 0.2}
    row |= {"tokens": 1000 * BATCH, "dataset_tokens": 10_000_000, "dataset_limited": False, "stop": "budget", "patience": 0}
    row |= {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.0, "grad_clip": 1.0, "dropout": 0.0}
    row |= {
        "architecture": "transformer",
        "n_repeats": 1,
        "sharing": "cycle",
        "noise_every": 0,
        "recipe": 1,
        "n_params": n_params,
    }
    row |= {"loss": loss, "loss_stderr": 0.006, "status": "ok" if loss is not None else "diverged"} | changes
    steps = row["tokens"] // row["batch_tokens"]
    flops = 6.0 * n_params * row["tokens"]
    return row | {"steps": changes.get("steps", steps), "best_step": changes.get("best_step", steps), "flops_6nd": flops}


def curve(run: Row, loss: Callable[[Any], Any], steps: Iterable[int] = STEPS, shared: bool = False, **columns: Any) -> list[Row]:
    """Rows of the curve of a run after its warm-up, before any decay. ``columns``: functions of the step."""
    rows = []
    for step in steps:
        tokens = step * run["batch_tokens"]
        row: Row = dict.fromkeys(CURVES.names) | {
            "run": None if shared else run["id"],
            "trunk": run["trunk"],
            "n_params": run["n_params"],
        }
        row |= {"n_layer": 2, "batch_tokens": run["batch_tokens"], "step": step, "tokens": tokens, "phase": "stable"}
        row |= {"flops_6nd": 6.0 * run["n_params"] * tokens, "loss_test": float(loss(step))}
        rows.append(row | {name: function(step) for name, function in columns.items()})
    return rows


def tables(runs: list[Row], curves: Iterable[Row] = (), evals: Iterable[Row] = ()) -> dict[str, polars.DataFrame]:
    """The three tables with the columns and types of the real ones."""
    found = {}
    for name, rows, schema in (("runs", runs, RUNS), ("curves", list(curves), CURVES), ("evals", list(evals), EVALS)):
        found[name] = polars.DataFrame(rows, schema=polars.DataFrame(polars.from_arrow(schema.empty_table())).schema)
    return found


def fit(parameters: dict[str, float], points: Iterable[Row] = (), published: dict[str, float] | None = None) -> Row:
    """A fit with intervals of ±10 %."""
    wide = {
        name: {"estimate": v, "stderr": v / 20, "ci_low": 0.9 * v, "ci_high": 1.1 * v, "unit": ""}
        for name, v in parameters.items()
    }
    return {"parameters": wide, "points": list(points), "flags": [], "published": published or {}}


def step_fits() -> dict[str, Row]:
    """kaplan-ns and critical-batch with the planted laws."""
    points = [
        {"run": f"n{n}", "trunk": f"n{n}", "n_params": n, "steps_min": s, "loss": float(LAW.loss(n, s))}
        for n in SIZES
        for s in STEPS
    ]
    found = {"alpha_N": LAW.alpha_n, "alpha_S": LAW.alpha_s, "N_c": LAW.n_c, "S_c": LAW.s_c}
    critical = fit({"B_star": B_CRIT.b_star, "alpha_B": B_CRIT.alpha_b})
    return {"kaplan-ns": fit(found, points, {"alpha_N": 0.077, "alpha_S": 0.76}), "critical-batch": critical}


def sizes() -> dict[str, polars.DataFrame]:
    """A run a size whose curves follow the planted L(N, S) at batches of 2048 tokens."""
    from scalinglaws.figures.by_steps import loss_at

    runs = [run(f"n{n}", n, float(loss_at(LAW, B_CRIT, n, 2000, BATCH)), tokens=2000 * BATCH) for n in SIZES]
    curves = [
        row for one in runs for row in curve(one, lambda s, n=one["n_params"]: loss_at(LAW, B_CRIT, n, s, BATCH), shared=True)
    ]
    return tables(runs, curves)


def stopped(factor: float = 1.6) -> dict[str, polars.DataFrame]:
    """Two sizes stopped early on four datasets, ``factor`` times later than the bound (5.7) of the planted law."""
    runs, curves = [], []
    for n in SIZES[1:3]:
        for tokens, excess in ((30_000, 0.9), (100_000, 0.5), (300_000, 0.25), (1_000_000, 0.1), (10_000_000, 0.0)):
            best = round(factor * LAW.s_c * excess ** (-1 / LAW.alpha_s)) if excess else 3000
            given = {"stop": "early", "schedule": "constant", "decay": 0.0, "patience": 3, "dataset_tokens": tokens}
            given |= {"dataset_limited": tokens < 10_000_000, "best_step": best, "steps": 2 * best if excess else 3000}
            one = run(f"e{n}-{tokens}", n, 2.0 + excess - 0.1 * (n > 10_000), tokens=6000 * BATCH, **given)
            steps = sorted({*(s for s in STEPS if s <= one["steps"]), best})
            curves += curve(
                one,
                lambda s, best=best, loss=one["loss"]: loss + 0.15 * np.log(s / best) ** 2,
                steps,
                loss_train=lambda s, best=best, loss=one["loss"]: float(loss - 0.25 * np.log(s / best)),
            )
            runs.append(one)
    return tables(runs, curves)


def by_position(one: Row, loss: Callable[[int], float], stderr: float = 0.02) -> list[Row]:
    """Rows of evals on own text: the mean, then each position from 0."""
    rows = [{"position": place, "loss": loss(place + 1)} for place in range(one["n_ctx"])]
    rows.insert(0, {"position": None, "loss": float(np.mean([row["loss"] for row in rows]))})
    given = {
        "run": one["id"],
        "step": one["steps"],
        "corpus": one["corpus"],
        "stderr": stderr,
        "nats_per_byte": None,
        "n_tokens": 1000,
    }
    return [given | row for row in rows]


def positions(exponent: float = 0.11) -> dict[str, polars.DataFrame]:
    """Losses that fall as a power of the position, the final ones of all sizes with noise; half as steep early in training."""
    rng = np.random.default_rng(3)
    runs = [run(f"p{n}", n, 2.2) for n in SIZES]
    evals: list[Row] = []
    for one in runs:
        level = 3.4 * (SIZES[0] / one["n_params"]) ** 0.04
        evals += by_position(one, lambda t, level=level: level * t**-exponent * float(np.exp(rng.normal(0, 0.01))))
    octaves = [np.arange(2**k, min(2 ** (k + 1) - 1, N_CTX) + 1) for k in range(8)]
    centres = np.array([np.exp(np.log(inside).mean()) for inside in octaves])
    curves = [
        row
        for one in runs
        for row in curve(one, lambda s: 3.0, [s for s in STEPS if s <= 1000],
                         loss_by_position=lambda s: (3.5 * s**-0.02 * centres ** (-exponent * s / 1000)).tolist())
    ]  # fmt: skip
    return tables(runs, curves, evals)


def contexts() -> dict[str, polars.DataFrame]:
    """All sizes at n_ctx 8 and 128; at position t the loss falls as N to the power −0.01·log2(2t)."""
    rng = np.random.default_rng(4)
    runs = [run(f"c{n}-{length}", n, 2.2, n_ctx=length) for n in SIZES for length in (8, 128)]
    evals: list[Row] = []
    for one in runs:
        n, short = one["n_params"], 1.0 if one["n_ctx"] == 128 else 1.0 / 1.02
        evals += by_position(
            one,
            lambda t, n=n, short=short: (
                3.6 * short * t**-0.05 * (n / 1536) ** (-0.01 * np.log2(2 * t)) * float(np.exp(rng.normal(0, 0.004)))
            ),
        )
    return tables(runs, (), evals)


def schedules() -> dict[str, polars.DataFrame]:
    """Two sizes under five schedules, two seeds of the larger; the loss falls by 0.05 from the first to the last."""
    kinds = [("wsd", 0.1), ("wsd", 0.3), ("cosine", 0.0), ("linear", 0.0), ("constant", 0.0)]
    runs = [
        run(
            f"s{n}-{name}-{decay}-{seed}",
            n,
            2.1 + 0.0125 * place + 0.004 * seed + 0.3 * (n < 10_000),
            schedule=name,
            decay=decay,
            seed=seed,
        )
        for n in SIZES[1:3]
        for place, (name, decay) in enumerate(kinds)
        for seed in range(2 if n == SIZES[2] else 1)
    ]
    return tables(runs)


RATES = [0.002, 0.004, 0.008, 0.016, 0.032]


def best_rate(n_params: int) -> float:
    """The planted optimum."""
    return 0.2 * n_params**-0.3


def rates() -> dict[str, polars.DataFrame]:
    """Parabolas in the log rate about ``best_rate``, for the smallest size beyond the sweep; one run diverged; another experiment
    whose rates are 0.3·N^(−1/3), at most 0.02.
    """
    runs = [
        run(f"r{n}-{rate}", n, 2.2 - 0.03 * np.log(n / 1536) + 0.04 * np.log(rate / best_rate(n)) ** 2, learning_rate=rate)
        for n in SIZES[1:]
        for rate in RATES
    ]
    runs += [run(f"r{SIZES[0]}-{rate}", SIZES[0], 2.6 - 4 * rate, learning_rate=rate) for rate in RATES]
    runs.append(run("r-diverged", SIZES[2], None, learning_rate=0.2))
    rule = [
        run(
            f"o{n}",
            n,
            2.1,
            experiments=["size"],
            tokens=3000 * BATCH,
            learning_rate=min(0.02, float(f"{0.3 * n ** (-1 / 3):.6g}")),
        )
        for n in SIZES
    ]
    return tables(runs + rule)


def optimizers() -> dict[str, polars.DataFrame]:
    """Curves 8·(tokens·gain)^−0.09: muon gains a factor 1.8, sgd 0.4, adafactor 0.9 on adamw. Two of three rates are worse."""
    runs, curves = [], []
    for n in SIZES[1:]:
        for name, gain in (("adamw", 1.0), ("adafactor", 0.9), ("muon", 1.8), ("sgd", 0.4)):
            for place, rate in enumerate((0.005, 0.01, 0.02)):
                best = place == 1 if name != "sgd" else place == 2
                level = 8.0 * (n / 6144) ** -0.03 * (1.0 if best else 1.03)
                one = run(f"{name}-{n}-{rate}", n, level * (1000 * BATCH * gain) ** -0.09, optimizer=name, learning_rate=rate)
                curves += curve(
                    one,
                    lambda s, level=level, gain=gain: level * (s * BATCH * gain) ** -0.09,
                    [s for s in (*STEPS, 1000) if s <= 1000],
                )
                runs.append(one)
    return tables(runs, curves)


REPETITION = {"E": 1.2, "A": 12.0, "B": 60.0, "alpha": 0.35, "beta": 0.37, "R_D*": 12.0, "R_N*": 5.0}


def repeated() -> tuple[dict[str, polars.DataFrame], dict[str, Row]]:
    """Two sizes, three datasets, 1 to 32 epochs, and fresh data for the same budgets, by the planted law."""
    from scalinglaws.figures.repetition import law

    found = {"repetition": fit(REPETITION)}
    rng, runs = np.random.default_rng(5), []
    for n in SIZES[1:3]:
        budgets = set()
        for data in (100_000, 300_000, 1_000_000):
            for epochs in (1, 2, 4, 8, 16, 32):
                loss = law(found["repetition"], n, epochs * data, data)
                budgets.add(epochs * data)
                assert loss is not None
                runs.append(
                    run(
                        f"d{n}-{data}-{epochs}",
                        n,
                        float(loss * np.exp(rng.normal(0, 0.002))),
                        tokens=epochs * data,
                        dataset_tokens=data,
                        dataset_limited=True,
                    )
                )
        for tokens in sorted(budgets):
            loss = law(found["repetition"], n, tokens, 10**8)
            assert loss is not None
            runs.append(run(f"f{n}-{tokens}", n, float(loss), tokens=tokens, dataset_tokens=10**8))
    return tables(runs), found
