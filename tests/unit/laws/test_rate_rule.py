"""The rule of a sweep: planted quadratics and numpy's line, the sweep of docs/learning-rate.md, coverage, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.rate_rule import fit_rule
from unit.laws.test_learning_rate import SWEEP

SIZES = (768, 6_144, 24_576)
RATES = 4e-3 * 2.0 ** np.arange(7)


def runs(
    coefficient: float = 0.5, exponent: float = -0.35, noise: float = 0.0, seeds: int = 1, rng: Any = None, curve: float = 0.03
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return N, rates and losses of a sweep whose log losses are quadratics in log rate about coefficient · N^exponent."""
    n = np.repeat(SIZES, len(RATES) * seeds).astype(float)
    rate = np.tile(np.repeat(RATES, seeds), len(SIZES))
    away = np.log(rate) - np.log(coefficient) - exponent * np.log(n)
    error = noise * rng.standard_normal(len(n)) if noise else 0.0
    return n, rate, np.exp(0.6 + 5 / np.log(n) + curve * away**2 + error)


def refused(n: np.ndarray, rate: np.ndarray, loss: np.ndarray) -> str:
    with pytest.raises(StudyError) as told:
        fit_rule(n, rate, loss)
    return str(told.value)


def test_exact_quadratics_give_the_exact_rule() -> None:
    rule = fit_rule(*runs())
    assert (rule["coefficient"], rule["exponent"]) == pytest.approx((0.5, -0.35), rel=1e-5)
    for each in rule["optima"]:
        assert each["learning_rate"] == pytest.approx(0.5 * each["n_params"] ** -0.35, rel=1e-5)
        assert each["by_the_rule"] == pytest.approx(each["learning_rate"], rel=1e-5)
        assert each["loss"] == pytest.approx(np.exp(0.6 + 5 / np.log(each["n_params"])), rel=1e-5)
    assert rule["exponent_interval"] == pytest.approx([-0.35, -0.35], abs=1e-5) and rule["n_params"] == [768, 24_576]
    assert rule["notes"] == []
    far = rule["extrapolation"][-1]
    assert far["n_params"] == 24_576_000 and far["learning_rate"] == pytest.approx(0.5 * 24_576_000**-0.35, rel=1e-4)


def test_the_line_is_that_of_numpy_with_the_weights_of_the_minima() -> None:
    n, rate, loss = runs(noise=0.01, seeds=2, rng=np.random.default_rng(3))
    loss[n == SIZES[0]] **= 0.3  # a flat minimum counts less
    rule = fit_rule(n, rate, loss)
    sizes, best, weight = (np.array([each[key] for each in rule["optima"]]) for key in ("n_params", "learning_rate", "weight"))
    slope, constant = np.polyfit(np.log(sizes), np.log(best), 1, w=np.sqrt(weight))
    assert (rule["coefficient"], rule["exponent"]) == pytest.approx((np.exp(constant), slope), rel=1e-4)
    assert weight[0] < 0.5 * weight[1]


def test_the_sweep_of_the_default_rate() -> None:
    table = [(n, rate, loss) for n, losses in SWEEP.items() for rate, loss in losses.items()]
    rule = fit_rule(*zip(*table, strict=True))
    best = [each["learning_rate"] for each in rule["optima"]]
    assert best == pytest.approx([2.5e-2, 1.9e-2, 1.3e-2, 7.2e-3, 4.0e-3, 2.7e-3], rel=0.15)  # of docs/learning-rate.md
    low, high = rule["exponent_interval"]
    assert low < -0.41 < high and high - low < 0.2  # the default of config.yaml
    assert rule["coefficient"] * 24_576 ** rule["exponent"] == pytest.approx(0.6 * 24_576**-0.41, rel=0.15)


def test_intervals_hold_the_planted_rule_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    inside, widths = [], []
    for _ in range(150):
        rule = fit_rule(*runs(noise=0.004, rng=rng))
        far = rule["extrapolation"][2]["interval"]
        truth = 0.5 * rule["extrapolation"][2]["n_params"] ** -0.35
        low, high = rule["exponent_interval"]
        inside.append([low < -0.35 < high, far[0] < truth < far[1]])
        widths.append(rule["scatter"])
    assert np.all((np.mean(inside, axis=0) > 0.89) & (np.mean(inside, axis=0) < 0.995)), np.mean(inside, axis=0)
    assert np.sqrt(np.mean(np.square(widths))) == pytest.approx(0.004, rel=0.1)


def test_one_size_gives_one_rate_and_says_so() -> None:
    n, rate, loss = runs()
    one = n == SIZES[1]
    rule = fit_rule(n[one], rate[one], loss[one])
    assert rule["exponent"] == 0 and rule["exponent_interval"] == [0, 0]
    assert rule["coefficient"] == pytest.approx(0.5 * SIZES[1] ** -0.35, rel=1e-5)
    assert {each["learning_rate"] for each in rule["extrapolation"]} == {rule["coefficient"]}
    assert "muP" in rule["notes"][0]
    two = n != SIZES[1]
    assert "Two sizes" in fit_rule(n[two], rate[two], loss[two])["notes"][0]


def test_an_open_exponent_is_said() -> None:
    rule = fit_rule(*runs(noise=0.02, rng=np.random.default_rng(5)))
    assert "leaves open how the best rate depends on N" in rule["notes"][-1]


@pytest.mark.parametrize(
    ("coefficient", "words"),
    [
        (0.01, "N = 768: the least loss lies at the smallest rate, 0.004, .* such as 0.002 and 0.001: .* times 0.5 and 0.25"),
        (5.0, "N = 768: the least loss lies at the largest rate, 0.256, .* such as 0.512 and 1.02: .* times 2 and 4"),
    ],
)
def test_a_least_loss_at_the_end_is_refused_with_what_to_add(coefficient: float, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        fit_rule(*runs(coefficient=coefficient))


def test_a_diverged_neighbour_is_an_end_of_the_sweep() -> None:
    n, rate, loss = runs()  # the best rate of 768 is 0.049
    loss[(n == 768) & (rate > 0.07)] = np.nan
    said = refused(n, rate, loss)
    assert "N = 768: the least loss lies at the rate 0.064, and the next one, 0.128, diverged: add rates between them" in said
    assert "0.0806 and 0.102" in said
    loss[(n == 768) & (rate > 0.02)] = np.nan
    assert "3 of its 7 rates end with a loss, and 4 are needed" in refused(n, rate, loss)
    assert "add rates below 0.032" in refused(n, rate, loss)


def test_a_seed_that_diverged_takes_its_rate_out() -> None:
    n, rate, loss = runs(seeds=2)
    loss[np.flatnonzero((n == 768) & (rate == RATES[-1]))[0]] = np.nan
    rule = fit_rule(n, rate, loss)
    assert rule["optima"][0]["losses"][-1] is None and rule["exponent"] == pytest.approx(-0.35, rel=1e-4)


def test_noise_that_leaves_the_best_rate_open_is_refused() -> None:
    said = refused(*runs(noise=0.05, rng=np.random.default_rng(1), curve=0.01))
    assert "is known to a factor of 3.31 only" in said and "add seeds to learning_rate.sweep" in said
