"""Raw residuals, differences of losses in nats: against scipy, closed forms and the published fits that are made by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.refits import OF_LAW
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import read_table

GADRE = Path(__file__).parents[4] / "shared" / "validation" / "forecast" / "gadre.csv"
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
# Gadre et al. 2024, table 2: the runs that their laws are fitted to, as size, and tokens per parameter.
SMALL_RUNS = ((11e6, 20), (79e6, 20), (154e6, 20), (411e6, 20), (11e6, 320))


def table(noise: float, seed: int = 0, repeats: int = 1) -> pl.DataFrame:
    """Return runs by Hoffmann's law whose losses have equal noise in nats."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e10, 8), np.geomspace(1e8, 1e12, 7)))
    n, d = np.tile(n, repeats), np.tile(d, repeats)
    loss = TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    return pl.DataFrame({"n_params": n, "tokens": d, "loss": loss + noise * np.random.default_rng(seed).standard_normal(len(n))})


@pytest.mark.parametrize("objective", ["squared", "huber"])
def test_scipy_finds_the_same_fit_of_raw_residuals(objective: str) -> None:
    runs, delta = table(0.02), 0.01
    n, d, loss = runs.select("n_params", "tokens", "loss").to_numpy().T
    fit = best_fit(LAWS["chinchilla"], np.log(np.column_stack([n, d])), np.log(loss), Objective(objective, delta, "raw"))

    def residuals(log_ratio: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = np.array(list(TRUTH.values())) * np.exp(log_ratio)
        return np.asarray(e + a * n**-alpha + b * d**-beta - loss)

    options: Any = {"loss": "huber", "f_scale": delta} if objective == "huber" else {}
    other = least_squares(residuals, np.zeros(5), x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15, max_nfev=5000, **options)
    value = other.cost if objective == "huber" else 2 * other.cost
    assert fit.converged
    assert fit.value == pytest.approx(value, rel=1e-7) and fit.value <= value * (1 + 1e-9)
    np.testing.assert_allclose(np.log(fit.natural / list(TRUTH.values())), other.x, atol=1e-3)


def test_the_mean_and_the_median_of_losses() -> None:
    """With all else held, E is the mean of what is left of the losses under squares, and a median under absolute values."""
    runs = table(0.05)
    others = {name: value for name, value in TRUTH.items() if name != "E"}
    left = runs["loss"] - TRUTH["A"] * runs["n_params"] ** -TRUTH["alpha"] - TRUTH["B"] * runs["tokens"] ** -TRUTH["beta"]
    for objective, expected in (("squared", left.mean()), ("absolute", left.median())):
        fit = fit_table(runs, "chinchilla", objective=objective, residuals="raw", fixed=others, n_bootstrap=0)
        spread = 1e-9 if objective == "squared" else np.diff(np.sort(left.to_numpy())[27:29]).item()
        assert fit["parameters"]["E"]["estimate"] == pytest.approx(expected, abs=spread)
        assert fit["objective"]["residuals"] == "raw"


def test_intervals_and_r2_are_those_of_the_losses() -> None:
    """Of a mean, the standard error is s/sqrt(n) in nats, by the sandwich and by the bootstrap."""
    runs = table(0.05)
    others = {name: value for name, value in TRUTH.items() if name != "E"}
    fit = fit_table(runs, "chinchilla", objective="squared", residuals="raw", fixed=others, n_bootstrap=1000)
    predicted = np.array([point["predicted"] for point in fit["points"]])
    loss = np.array([point["loss"] for point in fit["points"]])
    n, error = len(loss), (loss - predicted).std(ddof=1)
    assert fit["covariance"]["E"]["stderr"] == pytest.approx(error / np.sqrt(n), rel=1e-4)
    assert fit["parameters"]["E"]["stderr"] == pytest.approx(error / np.sqrt(n), rel=0.1)
    assert fit["r2"] == pytest.approx(1 - ((loss - predicted) ** 2).sum() / ((loss - loss.mean()) ** 2).sum(), rel=1e-9)


def test_a_new_run_scatters_in_nats() -> None:
    """Its interval is as wide at a low loss as at a high one, where residuals of the logarithm make it grow with the loss."""
    places = [{"n_params": n, "tokens": d} for n, d in ((2e6, 2e8), (5e9, 5e11))]
    widths = {}
    for residuals in ("raw", "log"):
        fit = fit_table(table(0.02, repeats=4), "chinchilla", residuals=residuals, delta=0.01, n_bootstrap=200, at=places)
        widths[residuals] = [item["run_high"] - item["run_low"] for item in fit["predictions"]]
    low, high = (fit["predictions"][k]["law_loss"] for k in (1, 0))
    assert widths["raw"][0] / widths["raw"][1] == pytest.approx(1, abs=0.15)
    assert widths["log"][0] / widths["log"][1] == pytest.approx(high / low, rel=0.25) and high > 2 * low


def test_weights_of_raw_residuals_are_those_of_the_losses() -> None:
    """A mean with weights: each loss counts by the inverse square of its standard error in nats."""
    rng = np.random.default_rng(3)
    stderr = rng.uniform(0.01, 0.1, 56)
    runs = table(0.0).with_columns(
        loss_stderr=pl.Series(stderr), loss=pl.col("loss") + pl.Series(stderr * rng.standard_normal(56))
    )
    others = {name: value for name, value in TRUTH.items() if name != "E"}
    left = runs["loss"] - TRUTH["A"] * runs["n_params"] ** -TRUTH["alpha"] - TRUTH["B"] * runs["tokens"] ** -TRUTH["beta"]
    fit = fit_table(runs, "chinchilla", objective="squared", residuals="raw", fixed=others, n_bootstrap=0, weighted=True)
    assert fit["parameters"]["E"]["estimate"] == pytest.approx(np.average(left, weights=stderr**-2), rel=1e-9)


def test_laws_of_one_variable_are_compared_by_raw_residuals() -> None:
    n = np.geomspace(1e4, 1e9, 24)
    loss = 1.5 + (1e7 / n) ** 0.3 + 0.003 * np.random.default_rng(4).standard_normal(24)
    fit = fit_table(pl.DataFrame({"n_params": n, "tokens": 1e11, "loss": loss}), "power-n", residuals="raw", n_bootstrap=0)
    assert fit["alternatives"]["forms"][0]["name"] == "power with offset"
    found = fit["alternatives"]["forms"][0]["parameters"]
    assert found["E"] == pytest.approx(1.5, abs=0.02)


def test_unknown_residuals_are_named() -> None:
    with pytest.raises(StudyError, match="residuals 'nats' are unknown: use one of log, raw"):
        fit_table(table(0.01), "chinchilla", residuals="nats")
    with pytest.raises(StudyError, match="residuals are in nats per token"):
        Objective("huber", -1.0, "raw")


@pytest.mark.parametrize(("series", "text"), [("c4_original", "C4"), ("rpj", "RedPajama"), ("rw_original", "RefinedWeb")])
def test_published_fits_of_over_training_are_found_again(series: str, text: str) -> None:
    """The authors fit four parameters to the losses of five small runs by squares."""
    if not GADRE.exists():
        pytest.skip(f"needs the published table {GADRE.name}, which is no part of the repository")
    runs = read_table(GADRE).filter(pl.col("series") == series)
    size, ratio = runs["n_params"].to_numpy(), (runs["tokens"] / runs["n_params"]).to_numpy()
    used = [any(abs(n / m - 1) < 0.1 and abs(r / of - 1) < 0.1 for m, of in SMALL_RUNS) for n, r in zip(size, ratio, strict=True)]
    fit = fit_table(runs.filter(pl.Series(used)), "overtraining", objective="squared", residuals="raw", n_bootstrap=0)
    published = next(refit.values for refit in OF_LAW["overtraining"] if refit.of == text)
    for name, value in published.items():
        assert fit["parameters"][name]["estimate"] == pytest.approx(value, rel=5e-3), name
