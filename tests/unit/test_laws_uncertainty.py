"""Intervals: planted parameters lie inside, trunks stay together, and what is not determined is said."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from scalinglaws.laws.command import fit_table
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.forms import LAWS, PF_DAY
from scalinglaws.laws.uncertainty import bootstrap, interval

NOISE = 0.005


def planted_table(name: str, seed: int = 0) -> pl.DataFrame:
    """Runs with the paper's own law and noise in log loss."""
    rng = np.random.default_rng(seed)
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e10, 8), np.geomspace(2e7, 2e11, 7)))
    if name == "power-n":
        n = np.geomspace(1e3, 1e9, 24)
        d, loss = np.full(24, 1e11), (8.8e13 / n) ** 0.076
    elif name == "power-d":
        d = np.geomspace(2e7, 2e10, 24)
        n, loss = np.full(24, 1e9), (5.4e13 / d) ** 0.095
    elif name == "power-c":
        # Above the frontier, each compute has runs of the wrong size too.
        c = np.repeat(np.geomspace(1e-8, 1e0, 24), 3)
        n = 1e9 * c**0.7 * np.tile([1.0, 3.0, 0.3], 24)
        d, loss = c * PF_DAY / (6 * n), (1.6e7 / c) ** 0.057 * np.tile([1.0, 1.1, 1.1], 24)
    elif name == "kaplan-nd":
        loss = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
    else:
        loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    loss = loss * np.exp(NOISE * rng.standard_normal(len(loss)))
    return pl.DataFrame({"n_params": n, "tokens": d, "dataset_tokens": d, "loss": loss})


@pytest.mark.parametrize("name", ["power-n", "power-d", "power-c", "kaplan-nd", "chinchilla"])
def test_planted_parameters_lie_inside_their_intervals(name: str) -> None:
    fit = fit_table(planted_table(name), name, n_bootstrap=300)
    for parameter, truth in fit["published"].items():
        value = fit["parameters"].get(parameter)
        if value is not None:
            assert value["ci_low"] < truth < value["ci_high"], parameter
            assert value["ci_low"] < value["estimate"] < value["ci_high"], parameter
            assert value["stderr"] > 0
    assert fit["r2"] > 0.9
    assert fit["held_out"]["error"] < 0.05
    assert not any("ot identified" in flag for flag in fit["flags"])


def test_intervals_cover_with_seven_trunks_that_share_noise() -> None:
    """60 tables, 7 sizes with three runs each whose losses move together: 95 % intervals cover most times."""
    law, rng = LAWS["power-n"], np.random.default_rng(5)
    log_n = np.log(np.repeat(np.geomspace(1e5, 1e8, 7), 3))[:, None]
    trunk = [str(k // 3) for k in range(21)]
    hits = naive = 0
    for k in range(60):
        shared = np.repeat(0.005 * rng.standard_normal(7), 3)
        y = 0.076 * (np.log(8.8e13) - log_n[:, 0]) + shared + 0.002 * rng.standard_normal(21)
        fit = best_fit(law, log_n, y, Objective("squared"))
        for trunks, counted in ((trunk, True), ([str(i) for i in range(21)], False)):
            found = bootstrap(fit, trunks, 100, k)
            value = interval(fit.natural[0], found.natural[:, 0], False, found.n_trunks)
            inside = value["ci_low"] <= 0.076 <= value["ci_high"]
            hits, naive = hits + (inside and counted), naive + (inside and not counted)
    assert hits >= 53
    assert naive < hits


def test_a_trunk_is_resampled_whole() -> None:
    law, rng = LAWS["power-n"], np.random.default_rng(6)
    log_n = np.log(np.repeat([1e5, 1e6, 1e8], 4))[:, None]
    y = 1 - 0.1 * (log_n[:, 0] - 12) + 0.01 * rng.standard_normal(12)
    found = bootstrap(best_fit(law, log_n, y, Objective("squared")), [str(i // 4) for i in range(12)], 500, 0)
    assert found.n_trunks == 3
    # Any two trunks give the line through their means, however often each is drawn; all three give the fit itself.
    x, mean = log_n[::4, 0], y.reshape(3, 4).mean(axis=1)
    slopes = [(mean[i] - mean[j]) / (x[j] - x[i]) for i, j in ((0, 1), (0, 2), (1, 2))]
    slopes.append(-np.polyfit(log_n[:, 0], y, 1)[0])
    np.testing.assert_allclose(np.unique(np.round(found.natural[:, 0], 7)), np.sort(slopes), atol=1e-7)
    # One draw in nine is one trunk alone, which no line can be fitted to.
    assert found.degenerate == pytest.approx(500 / 9, abs=25)
    assert len(found.natural) + found.degenerate == 500


def test_the_correction_for_few_trunks_vanishes_with_many() -> None:
    values = np.random.default_rng(7).standard_normal(4000)
    few, many = interval(0.0, values, False, 5), interval(0.0, values, False, 5000)
    assert few["ci_high"] > 1.3 * many["ci_high"]
    assert many["ci_high"] == pytest.approx(np.quantile(values, 0.975), rel=1e-2)
    assert np.isnan(interval(0.0, values, False, 2)["ci_low"])


def test_flags_say_what_is_not_determined() -> None:
    table = planted_table("chinchilla")
    second = table["n_params"].unique().sort()[1]
    narrow = fit_table(table.filter(pl.col("n_params") <= second), "chinchilla", n_bootstrap=50)
    assert any("n_params has 2 distinct values" in flag for flag in narrow["flags"])
    assert narrow["held_out"]["error"] is None
    assert any("Held-out" in flag for flag in narrow["flags"])
    sizes = {"n_params": [1e5, 1e6, 1e7, 1e8, 1e9], "tokens": [1e9] * 5}
    flat = pl.DataFrame(sizes | {"loss": [2.0, 2.01, 2.02, 2.03, 2.04]})
    fit = fit_table(flat, "power-n", n_bootstrap=50)
    assert any("Bound hit: alpha_N" in flag for flag in fit["flags"])
    assert any("Only 5 trunks" in flag for flag in fit["flags"])
    assert fit["parameters"]["N_c"]["estimate"] is None


def test_no_constant_in_the_data_means_a_vanishing_term() -> None:
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e5, 1e8, 6), np.geomspace(1e8, 1e11, 6)))
    table = pl.DataFrame({"n_params": n, "tokens": d, "loss": 60 * n**-0.3 + 200 * d**-0.25})
    fit = fit_table(table, "chinchilla", n_bootstrap=0)
    assert fit["parameters"]["alpha"]["estimate"] == pytest.approx(0.3, rel=1e-3)
    assert any("term of E vanishes" in flag for flag in fit["flags"])
