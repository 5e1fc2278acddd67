"""Models at one budget of tokens: exact on power laws, intervals of textbook formulas, and as often right as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from scalinglaws.laws import one_budget
from scalinglaws.laws.one_budget import exponents, losses

A, B = np.geomspace(1e11, 3e12, 5), np.geomspace(2e11, 6e12, 8)


def power(flops: np.ndarray, alpha: float = 0.08) -> np.ndarray:
    return np.asarray((4e15 / flops) ** alpha)


def test_power_laws_have_their_exponents_and_losses() -> None:
    a, b, apart = exponents((A, power(A, 0.07)), (B, power(B)))
    assert (a.estimate, b.estimate, apart.estimate) == pytest.approx((0.07, 0.08, -0.01))
    for (line, difference), loss in zip(losses((B, power(B)), A, 0.9 * power(A)), power(A), strict=True):
        assert (line.low, line.estimate, line.high) == pytest.approx([loss] * 3)
        assert (difference.low, difference.high) == pytest.approx([-0.1 * loss] * 2)


def test_the_difference_of_exponents_is_welchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With means in place of slopes, whose degrees of freedom are one less than values, it is the interval that scipy has."""

    def mean(_: np.ndarray, values: np.ndarray) -> tuple[float, float, int]:
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values) + 1

    monkeypatch.setattr(one_budget, "_slope", mean)
    one, other = np.array([0.070, 0.074, 0.081]), np.array([0.060, 0.075])
    wanted = ttest_ind(one, other, equal_var=False).confidence_interval()
    apart = exponents((one, one), (other, other))[2]
    assert (apart.low, apart.high) == pytest.approx((wanted.low, wanted.high))


def test_few_models_have_no_exponent() -> None:
    for count in (1, 2):
        a, b, apart = exponents((A[:count], power(A[:count])), (B, power(B) * np.exp(0.01 * np.sin(np.arange(8)))))
        assert np.isnan([a.estimate, a.low, apart.estimate, apart.high]).all() and np.isfinite([b.low, b.high]).all()


def test_intervals_hold_what_was_planted_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held: list[list[bool]] = []
    for _ in range(300):
        own, its = (power(flops) * np.exp(0.008 * rng.standard_normal(len(flops))) for flops in (A, B))
        apart = exponents((A, own), (B, its))[2]
        line, difference = losses((B, its), A[:1], own[:1])[0]
        wanted = ((apart, 0.0), (line, float(power(A[0]))), (difference, 0.0))
        held.append([found.low < value < found.high for found, value in wanted])
    assert ((np.mean(held, axis=0) > 0.93) & (np.mean(held, axis=0) < 0.98)).all(), np.mean(held, axis=0)
