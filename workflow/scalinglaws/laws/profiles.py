"""The size of least loss in a profile, the runs of one compute: by a parabola near the minimum, or by interpolation.

The parabola in log N goes through the losses by least squares, in the widest window in which it describes them. Windows are
nested: the first has all sizes, and each next one leaves out the size farthest, in log N, from the size of the lowest loss, never
that or its neighbours. A window is taken where the root mean square of the residuals, for the degrees of freedom left, is
at most NOISES times the noise of the losses, or LEAST_TOLERANCE of the loss. Below FEWEST_TESTED sizes a misfit says little, so
where that many nearest sizes are no parabola, the minimum is the lowest point of Akima's interpolation through the mean loss of
each size.

It is the parabola of the **loss** and not of its logarithm: the vertex then depends neither on E nor on the scale of the rest.
Where the windows span the same range about the optimum at every compute, skewness moves each minimum by the same factor, which
biases coefficients and not exponents (Czech et al. 2026). PCHIP would not do, since it is flat at the lowest node, so that its
minimum is always a sampled size.

The noise is that of the table itself: the size of the lowest loss and the NEAR sizes on either side of it are each compared with
the cubic through two neighbours on either side, from which a smooth profile differs by the fourth power of their spacing.

Shapes: B resamples, n runs, S sizes.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), approach 2: a parabola through each profile.
Porian et al. 2024 (arXiv:2406.19146): Akima's interpolation of each profile. Czech et al. 2026 (arXiv:2603.22339).
Akima 1970, Journal of the ACM 17, 589. Gasser, Sroka and Jennen-Steinmetz 1986, Biometrika 73, 625: noise from neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalinglaws.laws.forms import Array

FEWEST_SIZES = 3
FEWEST_TESTED = 5  # sizes of the narrowest window whose parabola is tested: it leaves two degrees of freedom
NOISES, LEAST_TOLERANCE = 2.5, 2e-3  # the misfit that is tolerated: so many times the noise, and at least this share of the loss
NEAR = 2
FEWEST_RESIDUALS = 6  # below this many comparisons with neighbours the noise is not known
# Sizes nearer than this share count as one: an interpolation through two of them would follow their noise.
SAME_SIZE = 0.01
PARABOLA, INTERPOLATION = "parabola", "interpolation"
WHY = (
    "",
    f"fewer than {FEWEST_SIZES} sizes",
    "the lowest loss is at the smallest size",
    "the lowest loss is at the largest size",
    "the parabola has no minimum",
    "the parabola's minimum lies outside the sampled sizes",
)


@dataclass(frozen=True)
class Minima:
    """The minima of one profile in B resamples; each array is (B,).

    ``log_n`` and ``loss`` are where it is and the loss there, ``why`` a place in WHY, ``interpolated`` whether it is Akima's.
    ``n_window`` is the number of sizes in the window, ``low`` and ``high`` its ends in log N. ``misfit`` is that of the parabola
    in the window, or in the narrowest one, and ``misfit_whole`` that through all sizes, as shares of the loss; NaN at three.
    """

    log_n: Array
    loss: Array
    why: NDArray[np.int64]
    interpolated: NDArray[np.bool_]
    n_window: NDArray[np.int64]
    low: Array
    high: Array
    misfit: Array
    misfit_whole: Array


def groups(flops: ArrayLike, tolerance: float = 0.1) -> NDArray[np.int64]:
    """Return the number (n,) of each row's profile, from 0 at the least compute.

    A profile ends where the compute (n,) in FLOP exceeds that of its first row by the share ``tolerance``.
    """
    values = np.log(np.asarray(flops, np.float64))
    number, current, first = np.zeros(len(values), np.int64), -1, -np.inf
    for i in np.argsort(values, kind="stable"):
        if values[i] - first > np.log1p(tolerance) + 1e-12:
            current, first = current + 1, values[i]
        number[i] = current
    return number


def means(log_n: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return, for the S distinct sizes, the rows of each as ones in a matrix (n, S), mean log N (S,) and mean value (S,)."""
    number = groups(np.exp(log_n), SAME_SIZE)
    member = np.eye(number.max(initial=-1) + 1)[number]
    count = member.sum(axis=0)
    return member, log_n @ member / count, values @ member / count


def noise(profiles: Sequence[tuple[Array, Array]]) -> float:
    """Return the noise of a loss as a share of it, from the sizes near the minimum of each profile; NaN where too few tell it.

    Parameters
    ----------
    profiles
        Logs of N and losses in nats of each profile.
    """
    found: list[float] = []
    for log_n, loss in profiles:
        _, x, y = means(log_n, loss)
        lowest = int(np.argmin(y)) if len(y) else 0
        for i in range(max(2, lowest - NEAR), min(len(x) - 2, lowest + NEAR + 1)):
            near = np.array([i - 2, i - 1, i + 1, i + 2])
            others = [np.delete(x[near], k) for k in range(4)]
            weights = np.array([np.prod((x[i] - other) / (x[near[k]] - other)) for k, other in enumerate(others)])
            found.append(float((y[i] - weights @ y[near]) / y[i] / np.sqrt(1 + weights @ weights)))
    return float(np.median(np.abs(found)) / 0.6745) if len(found) >= FEWEST_RESIDUALS else float("nan")


def tolerated(noise: float) -> float:
    """Return the misfit that is tolerated, as a share of the loss, at a noise of the losses; infinite where that is not known."""
    return max(NOISES * noise, LEAST_TOLERANCE) if np.isfinite(noise) else float("inf")


def minima(log_n: Array, loss: Array, weights: Array, tolerance: float) -> Minima:
    """Return the minima of a profile, log_n (n,) and loss (n,) in nats, with weights (B, n), all at once."""
    member, nodes, _ = means(log_n, loss)
    mass = weights @ member
    present = mass > 0
    mean = np.where(present, (weights * loss) @ member / np.where(present, mass, 1.0), np.inf)
    count, lowest, place = present.sum(axis=1), mean.argmin(axis=1), np.arange(len(nodes))
    few, first = count < FEWEST_SIZES, present.argmax(axis=1)
    last = len(nodes) - 1 - present[:, ::-1].argmax(axis=1)
    left = np.where(present & (place < lowest[:, None]), place, -1).max(axis=1)
    right = np.where(present & (place > lowest[:, None]), place, len(nodes)).min(axis=1)
    far = np.abs(nodes - nodes[lowest][:, None])
    far[(place >= left[:, None]) & (place <= right[:, None])] = -1.0
    order = np.argsort(np.where(present, far, np.inf), axis=1, kind="stable")
    at, value, convex, misfit = _parabolas(log_n, loss, weights, member, order, np.minimum(count, len(nodes)))
    misfit /= np.where(few, 1.0, mean.min(axis=1))[:, None]
    low, high = np.minimum.accumulate(nodes[order], axis=1), np.maximum.accumulate(nodes[order], axis=1)
    size, rows = place + 1, np.arange(len(weights))
    whole = size == count[:, None]
    good = (misfit <= tolerance) & (whole | (convex & (at > low) & (at < high)))
    good |= whole & (count < FEWEST_TESTED)[:, None]
    good &= (size <= count[:, None]) & (size >= np.minimum(count, FEWEST_TESTED)[:, None])
    interpolated = ~good.any(axis=1) & ~few & (lowest != first) & (lowest != last)
    narrowest = np.maximum(np.minimum(count, FEWEST_TESTED), 1) - 1
    chosen = np.where(good.any(axis=1), len(nodes) - 1 - good[:, ::-1].argmax(axis=1), narrowest)
    at, value, convex, low, high = (array[rows, chosen] for array in (at, value, convex, low, high))
    outside = ~((at > low) & (at < high))
    why = np.select([few, lowest == first, lowest == last, interpolated, ~convex, outside], [1, 2, 3, 0, 4, 5], 0)
    at[interpolated], value[interpolated] = akima_minimum(nodes, mean[interpolated])
    whole_misfit = misfit[rows, np.maximum(count, 1) - 1]
    return Minima(at, value, why, interpolated, chosen + 1, low, high, misfit[rows, chosen], whole_misfit)


def _parabolas(
    log_n: Array, loss: Array, weights: Array, member: Array, order: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Return vertex in log N, loss there, whether it is a minimum, and misfit in nats, all (B, S), of the S nested windows.

    The k-th window (from 0) has the first k + 1 sizes of ``order`` (B, S); ``member`` (n, S) tells the rows of each size. The
    sums over rows that the normal equations take are cumulative along that order. Below three sizes nothing is a minimum.
    """
    middle, scale, level = (log_n.min() + log_n.max()) / 2, max(np.ptp(log_n) / 2, 1e-300), loss.mean()
    x, y = (log_n - middle) / scale, loss - level
    moments = np.column_stack([*(x**k for k in range(5)), *(y * x**k for k in range(3)), y * y])
    sums = weights @ (moments[:, :, None] * member[:, None, :]).reshape(len(x), -1)
    sums = np.take_along_axis(sums.reshape(len(weights), 9, member.shape[1]), order[:, None, :], axis=2)
    sums = sums.cumsum(axis=2).swapaxes(1, 2)
    matrix, right = sums[:, :, np.add.outer(np.arange(3), np.arange(3))], sums[:, :, 5:8]
    size = np.minimum(np.arange(member.shape[1]) + 1, count[:, None])
    matrix[size < FEWEST_SIZES] = np.eye(3)
    solved = np.linalg.solve(matrix, right[:, :, :, None])[:, :, :, 0]
    c0, c1, c2 = np.moveaxis(solved, 2, 0)
    convex = (size >= FEWEST_SIZES) & (c2 > 0)
    vertex = np.where(convex, -c1 / np.where(convex, 2 * c2, 1.0), np.nan)
    squares = np.maximum(sums[:, :, 8] - (solved * right).sum(axis=2), 0.0) / np.maximum(sums[:, :, 0], 1e-300)
    free = size - FEWEST_SIZES
    misfit = np.sqrt(np.where(free > 0, squares * size / np.maximum(free, 1), np.nan))
    return middle + scale * vertex, level + c0 + c1 * vertex / 2, convex, misfit


def akima_minimum(nodes: Array, values: Array) -> tuple[Array, Array]:
    """Return where Akima's interpolation of values (B, S), inf where absent, at nodes (S,) is lowest (B,), and how low (B,)."""
    at, lowest = np.empty(len(values)), np.empty(len(values))
    count = np.isfinite(values).sum(axis=1)
    for size in np.unique(count):
        rows = count == size
        there = np.isfinite(values[rows])
        x, y = np.broadcast_to(nodes, there.shape)[there].reshape(-1, size), values[rows][there].reshape(-1, size)
        at[rows], lowest[rows] = _akima_minimum(x, y)
    return at, lowest


def _akima_minimum(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the same for nodes x (B, S) that all have values y (B, S), from the nodes and the turns of each cubic."""
    h = np.diff(x)
    slope = np.diff(y) / h
    before, after = 2 * slope[:, :1] - slope[:, 1:2], 2 * slope[:, -1:] - slope[:, -2:-1]
    slope = np.hstack([2 * before - slope[:, :1], before, slope, after, 2 * after - slope[:, -1:]])
    change = np.abs(np.diff(slope))
    total = change[:, :-2] + change[:, 2:]
    straight = total <= 1e-9 * total.max(axis=1, keepdims=True)
    share = change[:, :-2] / np.where(straight, 1.0, total)
    share[straight] = 0.5
    tangent = slope[:, 1:-2] * (1 - share) + slope[:, 2:-1] * share
    mean = slope[:, 2:-2]
    c1, c2 = tangent[:, :-1], (3 * mean - 2 * tangent[:, :-1] - tangent[:, 1:]) / h
    c3 = (tangent[:, :-1] + tangent[:, 1:] - 2 * mean) / h**2
    # The turn of a cubic where it is convex; (c2² − 3 c1 c3)^½ + c2 in the denominator is stable where c3 vanishes.
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = -c1 / (c2 + np.sqrt(c2 * c2 - 3 * c1 * c3))
    turn = np.where((turn >= 0) & (turn <= h), turn, 0.0)
    found = y[:, :-1] + turn * (c1 + turn * (c2 + turn * c3))
    places, values = np.hstack([x[:, :-1] + turn, x[:, -1:]]), np.hstack([found, y[:, -1:]])
    rows, best = np.arange(len(x)), values.argmin(axis=1)
    return places[rows, best], values[rows, best]
