"""Compute-equivalent gains: exact on power laws, and intervals that hold planted gains as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.gain import compute_equivalent

FLOPS = np.geomspace(1e11, 3e12, 8)


def power(flops: np.ndarray, gain: float = 1.0) -> np.ndarray:
    return (4e15 / (gain * flops)) ** 0.08


def test_gains_on_power_laws_are_exact() -> None:
    at = FLOPS[[1, 4, 6]]
    for gain in (0.4, 1.0, 2.5):
        found = compute_equivalent(FLOPS, power(FLOPS), at, power(at, gain))
        assert np.allclose(found.each, gain) and np.allclose(found.low, gain) and np.allclose(found.high, gain)
        assert np.isclose(found.mean, gain) and np.isclose(found.mean_low, gain) and np.isclose(found.mean_high, gain)
        assert list(found.beyond) == [gain * flops < FLOPS[0] or gain * flops > FLOPS[-1] for flops in at]


def test_intervals_hold_the_gain_as_often_as_they_say() -> None:
    rng, at, gain = np.random.default_rng(0), FLOPS[[0, 2, 5, 7]], 1.6
    one = pooled = 0
    for _ in range(4000):
        reference = power(FLOPS) * np.exp(rng.normal(0, 0.008, len(FLOPS)))
        found = compute_equivalent(FLOPS, reference, at, power(at, gain) * np.exp(rng.normal(0, 0.008, len(at))))
        one += bool(found.low[0] < gain < found.high[0])
        pooled += found.mean_low < gain < found.mean_high
    assert 0.93 < one / 4000 < 0.97 and 0.93 < pooled / 4000 < 0.97


def test_a_reference_without_a_slope_gives_no_interval() -> None:
    flat = compute_equivalent([1.0, 2.0, 4.0, 8.0], [2.0, 2.1, 2.1, 2.0], [2.0], [1.9])
    assert np.isnan(flat.low).all() and np.isnan(flat.mean_high)
    none = compute_equivalent(FLOPS, power(FLOPS), [], [])
    assert len(none.each) == 0 and np.isnan(none.mean)


@pytest.mark.parametrize(
    ("flops", "loss", "words"), [([1.0, 2.0], [2.0, 1.9], "3 computes"), ([1.0, 2.0, 3.0], [2, 1, 0], "above 0")]
)
def test_too_few_points_and_impossible_values_are_told(flops: list[float], loss: list[float], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        compute_equivalent(flops, loss, [1.0], [2.0])
