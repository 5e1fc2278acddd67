"""A study of batch sizes that never was: runs and curves from equations 1.4, 1.6 and 5.4 at the scale of a laptop, byte level.

Its fits are those of ``fit_table``, so what a figure says of them can be set beside the planted exponents.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars

from scalinglaws.laws.allocation import CriticalBatch, LossNS
from scalinglaws.laws.result import fit_table
from unit import planted

LAW = LossNS(0.062, 0.7, 3.6e8, 75.0)
CRITICAL = CriticalBatch(6e4, 0.21)  # 2.2k tokens at 2 nats, 830 at 2.45
SIZES = [1536, 6144, 24576, 98304]
BATCHES = [256, 1024, 2048, 4096, 16384]
BUDGETS = [1_000_000, 4_000_000, 16_000_000]
POINTS = 24  # of a curve
DECAYED = 0.96  # the loss after a decay, as a share of that before
LAWS = ("critical-batch", "kaplan-ns", "power-cmin", "power-c", "power-d")


@cache
def study(
    sizes: tuple[int, ...] = tuple(SIZES), batches: tuple[int, ...] = tuple(BATCHES), noise: float = 0.002
) -> tuple[dict[str, polars.DataFrame], dict[str, Any]]:
    """(tables, fits): each size at each batch size to each budget, and early-stopped runs of the planted study."""
    runs, curves = [], []
    for n_params in sizes:
        for batch in batches:
            rng = np.random.default_rng([n_params, batch])
            rows = _stable(n_params, batch, rng, noise)
            curves += rows
            runs += [_run(n_params, batch, tokens, rng, noise) for tokens in BUDGETS]
    early = [row for row in planted.study()[0]["runs"].iter_rows(named=True) if row["stop"] == "early"]
    runs += [row | {"batch_tokens": planted.BATCH, "fitted": True} for row in early]
    tables = {"runs": polars.DataFrame(runs, infer_schema_length=None), "curves": polars.DataFrame(curves)}
    return tables, fits_of(tables)


def fits_of(tables: dict[str, polars.DataFrame]) -> dict[str, Any]:
    """The fits of a study, those of S_min and C_min by its own B_crit(L), as the workflow makes them."""
    fits: dict[str, Any] = {}
    for law in LAWS:
        own = law in ("kaplan-ns", "power-cmin")
        found = (fits["critical-batch"]["parameters"] or {}) if own else {}
        values = [found[name]["estimate"] if found else float("nan") for name in ("B_star", "alpha_B")]
        critical = CriticalBatch(*values) if own else None
        options = {"n_bootstrap": 60, "objective": "squared", "allow_empty": True, "critical_batch": critical}
        fits[law] = fit_table(tables["runs"], law, curves=tables["curves"], **options)
    return fits


def loss_at(n_params: float, batch: float, steps: np.ndarray) -> np.ndarray:
    """The loss after ``steps`` at a batch size: where S = S_min (1 + B_crit(L)/B) (5.4), by interpolation over S_min."""
    s_min = np.geomspace(1e-2, 1e9, 4000)
    loss = LAW.loss(n_params, s_min)
    return np.exp(np.interp(np.log(steps), np.log(s_min * (1 + CRITICAL.tokens(loss) / batch)), np.log(loss)))


def _stable(n_params: int, batch: int, rng: np.random.Generator, noise: float) -> list[dict[str, Any]]:
    """The stable phase to the largest budget, with the noise scale that B_crit would have, measured at every point."""
    steps = np.unique(np.geomspace(8, 0.8 * BUDGETS[-1] / batch, POINTS).round()).astype(int)
    loss = np.minimum(loss_at(n_params, batch, steps), np.log(256)) * np.exp(noise * rng.standard_normal(len(steps)))
    square = 1e-3 * np.exp(0.3 * rng.standard_normal(len(steps)))
    return [
        {
            "run": None,
            "trunk": f"trunk-{n_params}-{batch}",
            "n_layer": 2,
            "n_params": n_params,
            "batch_tokens": batch,
            "step": int(step),
            "tokens": int(step) * batch,
            "flops_6nd": 6.0 * n_params * int(step) * batch,
            "phase": "warmup" if step < 20 else "stable",
            "loss_test": float(one),
            "noise_square": float(norm),
            "noise_trace": float(norm * CRITICAL.tokens(one)),
        }
        for step, one, norm in zip(steps, loss, square, strict=True)
    ]


def _run(n_params: int, batch: int, tokens: int, rng: np.random.Generator, noise: float) -> dict[str, Any]:
    steps = tokens // batch
    loss = DECAYED * loss_at(n_params, batch, np.array([steps]))[0] * np.exp(noise * rng.standard_normal())
    return {
        "id": f"gpt-{n_params}-{batch}-{tokens}",
        "trunk": f"trunk-{n_params}-{batch}",
        "experiments": ["batch"],
        "fitted": True,
        "n_layer": 2,
        "n_params": n_params,
        "n_params_total": n_params + 256 * 32,
        "batch_tokens": batch,
        "tokens": tokens,
        "steps": steps,
        "dataset_tokens": 100_000_000,
        "dataset_limited": False,
        "stop": "budget",
        "schedule": "wsd",
        "flops_6nd": 6.0 * n_params * tokens,
        "loss": float(loss),
        "loss_stderr": 0.004,
        "status": "ok",
    }
