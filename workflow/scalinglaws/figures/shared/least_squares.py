"""Least squares in logarithms: straight lines and parabolas with textbook intervals, for trends that no law describes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]
NO_PARABOLA = 0.05  # scatter about a parabola, as a share of the range of y, beyond which points do not lie on one
BENT = 0.01  # probability of a quadratic term by chance below which points do not lie on a line


@dataclass(frozen=True)
class Line:
    """The power law y = exp(level)·(x/exp(centre))^slope through points, a straight line in logarithms."""

    slope: float
    low: float  # low and high: 95 % interval of the slope by Student's t, NaN for two points
    high: float
    level: float
    centre: float
    n: int  # number of points
    bend: float  # the quadratic term of log y in log x over its standard error, NaN below five different x

    def __call__(self, x: ArrayLike) -> Array:
        return np.exp(self.level + self.slope * (np.log(np.asarray(x, np.float64)) - self.centre))

    @property
    def resolved(self) -> bool:
        """Tell whether the slope has an interval without 0."""
        return bool(self.low > 0 or self.high < 0)

    @property
    def bent(self) -> bool:
        """Tell whether the points bend away from the line, so that they have no one slope. It is false below five different x.

        They do where a quadratic term is told from 0 by Student's t at the level ``BENT``.
        """
        return bool(abs(self.bend) > stdtrit(self.n - 3, 1 - BENT / 2))

    def words(self, sign: float = 1.0) -> str:
        """Return the slope times ``sign`` with its interval: "0.062 [0.055, 0.069]"."""
        if np.isnan(self.low):
            text = f"{sign * self.slope:.3f} (no interval: {self.n} points)"
        else:
            low, high = sorted((sign * self.low, sign * self.high))
            text = f"{sign * self.slope:.3f} [{low:.3f}, {high:.3f}]"
        return text.replace("-", "−")

    def exponent(self, sign: float = 1.0) -> str:
        """Say what the exponent is, "exponent 0.062 [0.055, 0.069]", or that there is none because the points bend."""
        if self.bent:
            return "no exponent: the points bend"
        return f"exponent {self.words(sign)}" + ("" if self.resolved or np.isnan(self.low) else ", not resolved")


def power_law(x: ArrayLike, y: ArrayLike, stderr: ArrayLike | None = None) -> Line | None:
    """Return the line by least squares of log y on log x, weighted by (y/stderr)²; None below two different x.

    The interval of its slope follows from the scatter about the line, so errors that all points share do not widen it.
    """
    x, y = np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64))
    if len(np.unique(x)) < 2:
        return None
    weights = np.ones(len(x)) if stderr is None else np.exp(y) / np.asarray(stderr, np.float64)
    slope, error = _coefficient(x, y, weights, 1)
    centre = float(np.average(x, weights=weights**2))
    half = stdtrit(len(x) - 2, 0.975) * error if len(x) > 2 else np.nan
    bend, bend_error = _coefficient(x, y, weights, 2) if len(np.unique(x)) > 4 else (np.nan, np.nan)
    level = float(np.average(y, weights=weights**2))
    return Line(slope, slope - half, slope + half, level, centre, len(x), bend / bend_error if bend_error else np.nan)


def _coefficient(x: Array, y: Array, weights: Array, degree: int) -> tuple[float, float]:
    """Return the leading coefficient of a polynomial in x − mean(x), and its standard error from the scatter about it.

    The standard error is 0 where the polynomial has as many coefficients as there are points.
    """
    design = np.vander(x - x.mean(), degree + 1) * weights[:, None]
    found, *_ = np.linalg.lstsq(design, y * weights, rcond=None)
    left = len(x) - degree - 1
    scatter = float(np.square(y * weights - design @ found).sum()) / left if left > 0 else 0.0
    return float(found[0]), float(np.sqrt(scatter * np.linalg.inv(design.T @ design)[0, 0]))


def interpolate(x: ArrayLike, y: ArrayLike, at: ArrayLike) -> Array:
    """Return y at ``at``, linear between the logarithms of the points and NaN beyond them. x may be in any order."""
    order = np.argsort(np.asarray(x, np.float64), kind="stable")
    log_x, log_y = np.log(np.asarray(x, np.float64)[order]), np.log(np.asarray(y, np.float64)[order])
    return np.exp(np.interp(np.log(np.asarray(at, np.float64)), log_x, log_y, left=np.nan, right=np.nan))


@dataclass(frozen=True)
class Minimum:
    """The lowest point of a parabola y(log x).

    Where the least y is at the least or the largest x, ``edge`` is -1 or 1, x is that end, and nothing more is known.
    """

    x: float
    y: float
    low: float  # low and high: 95 % interval of x, NaN where none can be had
    high: float
    edge: int
    parabola: tuple[float, float, float]  # coefficients in log x − centre, highest first
    centre: float
    span: tuple[float, float]  # the range of x that it was fitted to


def minimum(x: ArrayLike, y: ArrayLike, width: int = 2, scatter: float | None = None) -> Minimum | None:
    """Return the lowest point of a parabola in log x through the least y and up to ``width`` points on either side.

    It is None below three different x. Several y of one x, as from seeds, enter by their mean. Where the points do not lie on a
    parabola, only the nearest one on either side is taken. The interval is that of the vertex by the delta method, with
    ``scatter`` as the standard deviation of a y, or the scatter about the parabola where that is not given. It ends with the
    range that was fitted. Where nothing tells the scatter, it reaches to the neighbours of the least y.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    values, counts = np.unique(x, return_counts=True)
    if len(values) < 3:
        return None
    means = np.array([y[x == value].mean() for value in values])
    k = int(np.argmin(means))
    if k in (0, len(values) - 1):
        at = float(values[k])
        return Minimum(at, float(means[k]), np.nan, np.nan, -1 if k == 0 else 1, (np.nan,) * 3, 0.0, (at, at))
    near = slice(max(0, k - width), k + width + 1)
    found, spread, inverse = _parabola(np.log(values[near] / values[k]), means[near], counts[near])
    if spread > max(2 * (scatter or 0.0), NO_PARABOLA * float(np.ptp(means[near]))):
        near = slice(k - 1, k + 2)
        found, spread, inverse = _parabola(np.log(values[near] / values[k]), means[near], counts[near])
    span, centre = (float(values[near][0]), float(values[near][-1])), float(np.log(values[k]))
    a, b, c = found
    if a <= 0:  # the points do not bend upwards: the bracket is all that is known
        return Minimum(float(values[k]), float(means[k]), *span, 0, (0.0, 0.0, float(means[k])), centre, span)
    vertex = float(np.clip(-b / (2 * a), np.log(span[0]) - centre, np.log(span[1]) - centre))
    left = len(means[near]) - 3
    factor = 1.96 if scatter else float(stdtrit(left, 0.975)) if left else 0.0
    low, high = float(values[k - 1]), float(values[k + 1])
    if factor:
        slopes = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
        half = factor * (scatter or spread) * float(np.sqrt(slopes @ inverse @ slopes))
        low, high = (float(np.clip(np.exp(centre + vertex + side * half), *span)) for side in (-1, 1))
    return Minimum(float(np.exp(centre + vertex)), a * vertex**2 + b * vertex + c, low, high, 0, (a, b, c), centre, span)


def _parabola(t: Array, y: Array, counts: NDArray[np.int64]) -> tuple[tuple[float, float, float], float, Array]:
    """Fit a parabola to means of ``counts`` values: its coefficients, highest first, the scatter of a value, their covariance.

    The covariance is that for a scatter of 1. The scatter is 0 where the parabola goes through all points.
    """
    design = np.vander(t, 3) * np.sqrt(counts)[:, None]
    found, *_ = np.linalg.lstsq(design, y * np.sqrt(counts), rcond=None)
    left = len(t) - 3
    spread = float(np.sqrt(np.square(y * np.sqrt(counts) - design @ found).sum() / left)) if left else 0.0
    a, b, c = (float(value) for value in found)
    return (a, b, c), spread, np.asarray(np.linalg.inv(design.T @ design), np.float64)
