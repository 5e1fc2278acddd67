"""The multi-power law of whole loss curves under any learning-rate schedule:

    L(t) = L0 + A·S(t)^−alpha − B·Σ_k (η_{k−1} − η_k)·G(η_k^−gamma·S_k(t)),   G(x) = 1 − (C x + 1)^−beta

with S(t) the sum of the rates of all steps up to t, and S_k(t) that of the steps from k to t. The first two terms are the loss at
a constant rate by the sum of rates; each fall of the rate at a step k lowers it further, by a power law of the rates since then.

References
----------
Luo et al. 2025 (arXiv:2503.12811): equation (1), and section 3 for the fit: a Huber function of the residuals of log loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares, nnls

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.laws.schedules import Curve

NAMES = ("L0", "A", "alpha", "B", "C", "beta", "gamma")
LOG = (False, True, False, True, True, False, False)  # which are fitted, and have their intervals, on a logarithmic scale
LOWER = np.array([0.0, -20.0, 1e-3, -20.0, -12.0, 1e-3, 0.0])
UPPER = np.array([50.0, 20.0, 5.0, 25.0, 15.0, 5.0, 3.0])
GRID = {"alpha": (0.3, 0.6), "C": (0.5, 4.0), "beta": (0.3, 0.8), "gamma": (0.3, 0.7)}
BEST_STARTS = 4  # of the grid, from which the fit is carried to the end
SMALLEST_LOSS = 1e-3  # nats, below which a prediction is cut off: the law has no bound of its own
# What is known of log C, beta and gamma before any curve is seen: the middle of the authors' models of 25M to 400M parameters and
# a standard deviation, which is how far their fits went from where they began.
SHAPE = slice(4, 7)
EXPECTED, SPREAD = np.array([np.log(2.0), 0.6, 0.64]), np.array([0.7, 0.1, 0.15])


@dataclass(frozen=True)
class CurveFit:
    """The law fitted to curves: ``theta`` (7,) are the internal parameters, with the logs of A, B and C.

    ``residuals`` (n,) are those of log loss, log L − log prediction, and ``jacobian`` (n, 7) the slopes of the log prediction
    in theta; ``value`` is the sum of the Huber function over them. ``weight`` is that of the prior: the squared residual of log
    loss that one standard deviation costs. ``starts`` counts the starts, and ``agreeing`` those that were carried to the end
    without the prior and came to one value, within a thousandth of it.
    """

    theta: Array
    residuals: Array
    jacobian: Array
    value: float
    weight: float
    starts: int
    agreeing: int

    @property
    def natural(self) -> Array:
        """Return the parameters (7,) in the order of NAMES."""
        return natural(self.theta)


def natural(theta: Array) -> Array:
    """Return the parameters (…, 7) in the order of NAMES from internal ones (…, 7)."""
    with np.errstate(over="ignore"):
        return np.where(LOG, np.exp(theta), theta)


def internal(parameters: ArrayLike) -> Array:
    """Return internal parameters (…, 7) from those in the order of NAMES."""
    values = np.asarray(parameters, np.float64)
    with np.errstate(divide="ignore"):
        return np.where(LOG, np.log(np.where(LOG, values, 1.0)), values)


def predict(theta: Array, curve: Curve, places: np.ndarray) -> Array:
    """Return the loss (n,) in nats that the law gives at the rows ``places`` (n,) of a curve; theta (7,) is internal."""
    return np.maximum(_loss(theta, curve, places, False)[0], SMALLEST_LOSS)


def _loss(theta: Array, curve: Curve, places: np.ndarray, slopes: bool) -> tuple[Array, Array]:
    """Return the loss (n,) at rows of a curve and, where asked for, its slopes (n, 7) in theta; else no slopes (0, 7)."""
    l0, a, alpha, b, c, beta, gamma = natural(theta)
    area = curve.area[places]
    log_area = np.log(np.maximum(area, 1e-300))
    decay = a * np.exp(-alpha * log_area)
    log_after = np.log(np.maximum(curve.rate_after, 1e-12 * curve.rate.max()))
    # (n, Q): C·η_k^−gamma·S_k(t), which is 0 for what is still to come.
    x = np.maximum(area[:, None] - curve.at, 0.0) * (c * np.exp(-gamma * log_after))
    log_y = np.log1p(x)
    left = np.exp(-beta * log_y)
    fall = b * (curve.drop.sum() - left @ curve.drop)
    loss = l0 + decay - fall
    if not slopes:
        return loss, np.empty((0, 7))
    inner = left * x  # slope of the fall in log C, by source
    inner /= 1 + x
    inner *= b * beta * curve.drop
    columns = [np.ones_like(loss), decay, -decay * log_area, -fall, -inner.sum(axis=1)]
    columns += [-b * ((left * log_y) @ curve.drop), inner @ log_after]
    return loss, np.column_stack(columns)


def _log_residuals(theta: Array, curves: Sequence[Curve]) -> tuple[Array, Array]:
    """Return log prediction − log loss (n,) over the measured rows of all curves, and its slopes (n, 7)."""
    values, jacobians = [], []
    for each in curves:
        places = each.measured
        loss, slope = _loss(theta, each, places, True)
        safe = np.maximum(loss, SMALLEST_LOSS)
        values.append(np.log(safe) - np.log(each.loss[places]))
        jacobians.append(np.where((loss > SMALLEST_LOSS)[:, None], slope / safe[:, None], 0.0))
    return np.concatenate(values), np.concatenate(jacobians)


def _starts(curves: Sequence[Curve]) -> Array:
    """Return internal starts (S, 7), the best first: a grid of the powers and C, with L0, A and B by linear least squares."""
    found = []
    measured = [(each, each.measured[:: max(1, len(each.measured) // 100)]) for each in curves]
    y = np.concatenate([each.loss[places] for each, places in measured])
    for alpha, c, beta, gamma in product(*GRID.values()):
        # The unit of C is that of rate^(gamma − 1): of the middle rate, so that the grid suits any.
        c *= float(np.median([np.median(each.rate) for each in curves])) ** (gamma - 1) / 20
        theta = internal([0.0, 1.0, alpha, 1.0, c, beta, gamma])
        slopes = np.concatenate([_loss(theta, each, places, True)[1] for each, places in measured])
        (l0, a, b), error = nnls(slopes[:, [0, 1, 3]] / y[:, None], np.ones_like(y))
        found.append((error, internal([l0, max(a, 1e-6), alpha, max(b, 1e-6), c, beta, gamma])))
    return np.array([theta for _, theta in sorted(found, key=lambda item: item[0])])


def huber(residuals: Array, delta: float) -> float:
    """Return the sum of the Huber function."""
    size = np.abs(residuals)
    return float(np.where(size < delta, size**2 / 2, delta * (size - delta / 2)).sum())


def correlation_time(residuals: Array) -> float:
    """Return 1 + 2 Σ ρ_k over the lags k up to the first correlation ρ_k below 0.05: rows that count as one (Geyer 1992)."""
    off = residuals - residuals.mean()
    total, time = off @ off, 1.0
    for lag in range(1, len(off) // 3):
        rho = (off[lag:] @ off[:-lag]) / total if total > 0 else 0.0
        if rho < 0.05:
            break
        time += 2 * rho
    return float(time)


def fit_curves(curves: Sequence[Curve], delta: float = 1e-3) -> CurveFit:
    """Fit the law to the measured rows of curves.

    The sum of the Huber function has a long flat valley in C, beta and gamma: two or three curves hardly tell these apart over
    the steps that they cover, and beyond them they matter. So they are drawn towards what other models have, by a normal prior.
    Its weight is the variance of the residuals of the fit without it, times the number of rows that count as one.

    Parameters
    ----------
    curves
        The curves, of one model; the rate of one at least must change after its warm-up.
    delta
        Residual of log loss from which the Huber function is linear.

    Raises
    ------
    StudyError
        If there are too few losses, or no rate changes after the warm-up.
    """
    n = sum(len(each.measured) for each in curves)
    if n <= len(NAMES):
        raise StudyError(f"law multi-power has {len(NAMES)} parameters and the curves {n} losses after their warm-ups: give more")
    if not any(each.decays for each in curves):
        raise StudyError(
            "law multi-power: no rate changes after its warm-up, so nothing tells what a decay does: give a curve with a decay"
        )
    starts = _starts(curves)
    ends = sorted((_solve(curves, start, delta, 0.0) for start in starts[:BEST_STARTS]), key=lambda end: end[0])
    free, theta = ends[0]
    residuals, _ = _log_residuals(theta, curves)
    parts = np.split(residuals, np.cumsum([len(each.measured) for each in curves])[:-1])
    time = np.average([correlation_time(part) for part in parts], weights=[len(part) for part in parts])
    weight = float(1.4826 * np.median(np.abs(residuals))) ** 2 * float(time)
    expected = np.where(np.isin(np.arange(len(NAMES)), np.r_[SHAPE]), np.concatenate([theta[:4], EXPECTED]), theta)
    _, theta = min((_solve(curves, start, delta, weight) for start in (theta, expected)), key=lambda end: end[0])
    residuals, jacobian = _log_residuals(theta, curves)
    agreeing = sum(end <= free * 1.001 for end, _ in ends)
    return CurveFit(theta, -residuals, jacobian, huber(residuals, delta), weight, len(starts), agreeing)


def _solve(curves: Sequence[Curve], start: Array, delta: float, weight: float) -> tuple[float, Array]:
    """Return the least value that is reached from a start, and where; ``weight`` is that of the prior."""
    scale, margin = np.sqrt(weight) / SPREAD, 1e-9 * (UPPER - LOWER)

    prior = np.zeros((3, len(NAMES)))
    prior[:, SHAPE] = np.diag(scale)
    known: dict[bytes, tuple[Array, Array]] = {}  # the last place: its residuals and slopes are found together

    def both(theta: Array) -> tuple[Array, Array]:
        if (key := theta.tobytes()) not in known:
            known.clear()
            known[key] = _log_residuals(theta, curves)
        return known[key]

    def residuals(theta: Array) -> Array:
        return np.concatenate([both(theta)[0], scale * (theta[SHAPE] - EXPECTED)])

    def jacobian(theta: Array) -> Array:
        return np.vstack([both(theta)[1], prior])

    def loss(z: Array) -> Array:  # the Huber function of squares, and its two derivatives; the prior stays quadratic
        plain = z <= 1
        plain[-3:] = True
        root = np.sqrt(np.where(plain, 1.0, z))
        return np.array([np.where(plain, z, 2 * root - 1), 1 / root, np.where(plain, 0.0, -0.5 / root**3)])

    found = least_squares(
        residuals, np.clip(start, LOWER + margin, UPPER - margin), jac=jacobian, bounds=(LOWER, UPPER), loss=loss, f_scale=delta,
        x_scale="jac", xtol=1e-9, ftol=1e-10, gtol=1e-12, max_nfev=300,
    )  # fmt: skip
    return float(found.cost), found.x
