"""The rule LR(N) = c · N^a that a sweep of the learning rate gives to other runs, with what tells how sure it is.

At each size the log of the loss is a quadratic in the log of the rate about its minimum (``laws/rate_optima.py``), whose lowest
point is the best rate. The rule is the line through the logs of best rate and size, by least squares in which each size counts as
its minimum is known: by the shape of its quadratic, and not by its own few residuals. With one size the rate is the same for all
N. One scatter, that of the log losses about the quadratics and of the minima about the line, gives all intervals.

A rule is refused where it would be a guess: the least loss at the end of the rates, a loss that does not curve upwards, or noise
that leaves the best rate of a size open, its standard error above a factor of ``WIDEST``. What changes the rule that comes out of
the same losses raises ``METHOD`` in study/sweeps.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import listed, round_float
from scalinglaws.laws.forms import Array
from scalinglaws.laws.rate_optima import minimum, window

WIDEST = 2.0  # the factor that is the largest standard error of a best rate
FEWEST = 4  # rates of a size that end with a loss: three make a quadratic, and one more tests it
OPEN = 0.5  # width of the exponent's interval above which a note says so: over 10 times N, a factor of 1.8 up or down
FACTORS = (1, 10, 100, 1000)  # beyond the largest size, for which the rule states what it extrapolates to


@dataclass(frozen=True)
class SizeOptimum:
    """The best rate of a size.

    ``rates`` and ``losses`` are those of the sweep, means over seeds, None where a run diverged, and ``n_window`` counts the runs
    that the quadratic goes through. ``leverage`` is the standard error of the log of the best rate in units of the scatter of a
    log loss; the size counts with the inverse of its square.
    """

    n_params: int
    learning_rate: float
    loss: float
    leverage: float
    n_window: int
    rates: list[float]
    losses: list[float | None]
    residual: float = dataclasses.field(repr=False)  # the weighted sum of squares about the quadratic,
    expected: float = dataclasses.field(repr=False)  # what it is expected to be where the scatter is 1,
    spread: float = dataclasses.field(repr=False)  # and half of the variance that it has then


def fit_rule(n_params: ArrayLike, rate: ArrayLike, loss: ArrayLike) -> dict[str, Any]:
    """Fit the rule to the runs of a sweep.

    Parameters
    ----------
    n_params, rate, loss
        Of each run (n,): N, the learning rate, and the final loss in nats, NaN where it diverged.

    Returns
    -------
    dict
        JSON values: ``coefficient`` and ``exponent`` of the rule with their intervals, the range ``n_params`` of the sizes, the
        ``optima``, the ``scatter`` of a log loss and its degrees of freedom, ``notes``, sentences on what is not to be believed,
        and ``extrapolation``: what the rule gives at and beyond the largest size. Intervals are of 95 %.

    Raises
    ------
    StudyError
        A size has no best rate among those of the sweep, with the size, the reason and what to add.
    """
    n, x, y = (np.asarray(values, np.float64) for values in (n_params, rate, loss))
    found = [_of_size(int(size), x[n == size], y[n == size]) for size in np.unique(n)]
    sizes, best, leverage = (
        np.array([getattr(each, key) for each in found]) for key in ("n_params", "learning_rate", "leverage")
    )
    centre = np.average(np.log(sizes), weights=leverage**-2)
    design = np.ones((len(found), 1)) if len(found) == 1 else np.column_stack([np.ones(len(found)), np.log(sizes) - centre])
    scaled = design / leverage[:, None]
    covariance = np.linalg.inv(scaled.T @ scaled)
    line = covariance @ scaled.T @ (np.log(best) / leverage)
    off = (np.log(best) - design @ line) / leverage
    scatter, freedom = _scatter(found, off, len(line))
    half = float(stdtrit(freedom, 0.975)) * scatter
    _check_noise(found, scatter)

    def stated(at: float) -> dict[str, Any]:
        """Return what the rule gives at N, with its interval."""
        place = np.array([1.0, np.log(at) - centre])[: len(line)]
        return {
            "learning_rate": round_float(float(np.exp(place @ line))),
            "interval": _interval(place @ line, place, covariance, half),
        }

    constant = np.array([1.0, -centre])[: len(line)]
    slope = float(line[1]) if len(line) > 1 else 0.0
    slopes = [slope, slope] if len(line) == 1 else _interval(slope, np.array([0.0, 1.0]), covariance, half, log=False)
    return {
        "coefficient": round_float(float(np.exp(constant @ line))),
        "exponent": round_float(slope),
        "coefficient_interval": _interval(constant @ line, constant, covariance, half),
        "exponent_interval": [round_float(end) for end in slopes],
        "n_params": [int(sizes.min()), int(sizes.max())],
        "optima": [_told(each, half, stated(each.n_params)["learning_rate"]) for each in found],
        "scatter": round_float(scatter),
        "freedom": round_float(freedom),
        "notes": _notes(found, slopes),
        "extrapolation": [{"factor": k, "n_params": int(sizes.max()) * k} | stated(float(sizes.max()) * k) for k in FACTORS],
    }


def _of_size(n: int, rate: Array, loss: Array) -> SizeOptimum:
    """Return the best rate of one size from its runs (m,). Raises StudyError where there is none, or where it is a guess."""
    rates = np.unique(rate)
    means = np.array([loss[rate == each].mean() for each in rates])  # NaN where any of the seeds diverged
    there = np.isfinite(means)
    if there.sum() < FEWEST:
        raise StudyError(
            f"the sweep at N = {n:,}: {there.sum()} of its {len(rates)} rates end with a loss, and {FEWEST} are needed at least: "
            f"the others diverged; add rates below {rates[~there].min():.3g}"
        )
    _check_inside(n, rates, means)
    inside = np.isin(rate, rates[there])
    z, y = np.log(rate[inside])[:, None], np.log(loss[inside])
    least = minimum(z, y)
    if isinstance(least, str):
        raise StudyError(
            f"the sweep at N = {n:,} has no best rate: {least}. More seeds or more tokens lessen the noise of the losses, and "
            f"rates farther apart than a factor of {np.exp(np.diff(np.log(rates)).max()):.3g} raise the difference between them"
        )
    at, value, _, n_window = least
    return SizeOptimum(
        n_params=n,
        learning_rate=float(np.exp(at[0])),
        loss=float(np.exp(value)),
        n_window=n_window,
        rates=[round_float(float(each)) for each in rates],
        losses=[round_float(float(each)) if np.isfinite(each) else None for each in means],
        **_noise(z, y, at),
    )


def _check_inside(n: int, rates: Array, means: Array) -> None:
    """Refuse a least loss (means over seeds) at the end of the rates. Raises StudyError that says which to add."""
    k = int(np.nanargmin(means))
    low, high = np.flatnonzero(np.isfinite(means))[[0, -1]]
    if low < k < high:
        return
    step = float(np.exp(np.median(np.diff(np.log(rates)))))
    if k == high < len(rates) - 1:
        between = [f"{value:.3g}" for value in np.geomspace(rates[k], rates[k + 1], 4)[1:-1]]
        raise StudyError(
            f"the sweep at N = {n:,}: the least loss lies at the rate {rates[k]:.3g}, and the next one, {rates[k + 1]:.3g}, "
            f"diverged: add rates between them to learning_rate.sweep, such as {listed(between)}, by rates or by factors"
        )
    which, factor = ("smallest", 1 / step) if k == low else ("largest", step)
    more = [f"{rates[k] * factor**power:.3g}" for power in (1, 2)]
    raise StudyError(
        f"the sweep at N = {n:,}: the least loss lies at the {which} rate, {rates[k]:.3g}, so the best one may lie beyond it: "
        f"add rates to learning_rate.sweep, such as {listed(more)}: the {which} of rates, or of factors, times "
        f"{listed([f'{factor**power:.3g}' for power in (1, 2)])}"
    )


def _noise(z: Array, y: Array, at: Array) -> dict[str, float]:
    """Return what the quadratic through y (m,) at z (m, 1) about its minimum tells of noise: see SizeOptimum.

    With errors of one variance s² in y, and r the residuals of a fit with weights w, the expectation of Σ w r² is s² · trace A,
    A = (1 − H)ᵀ W (1 − H), and its variance 2 s⁴ · trace A² for normal errors.
    """
    weights = window(z, at)
    inside = weights > 0
    u, w = z[inside, 0] - at[0], weights[inside]
    design = np.column_stack([np.ones(len(u)), u, u**2])
    gain = np.linalg.solve(design.T @ (design * w[:, None]), design.T * w)  # coefficients = gain @ y
    rest = np.eye(len(u)) - design @ gain
    a = rest.T @ (rest * w[:, None])
    curve = float(gain[2] @ y[inside])
    # The minimum lies at −b / 2c from the centre, where b is 0: its change is that of b over 2c.
    leverage = float(np.sqrt(gain[1] @ gain[1])) / (2 * curve)
    residual = float(w @ (rest @ y[inside]) ** 2)
    return {"leverage": leverage, "residual": residual, "expected": float(np.trace(a)), "spread": float(np.trace(a @ a))}


def _scatter(found: Sequence[SizeOptimum], off: Array, parameters: int) -> tuple[float, float]:
    """Return the standard deviation of a log loss and its degrees of freedom, from all sizes and from the line through them.

    Degrees of freedom of weighted sums are those of a χ² with the same mean and variance (Satterthwaite 1946).
    """
    within, expected = (sum(getattr(each, name) for each in found) for name in ("residual", "expected"))
    of_sizes = expected**2 / sum(each.spread for each in found)
    of_line = len(found) - parameters
    freedom = of_sizes + of_line
    variance = (within / expected * of_sizes + float(off @ off)) / freedom
    return float(np.sqrt(variance)), float(freedom)


def _interval(value: float, place: Array, covariance: Array, half: float, log: bool = True) -> list[float]:
    """Return the interval of a linear function ``place`` of the line's coefficients, of its exponential where ``log`` is true."""
    away = half * float(np.sqrt(place @ covariance @ place))
    ends = [float(value) - away, float(value) + away]
    return [round_float(float(np.exp(end)) if log else end) for end in ends]


def _check_noise(found: Sequence[SizeOptimum], scatter: float) -> None:
    """Refuse minima that noise leaves open, by the scatter of all sizes or by their own. Raises StudyError."""
    for each in found:
        noise = max(scatter, (each.residual / each.expected) ** 0.5)
        factor = float(np.exp(min(700.0, noise * each.leverage)))
        if factor > WIDEST:
            raise StudyError(
                f"the sweep at N = {each.n_params:,}: its best rate, {each.learning_rate:.3g}, is known to a factor of "
                f"{factor:.3g} only (its standard error; {WIDEST:g} is allowed), since the losses scatter by {noise:.2g} of "
                "themselves about a quadratic in the log of the rate: add seeds to learning_rate.sweep, or raise its tokens"
            )


def _notes(found: Sequence[SizeOptimum], slopes: Sequence[float]) -> list[str]:
    """Return sentences on what is not to be believed of a rule."""
    said = {
        1: "One size gives one rate for every N: that suits muP, or runs of about this size.",
        2: "Two sizes give an exponent that nothing tests: a third would.",
    }
    notes = [said[len(found)]] if len(found) in said else []
    if slopes[1] - slopes[0] > OPEN:
        notes.append(
            f"The interval of the exponent, {slopes[0]:.2g} to {slopes[1]:.2g}, leaves open how the best rate depends on N: "
            "rates far beyond the sizes of the sweep are guesses. Sizes farther apart, seeds or tokens make it narrower."
        )
    return notes


def _told(each: SizeOptimum, half: float, ruled: float) -> dict[str, Any]:
    """Return the best rate of a size as JSON values, with its interval and what the rule gives there."""
    away = half * each.leverage
    return {
        "n_params": each.n_params,
        "learning_rate": round_float(each.learning_rate),
        "interval": [round_float(each.learning_rate * float(np.exp(end))) for end in (-away, away)],
        "by_the_rule": ruled,
        "loss": round_float(each.loss),
        "weight": round_float(each.leverage**-2),
        "n_window": each.n_window,
        "rates": each.rates,
        "losses": each.losses,
    }
