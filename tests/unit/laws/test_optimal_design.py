"""Designs for one target: against inverse informations, closed forms, kriging done again, and every choice that there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws import optimal_design, targets
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.extrapolation import LAW_ERROR, NOISE, REACH, Field, estimate, prior_of
from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.optimal_design import Costs, Outlook, choose
from scalinglaws.laws.uncertainty import Resamples, bootstrap, interval

N = np.repeat(np.geomspace(2e7, 3.2e8, 5), 3)
D = N * np.tile([10.0, 30.0, 90.0], 5)
X = np.log(np.column_stack([N, D]))
LOSS = (1.7 + 400 / N**0.34 + 410 / D**0.28) * np.exp(0.004 * np.random.default_rng(1).standard_normal(15))


def linear(rng: np.random.Generator, m: int = 8, p: int = 3) -> tuple[Outlook, np.ndarray, np.ndarray, np.ndarray]:
    """Return the outlook of a linear model with its jacobian (m, p), its information (p, p) and the slopes (p,) of a target."""
    jacobian, root, slopes = rng.standard_normal((m, p)), rng.standard_normal((p, p)), rng.standard_normal(p)
    information = root @ root.T + 0.1 * np.eye(p)
    covariance, noise = np.linalg.inv(information), rng.uniform(0.5, 2.0, m)
    outlook = Outlook(
        float(slopes @ covariance @ slopes), jacobian @ covariance @ slopes, jacobian @ covariance @ jacobian.T, noise
    )
    return outlook, jacobian, information, slopes


def test_what_is_left_is_the_inverse_of_the_sum_of_informations() -> None:
    outlook, jacobian, information, slopes = linear(np.random.default_rng(0))
    for chosen in ([], [3], [1, 4, 6], list(range(8))):
        own = jacobian[chosen]
        covariance = np.linalg.inv(information + own.T @ (own / outlook.noise[chosen, None]))
        variance, cross, losses = outlook.given(chosen)
        assert variance == pytest.approx(slopes @ covariance @ slopes)
        np.testing.assert_allclose(cross, jacobian @ covariance @ slopes, atol=1e-10)
        np.testing.assert_allclose(losses, np.diag(jacobian @ covariance @ jacobian.T), atol=1e-10)
        gains = outlook.gains(chosen)
        for k in set(range(8)) - set(chosen):
            assert gains[k] == pytest.approx(np.log(outlook.ratio(chosen) / outlook.ratio([*chosen, k])))


def test_a_choice_is_the_best_of_all_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """With costs over a factor of thirty, in nineteen of twenty problems at least, and never wider by 2 %."""
    monkeypatch.setattr(optimal_design, "SPARED", 0.0)
    best = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        outlook, *_ = linear(rng)
        costs = Costs.apart(np.exp(rng.uniform(0, np.log(30), 8)))
        budget = 0.4 * costs.total(range(8))
        found = outlook.ratio(choose(outlook, costs, budget, 5))
        every = [plan for k in range(6) for plan in combinations(range(8), k) if costs.total(plan) <= budget]
        least = min(outlook.ratio(plan) for plan in every)
        assert least <= found * (1 + 1e-9) and found < 1.02 * least
        best += found < least * (1 + 1e-9)
    assert best >= 19


def test_a_large_run_is_not_missed_for_small_ones_that_gain_more_for_their_flop() -> None:
    """Ten small runs tell of another parameter mostly; a large one, which takes the whole budget, tells all of the target."""
    jacobian = np.array([[0.4, 1.0]] * 10 + [[3.0, 0.0]])
    outlook = Outlook(1.0, jacobian[:, 0], jacobian @ jacobian.T, np.ones(11))
    costs = Costs.apart(np.array([0.25] * 10 + [10.0]))
    assert np.argmax(outlook.gains([]) / costs.more([])) < 10
    assert choose(outlook, costs, 10.0, 24) == [10]
    assert choose(outlook, costs, 9.0, 24) != [] and 10 not in choose(outlook, costs, 9.0, 24)
    assert choose(outlook, costs, 0.2, 24) == []


def test_the_slope_of_a_straight_line_is_told_by_its_ends() -> None:
    """log L = c − alpha·log N: the variance of alpha is σ²/Σ(x − x̄)² before and with new runs, which lie at the ends."""
    x, sigma, law = np.linspace(-1, 1, 9), 0.01, LAWS["power-n"]
    design = np.column_stack([np.ones(9), -x])
    covariance = sigma**2 * np.linalg.inv(design.T @ design)
    fit = Fit(
        law, Objective(), np.array([0.5, 0.1]), np.ones(2), 0.0, True, 1, np.zeros(1), x[:, None], 0.5 - 0.1 * x, np.ones(9)
    )
    drawn = np.random.default_rng(0).multivariate_normal(fit.theta, covariance, 40_000)
    places = np.linspace(-2, 2, 9)
    outlook = targets.of_parameter(fit, Resamples(drawn, drawn, 0, 0, 9), "alpha_N", places[:, None]).outlook
    assert outlook.target == pytest.approx(sigma**2 / (x**2).sum(), rel=0.03)
    assert set(choose(outlook, Costs.apart(np.ones(9)), 2.0, 2)) == {0, 8}
    both = np.concatenate([x, [-2, 2]])
    own = Outlook(outlook.target, outlook.cross, outlook.losses, np.full(9, sigma**2))  # the fit here has no residuals
    assert own.given([0, 8])[0] == pytest.approx(sigma**2 / ((both - both.mean()) ** 2).sum(), rel=0.05)


def test_budgets_of_one_trunk_pay_its_stable_phase_once() -> None:
    costs = Costs(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 7.0]), np.array([0.0, 0.0, 5.0]), np.array([0, 0, 1]))
    assert [costs.total(chosen) for chosen in ([0], [1], [0, 1], [1, 0], [2], [0, 1, 2])] == [11, 22, 23, 23, 6, 29]
    np.testing.assert_allclose(costs.more([0]), [1, 12, 6])


def fitted(n_resamples: int = 50) -> tuple[Fit, Resamples]:
    fit = best_fit(LAWS["chinchilla"], X, np.log(LOSS), Objective())
    return fit, bootstrap(fit, [str(k) for k in range(15)], n_resamples, 0)


def test_slopes_of_targets_have_their_closed_forms() -> None:
    law, theta, centre = LAWS["chinchilla"], np.array([0.5, 0.1, 0.34, 0.2, 0.28]), np.array([18.0, 22.0])
    total = 0.34 + 0.28
    expected: dict[str, list[float]] = {
        "E": [1, 0, 0, 0, 0], "A": [0, 1, 18, 0, 0], "B": [0, 0, 0, 1, 22], "alpha": [0, 0, 1, 0, 0], "beta": [0, 0, 0, 0, 1],
        "a": [0, 0, -0.28 / total**2, 0, 0.34 / total**2], "b": [0, 0, 0.28 / total**2, 0, -0.34 / total**2],
    }  # fmt: skip
    assert set(expected) == set(targets.names(law))
    for name, slopes in expected.items():
        np.testing.assert_allclose(targets.slopes(law, name, theta, centre), slopes, rtol=1e-7, atol=1e-8)


def test_the_interval_before_is_that_of_the_fit_and_shrinks_as_the_outlook_says() -> None:
    fit, resamples = fitted()
    for name, k, log in (("alpha", 3, False), ("E", 0, True)):
        found = targets.of_parameter(fit, resamples, name, X + 1.0)
        own = interval(float(fit.natural[k]), resamples.natural[:, k], log, 15)
        assert (found.before.low, found.before.high) == pytest.approx((own["ci_low"], own["ci_high"]))
        after, ratio = found.after([3, 14]), found.outlook.ratio([3, 14])
        ends = np.array([[found.before.low, found.before.high], [after.low, after.high]])
        ends = np.log(ends) if log else ends
        assert ratio < 1 and np.ptp(ends[1]) == pytest.approx(ratio * np.ptp(ends[0]))
    with pytest.raises(StudyError, match=r"law chinchilla has no parameter 'alfa': did you mean alpha\?"):
        targets.of_parameter(fit, resamples, "alfa", X)
    with pytest.raises(StudyError, match=r"no resamples do not tell how sure alpha is"):
        targets.of_parameter(fit, None, "alpha", X)


def test_a_forecast_has_the_deviation_of_the_field_and_of_kriging_with_the_new_runs() -> None:
    """The field is made again with the new runs among its points, at the parameters and reducible shares that it has."""
    fit, resamples = fitted()
    place, places = np.log([3e9, 6e10]), np.log([[6e8, 2e10], [3e8, 3e10], [1.2e9, 1e10]])
    found = targets.of_forecast(fit, resamples, place, places)
    field = estimate(fit.law, X, np.log(LOSS), np.ones(15), fit.theta[None], np.sqrt(found.outlook.floor))
    mean, deviation = field.forecast(place[None])
    assert np.sqrt(found.outlook.target + found.outlook.floor) == pytest.approx(deviation[0], rel=1e-3)
    every = np.vstack([X, places])
    z = every - field.centre
    law_loss = field.law.log_prediction(field.theta[None], z)[0]
    reducible = np.concatenate([field.reducible, (1 - np.exp(field.theta[0] - law_loss))[15:]])
    distance = np.sqrt(((z[:, None] - z[None]) ** 2).sum(axis=-1))
    covariance = LAW_ERROR**2 * (REACH - distance) * np.outer(reducible, reducible)
    covariance += np.diag([NOISE**2] * 15 + [found.outlook.noise[0]] * 3)
    jacobian, prior = field.law.jacobian(field.theta[None], z)[0], prior_of(field.law, np.log(LOSS))
    scale = prior.offsets(field.theta)[1]
    information = jacobian.T @ np.linalg.solve(covariance, jacobian) + scale[:, None] * prior.precision * scale
    again = Field(
        field.law, field.theta, np.linalg.inv(information), field.centre, z, law_loss, reducible, np.linalg.cholesky(covariance),
        field.scatter,
    )  # fmt: skip
    later = again.forecast(place[None])[1][0]
    left, _, _ = found.outlook.given([0, 1, 2])
    assert np.sqrt(left + found.outlook.floor) == pytest.approx(later, rel=1e-3) and later < 0.9 * deviation[0]
    assert found.before.low < np.exp(mean[0]) < found.before.high
