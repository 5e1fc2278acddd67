"""Two series of models at one budget of tokens: their exponents, and the models of one against a line through the other.

The losses of a series at several computes C are taken to lie on a power law L = (C_0/C)^alpha, a straight line in logarithms that
scatters evenly, as ``laws/gain.py`` does. Intervals are those of least squares, with Student's t.

References
----------
Welch 1947, Biometrika 34, 28: the degrees of freedom of a difference of two estimates with errors of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from scipy.stats import linregress

from scalinglaws.laws.equal_compute import Interval
from scalinglaws.laws.forms import Array
from scalinglaws.laws.gain import FEWEST


def exponents(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Interval, Interval, Interval]:
    """Return the exponents alpha of two series, each (computes in FLOP, losses in nats per token), and of A less that of B.

    A series of fewer than FEWEST computes has none.
    """
    (alpha, error, n), (other, its, m) = (_slope(*series) for series in (a, b))
    both, freedom = error**2 + its**2, np.nan
    if both > 0:
        freedom = both**2 / (error**4 / (n - 2) + its**4 / (m - 2))
    return _about(alpha, error, n - 2), _about(other, its, m - 2), _about(alpha - other, float(np.sqrt(both)), freedom)


def _slope(flops: Array, loss: Array) -> tuple[float, float, int]:
    """Return alpha, its standard error and the number of models; NaN below FEWEST computes."""
    if len(np.unique(flops)) < FEWEST:
        return np.nan, np.nan, len(flops)
    found = linregress(np.log(flops), np.log(loss))
    return -float(found.slope), float(found.stderr), len(flops)


def _about(estimate: float, error: float, freedom: float) -> Interval:
    """Return an estimate with the interval of its standard error; there is none without an error or degrees of freedom."""
    half = float(stdtrit(freedom, 0.975)) * error if freedom > 0 else np.nan
    return Interval(estimate, estimate - half, estimate + half)


def losses(reference: tuple[Array, Array], flops: ArrayLike, loss: ArrayLike) -> list[tuple[Interval, Interval]]:
    """Return, for each model, the loss of the reference at the model's compute, and the model's loss less that.

    Parameters
    ----------
    reference
        Computes in FLOP and losses in nats per token (m,) of the reference, at FEWEST computes at least.
    flops, loss
        Those of the models (n,).

    Returns
    -------
    list
        Of each model the value of the reference's line with the interval of the line, and the difference, whose interval counts
        the scatter of the reference as that of the model as well. Both in nats per token.
    """
    x, y = (np.log(np.asarray(values, np.float64)) for values in reference)
    at, own = np.log(np.asarray(flops, np.float64)) - x.mean(), np.asarray(loss, np.float64)
    found, n = linregress(x, y), len(x)
    scatter = float(np.square(y - found.intercept - found.slope * x).sum()) / (n - 2)
    of_line = 1 / n + at**2 / np.square(x - x.mean()).sum()
    t = float(stdtrit(n - 2, 0.975))
    line, narrow, wide = y.mean() + found.slope * at, t * np.sqrt(scatter * of_line), t * np.sqrt(scatter * (1 + of_line))
    out = []
    for k, value in enumerate(np.exp(line)):
        known = Interval(float(value), float(np.exp(line[k] - narrow[k])), float(np.exp(line[k] + narrow[k])))
        ends = own[k] - np.exp(line[k] + wide[k]), own[k] - np.exp(line[k] - wide[k])
        out.append((known, Interval(float(own[k] - value), float(ends[0]), float(ends[1]))))
    return out
