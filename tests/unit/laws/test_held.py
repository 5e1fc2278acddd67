"""Parameters that are held: the others are as in the free fit there, the objective has its least value, and intervals know it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fixtures.planted_laws import planted
from scalinglaws.cli import app
from scalinglaws.cli.laws import mapping, number
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.forms import Law
from scalinglaws.laws.held import hold
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import select
from scalinglaws.laws.uncertainty import bootstrap

CASES = [(law.name, name) for law in LAWS.values() for name in law.holds]


def fitted(law: Law, seed: int = 0) -> Fit:
    made = planted(law.name, seed)
    points = select(made.runs, law, curves=made.curves)
    return best_fit(law, points.log_variables(law.variables), np.log(points.loss), Objective("squared"))


@pytest.fixture(scope="module")
def free() -> dict[str, Fit]:
    return {law.name: fitted(law) for law in LAWS.values() if law.holds}


def values(fit: Fit) -> dict[str, float]:
    return {parameter.name: float(value) for parameter, value in zip(fit.law.parameters, fit.natural, strict=True)}


def with_needs(law: Law, name: str, at: dict[str, float]) -> dict[str, float]:
    return {each: at[each] for each in (name, *law.holds[name].needs)}


@pytest.mark.parametrize(("law", "name"), CASES)
def test_holding_a_parameter_at_the_free_estimate_changes_nothing(free: dict[str, Fit], law: str, name: str) -> None:
    whole = free[law]
    fixed = with_needs(LAWS[law], name, values(whole))
    part = fitted(hold(LAWS[law], fixed))
    assert part.value == pytest.approx(whole.value, rel=1e-9)
    assert {each: values(part)[each] for each in fixed} == pytest.approx(fixed, rel=1e-12)
    np.testing.assert_allclose(part.log_prediction, whole.log_prediction, atol=1e-6)
    assert part.law.free == [k for k in range(len(whole.theta)) if k not in part.law.held] and len(part.law.held) == len(fixed)


@pytest.mark.parametrize(("law", "name"), [case for case in CASES if case[0] in ("chinchilla", "kaplan-nd", "overtraining")])
def test_the_profile_of_a_parameter_has_its_least_value_at_the_free_fit(free: dict[str, Fit], law: str, name: str) -> None:
    """To second order it rises as (step/σ)² times the variance, with σ the standard error that squares give."""
    whole, k = free[law], [parameter.name for parameter in LAWS[law].parameters].index(name)
    if LAWS[law].holds[name].needs:
        return
    profile = []
    for step in (-0.02, -0.01, 0.0, 0.01, 0.02):
        part = fitted(hold(LAWS[law], {name: whole.natural[k] * (1 + step)}))
        profile.append(part.value)
        assert part.converged
    assert profile[0] > profile[1] > profile[2] < profile[3] < profile[4]
    assert profile[2] == pytest.approx(whole.value, rel=1e-9)


def test_the_standard_error_of_what_is_left_is_that_of_one_parameter() -> None:
    """With alpha held, log N_c is a mean: its standard error is that of a mean, by the sandwich and by the bootstrap."""
    rng = np.random.default_rng(1)
    n = np.geomspace(1e4, 1e9, 60)
    loss = (8.8e13 / n) ** 0.076 * np.exp(0.01 * rng.standard_normal(60))
    fit = fit_table(
        pl.DataFrame({"n_params": n, "tokens": 1e12, "loss": loss}), "power-n", objective="squared", fixed={"alpha_N": 0.076}
    )
    each = np.log(n) + np.log(loss) / 0.076
    error = each.std(ddof=1) / np.sqrt(60)
    scale = fit["parameters"]["N_c"]
    assert np.log(scale["estimate"]) == pytest.approx(each.mean(), rel=1e-9)
    assert fit["covariance"]["N_c"]["stderr"] / scale["estimate"] == pytest.approx(error, rel=1e-3)
    assert scale["stderr"] / scale["estimate"] == pytest.approx(error, rel=0.1)
    assert fit["fixed"] == {"alpha_N": 0.076}
    for found in (fit["parameters"]["alpha_N"], fit["covariance"]["alpha_N"]):
        assert found["stderr"] is found["ci_low"] is found["ci_high"] is None
    assert fit["parameters"]["alpha_N"]["estimate"] == 0.076
    assert not any("alpha_N" in flag for flag in fit["flags"])


def chinchilla_runs() -> pl.DataFrame:
    return planted("chinchilla", 3).runs


def test_several_are_held_and_forecasts_keep_them() -> None:
    fixed = {"E": 1.69, "beta": 0.28}
    places = [{"n_params": 7e10, "tokens": 1.4e12}]
    fit = fit_table(chinchilla_runs(), "chinchilla", fixed=fixed, n_bootstrap=100, at=places)
    assert fit["fixed"] == fixed and {name: fit["parameters"][name]["estimate"] for name in fixed} == fixed
    assert all(fit["resamples"][name] == [fixed[name]] * 100 for name in fixed)
    (item,) = fit["predictions"]
    truth = 1.69 + 406.4 / 7e10**0.34 + 410.7 / 1.4e12**0.28
    assert item["run_low"] < truth < item["run_high"]
    # An exponent beyond what the forecast's prior takes is kept too.
    steep = fit_table(chinchilla_runs(), "chinchilla", fixed={"alpha": 6.0}, n_bootstrap=20, at=places)
    assert steep["parameters"]["alpha"]["estimate"] == 6.0 and steep["predictions"][0]["loss"] > 0


def test_held_parameters_need_fewer_points_and_sizes() -> None:
    """A, alpha and E are known: the runs of a single size tell B and beta."""
    d = np.geomspace(1e9, 1e11, 4)
    runs = pl.DataFrame({"n_params": 1e8, "tokens": d, "loss": 1.69 + 406.4 / 1e8**0.34 + 410.7 / d**0.28})
    fit = fit_table(runs, "chinchilla", fixed={"E": 1.69, "A": 406.4, "alpha": 0.34}, n_bootstrap=0)
    assert fit["parameters"]["B"]["estimate"] == pytest.approx(410.7, rel=1e-6)
    assert fit["parameters"]["beta"]["estimate"] == pytest.approx(0.28, rel=1e-6)
    assert not any("distinct values" in flag for flag in fit["flags"])
    with pytest.raises(StudyError, match="has 5 parameters and 4 points are left: it needs at least 6"):
        fit_table(runs, "chinchilla", n_bootstrap=0)


def test_resamples_leave_held_parameters_alone() -> None:
    law = hold(LAWS["chinchilla"], {"A": 406.4})
    fit = fitted(law)
    found = bootstrap(fit, [str(k) for k in range(len(fit.z))], 30, 0)
    np.testing.assert_allclose(found.natural[:, 1], 406.4, rtol=1e-12)
    assert found.natural[:, 3].std() > 0


def test_the_command_takes_residuals_and_what_is_held(tmp_path: Path) -> None:
    chinchilla_runs().write_csv(tmp_path / "runs.csv")
    out = tmp_path / "fit.json"
    command = ["fit", "--law", "chinchilla", "--table", str(tmp_path / "runs.csv"), "--out", str(out), "--bootstrap", "0"]
    assert app.main([*command, "--residuals", "raw", "--fix", "E=1.69,alpha=0.34", "--fix", "beta=0.28"]) == 0
    found = json.loads(out.read_text())
    assert found["fixed"] == {"E": 1.69, "alpha": 0.34, "beta": 0.28} and found["objective"]["residuals"] == "raw"
    assert found["parameters"]["A"]["estimate"] == pytest.approx(406.4, rel=0.02)


@pytest.mark.parametrize(
    ("law", "text", "words"),
    [
        ("chinchilla", "gamma=0.3", "law chinchilla has no parameter gamma: it has E, A, B, alpha, beta"),
        ("chinchilla", "E=-1", "E of law chinchilla is a positive number"),
        ("chinchilla", "alpha=11", "takes no such alpha, it is too small or too large"),
        ("kaplan-nd", "alpha_N=0.076,alpha_D=0", "alpha_D of law kaplan-nd is a positive number"),
        ("kaplan-nd", "alpha_N=5,alpha_D=0.1", "takes no such alpha_N"),
        ("overtraining", "eta=-0.1", "eta of law overtraining is a positive number"),
        ("chinchilla", "E=1,A=1,B=1,alpha=0.3,beta=0.3", "holds every parameter of law chinchilla"),
        ("kaplan-nd", "alpha_N=0.076", r"cannot hold alpha_N so: it can hold alpha_N \(with alpha_D\), alpha_D, N_c, D_c"),
        ("farseer", "a1=-0.1", "cannot hold a1 so: it can hold alpha, beta, gamma"),
        ("isoflop", "a=0.5", "law isoflop takes no --fix"),
        ("chinchilla", "E=high", "--fix has 'high', which is not a finite number"),
    ],
)
def test_what_cannot_be_held_is_said(law: str, text: str, words: str) -> None:
    made: Any = planted(law, 0)
    with pytest.raises(StudyError, match=words):
        fixed = {name: number("--fix", value) for name, value in mapping("--fix", "VALUE", [text]).items()}
        fit_table(made.runs, law, fixed=fixed, n_bootstrap=0)
