"""L(N, S) of equation 1.6: the fitted law at real batch sizes, and the measured learning curves of each trunk."""

from __future__ import annotations

import numpy as np
import polars
from numpy.typing import ArrayLike, NDArray

from scalinglaws.figures.shared.groups import main_family
from scalinglaws.laws.allocation import CriticalBatch, LossNS, steps_min


def loss_at(
    form: LossNS, b_crit: CriticalBatch, n_params: ArrayLike, steps: ArrayLike, batch_tokens: float
) -> NDArray[np.float64]:
    """Return L(N, S) after ``steps`` updates of ``batch_tokens``: the L that solves L = L(N, S/(1 + B_crit(L)/B)) (1.6, 5.4).

    It is found by bisection: the right side falls as L grows, since B_crit falls with L.
    """
    n, s = np.broadcast_arrays(np.asarray(n_params, np.float64), np.asarray(steps, np.float64))
    low = np.array(form.loss(n, s))  # at B >> B_crit
    high = low + 100.0
    for _ in range(60):
        middle = (low + high) / 2
        above = form.loss(n, steps_min(s, batch_tokens, b_crit.tokens(middle))) > middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def sized_curves(curves: polars.DataFrame, runs: polars.DataFrame) -> polars.DataFrame:
    """Return points of the learning curves of ``groups.main_family``, sorted by n_params, trunk and step.

    The points lie after warm-up and, where a trunk has a stable phase, before the decay.
    """
    family = main_family(runs)
    rows = curves.filter(polars.col("trunk").is_in(family["trunk"].unique().to_list()) & polars.col("loss_test").is_not_null())
    stable = (polars.col("phase") == "stable").any().over("trunk")
    rows = rows.filter((polars.col("phase") == "stable") | ((polars.col("phase") == "decay") & ~stable))
    rows = rows.unique(["trunk", "step"], keep="first", maintain_order=True)
    return rows.sort("n_params", "trunk", "step")
