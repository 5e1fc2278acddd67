"""Intervals: planted parameters lie inside, trunks stay together, and what is not determined is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from fixtures.planted_laws import OFFSET, OVERTRAINING
from scalinglaws.common.errors import StudyError
from scalinglaws.laws import fit, uncertainty
from scalinglaws.laws.allocation import CriticalBatch, optimum
from scalinglaws.laws.catalogue import LAWS, PF_DAY
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.prediction import predict
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.uncertainty import bootstrap, interval

NOISE = 0.005
# Parameters of the laws for which the papers give no values.
PLANTED = {name: OFFSET[name] for name in ("power-n-offset", "power-d-offset", "power-c-offset")} | {"overtraining": OVERTRAINING}


def planted_table(name: str, seed: int = 0) -> pl.DataFrame:
    """Return runs with the published parameters, or those of PLANTED, and noise in the log loss."""
    rng = np.random.default_rng(seed)
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e10, 8), np.geomspace(2e7, 2e11, 7)))
    extra: dict[str, np.ndarray] = {}
    if name == "power-n":
        n = np.geomspace(1e3, 1e9, 24)
        d, loss = np.full(24, 1e11), (8.8e13 / n) ** 0.076
    elif name == "power-d":
        d = np.geomspace(2e7, 2e10, 24)
        n, loss = np.full(24, 1e9), (5.4e13 / d) ** 0.095
    elif name in OFFSET:
        truth = PLANTED[name]
        scale, exponent = next(key for key in truth if key.endswith("_c")), next(key for key in truth if key.startswith("alpha"))
        x = truth[scale] * np.geomspace(1e-2, 1e4, 48)
        n, d = {"N": (x, np.full(48, 1e13)), "D": (np.full(48, 1e9), x), "C": (np.sqrt(x / 6), np.sqrt(x / 6))}[scale[0]]
        loss = truth["E"] + (truth[scale] / x) ** truth[exponent]
    elif name == "overtraining":
        truth = PLANTED[name]
        compute, ratio = 6 * n * d, d / n
        loss = truth["E"] + (truth["a"] * ratio ** truth["eta"] + truth["b"] * ratio ** -truth["eta"]) * compute ** -truth["eta"]
    elif name == "power-cmin":
        # At B = B_crit the least compute is half of it. Sizes are right: all lie on the frontier.
        c = np.geomspace(1e-8, 1e0, 24)
        n, loss = 1.3e9 * c**0.73, (3.1e8 / c) ** 0.05
        d = 2 * c * PF_DAY / (6 * n)
        extra = {"batch_tokens": 2e8 / loss ** (1 / 0.21)}
    elif name == "power-c":
        # Above the frontier, each compute has runs of the wrong size too.
        c = np.repeat(np.geomspace(1e-8, 1e0, 24), 3)
        n = 1e9 * c**0.7 * np.tile([1.0, 3.0, 0.3], 24)
        d, loss = c * PF_DAY / (6 * n), (1.6e7 / c) ** 0.057 * np.tile([1.0, 1.1, 1.1], 24)
    elif name == "kaplan-nd":
        loss = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
    else:
        loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    noise = 0.0005 if name == "power-cmin" else NOISE  # B_crit follows the fifth power of the noisy loss
    loss = loss * np.exp(noise * rng.standard_normal(len(loss)))
    return pl.DataFrame({"n_params": n, "tokens": d, "dataset_tokens": d, "loss": loss, **extra})


def planted_curves() -> pl.DataFrame:
    """Return learning curves of ten sizes at batches of 2^19 tokens by the published L(N, S_min), with B_crit(L) of the paper."""
    rng, rows, batch = np.random.default_rng(8), [], 2.0**19
    for n in np.geomspace(1e5, 1e9, 10):
        s_min = np.geomspace(3e3, 2e5, 12)
        loss = (6.5e13 / n) ** 0.077 + (2.1e3 / s_min) ** 0.76
        steps = s_min * (1 + 2e8 / loss ** (1 / 0.21) / batch)
        measured = loss * np.exp(0.001 * rng.standard_normal(12))
        rows += [
            {"run": f"r{n:.0f}", "trunk": f"r{n:.0f}", "n_params": n, "step": s, "batch_tokens": batch, "tokens": s * batch}
            | {"loss_test": value, "phase": "warmup" if k == 0 else "stable"}
            for k, (s, value) in enumerate(zip(steps, measured, strict=True))
        ]
    return pl.DataFrame(rows)


def planted_fit(name: str, seed: int) -> dict[str, Any]:
    if name != "kaplan-ns":
        return fit_table(planted_table(name, seed), name, n_bootstrap=300, critical_batch=CriticalBatch(2e8, 0.21))
    curves = planted_curves().with_columns(flops=6 * pl.col("n_params") * pl.col("tokens"))
    runs = pl.DataFrame({"run": ["none"], "n_params": [1.0], "loss": [1.0]})
    fit = fit_table(runs, name, curves=curves, n_bootstrap=300, critical_batch=CriticalBatch(2e8, 0.21))
    assert fit["n_points"] == 110
    return fit


@pytest.mark.parametrize(
    "name", ["power-n", "power-d", "power-c", "power-cmin", "kaplan-nd", "kaplan-ns", "chinchilla", *PLANTED]
)
def test_planted_parameters_lie_inside_their_intervals(name: str) -> None:
    tables = 4 if name in PLANTED else 1
    misses = 0
    for seed in range(tables):
        fit = planted_fit(name, seed)
        for parameter, truth in (PLANTED.get(name) or fit["published"]).items():
            value, covariance = fit["parameters"].get(parameter), fit["covariance"].get(parameter)
            if value is not None:
                misses += not value["ci_low"] < truth < value["ci_high"]
                assert value["ci_low"] < value["estimate"] < value["ci_high"], parameter
                assert value["stderr"] > 0
                assert 0.4 < covariance["stderr"] / value["stderr"] < 2.5, parameter
    # Of four tables one may be the one in twenty; its parameters miss together.
    assert misses <= (len(fit["parameters"]) if tables > 1 else 0)
    if name == "power-n":
        assert fit["alternatives"]["forms"][0]["name"].startswith("power")
        assert fit["alternatives"]["verdict"].startswith("The least AICc is that of power")
    assert fit["r2"] > 0.9
    assert fit["held_out"]["error"] < 0.05
    assert not any("ot identified" in flag for flag in fit["flags"])


def test_intervals_cover_with_seven_trunks_that_share_noise() -> None:
    """In 60 tables of 7 sizes, whose three runs have losses that move together, 95 % intervals cover most times."""
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


def test_many_points_are_fitted_alike_by_way_of_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far starts see a sample and each resample is one Newton step: the fit is the same, and the intervals nearly."""
    table = pl.concat([planted_table("chinchilla", seed) for seed in range(8)]).with_row_index("trunk")
    whole = fit_table(table, "chinchilla", n_bootstrap=200)
    for module in (fit, uncertainty):
        monkeypatch.setattr(module, "MANY_POINTS", 100)
    monkeypatch.setattr(fit, "THINNED", 150)
    for trunks in (10, 10_000):
        monkeypatch.setattr(uncertainty, "MANY_TRUNKS", trunks)
        thin = fit_table(table, "chinchilla", n_bootstrap=200)
        assert any("one step of Newton's method" in flag for flag in thin["flags"])
        for name, found in thin["parameters"].items():
            assert found["estimate"] == pytest.approx(whole["parameters"][name]["estimate"], rel=1e-6)
            assert found["stderr"] == pytest.approx(whole["parameters"][name]["stderr"], rel=0.3)


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


def test_weights_follow_the_standard_errors() -> None:
    """Losses measured ten times as well count a hundred times as much: a fit of them alone is nearly the same."""
    table = planted_table("power-n").with_columns(loss_stderr=pl.Series([0.001, 0.1] * 12))
    table = table.with_columns(loss=pl.col("loss") * pl.Series([1.0, 1.05] * 12))
    good = fit_table(table.gather_every(2), "power-n", objective="squared", n_bootstrap=0)
    both = fit_table(table, "power-n", objective="squared", n_bootstrap=0, weighted=True)
    plain = fit_table(table, "power-n", objective="squared", n_bootstrap=0)
    found = [fit["parameters"]["N_c"]["estimate"] for fit in (good, both, plain)]
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[2] > 1.3 * found[0]
    for stderr in (0.0, 1e-300, 1e300, -1.0, None):
        with pytest.raises(StudyError, match="loss_stderr"):
            fit_table(table.with_columns(loss_stderr=pl.lit(stderr, pl.Float64)), "power-n", weighted=True)


def test_a_new_run_falls_inside_its_prediction_interval() -> None:
    """In 30 tables, the loss of a model ten times larger than any is compared with the interval that was predicted."""
    law_only = inside = 0
    for seed in range(30):
        rng = np.random.default_rng(100 + seed)
        n = np.geomspace(1e4, 1e8, 24)
        loss = (8.8e13 / n) ** 0.076 * np.exp(NOISE * rng.standard_normal(24))
        new = (8.8e13 / 1e9) ** 0.076 * np.exp(NOISE * rng.standard_normal())
        fit = best_fit(LAWS["power-n"], np.log(n)[:, None], np.log(loss), Objective("squared"))
        drawn = bootstrap(fit, [str(k) for k in range(24)], 100, seed)
        found = predict(fit, drawn, np.log([[1e9]]), seed)
        inside += found["run_low"][0] <= new <= found["run_high"][0]
        law_only += found["ci_low"][0] <= new <= found["ci_high"][0]
        assert found["run_low"][0] <= found["ci_low"][0] < found["ci_high"][0] <= found["run_high"][0]
    assert inside >= 26
    assert law_only < inside
    table = pl.DataFrame({"n_params": n, "loss": loss})
    fitted = fit_table(table, "power-n", objective="squared", n_bootstrap=100, seed=seed, at=[{"n_params": 1e9}])
    (same,) = fitted["predictions"]
    assert same["at"] == {"n_params": 1e9} and same["loss"] == pytest.approx(found["loss"][0])
    assert same["run_high"] == pytest.approx(found["run_high"][0], rel=2e-3)  # the trunks of the table are in another order
    with pytest.raises(StudyError, match="--at"):
        fit_table(table, "power-n", at=[{"tokens": 1e9}])


def test_windows_grow_to_the_largest() -> None:
    held = fit_table(planted_table("chinchilla"), "chinchilla", n_bootstrap=0)["held_out"]
    at = [window["at"] for window in held["windows"]]
    assert at == sorted(at) and at[-1] == pytest.approx(1e10)
    assert [window["n_fitted"] for window in held["windows"]] == [7 * k for k in range(8 - len(at), 8)]
    assert held["error"] == held["windows"][-1]["error"]


def test_each_convention_of_compute_has_its_own_exponent() -> None:
    table = planted_table("power-c").with_columns(flops_6nd=6 * pl.col("n_params") * pl.col("tokens"))
    table = table.with_columns(flops_attention=pl.col("flops_6nd") * (1 + (1e7 / pl.col("n_params")) ** 0.5))
    fit = fit_table(table, "power-c", n_bootstrap=50)
    assert fit["conventions"]["flops_6nd"] == fit["parameters"]
    other = fit["conventions"]["flops_attention"]["alpha_C"]["estimate"]
    own = fit["parameters"]["alpha_C"]["estimate"]
    assert other > own
    assert f"{other:.4f} with attention too ({other - own:+.4f})" in fit["conventions"]["difference"]


def test_conventions_change_the_best_size_too() -> None:
    """Where small models cost more than 6ND, N_opt grows faster with compute: isoflop and envelope say by how much."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 25), np.geomspace(1e7, 1e12, 100), indexing="ij"))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    names = [f"{value:.4g}" for value in n]
    points = pl.DataFrame({"run": names, "trunk": names, "n_params": n, "tokens": d, "loss": loss, "flops_6nd": 6 * n * d})
    runs = points.unique("trunk", keep="first", maintain_order=True)
    runs = runs.with_columns(flops_last_layer=pl.col("flops_6nd") * 1e3 * (1e6 / pl.col("n_params")) ** 0.5)
    found = fit_table(runs, "envelope", curves=points, n_bootstrap=0)["conventions"]
    # With a token's cost as N^0.5, D = C/N^0.5 and N_opt grows as C^(β/(α + β/2)).
    assert found["flops_last_layer"]["a"]["estimate"] == pytest.approx(0.28 / 0.48, abs=0.03)
    assert found["flops_6nd"]["a"]["estimate"] == pytest.approx(0.28 / 0.62, abs=0.03)
    assert "alpha_C is " in found["difference"] and " a is " in found["difference"]
    budgets = np.repeat(np.geomspace(1e14, 1e16, 5), 9)
    n = 0.1 * np.sqrt(budgets) * np.tile(np.geomspace(0.1, 10, 9), 5)
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * (budgets / (6 * n)) ** -0.28
    plan = pl.DataFrame({"n_params": n, "flops_6nd": budgets, "flops_last_layer": budgets * (1 + 1e-3 * (1e6 / n)), "loss": loss})
    found = fit_table(plan, "isoflop", n_bootstrap=0)["conventions"]
    assert found["flops_6nd"]["a"]["estimate"] == pytest.approx(0.28 / 0.62, abs=0.02) and found["difference"].startswith("a is ")


def test_isoflop_by_the_command_function() -> None:
    c = np.repeat(np.geomspace(1e18, 1e21, 7), 9)
    n = optimum(c, 406.4, 410.7, 0.34, 0.28)[0] * np.tile(np.geomspace(0.2, 5, 9), 7)
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * (c / 6 / n) ** -0.28
    loss *= np.exp(0.001 * np.random.default_rng(9).standard_normal(len(c)))
    fit = fit_table(pl.DataFrame({"n_params": n, "flops": c, "loss": loss}), "isoflop", n_bootstrap=200)
    a = fit["exponents"]["a"]
    assert a["ci_low"] < 0.28 / 0.62 < a["ci_high"]
    assert len(fit["profiles"]) == 7 and not any(profile["edge"] for profile in fit["profiles"])
    assert fit["held_out"]["error"] < 0.2
    with pytest.raises(StudyError, match="isoflop takes no --weighted"):
        fit_table(pl.DataFrame({"n_params": n, "flops": c, "loss": loss}), "isoflop", weighted=True)
    with pytest.raises(StudyError, match="fewer than 3 sizes"):
        fit_table(pl.DataFrame({"n_params": n[:2], "flops": c[:2], "loss": loss[:2]}), "isoflop")


def test_the_envelope_gives_the_best_size_of_each_compute() -> None:
    """The curves follow L = E + A/N^0.34 + B/D^0.28, so that the models on the envelope grow as C^0.45."""
    sizes, tokens = np.geomspace(1e6, 1e9, 40), np.geomspace(1e7, 1e12, 60)
    n, d = (grid.ravel() for grid in np.meshgrid(sizes, tokens, indexing="ij"))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    curves = pl.DataFrame({"run": [f"{v:.4g}" for v in n], "trunk": [f"{v:.4g}" for v in n], "n_params": n, "tokens": d})
    curves = curves.with_columns(flops=6 * pl.col("n_params") * pl.col("tokens"), loss=pl.Series(loss))
    runs = pl.DataFrame({"run": ["none"], "n_params": [1.0], "loss": [1.0]})
    fit = fit_table(runs, "envelope", curves=curves.filter(pl.col("flops").is_between(1e17, 5e20)), n_bootstrap=100)
    assert fit["exponents"]["a"]["estimate"] == pytest.approx(0.28 / 0.62, abs=0.02)
    assert fit["exponents"]["b"]["estimate"] == pytest.approx(0.34 / 0.62, abs=0.02)
