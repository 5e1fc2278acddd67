"""Two fits of one law at equal compute: the losses of their best runs, and the compute-equivalent gain of one over the other.

Each law of STATING says what the best run of a compute C reaches, and for all of them that is L(C) = E + F/C^alpha_C. For a law
of the form E + A/N^alpha + B/D^beta the best run has the N and D of least loss at C = 6ND, and then alpha_C is
alpha·beta/(alpha + beta). Shapes: R rows, the fit first and then its resamples, and m computes.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), (4): the N and D of least loss. Davidson et al. 2023 (arXiv:2312.07413): the
compute-equivalent gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array
from scalinglaws.laws.uncertainty import FEWEST_TRUNKS, Resamples

EDGE = 1e-9  # e-folds that rounding may take a place beyond the data
LOG_6 = float(np.log(6.0))


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval: NaN where it is not known, and infinite where nothing bounds it."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """L(C) = E + F/C^alpha_C of the best run of a compute by a fit, and by each of its resamples.

    ``exponents`` has the values (R,) of E, where the law has one, and of the exponents, by name. ``share`` is the a of
    N_opt = G·(C/6)^a with the logarithm of G in ``log_size``, both of the fit alone and None for a law of compute.
    ``log_compute`` are the logs of the least and of the largest compute of the fitted runs.
    """

    fit: Fit
    offset: Array  # (R,) E
    log_factor: Array  # (R,) log F
    power: Array  # (R,) alpha_C
    exponents: dict[str, Array]
    share: float | None
    log_size: float | None
    log_compute: tuple[float, float]
    n_trunks: int

    def loss(self, log_flops: Array) -> Array:
        """Return the losses (R, m) in nats per token at logs of compute (m,)."""
        return self.offset[:, None] + np.exp(self.log_factor[:, None] - self.power[:, None] * log_flops)

    def log_flops(self, loss: Array) -> Array:
        """Return the logs (R, m) of the compute that reaches losses (R, m); infinite for a loss that is E or below."""
        rest = np.maximum(loss - self.offset[:, None], 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray((self.log_factor[:, None] - np.log(rest)) / self.power[:, None], np.float64)

    def first(self, rows: int) -> Curve:
        """Return the curve of the fit and of the first resamples, ``rows`` in all."""
        few = {name: values[:rows] for name, values in self.exponents.items()}
        return replace(self, offset=self.offset[:rows], log_factor=self.log_factor[:rows], power=self.power[:rows], exponents=few)

    def beyond(self, log_flops: Array) -> np.ndarray:
        """Tell, for logs of compute (m,), whether they or the best N and D for them lie outside those of the fitted runs."""
        values, ranges = [log_flops], [self.log_compute]
        if self.share is not None and self.log_size is not None:
            size = self.log_size + self.share * (log_flops - LOG_6)
            values += [size, log_flops - LOG_6 - size]
            x = self.fit.z + self.fit.centre
            ranges += list(zip(x.min(axis=0).tolist(), x.max(axis=0).tolist(), strict=True))
        out = [(value < low - EDGE) | (value > high + EDGE) for value, (low, high) in zip(values, ranges, strict=True)]
        return np.asarray(np.any(out, axis=0))


# What gives numbers (R, m) of two curves.
Statistic = Callable[[Curve, Curve], Array]


def curve(fit: Fit, resamples: Resamples | None, flops: Array) -> Curve:
    """Return the curve of a fit of a law of STATING.

    Parameters
    ----------
    fit, resamples
        The fit, and its resamples or None.
    flops
        Compute of the fitted runs (n,) in FLOP.
    """
    drawn = np.empty((0, len(fit.theta))) if resamples is None else resamples.theta
    theta = np.vstack([fit.theta, drawn])
    found = STATING[fit.law.name](theta, fit.centre)
    return Curve(
        fit, found.offset, found.log_factor, found.power, found.exponents,
        None if found.share is None else float(found.share[0]), None if found.log_size is None else float(found.log_size[0]),
        (float(np.log(flops.min())), float(np.log(flops.max()))), 0 if resamples is None else resamples.n_trunks,
    )  # fmt: skip


@dataclass(frozen=True)
class _Stated:
    """What a law says of the best run of a compute, a value for each row of parameters (R,)."""

    offset: Array
    log_factor: Array
    power: Array
    exponents: dict[str, Array]
    share: Array | None = None
    log_size: Array | None = None


def _of_compute(theta: Array, centre: Array) -> _Stated:
    """Return what L = (C_c/C)^alpha_C says, from (c, alpha) as the solver has them."""
    c, alpha = theta.T
    return _Stated(np.zeros(len(c)), c + alpha * centre[0], alpha, {"alpha_C": alpha})


def _of_compute_offset(theta: Array, centre: Array) -> _Stated:
    """Return what L = E + (C_c/C)^alpha_C says, from (log E, c, alpha)."""
    c_e, c, alpha = theta.T
    return _Stated(np.exp(c_e), c + alpha * centre[0], alpha, {"E": np.exp(c_e), "alpha_C": alpha})


def _of_size_and_tokens(theta: Array, centre: Array) -> _Stated:
    """Return what L = E + A/N^alpha + B/D^beta says, from (log E, c_A, alpha, c_B, beta)."""
    c_e, c_a, alpha, c_b, beta = theta.T
    log_a, log_b, total = c_a + alpha * centre[0], c_b + beta * centre[1], alpha + beta
    log_size = (np.log(alpha / beta) + log_a - log_b) / total
    power = alpha * beta / total
    log_factor = np.logaddexp(log_a - alpha * log_size, log_b + beta * log_size) + power * LOG_6
    exponents = {"E": np.exp(c_e), "alpha": alpha, "beta": beta, "alpha_C": power, "a": beta / total}
    return _Stated(np.exp(c_e), log_factor, power, exponents, beta / total, log_size)


def _of_compute_and_ratio(theta: Array, centre: Array) -> _Stated:
    """Return what the law overtraining says, which is that of size and tokens with alpha = beta = 2·eta."""
    found = _of_size_and_tokens(theta[:, [0, 1, 2, 3, 2]], centre)
    named = {"E": found.offset, "eta": found.power}
    return _Stated(found.offset, found.log_factor, found.power, named, found.share, found.log_size)


# The laws that state the loss of the best run of a compute, and how each of them does.
STATING: dict[str, Callable[[Array, Array], _Stated]] = {
    "chinchilla": _of_size_and_tokens,
    "overtraining": _of_compute_and_ratio,
    "power-c": _of_compute,
    "power-c-offset": _of_compute_offset,
}


def interval(draws: Array, n_trunks: int) -> Interval:
    """Return the estimate of one side, the first of ``draws`` (R,), with the interval that the others give.

    The percentile interval is widened about the estimate for few trunks, as ``uncertainty.interval`` does for parameters.
    """
    if n_trunks < FEWEST_TRUNKS:
        return Interval(float(draws[0]), np.nan, np.nan)
    return _widened(draws, np.sqrt(n_trunks / (n_trunks - 1)), n_trunks - 1)


def intervals(statistic: Statistic, a: Curve, b: Curve) -> list[Interval]:
    """Return what a statistic of two curves says, with intervals for which the resamples of the two are independent.

    Few trunks widen them as they widen those of one side. The degrees of freedom are those of Welch, by the share of the
    variance that each side has, which its resamples tell while the other side is kept at its fit.

    Parameters
    ----------
    statistic
        What gives numbers (R, m) of two curves that have R rows each, or one of which has one row.
    a, b
        The curves.

    References
    ----------
    Welch 1947, Biometrika 34, 28.
    """
    rows = min(len(a.power), len(b.power))
    a, b, trunks = a.first(rows), b.first(rows), np.array([a.n_trunks, b.n_trunks], np.float64)
    draws = statistic(a, b)
    if trunks.min() < FEWEST_TRUNKS or rows < 3:
        return [Interval(float(value), np.nan, np.nan) for value in draws[0]]
    alone = statistic(a, b.first(1)), statistic(a.first(1), b)
    out = []
    for k in range(draws.shape[1]):
        spread = np.array([_spread(each[1:, k]) for each in alone])
        shares = spread / spread.sum() if 0 < spread.sum() < np.inf else np.array([0.5, 0.5])
        grown = shares * trunks / (trunks - 1)
        out.append(_widened(draws[:, k], np.sqrt(grown.sum()), grown.sum() ** 2 / (grown**2 / (trunks - 1)).sum()))
    return out


def _spread(draws: Array) -> float:
    """Return the variance of draws by their middle 68 %, which a few infinite ones do not disturb."""
    low, high = np.quantile(draws, [0.16, 0.84], method="nearest")
    return float((high - low) / 2) ** 2 if np.isfinite([low, high]).all() else np.inf


def _widened(draws: Array, factor: float, freedom: float) -> Interval:
    """Return the percentile interval widened about the first of the draws, by a factor and by Student's t over the normal one.

    Draws may be infinite, and an end of the interval is so where more than its share of them is.
    """
    estimate, rest = float(draws[0]), draws[1:]
    if len(rest) < 2:
        return Interval(estimate, np.nan, np.nan)
    widen = factor * stdtrit(freedom, 0.975) / ndtri(0.975)
    if not np.isfinite(estimate):  # no distance from it can be widened, so the share that is left out is narrowed
        return Interval(estimate, float(np.quantile(rest, ndtr(widen * ndtri(0.025)), method="lower")), np.inf)
    low, high = float(np.quantile(rest, 0.025, method="lower")), float(np.quantile(rest, 0.975, method="higher"))
    return Interval(estimate, estimate - widen * max(estimate - low, 0.0), estimate + widen * max(high - estimate, 0.0))


def log_gains(a: Curve, b: Curve, log_flops: Array) -> Array:
    """Return the logs (R, m) of the compute-equivalent gains of A over B at logs of compute (m,).

    A gain of 2 says that B needs twice the compute at which A has a loss to have it too. It is infinite where B never has it.
    """
    return np.asarray(b.log_flops(a.loss(log_flops)) - log_flops, np.float64)
