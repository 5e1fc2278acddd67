"""The solver against planted parameters, finite differences and scipy."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from scalinglaws.laws.allocation import exponents, optimum
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective, best_fit, solve
from scalinglaws.laws.problem import problem_of
from scalinglaws.laws.result import fit_table


def chinchilla_points(seed: int = 0, noise: float = 0.005) -> tuple[np.ndarray, np.ndarray]:
    """Return log variables (n, 2) and log losses (n,) of a grid with the published parameters."""
    rng = np.random.default_rng(seed)
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 9), np.geomspace(1e9, 1e12, 8)))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    return np.log(np.column_stack([n, d])), np.log(loss) + noise * rng.standard_normal(len(n))


def planted_theta(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    law = LAWS[name]
    starts = law.starts(np.full(10, 1.1))
    return starts[rng.integers(len(starts), size=count)] * (1 + 0.05 * rng.standard_normal((count, law.n_parameters)))


@pytest.mark.parametrize("name", LAWS)
def test_jacobian_against_finite_differences(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(1)
    z = rng.standard_normal((11, len(law.variables)))
    theta = planted_theta(name, rng, 4)
    analytic = law.jacobian(theta, z)
    for k in range(law.n_parameters):
        step = np.zeros(law.n_parameters)
        step[k] = 1e-6
        numeric = (law.log_prediction(theta + step, z) - law.log_prediction(theta - step, z)) / 2e-6
        np.testing.assert_allclose(analytic[:, :, k], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["power-n", "kaplan-nd", "kaplan-nd-offset", "chinchilla", "repetition", "farseer"])
@pytest.mark.parametrize(("delta", "raw"), [(np.inf, False), (0.3, False), (np.inf, True), (0.3, True)])
def test_gradient_and_hessian_against_finite_differences(name: str, delta: float, raw: bool) -> None:
    law, rng = LAWS[name], np.random.default_rng(2)
    z = rng.standard_normal((15, len(law.variables)))
    y = 1.1 + 0.2 * rng.standard_normal(15)
    problem = problem_of(law, z, y, delta, 1.0, rough=False, raw=raw)
    theta, weights = planted_theta(name, rng, 3), rng.integers(0, 4, (3, 15)).astype(float)
    _, gradient, hessian, metric = problem.evaluate(theta, weights)
    for k in range(law.n_parameters):
        step = np.zeros(law.n_parameters)
        step[k] = 1e-6
        above, below = (problem.evaluate(theta + sign * step, weights) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, k], (above[0] - below[0]) / 2e-6, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())
        np.testing.assert_allclose(hessian[:, :, k], (above[1] - below[1]) / 2e-6, rtol=1e-4, atol=1e-6 * np.abs(hessian).max())
    if np.isinf(delta):
        slope = np.exp(law.log_prediction(theta, z)) if raw else np.ones((3, 15))
        jacobian = slope[:, :, None] * law.jacobian(theta, z)
        np.testing.assert_allclose(metric, np.einsum("bn,bni,bnj->bij", weights, jacobian, jacobian), rtol=1e-10)


@pytest.mark.parametrize("objective", ["huber", "squared", "absolute"])
def test_scipy_finds_nothing_lower(objective: str) -> None:
    law, goal = LAWS["chinchilla"], Objective(objective)
    x, y = chinchilla_points()
    fit = best_fit(law, x, y, goal)
    assert fit.converged

    def value(theta: np.ndarray) -> float:
        return float(goal.value(law.log_prediction(theta[None], fit.z)[0] - y, np.ones(len(y))))

    assert value(fit.theta) == pytest.approx(fit.value, rel=1e-12)
    for start in (fit.theta, fit.theta * 1.05):
        found = minimize(value, start, method="Nelder-Mead", options={"maxiter": 1200, "xatol": 1e-12, "fatol": 1e-16})
        assert found.fun >= fit.value * (1 - 1e-8)


def test_absolute_values_of_a_line_go_through_two_points() -> None:
    law, rng = LAWS["power-n"], np.random.default_rng(3)
    x = np.sort(rng.uniform(0, 10, 12))
    y = 1 - 0.1 * x + 0.05 * rng.standard_normal(12)
    fit = best_fit(law, x[:, None], y, Objective("absolute"))
    lines = [((y[j] - y[i]) / (x[j] - x[i]), y[i], x[i]) for i in range(12) for j in range(i)]
    least = min(np.abs(y0 + slope * (x - x0) - y).sum() for slope, y0, x0 in lines)
    assert fit.value == pytest.approx(least, rel=1e-7)


def test_a_batch_equals_one_by_one() -> None:
    law, rng = LAWS["chinchilla"], np.random.default_rng(4)
    x, y = chinchilla_points()
    fit = best_fit(law, x, y, Objective())
    weights = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=20).astype(float)
    starts = np.repeat(fit.theta[None], 20, axis=0)
    batch = solve(law, fit.z, y, starts, fit.objective, weights, warm=True)
    assert batch.converged.all()
    for k in range(20):
        alone = solve(law, fit.z, y, starts[k : k + 1], fit.objective, weights[k : k + 1], warm=True)
        np.testing.assert_allclose(alone.theta[0], batch.theta[k], rtol=1e-6)
        assert alone.value[0] == pytest.approx(batch.value[k], rel=1e-12)


def test_the_answer_does_not_depend_on_the_start_grid() -> None:
    law = LAWS["chinchilla"]
    x, y = chinchilla_points()
    grid = law.starts(y)
    one, other = (best_fit(law, x, y, Objective(), starts) for starts in (grid[::3], grid[1::7] + 0.1))
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6)


def test_the_optimum_spends_all_compute_where_both_slopes_agree() -> None:
    n, d = optimum(np.array([1e18, 1e21]), 406.4, 410.7, 0.34, 0.28)
    np.testing.assert_allclose(6 * n * d, [1e18, 1e21])
    np.testing.assert_allclose(0.34 * 406.4 * n**-0.34, 0.28 * 410.7 * d**-0.28)
    a, b = exponents(0.34, 0.28)
    np.testing.assert_allclose(np.log(n[1] / n[0]) / np.log(1e3), a)
    assert a + b == pytest.approx(1)


def test_external_column_names_are_enough() -> None:
    x, y = chinchilla_points()
    table = pl.DataFrame({"params": np.exp(x[:, 0]), "D": np.exp(x[:, 1]), "final": np.exp(y)})
    fit = fit_table(table, "chinchilla", columns={"n_params": "params", "tokens": "D", "loss": "final"}, n_bootstrap=0)
    assert fit["parameters"]["alpha"]["estimate"] == pytest.approx(0.34, abs=0.05)
    assert fit["exponents"]["a"]["estimate"] == pytest.approx(0.28 / 0.62, abs=0.06)
    assert fit["parameters"]["alpha"]["ci_low"] is None
    json.dumps(fit, allow_nan=False)
