"""Alternatives to a power law, planted by formulas written here, against polyfit and the solver of the laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.alternatives import Alternative, compare, predict, verdict
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective, best_fit

SQUARED = Objective("squared")
NOISE = 0.002
X = np.geomspace(1e5, 1e9, 24)
# Over these X the forms differ by several percent.
PLANTED: dict[str, tuple[Callable[..., np.ndarray], dict[str, float]]] = {
    "power": (lambda x, X_c, alpha: (X_c / x) ** alpha, {"X_c": 8.8e13, "alpha": 0.076}),
    "power with offset": (lambda x, E, X_c, alpha: E + (X_c / x) ** alpha, {"E": 1.7, "X_c": 4e6, "alpha": 0.3}),
    "logarithm": (lambda x, a, b: a - b * np.log(x), {"a": 8.0, "b": 0.3}),
    "exponential": (lambda x, E, A, X_0: E + A * np.exp(-x / X_0), {"E": 2.0, "A": 2.0, "X_0": 3e7}),
    "broken power": (
        lambda x, b, c_0, c_1, d, f: b * x**-c_0 * (1 + (x / d) ** (1 / f)) ** (-c_1 * f),
        {"b": 10.0, "c_0": 0.05, "c_1": 0.2, "d": 1e7, "f": 0.5},
    ),
}


def planted(name: str, noise: float) -> np.ndarray:
    formula, values = PLANTED[name]
    return formula(X, **values) * np.exp(noise * np.random.default_rng(len(name)).standard_normal(24))


@cache
def found(name: str, noise: float) -> list[Alternative]:
    return compare(X, planted(name, noise), SQUARED)


def of(alternatives: list[Alternative], name: str) -> Alternative:
    (one,) = [each for each in alternatives if each.name == name]
    return one


def log_errors(name: str) -> np.ndarray:
    """Return standard errors of the logs of the planted parameters, by the linear theory of least squares at the true values."""
    formula, values = PLANTED[name]
    both = [[np.log(formula(X, **values | {key: values[key] * np.exp(h)})) for h in (1e-5, -1e-5)] for key in values]
    slopes = np.array([(up - down) / 2e-5 for up, down in both])
    return NOISE * np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T)))


@pytest.mark.parametrize("name", PLANTED)
def test_planted_form_is_found_in_noise(name: str) -> None:
    ranked, truth = found(name, NOISE), PLANTED[name][1]
    own = of(ranked, name)
    off = np.log([own.parameters[key] / truth[key] for key in truth])
    # Of 15 parameters one is more than four standard errors off in one set of seeds of a thousand.
    assert (np.abs(off) < 4 * log_errors(name)).all() and list(own.parameters) == list(truth)
    assert own.converged and own.flags == [] and NOISE / 2 < own.rms < 1.5 * NOISE and own.held_out_error < 5 * NOISE
    near = {each.name for each in ranked if each.delta_aicc <= 2}
    contain_it = {"power with offset", "broken power"} if name == "power" else set()
    assert name in near and near <= {name} | contain_it and ranked[0].delta_aicc == 0
    said = verdict(ranked)
    assert said.startswith(f"The least AICc is that of {ranked[0].name}") and f"% for {own.name}" in said
    assert all(each in said.split(";")[0] for each in near) and ("not told apart" in said) == (len(near) > 1)


@pytest.mark.parametrize("name", PLANTED)
def test_without_noise_the_residuals_vanish(name: str) -> None:
    ranked = found(name, 0.0)
    assert ranked[0].name == name and ranked[0].converged and ranked[0].delta_aicc == 0
    assert np.abs(np.log(predict(ranked[0], X) / planted(name, 0.0))).max() < 1e-6
    assert list(ranked[0].parameters.values()) == pytest.approx(list(PLANTED[name][1].values()), rel=1e-4)
    assert predict(ranked[0], [1e11]) == pytest.approx(PLANTED[name][0](1e11, **PLANTED[name][1]), rel=1e-4)


def test_power_against_polyfit() -> None:
    loss = planted("power", NOISE)
    own = of(found("power", NOISE), "power")
    (slope, level), (squares,), *_ = np.polyfit(np.log(X), np.log(loss), 1, full=True)
    assert (own.value, own.rms**2 * 24) == pytest.approx((squares, squares), rel=1e-9)
    assert own.aicc == pytest.approx(24 * np.log(squares / 24) + 6 + 24 / 20, abs=1e-7)
    assert (own.parameters["alpha"], np.log(own.parameters["X_c"])) == pytest.approx((-slope, -level / slope), rel=1e-7)
    line = np.polyfit(np.log(X[:-1]), np.log(loss[:-1]), 1)
    assert own.held_out_error == pytest.approx(abs(np.exp(np.polyval(line, np.log(X[-1]))) / loss[-1] - 1), rel=1e-6)


def test_huber_against_the_solver_of_the_laws_and_weights_against_repeated_points() -> None:
    huber, x, counts = Objective("huber", 1e-3), X[::3], np.arange(8) % 3 + 1
    loss = planted("exponential", 0.0)  # neither law fits it, so nearly all residuals are far beyond delta
    ranked = compare(X, loss, huber)
    for name, law in (("power", "power-n"), ("power with offset", "power-n-offset")):
        fit = best_fit(LAWS[law], np.log(X)[:, None], np.log(loss), huber)
        assert of(ranked, name).value == pytest.approx(fit.value, rel=1e-6)
    loss = planted("power with offset", NOISE)[::3]
    weighted, repeated = compare(x, loss, huber, counts), compare(np.repeat(x, counts), np.repeat(loss, counts), huber)
    for name in ("power", "power with offset", "logarithm"):
        assert of(weighted, name).value == pytest.approx(of(repeated, name).value, rel=1e-6)


def test_too_few_points_are_said() -> None:
    ranked = compare(X[::6], planted("power", NOISE)[::6], SQUARED)
    assert [each.name for each in ranked[:2]] == ["power", "logarithm"] and verdict(ranked).startswith("No verdict")
    assert all(np.isfinite(each.value) and np.isnan(each.aicc) and "5 points" in each.flags[0] for each in ranked[:2])
    for each in ranked[2:]:
        assert each.parameters == {} and np.isnan([each.value, each.aicc, each.held_out_error, *predict(each, X)]).all()
        assert each.flags[0].startswith(f"Not fitted: {each.n_parameters} parameters take {each.n_parameters + 2} points")
    assert all("Not fitted" in each.flags[0] for each in compare([], [], SQUARED))


def test_a_logarithm_predicts_nothing_where_it_is_not_positive() -> None:
    own = of(compare(X[::6], 0.02 * (25 - np.log(X[::6])), SQUARED), "logarithm")
    assert predict(own, [1e10, 1e11]) == pytest.approx([0.02 * (25 - np.log(1e10)), np.nan], nan_ok=True)


def test_the_order_of_rows_changes_nothing() -> None:
    order = np.random.default_rng(7).permutation(24)
    assert repr(compare(X[order], planted("power", NOISE)[order], SQUARED)) == repr(list(found("power", NOISE)))


def test_bad_input_is_named() -> None:
    for x, loss, name in ((np.append(X[1:], 0), X, "x"), (X, np.append(X[1:], np.nan), "loss")):
        with pytest.raises(StudyError, match=f"^{name} has a value that is not a positive finite number"):
            compare(x, loss, SQUARED)
    with pytest.raises(StudyError, match="absolute"):
        compare(X, X, Objective("absolute"))
    with pytest.raises(StudyError, match="24, 23 and 24"):
        compare(X, X[1:], SQUARED)
