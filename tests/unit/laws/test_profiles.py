"""Minima of one profile: against numpy's polyfit in every window, scipy's Akima interpolation, and minima that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from scalinglaws.laws.forms import Array
from scalinglaws.laws.profiles import LEAST_TOLERANCE, WHY, Minima, akima_minimum, minima, noise, tolerated

INF = float("inf")


def one(x: Array, y: Array, tolerance: float) -> Minima:
    return minima(x, y, np.ones((1, len(x))), tolerance)


def by_hand(x: Array, y: Array, tolerance: float) -> tuple[float, int, bool]:
    """Return the minimum, the number of sizes in its window and whether it is interpolated, by loops over windows and polyfit."""
    lowest = int(np.argmin(y))
    far = np.abs(x - x[lowest])
    far[lowest - 1 : lowest + 2] = -1
    order = np.argsort(far, kind="stable")
    for size in range(len(x), min(5, len(x)) - 1, -1):
        at = np.sort(order[:size])
        (c2, c1, c0), middle = np.polyfit(x[at] - x.mean(), y[at], 2), x.mean()
        left = y[at] - np.polyval([c2, c1, c0], x[at] - middle)
        misfit = np.sqrt((left**2).sum() / (size - 3)) / y.min()
        vertex = middle - c1 / (2 * c2)
        if misfit <= tolerance and (size == len(x) or (c2 > 0 and x[at[0]] < vertex < x[at[-1]])):
            return float(vertex), size, False
    return scipy_minimum(x, y)[0], 5, True


def scipy_minimum(x: Array, y: Array) -> tuple[float, float]:
    curve = Akima1DInterpolator(x, y)
    turns = np.asarray(curve.derivative().roots(extrapolate=False), float)
    at = np.concatenate([x, np.clip(turns[np.isfinite(turns)], x[0], x[-1])])
    return float(at[np.argmin(curve(at))]), float(curve(at).min())


def test_interpolation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(15, 20, 9))
    values = 3 + 0.1 * (x - 17.5) ** 2 + 0.05 * rng.standard_normal((40, 9))
    values[:, 3], values[5:8, 2:6] = values[:, 4], 3.0  # level pieces, where Akima's weights vanish
    values[rng.random((40, 9)) < 0.2] = INF
    at, lowest = akima_minimum(x, values)
    for k, row in enumerate(values):
        there = np.isfinite(row)
        assert scipy_minimum(x[there], row[there])[1] == pytest.approx(lowest[k], rel=1e-12)
        assert Akima1DInterpolator(x[there], row[there])(at[k]) == pytest.approx(lowest[k], rel=1e-12)


@pytest.mark.parametrize("tolerance", [0.002, 0.004, 0.01, 0.1, INF])
def test_the_window_is_the_widest_that_is_a_parabola(tolerance: float) -> None:
    rng = np.random.default_rng(3)
    x = np.log(np.geomspace(1e6, 1e9, 12))
    kinds = set()
    for _ in range(30):
        bend, centre = rng.uniform(0, 0.02), rng.uniform(15.5, 18.5)
        y = 3 + 0.05 * (x - centre) ** 2 + bend * np.abs(x - centre) ** 3 + 0.003 * rng.standard_normal(12)
        if not 0 < np.argmin(y) < 11:
            continue
        vertex, size, interpolated = by_hand(x, y, tolerance)
        found = one(x, y, tolerance)
        assert (found.n_window[0], found.interpolated[0]) == (size, interpolated)
        assert found.log_n[0] == pytest.approx(vertex, abs=1e-7)
        kinds.add((size, interpolated))
    assert len(kinds) > (tolerance < 0.1)


def test_resamples_are_profiles_of_the_rows_that_they_draw() -> None:
    """A weight counts a row as often; sizes that no row has are absent. All resamples at once are each by itself."""
    rng = np.random.default_rng(1)
    x = np.repeat(np.linspace(16, 21, 8), 2)
    y = 3 + 0.1 * (x - 18.6) ** 2 + 0.02 * (x - 18.6) ** 3 + 0.004 * rng.standard_normal(16)
    weights = rng.integers(0, 3, (60, 16)).astype(float)
    together = minima(x, y, weights, 0.004)
    for k in range(60):
        times = weights[k].astype(int)
        if len(np.unique(x[times > 0])) < 3:
            assert WHY[together.why[k]] == WHY[1]
            continue
        alone = one(np.repeat(x, times), np.repeat(y, times), 0.004)
        assert together.why[k] == alone.why[0] and together.interpolated[k] == alone.interpolated[0]
        for name in ("log_n", "loss", "low", "high", "misfit"):
            assert getattr(together, name)[k] == pytest.approx(getattr(alone, name)[0], rel=1e-9, nan_ok=True)
    assert {0, 1} <= set(together.interpolated.astype(int)) and (together.why == 0).sum() > 30


def test_a_parabola_is_found_by_both_ways() -> None:
    x = np.linspace(17, 22, 6)
    y = 3 + 0.1 * (x - 19.3) ** 2
    found, (at, value) = one(x, y, LEAST_TOLERANCE), akima_minimum(x, y[None])
    assert (found.n_window[0], found.why[0], found.misfit[0]) == (6, 0, pytest.approx(0, abs=1e-8))
    assert (found.log_n[0], found.loss[0], at[0], value[0]) == pytest.approx((19.3, 3, 19.3, 3))


@pytest.mark.parametrize(
    ("y", "tolerance", "why"),
    [
        ([3.3, 2.9, 3.4, 3.5, 3.4, 3.0], INF, WHY[4]),  # a hill within its noise
        ([3.0, 3.1, 3.2, 3.3, 3.4, 3.5], 0.01, WHY[2]),
        ([3.5, 3.4, 3.3, 3.2, 3.1, 3.0], 0.01, WHY[3]),
        ([3.4, 3.3, 3.15, 3.0, 2.8, 2.82], INF, WHY[5]),
    ],
)
def test_what_has_no_minimum_says_why(y: list[float], tolerance: float, why: str) -> None:
    assert WHY[one(np.linspace(17, 22, 6), np.array(y), tolerance).why[0]] == why


def test_few_sizes_are_one_parabola() -> None:
    x = np.linspace(17, 20, 4)
    found = one(x, np.array([3.5, 3.0, 3.05, 3.9]), 1e-6)
    assert (found.n_window[0], found.interpolated[0]) == (4, False) and found.misfit[0] > 1e-3
    (three,) = one(x[:3], np.array([3.5, 3.0, 3.05]), 1e-6).log_n
    assert np.polyval(np.polyder(np.polyfit(x[:3], [3.5, 3.0, 3.05], 2)), three) == pytest.approx(0, abs=1e-9)
    assert WHY[one(np.array([1.0, 2.0, 2.001]), np.array([3.0, 2.0, 2.0]), INF).why[0]] == WHY[1]


@pytest.mark.parametrize("sd", [0.001, 0.003, 0.01])
def test_the_noise_of_planted_profiles_is_found_whatever_their_shape(sd: float) -> None:
    """Steps of a factor 1.5 in N, steep on one side; 20 profiles of five comparisons with neighbours."""
    rng = np.random.default_rng(7)
    x = np.log(1e6 * 1.5 ** np.arange(14))
    smooth = 2 + 0.5 * np.exp(-0.34 * (x - x[4])) + 0.5 * np.exp(0.4 * (x - x[4]))
    profiles = [(x, smooth * np.exp(sd * rng.standard_normal(14))) for _ in range(20)]
    assert noise(profiles) == pytest.approx(sd, rel=0.3)
    assert np.isnan(noise(profiles[:1])) and np.isnan(noise([(x[:4], smooth[:4])] * 9)) and np.isnan(noise([]))
    assert (tolerated(float("nan")), tolerated(1e-4), tolerated(0.01)) == (INF, LEAST_TOLERANCE, 0.025)
