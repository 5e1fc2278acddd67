"""The compute-equivalent gain: how many times the compute a reference needs to reach the losses of other models.

The losses of the reference at several computes C, at one budget of tokens, are taken to lie on a power law L = (C_0/C)^alpha, a
straight line in logarithms. It is solved for the compute at which the reference would have the loss of another model.

References
----------
Davidson et al. 2023 (arXiv:2312.07413): the compute-equivalent gain. Fieller 1954, Journal of the Royal Statistical Society B 16,
175: the interval of a quotient, which is that of the value of x at which a line has a measured y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array

FEWEST = 3  # points of the reference: two define the line and leave nothing that tells its scatter


@dataclass(frozen=True)
class Gains:
    """Gains over a reference, one for each model and their geometric mean; 2 says that the reference needs twice the compute."""

    each: Array  # (n,) gains
    low: Array  # (n,) low and high: 95 % intervals; NaN where the slope of the reference is not told from 0
    high: Array
    beyond: Array  # (n,) bool: whether the reference reaches the loss only outside the computes that it was measured at
    mean: float
    mean_low: float
    mean_high: float


def compute_equivalent(reference_flops: ArrayLike, reference_loss: ArrayLike, flops: ArrayLike, loss: ArrayLike) -> Gains:
    """Return the compute-equivalent gains of models over a reference.

    Parameters
    ----------
    reference_flops, reference_loss
        Training compute in FLOP and loss in nats per token of the reference, (m,) at one budget of tokens, m at least 3.
    flops, loss
        Those of the models, (n,).

    Returns
    -------
    Gains
        Intervals count the scatter of the reference about its line, also as the scatter of each model's loss.

    Raises
    ------
    StudyError
        The reference has fewer than three points or one compute only, or a number is not positive.
    """
    known, level = (np.asarray(values, np.float64) for values in (reference_flops, reference_loss))
    given, reached = (np.asarray(values, np.float64) for values in (flops, loss))
    if len(known) < FEWEST or len(np.unique(known)) < 2:
        raise StudyError(f"a compute-equivalent gain takes a reference at {FEWEST} computes or more, not {len(np.unique(known))}")
    if min(values.min(initial=np.inf) for values in (known, level, given, reached)) <= 0:
        raise StudyError("a compute-equivalent gain takes computes and losses above 0")
    x, y = np.log(known), np.log(level)
    slope, spread = np.polyfit(x - x.mean(), y, 1)[0], float(np.square(x - x.mean()).sum())
    scatter = float(np.square(y - y.mean() - slope * (x - x.mean())).sum()) / (len(x) - 2)
    own = np.log(reached) - y.mean()
    low, middle, high = _solved(own, slope, scatter, spread, len(x), 1)
    at = x.mean() + middle
    pooled = _solved(np.array([own.mean()]), slope, scatter, spread, len(x), len(own)) if len(own) else np.full((3, 1), np.nan)
    shift = x.mean() - np.log(given)
    mean_low, mean, mean_high = (float(np.exp(value[0] + shift.mean())) if len(own) else np.nan for value in pooled)
    beyond = (at < x.min()) | (at > x.max())
    return Gains(np.exp(middle + shift), np.exp(low + shift), np.exp(high + shift), beyond, mean, mean_low, mean_high)


def _solved(y: Array, slope: float, scatter: float, spread: float, n: int, k: int) -> tuple[Array, Array, Array]:
    """Return (low, value, high) of x − mean(x) at which a line of ``n`` points has ``y`` − mean(y), a mean of ``k`` measurements.

    ``scatter`` is the variance about the line, and ``spread`` the sum of squares of x − mean(x).
    """
    t2 = float(stdtrit(n - 2, 0.975)) ** 2 * scatter
    if not slope or (sure := slope**2 - t2 / spread) <= 0:
        none = np.full(len(y), np.nan)
        return none, y / slope if slope else none, none
    half = np.sqrt(t2 * (y**2 / spread + (1 / k + 1 / n) * sure))
    ends = np.stack([(y * slope - half) / sure, (y * slope + half) / sure])
    return ends.min(axis=0), y / slope, ends.max(axis=0)
