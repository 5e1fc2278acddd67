"""Forecasts beyond the data: against kriging written out as one linear system, and on tables where a law is true or wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from scalinglaws.cli.laws import quantity
from scalinglaws.common.errors import StudyError
from scalinglaws.laws import extrapolation
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.extrapolation import LAW_ERROR, NOISE, REDUCIBLE, estimate
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.prediction import NEAR, predict, within
from scalinglaws.laws.refits import OF_LAW
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.uncertainty import bootstrap
from scalinglaws.laws.windows import PRIOR_WINDOWS, forecaster


def table(bend: float = 0.0, noise: float = 0.003, seed: int = 0) -> pl.DataFrame:
    """Return six sizes with five budgets each by L = 1.7 + 400/N^0.34 + 400/D^0.28, plus a reducible loss that bends with C."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 5)))
    return pl.DataFrame({"n_params": n, "tokens": d, "loss": loss_at(n, d, bend, noise, seed)})


def loss_at(n: Any, d: Any, bend: float = 0.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return the planted losses (n,)."""
    reducible = 400 * n**-0.34 + 400 * d**-0.28
    drift = 1 + bend * np.sin(np.log(n * d) / 1.5)
    return np.asarray((1.7 + reducible * drift) * np.exp(noise * np.random.default_rng(seed).standard_normal(np.shape(n))))


def fitted(runs: pl.DataFrame) -> Any:
    x = np.log(runs.select("n_params", "tokens").to_numpy())
    return best_fit(LAWS["chinchilla"], x, np.log(runs["loss"].to_numpy()), Objective())


def test_a_linear_law_is_kriged_as_the_system_of_equations_says() -> None:
    """Of log L = c − e·log N the estimate is universal kriging: weights from one system with the two constraints of the drift."""
    rng = np.random.default_rng(1)
    x, places = np.sort(rng.uniform(10, 20, 12))[:, None], np.array([[14.3], [20.0], [24.0]])
    y = 4 - 0.08 * x[:, 0] + 0.01 * rng.standard_normal(12)
    mean, deviation = estimate(LAWS["power-n"], x, y, np.ones(12)).forecast(places)
    size = (LAW_ERROR * REDUCIBLE) ** 2
    drift = np.column_stack([np.ones(12), x])
    system = np.block([[size * np.abs(x - x.T) - NOISE**2 * np.eye(12), drift], [drift.T, np.zeros((2, 2))]])
    for place, found, spread in zip(places[:, 0], mean, deviation, strict=True):
        right = np.concatenate([size * np.abs(x[:, 0] - place), [1, place]])
        solved = np.linalg.solve(system, right)
        assert found == pytest.approx(solved[:12] @ y, abs=1e-7)
        assert spread**2 == pytest.approx(solved @ right + NOISE**2, rel=1e-5)


def test_priors_decide_what_a_table_does_not_tell() -> None:
    """Where a single budget has been run, the exponent of tokens is that of published fits; E stays within reach of its prior."""
    runs = table().filter(pl.col("tokens") == 1e9)
    fit = fitted(runs)
    theta = estimate(fit.law, fit.z + fit.centre, fit.log_loss, fit.weights).theta
    assert theta[4] == pytest.approx(extrapolation.EXPONENT, rel=0.2)
    assert 0.3 < np.exp(theta[0] - fit.log_loss.mean()) < 0.9
    decayed = [each for each in OF_LAW["chinchilla"] if each.of != "Gemstones, before the decay"]
    published = np.log([[each.values["alpha"], each.values["beta"]] for each in decayed])
    assert np.exp(published.mean()) == pytest.approx(extrapolation.EXPONENT, abs=0.005)
    assert published.std(ddof=1) < extrapolation.EXPONENT_SPREAD
    fits = [[each.values[name] for name in ("E", "A", "B", "alpha", "beta")] for each in decayed]
    shares = [e / (e + a / 1e9**alpha + b / 2e10**beta) for e, a, b, alpha, beta in fits]
    assert min(shares) == pytest.approx(0.66, abs=0.005) and max(shares) == pytest.approx(0.74, abs=0.005)
    measured = np.array(list(extrapolation.MEASURED.values()))
    assert np.sqrt((measured**2).mean()) < LAW_ERROR < measured.max()


def test_windows_widen_the_interval_of_a_law_that_is_wrong() -> None:
    """Larger runs are inside where the law is true, and also where its reducible loss bends, by wider intervals."""
    n, d = np.array([1e9, 4e9, 2e10]), np.array([3e11, 4e11, 1e12])
    scales = []
    for bend in (0.0, 0.15):
        checked = forecaster(fitted(table(bend)))
        _, low, high = checked.interval(np.log(np.column_stack([n, d])))
        truth = np.log(loss_at(n, d, bend))
        assert ((low < truth) & (truth < high)).all() and (np.diff(high - low) > 0).all()
        assert [window.n_fitted for window in checked.windows] == sorted((w.n_fitted for w in checked.windows), reverse=True)
        assert all(window.n_fitted + window.n == 30 for window in checked.windows) and checked.reach > 100
        squares = sum(window.ratio**2 for window in checked.windows)
        assert checked.scale**2 * (PRIOR_WINDOWS + len(checked.windows)) == pytest.approx(PRIOR_WINDOWS + squares)
        scales.append(checked.scale)
    assert scales[0] < 1 < scales[1]


def test_a_prediction_goes_over_at_the_edge_of_the_data() -> None:
    """Within the data the intervals are those of resamples and residuals, and the edge is no jump."""
    fit = fitted(table())
    drawn = bootstrap(fit, [str(k) for k in range(30)], 50, 0)
    edge = np.log([[1e9, 1e11]])
    inside, near, far = edge - 0.5, np.add(edge, [[5e-7, 0.0]]), edge + np.log(NEAR)
    assert predict(fit, drawn, inside, 0) == within(fit, drawn, inside, 0)
    at, beyond = predict(fit, drawn, edge, 0), predict(fit, drawn, near, 0)
    for name in ("loss", "run_low", "run_high", "ci_low", "ci_high"):
        assert beyond[name] == pytest.approx(at[name], rel=1e-4)
    _, low, high = forecaster(fit).interval(far)
    found = predict(fit, drawn, far, 0)
    assert [found["run_low"], found["run_high"]] == [pytest.approx(np.exp(low)), pytest.approx(np.exp(high))]
    assert found["factor"] == pytest.approx(NEAR**2) and found["reach"][0] == forecaster(fit).reach
    alone = predict(fit, None, far, 0)
    assert alone["loss"] == pytest.approx(found["loss"]) and np.isnan([alone["run_low"], alone["ci_low"]]).all()


def test_the_optimum_of_a_compute_and_what_windows_could_not_check() -> None:
    runs = table(noise=0.0)
    fit = fit_table(runs, "chinchilla", n_bootstrap=50, at=[{"flops": 1e22}, {"n_params": 1e12, "tokens": 1e13}])
    best, vast = fit["predictions"]
    # N_opt = (αA/(βB))^(1/(α + β))·(C/6)^(β/(α + β)), Hoffmann et al. 2022 (4).
    n_opt = (0.34 / 0.28) ** (1 / 0.62) * (1e22 / 6) ** (0.28 / 0.62)
    assert best["optimum"]["n_params"] == pytest.approx(n_opt, rel=0.02)
    assert 6 * best["optimum"]["n_params"] * best["optimum"]["tokens"] == pytest.approx(1e22)
    assert best["loss"] == pytest.approx(loss_at(n_opt, 1e22 / 6 / n_opt), rel=0.01)
    assert best["factor"] == pytest.approx(1e22 / 6e20) and best["flag"] is None and "optimum" not in vast
    assert vast["flag"] in fit["flags"] and "1e+05 times the n_params × tokens" in vast["flag"]
    with pytest.raises(StudyError, match="flops=VALUE"):
        fit_table(runs, "chinchilla", n_bootstrap=0, at=[{"n_params": 1e9}])
    assert [quantity("--at", text) for text in ("20M", "1.5G", "1e21", "2^10", "0.5")] == [2e7, 1.5e9, 1e21, 1024, 0.5]
    with pytest.raises(StudyError, match="--at has '20X'"):
        quantity("--at", "20X")
