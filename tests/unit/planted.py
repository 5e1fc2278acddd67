"""A study that never was: tables and fits from the paper's own equations at the scale of a laptop, with noise, byte level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars
import pyarrow

from scalinglaws.tables import CURVES, EVALS, RUNS

SIZES = [1536, 3072, 6144, 12288, 24576, 49152, 98304, 196608]
BUDGETS = [500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000]
DATASETS = [30_000, 100_000, 300_000, 1_000_000, 3_000_000]
WHOLE = 10_000_000
BATCH = 2048
ALPHA_N, N_C, ALPHA_D, D_C, ALPHA_S, S_C = 0.062, 3.6e8, 0.105, 2.5e7, 0.7, 75.0
PUBLISHED = {
    "power-n": {"alpha_N": 0.076, "N_c": 8.8e13},
    "power-d": {"alpha_D": 0.095, "D_c": 5.4e13},
    "power-c": {"alpha_C": 0.057, "C_c": 1.4e27},
    "envelope": {"alpha_C": 0.057, "C_c": 1.4e27},
    "kaplan-nd": {"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},
}
AXES = {"power-n": ("N", "n_params"), "power-d": ("D", "dataset_tokens"), "power-c": ("C", "flops"), "envelope": ("C", "flops")}


def loss_nd(n_params: Any, dataset_tokens: Any) -> Any:
    """Equation 1.5."""
    return ((N_C / n_params) ** (ALPHA_N / ALPHA_D) + D_C / dataset_tokens) ** ALPHA_D


def loss_ns(n_params: float, steps: Any, decayed: bool) -> Any:
    """Equation 1.6, below the loss of a uniform guess; before the decay the loss lies 4 % higher."""
    loss = (N_C / n_params) ** ALPHA_N + (S_C / np.maximum(steps, 1)) ** ALPHA_S * (1.0 if decayed else 1.25)
    return np.minimum(loss * (1.0 if decayed else 1.04), math.log(256))


def study(seed: int = 0, sizes: list[int] = SIZES, datasets: list[int] = DATASETS) -> tuple[dict, dict]:
    """(tables, fits) as the figures take them."""
    rng = np.random.default_rng(seed)
    runs = [_run(n, tokens, None, rng) for n in sizes for tokens in BUDGETS]
    runs += [_run(n, 16_000_000, d, rng) for n in sizes[::2] + sizes[-1:] for d in [*datasets, WHOLE]]
    if runs:
        runs.append(
            runs[0] | {"id": "diverged", "trunk": "trunk-diverged", "status": "diverged", "loss": None, "loss_stderr": None}
        )
    frame = polars.DataFrame(runs, infer_schema_length=None) if runs else empty_runs()
    rows = [row for run in runs if run["stop"] == "budget" for row in _curve(run, rng)]
    curves = list({(row["trunk"], row["run"], row["step"]): row for row in rows}.values())  # budgets share a stable phase
    tables = {"runs": complete(frame, RUNS), "curves": complete(polars.DataFrame(curves) if curves else empty_curves(), CURVES)}
    return tables | {"evals": polars.DataFrame(polars.from_arrow(EVALS.empty_table()))}, fits_of(frame, curves)


def complete(frame: polars.DataFrame, schema: pyarrow.Schema) -> polars.DataFrame:
    """A frame with every column of a table's schema: null where the frame lacks it."""
    whole = polars.DataFrame(polars.from_arrow(schema.empty_table()))
    return polars.concat([whole, frame.cast({name: whole.schema[name] for name in frame.columns})], how="diagonal")


def _run(n_params: int, tokens: int, dataset_tokens: int | None, rng: np.random.Generator) -> dict[str, Any]:
    early = dataset_tokens is not None
    loss = loss_nd(n_params, dataset_tokens) if early else float(loss_ns(n_params, tokens / BATCH, True))
    trunk = f"trunk-{n_params}-{dataset_tokens}"
    return {
        "id": f"gpt-{n_params}-{tokens}-{dataset_tokens}",
        "trunk": trunk,
        "experiments": ["data" if early else "size"],
        "n_layer": 2,
        "d_model": round(math.sqrt(n_params / 24)),
        "architecture": "transformer",
        "corpus": "books",
        "n_ctx": 128,
        "batch_tokens": BATCH,
        "seed": 0,
        "n_params": n_params,
        "n_params_total": n_params + 256 * 32,
        "tokens": tokens,
        "steps": tokens // BATCH,
        "dataset_tokens": dataset_tokens or WHOLE,
        "dataset_limited": early and dataset_tokens != WHOLE,
        "stop": "early" if early else "budget",
        "schedule": "constant" if early else "wsd",
        "flops_6nd": 6.0 * n_params * tokens,
        "loss": float(loss * np.exp(rng.normal(0, 0.004))),
        "loss_stderr": 0.006,
        "status": "ok",
    }


def _curve(run: dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Points of one budget's curve, the phase that budgets share included and equal in all of them."""
    left = int(0.8 * run["steps"])
    stable = [int(s) for s in np.unique(np.geomspace(8, 4000, 28).round()) if s <= left]
    n, rows = run["n_params"], []
    shared = np.random.default_rng(n)
    for step in stable:
        loss = loss_ns(n, step, False) * np.exp(shared.normal(0, 0.004))
        rows.append((step, "warmup" if step < 40 else "stable", loss))
    for part in (0.25, 0.5, 0.75, 1.0):
        step = left + round(part * (run["steps"] - left))
        loss = (1 - part) * loss_ns(n, step, False) + part * loss_ns(n, step, True)
        rows.append((step, "decay", loss * np.exp(rng.normal(0, 0.003))))
    return [
        {
            "run": run["id"] if phase == "decay" else None,  # what budgets share belongs to the trunk
            "trunk": run["trunk"],
            "n_params": n,
            "step": step,
            "tokens": step * BATCH,
            "flops_6nd": 6.0 * n * step * BATCH,
            "phase": phase,
            "loss_test": float(loss),
        }
        for step, phase, loss in rows
    ]


def fits_of(runs: polars.DataFrame, curves: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fits as ``laws`` writes them, by the simplest means: a straight line through logarithms; the truth for L(N, D)."""
    ok = runs.filter(polars.col("status") == "ok").with_columns(flops="flops_6nd")
    finals, early = ok.filter(polars.col("stop") == "budget"), ok.filter(polars.col("stop") == "early")
    best = finals.sort("flops").with_columns(best=polars.col("loss").cum_min()).filter(polars.col("loss") <= polars.col("best"))
    chosen = {
        "power-n": finals.filter(polars.col("tokens") == polars.col("tokens").max().over("n_params")),
        "power-d": early.filter(polars.col("n_params") == polars.col("n_params").max()),
        "power-c": best,
        "envelope": _envelope(curves),
    }
    fits = {law: fit_line(law, frame) for law, frame in chosen.items()}
    return fits | {"kaplan-nd": fit_joint(early)}


def _envelope(curves: list[dict[str, Any]]) -> polars.DataFrame:
    stable = sorted(
        (row["flops_6nd"], row["loss_test"], place, row) for place, row in enumerate(curves) if row["phase"] == "stable"
    )
    lowest, rows = math.inf, []
    for flops, loss, _, row in stable:
        if loss < lowest:
            lowest = loss
            rows.append(
                {**{key: row[key] for key in ("trunk", "n_params", "tokens")}, "id": row["trunk"], "flops": flops, "loss": loss}
            )
    return polars.DataFrame(rows)


def _points(frame: polars.DataFrame, predicted: np.ndarray) -> list[dict[str, Any]]:
    keys = ["trunk", "n_params", "tokens", "dataset_tokens", "flops", "loss"]
    return [
        {"run": row["id"], "predicted": float(value), **{key: row.get(key) for key in keys}}
        for row, value in zip(frame.iter_rows(named=True), predicted, strict=False)
    ]


def _fit(law: str, parameters: dict[str, tuple[float, float, float]], points: list[dict], flags: list[str]) -> dict[str, Any]:
    wide = {
        name: {"estimate": value, "stderr": (high - low) / 3.92, "ci_low": low, "ci_high": high, "unit": ""}
        for name, (value, low, high) in parameters.items()
    }
    trunks = len({point["trunk"] for point in points})
    found = {"law": law, "parameters": wide, "exponents": {}, "n_points": len(points), "n_runs": len(points), "n_trunks": trunks}
    return found | {"points": points, "flags": flags, "published": PUBLISHED[law]}


def fit_line(law: str, frame: polars.DataFrame) -> dict[str, Any]:
    """A least-squares line with its textbook interval; without parameters where there are fewer than three points."""
    symbol, column = AXES[law]
    if len(frame) < 3:
        points = _points(frame, np.zeros(len(frame))) if len(frame) else []
        return _fit(law, {}, points, [f"too few points: {len(points)} for 2 parameters"])
    x, y = np.log(frame[column].to_numpy()), np.log(frame["loss"].to_numpy())
    (slope, level), covariance = np.polyfit(x, y, 1, cov=True)
    half = 2.2 * math.sqrt(covariance[0, 0])
    scale = math.exp(min(-level / slope, 700.0))
    parameters = {f"alpha_{symbol}": (-slope, -slope - half, -slope + half), f"{symbol}_c": (scale, scale / 5, scale * 5)}
    return _fit(law, parameters, _points(frame, np.exp(level + slope * x)), [])


def fit_joint(frame: polars.DataFrame) -> dict[str, Any]:
    """The planted parameters as the fit of L(N, D)."""
    if len(frame) < 4:
        return _fit("kaplan-nd", {}, [], ["too few points: 0 for 4 parameters"])
    parameters = {
        "alpha_N": (ALPHA_N, 0.058, 0.067),
        "alpha_D": (ALPHA_D, 0.095, 0.116),
        "N_c": (N_C, 1e8, 1e9),
        "D_c": (D_C, 1e7, 6e7),
    }
    predicted = loss_nd(frame["n_params"].to_numpy(), frame["dataset_tokens"].to_numpy())
    return _fit("kaplan-nd", parameters, _points(frame, predicted), [])


def empty_runs() -> polars.DataFrame:
    """The runs table of a study whose runs are all still to come."""
    text, whole, real = (
        ("id", "trunk", "stop", "schedule", "status"),
        ("n_layer", "n_params", "tokens", "steps"),
        ("loss", "loss_stderr"),
    )
    schema: dict[str, Any] = dict.fromkeys(text, polars.String) | dict.fromkeys(whole, polars.Int64)
    schema |= dict.fromkeys((*real, "flops_6nd"), polars.Float64)
    return polars.DataFrame(schema=schema | {"dataset_tokens": polars.Int64, "dataset_limited": polars.Boolean})


def empty_curves() -> polars.DataFrame:
    """The curves table of such a study."""
    schema: dict[str, Any] = {"run": polars.String, "trunk": polars.String, "phase": polars.String, "loss_test": polars.Float64}
    return polars.DataFrame(
        schema=schema | {"n_params": polars.Int64, "step": polars.Int64, "tokens": polars.Int64, "flops_6nd": polars.Float64}
    )
