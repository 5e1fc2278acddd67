"""The learning rate and the batch size of least loss at each size and budget, by a quadratic in the logs near the minimum.

Of a grid of rates and batch sizes the lowest point is a poor estimate of the optimum: near it the loss is flat, so that noise
chooses among neighbours, and the optimum lies between the points of the grid. Here the log of the loss is a quadratic in log rate
and log batch over a window about the minimum, whose lowest point is the optimum. Runs count less the farther they lie from it, so
that no run enters or leaves the window at once, and not at all beyond a factor: far from the optimum the loss rises faster on the
side of large rates, which bends a quadratic. docs/rates.md compares windows on a public table.

References
----------
Cleveland 1979 for the weights (1 − u³)³ of local regression.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scalinglaws.laws.forms import Array
from scalinglaws.laws.isoflop import groups

# The window ends at this factor of the optimum's rate and batch size, or farther out so that it holds that many values of each.
FACTOR, VALUES = 4.0, 4
SAME = 0.02  # rates, batch sizes and budgets nearer than this share count as one
FEWEST_VALUES = 3  # of each quantity that varies within the window
ROUNDS = 30  # of moving the window to the optimum that it gives
QUANTITIES = ("learning rate", "batch size")


@dataclass(frozen=True)
class Optimum:
    """The optimum of one size and budget: rate, batch size in tokens and loss in nats, NaN where ``why`` says why there is none.

    ``batch_tokens`` is NaN as well where the batch size does not vary. ``n_points``, ``n_rates`` and ``n_batches`` count its runs
    and their rates and batch sizes, and ``n_window`` the runs that the quadratic goes through; ``scatter`` is the root mean
    square of their log losses about it, for the degrees of freedom that are left.
    """

    n_params: float
    tokens: float
    n_points: int
    n_rates: int
    n_batches: int
    why: str = ""
    n_window: int = 0
    learning_rate: float = np.nan
    batch_tokens: float = np.nan
    loss: float = np.nan
    scatter: float = np.nan


def optima(n_params: ArrayLike, tokens: ArrayLike, rate: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> list[Optimum]:
    """Return the optimum of each size and budget of a table, in ascending order of both.

    Parameters
    ----------
    n_params, tokens, rate, batch, loss
        Of each run (n,): N, D, learning rate, batch size in tokens, and the final loss in nats. Where a batch size of a group is
        NaN, it counts as one that does not vary.
    """
    n, d, x, b, y = (np.asarray(values, np.float64) for values in (n_params, tokens, rate, batch, loss))
    out = []
    for size in np.unique(n):
        own = np.flatnonzero(n == size)
        number = groups(d[own], SAME)
        for k in range(number.max(initial=-1) + 1):
            at = own[number == k]
            out.append(_optimum(float(size), float(np.median(d[at])), x[at], b[at], np.log(y[at])))
    return out


def _distinct(values: Array) -> int:
    """Return the number of distinct positive values."""
    return int(groups(values, SAME).max(initial=-1)) + 1


def _optimum(n: float, d: float, rate: Array, batch: Array, log_loss: Array) -> Optimum:
    """Return the optimum of one group of runs (m,)."""
    n_batches = _distinct(batch) if np.isfinite(batch).all() else 1
    z = np.log(np.column_stack([rate, batch] if n_batches > 1 else [rate]))
    known = Optimum(n, d, len(rate), _distinct(rate), n_batches)
    found = minimum(z, log_loss)
    if isinstance(found, str):
        return dataclasses.replace(known, why=found)
    at, value, scatter, n_window = found
    best = dict(zip(("learning_rate", "batch_tokens"), np.exp(at).tolist(), strict=False))
    return dataclasses.replace(known, loss=float(np.exp(value)), scatter=scatter, n_window=n_window, **best)


def minimum(z: Array, y: Array) -> tuple[Array, float, float, int] | str:
    """Return the minimum of y (m,) over logs z (m, 1 or 2): where it is, its value, the scatter about the quadratic, its runs.

    The window begins at the lowest point and moves to the minimum that it gives, until it stays. Where there is no minimum
    between the sampled values, a text says why.
    """
    centre = z[np.argmin(y)]
    for tried in range(ROUNDS):
        weights = window(z, centre)
        inside = weights > 0
        for k, what in enumerate(QUANTITIES[: z.shape[1]]):
            if _distinct(np.exp(z[inside, k])) < FEWEST_VALUES:
                return _end(z, z[np.argmin(y)]) or f"fewer than {FEWEST_VALUES} values of the {what} lie about its least loss"
        found = quadratic(z[inside] - centre, y[inside], weights[inside])
        if isinstance(found, str):
            return _end(z, z[np.argmin(y)]) or found
        step, value, scatter = found
        at = centre + step
        if np.abs(step).max() < 1e-6 or tried == ROUNDS - 1:
            break
        # Later steps are halved, since two windows may each lead to the other.
        centre = np.clip(centre + step * (1.0 if tried < ROUNDS // 3 else 0.5), z.min(axis=0), z.max(axis=0))
    return _end(z, at, 1e-9) or (at, value, scatter, int(inside.sum()))


def _end(z: Array, at: Array, margin: float = -1e-9) -> str:
    """Return a sentence where a place (k,) lies beyond the sampled values by more than a margin, else an empty text."""
    for k, what in enumerate(QUANTITIES[: z.shape[1]]):
        for outside, end in ((z[:, k].min() - at[k] > margin, "smallest"), (at[k] - z[:, k].max() > margin, "largest")):
            if outside:
                return f"its least loss lies at or beyond the {end} {what}"
    return ""


def window(z: Array, centre: Array) -> Array:
    """Return the weights (m,) of runs at logs z (m, k) about a centre (k,): the product of (1 − u³)³ over the k quantities."""
    out = np.ones(len(z))
    for k in range(z.shape[1]):
        away = np.abs(z[:, k] - centre[k])
        first = np.unique(groups(np.exp(z[:, k]), SAME), return_index=True)[1]
        nearest = np.sort(away[first])[:VALUES]
        u = away / max(np.log(FACTOR), 1.05 * nearest[-1])
        out *= np.clip(1 - u**3, 0.0, 1.0) ** 3
    return out


def quadratic(z: Array, y: Array, weights: Array) -> tuple[Array, float, float] | str:
    """Return the minimum of the quadratic through y (m,) at z (m, k) by least squares with ``weights`` (m,).

    Returned are its place, its value, and the scatter about the quadratic, or a text where there is none or m is too small.
    """
    m, k = z.shape
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    design = np.column_stack([np.ones(m), z, *(z[:, i] * z[:, j] for i, j in pairs)])
    root = np.sqrt(weights)
    if m < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return "too few runs lie about its least loss"
    coefficients = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    slope, hessian = coefficients[1 : k + 1], np.zeros((k, k))
    for (i, j), value in zip(pairs, coefficients[k + 1 :], strict=True):
        hessian[i, j] += value
        hessian[j, i] += value
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return "the loss does not curve upwards about its least value"
    at = -np.linalg.solve(hessian, slope)
    off = y - design @ coefficients
    freedom = m - design.shape[1]
    scatter = float(np.sqrt(weights @ off**2 / weights.sum() * m / freedom)) if freedom else np.nan
    return at, float(coefficients[0] + slope @ at / 2), scatter
