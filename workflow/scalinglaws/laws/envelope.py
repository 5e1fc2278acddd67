"""The lower envelope of the learning curves, L = (C_c/C)^alpha_C, and N_opt ∝ C^a through the models on it.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (3.3) and Figure 1, with the published alpha_C and C_c.
Hoffmann et al. 2022 (arXiv:2203.15556), approach 1, with the published a and b.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.numbers import PF_DAY
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.power_laws import one_variable
from scalinglaws.laws.rules import Excluded, drop, frontier
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import Resamples, interval

POINTS_PER_DECADE = 10
TOO_FEW_SIZES = "No exponents a and b: the envelope has fewer than two sizes between its smallest and largest."


def one_batch(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep, of a size that was trained at several batch sizes, the curves at the commonest one: L(C) holds at one batch size.

    The commonest is the one that most trunks of the whole table have. A batch size that grows with the model is kept as it is.
    """
    if "batch_tokens" not in table.columns:
        return table
    counts = table.group_by("batch_tokens").agg(trunks=pl.col("trunk").n_unique())
    # The smaller of two batch sizes that are equally common ranks higher.
    counts = counts.sort("trunks", "batch_tokens", descending=[False, True]).with_row_index("rank")
    table = table.join(counts.drop("trunks"), on="batch_tokens", how="left", nulls_equal=True, maintain_order="left")
    common = pl.col("rank") == pl.col("rank").max().over("n_params")
    return drop(table, common, "a batch size that fewer runs have than another of its size", excluded).drop("rank")


def lowest(curves: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Return the lower envelope of learning curves, which are interpolated in log-log between evaluations.

    Parameters
    ----------
    curves
        A row for each evaluation step, with columns trunk, n_params, flops and loss; the rows of a trunk ascend in flops.
    excluded, notes
        The lists that excluded runs and notes are added to.

    Returns
    -------
    polars.DataFrame
        The lowest loss at each of a logarithmic grid of computes in FLOP, with the trunk and the size that have it.
    """
    curves = one_batch(curves, excluded, notes)
    rows: dict[int, tuple[float, str, float]] = {}
    for (trunk,), curve in curves.group_by(["trunk"], maintain_order=True):
        log_c, log_l = curve["flops"].log().to_numpy(), curve["loss"].log().to_numpy()
        grid = np.log(10) / POINTS_PER_DECADE
        for k in range(int(np.ceil(log_c[0] / grid)), int(np.floor(log_c[-1] / grid)) + 1):
            loss = float(np.exp(np.interp(k * grid, log_c, log_l)))
            if k not in rows or loss < rows[k][0]:
                rows[k] = (loss, str(trunk), float(curve["n_params"][0]))
    data = [(trunk, trunk, n, float(np.exp(k * grid)), loss) for k, (loss, trunk, n) in sorted(rows.items())]
    schema = {"run": pl.String, "trunk": pl.String, "n_params": pl.Float64, "flops": pl.Float64, "loss": pl.Float64}
    return pl.DataFrame(data, schema=schema, orient="row")


def frontier_exponents(points: Points, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return a and b of N_opt ∝ C^a and D_opt ∝ C^b through the models on the envelope; empty below two sizes.

    D = C/(6N), so b = 1 − a. The smallest and the largest model on the envelope are left out: no other size was run below and
    above them, so they are the best there for want of a better one. Resamples draw the trunks on the envelope, which keep their
    places on it.

    Parameters
    ----------
    points
        Points on the envelope, with n_params in parameters and flops in FLOP.
    n_bootstrap, seed
        Number of resamples of trunks, and the seed that they are drawn from.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), approach 1.
    """
    sizes = points.columns["n_params"]
    points = points.take((sizes > sizes.min()) & (sizes < sizes.max()))
    if len(np.unique(points.columns["n_params"])) < 2:
        return {}
    x, y = np.log(points.columns["flops"]), np.log(points.columns["n_params"])
    names, member = np.unique(np.array(points.trunk), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    weights = np.vstack([np.ones(len(x)), counts[:, member]])
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (values - (weights @ values)[:, None] / total for values in (x, y))
    spread = (weights * dx * dx).sum(axis=1)
    several = np.array([len(names), *(counts > 0).sum(axis=1)]) > 1
    a = np.where(several, (weights * dx * dy).sum(axis=1) / np.where(several, spread, 1.0), np.nan)
    return {
        name: interval(float(values[0]), values[1:], False, len(names)) | {"unit": ""}
        for name, values in (("a", a), ("b", 1 - a))
    }


def _derive(
    points: Points, fit: Fit, resamples: Resamples | None, n_bootstrap: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Return a and b, and a sentence where the envelope has too few sizes for them."""
    found = frontier_exponents(points, n_bootstrap, seed)
    return found, [] if found else [TOO_FEW_SIZES]


_PLAIN, _OFFSET = one_variable(
    name="envelope",
    symbol="C",
    column="flops",
    unit="FLOP",
    title="Lower envelope of the learning curves",
    source="Kaplan et al. 2020 (3.3), Figure 1; Hoffmann et al. 2022, approach 1",
    rule="learning curves after warm-up and before the decay, interpolated; the lowest at each compute",
    published=(0.057, 1.6e7 * PF_DAY),
    selection=(frontier("flops"),),
    reshape=lowest,
)
LAWS = (
    replace(_PLAIN, published=_PLAIN.published | {"a": 0.50, "b": 0.50}, derived=("a", "b"), derive=_derive),
    _OFFSET,
)
