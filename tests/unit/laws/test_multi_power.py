"""The multi-power law against the sum over every step, finite differences, planted curves, and the authors' own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from printed import printed

from fixtures.planted_rates import MULTI_POWER, PEAK, WARM_UP, exact_curve, exact_loss, loss_curves, rates
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.loss_curves import blocks, errors
from scalinglaws.laws.multi_power import NAMES, _log_residuals, correlation_time, fit_curves, internal, predict
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.schedules import MOST_ROWS, Curve, curve, curves_of

PUBLISHED_CURVES = Path(__file__).parents[4] / "shared" / "validation" / "multipower"
TRUTH = internal([MULTI_POWER[name] for name in NAMES])
FITTED = {"cosine": 24_000, "constant": 24_000, "drop": 16_000}


def exact(kind: str, total: int) -> Curve:
    return curve(kind, *exact_curve(kind, total))


@pytest.mark.parametrize(("kind", "total"), [("cosine", 24_000), ("drop", 16_000), ("wsd", 20_000), ("constant", 8_000)])
def test_sums_over_rows_are_sums_over_steps(kind: str, total: int) -> None:
    each = exact(kind, total)
    assert predict(TRUTH, each, each.measured) == pytest.approx(each.loss[each.measured], abs=5e-4)


def test_a_rate_that_rises_again() -> None:
    rate = rates("constant", 12_000)
    rate[6000:] = 0.5 * PEAK
    rate[9000:] = np.minimum(PEAK, 0.5 * PEAK + (np.arange(len(rate) - 9000)) * PEAK / 4000)
    at = np.unique([*np.arange(WARM_UP, 12_001, 100), 5999, 6000])
    each = curve("again", at, rate[at], exact_loss(rate, at, MULTI_POWER))
    assert (each.drop < 0).any() and (each.drop > 0).sum() == 1
    assert predict(TRUTH, each, each.measured) == pytest.approx(each.loss, abs=5e-4)


def test_slopes_are_finite_differences() -> None:
    each = [exact(kind, total) for kind, total in FITTED.items()]
    _, slopes = _log_residuals(TRUTH, each)
    for k in range(len(NAMES)):
        step = 1e-5 * np.eye(len(NAMES))[k]
        found = (_log_residuals(TRUTH + step, each)[0] - _log_residuals(TRUTH - step, each)[0]) / 2e-5
        np.testing.assert_allclose(slopes[:, k], found, rtol=1e-5, atol=1e-9)


def test_a_schedule_of_every_step_is_thinned_and_means_the_same() -> None:
    rate = rates("wsd", 20_000)
    at = np.arange(WARM_UP, 20_001)
    whole = curve("whole", at, rate[at])
    assert len(whole.steps) <= MOST_ROWS + 5 and whole.steps[-1] == 20_000
    some = np.flatnonzero(np.isin(whole.steps, np.arange(WARM_UP, 20_001, 8)))
    np.testing.assert_allclose(
        predict(TRUTH, whole, some), exact_loss(rate, whole.steps[some].astype(int), MULTI_POWER), atol=5e-4
    )


def test_the_warm_up_is_that_before_the_first_row_or_in_the_rows() -> None:
    rate = rates("cosine", 24_000)
    at = np.arange(0, 24_001, 80)
    each, late = curve("with", at, rate[at]), exact("cosine", 24_000)
    assert each.steps[each.start] == WARM_UP and late.start == 0
    assert each.area[each.start] == pytest.approx(late.area[0], rel=1e-6)
    ends = [predict(TRUTH, one, np.array([len(one.steps) - 1]))[0] for one in (each, late)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_exact_curves_give_the_parameters_and_other_schedules() -> None:
    fit = fit_curves([exact(kind, total) for kind, total in FITTED.items()])
    assert fit.agreeing >= 2
    held = exact("wsd", 30_000)
    assert predict(fit.theta, held, held.measured) == pytest.approx(held.loss[held.measured], abs=1e-3)
    for name, value, truth in zip(NAMES, fit.natural, MULTI_POWER.values(), strict=True):
        assert value == pytest.approx(truth, rel=0.25 if name == "C" else 0.05), name


def test_a_stable_phase_predicts_the_decays_of_its_trunk() -> None:
    """A study's table of curves: rows of a trunk, and decays of its runs. Two short decays tell how a later one ends."""
    parts = []
    total, decay = (12_000, 18_000, 36_000), {}
    for steps in total:
        rate = rates("constant", steps)
        first = int(0.9 * steps)
        rate[first:] *= 1 - np.sqrt((np.arange(len(rate) - first)) / (steps - first + 1))
        at = np.arange(first, steps + 1, 100)
        decay[steps] = rate
        own = {"run": f"r{steps}", "trunk": "t", "n_params": 1e6, "phase": "decay", "step": at, "learning_rate": rate[at]}
        parts.append(pl.DataFrame(own | {"loss_test": exact_loss(rate, at, MULTI_POWER)}))
    at = np.arange(100, int(0.9 * total[-1]), 100)
    trunk = {
        "run": None,
        "trunk": "t",
        "n_params": 1e6,
        "phase": "stable",
        "step": at,
        "learning_rate": rates("constant", 36_000)[at],
    }
    parts.insert(
        0, pl.DataFrame(trunk | {"loss_test": exact_loss(decay[36_000], at, MULTI_POWER)}, schema_overrides={"run": pl.String})
    )
    table = pl.concat(parts)
    found = curves_of(table, {})
    assert list(found) == ["r12000", "r18000", "r36000", "t"]
    assert found["r12000"]["loss"].count() == 13 and found["t"]["loss"].null_count() == 0
    fit = fit_table(table, "multi-power", held_out="run = 'r36000'", n_bootstrap=0)
    assert {row["run"]: row["fitted"] for row in fit["curves"]} == {"t": True, "r12000": True, "r18000": True, "r36000": False}
    assert abs(fit["held_out"]["error"]) < 0.003


def test_curves_that_cannot_be_fitted_are_told() -> None:
    table, _ = loss_curves(np.random.default_rng(0), {"constant": 24_000})
    with pytest.raises(StudyError, match="no rate changes after its warm-up"):
        fit_table(table, "multi-power")
    empty = fit_table(table, "multi-power", allow_empty=True)
    assert empty["parameters"] == {} and "no rate changes" in empty["flags"][-1]
    with pytest.raises(StudyError, match="no column learning_rate: map its column"):
        fit_table(table.drop("learning_rate"), "multi-power")
    with pytest.raises(StudyError, match="row 3 has no number in the column steps"):
        fit_table(table.with_columns(pl.when(pl.int_range(pl.len()) != 2).then("step").alias("step")), "multi-power")
    with pytest.raises(StudyError, match="curve constant: its steps must ascend"):
        fit_table(pl.concat([table, table]), "multi-power")
    with pytest.raises(StudyError, match="takes no --at"):
        fit_table(table, "multi-power", at=[{"steps": 1.0}])
    with pytest.raises(StudyError, match="takes no --held-out"):
        fit_table(pl.DataFrame({"n_params": [1e6], "tokens": [1e8], "loss": [3.0]}), "chinchilla", held_out="n_params > 1")
    with pytest.raises(StudyError, match="no curve left"):
        fit_table(table, "multi-power", where="run = 'other'")


def test_blocks_are_longer_than_the_residuals_are_correlated() -> None:
    rng = np.random.default_rng(1)
    white, slow = rng.standard_normal(400), np.repeat(rng.standard_normal(20), 20)
    assert correlation_time(white) < 2 and 10 < correlation_time(slow) < 40
    found = blocks(np.concatenate([white, slow]), [400, 400])
    assert len(set(found[:400])) == 40 and 4 <= len(set(found[400:])) <= 20
    assert (np.diff(found) >= 0).all() and set(found[:400]).isdisjoint(found[400:])


def test_the_command_fits_and_predicts_a_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = loss_curves(np.random.default_rng(0), FITTED)
    paths = {name: tmp_path / name for name in ("curves.csv", "fit.json", "wsd.csv", "predicted.csv")}
    table.sample(fraction=1.0, shuffle=True, seed=3).write_csv(paths["curves.csv"])
    fit = ["fit", "--law", "multi-power", "--bootstrap", "50", "--table", str(paths["curves.csv"])]
    assert main([*fit, "--out", str(paths["fit.json"])]) == 0
    stored = json.loads(paths["fit.json"].read_text())
    assert stored["parameters"]["L0"]["ci_low"] < stored["parameters"]["L0"]["estimate"] < stored["parameters"]["L0"]["ci_high"]
    assert stored == json.loads(json.dumps(fit_table(table, "multi-power", n_bootstrap=50)))
    at, rate, loss = exact_curve("wsd", 30_000)
    pl.DataFrame({"step": at, "lr": rate, "loss": loss}).write_csv(paths["wsd.csv"])
    ask = ["curve", "--fit", str(paths["fit.json"]), "--schedule", str(paths["wsd.csv"]), "--columns", "learning_rate=lr"]
    assert main([*ask, "--out", str(paths["predicted.csv"])]) == 0
    assert "mean absolute error" in capsys.readouterr().err
    assert main([*ask, "--json"]) == 0
    shown = printed("curve", capsys.readouterr().out)
    assert shown["curve"] == pl.read_csv(paths["predicted.csv"]).to_dicts() and 0 < shown["errors"]["mae"] < 0.02
    predicted = pl.read_csv(paths["predicted.csv"])
    found = {name: predicted[name].to_numpy() for name in predicted.columns}
    assert np.abs(found["loss"] - loss).max() < 0.02
    for below, above in (("run_low", "ci_low"), ("ci_low", "loss"), ("loss", "ci_high"), ("ci_high", "run_high")):
        assert (found[below] <= found[above] + 1e-12).all(), (below, above)
    assert ((found["run_low"] <= loss) & (loss <= found["run_high"])).mean() > 0.95
    paths["fit.json"].write_text('{"law": "power-n"}')
    assert main(ask) == 1 and "not the result of fit --law multi-power" in capsys.readouterr().err


SIZES = {
    "25": ((3.040, 0.525, 0.508, 363.8, 2.066, 0.583, 0.641), (0.9988, 0.00376, 0.00465)),
    "400": ((2.375, 0.654, 0.429, 523.4, 2.025, 0.594, 0.635), (0.9978, 0.00484, 0.00730)),
}


@pytest.mark.skipif(not PUBLISHED_CURVES.is_dir(), reason="the published loss curves are not here")
@pytest.mark.parametrize("size", SIZES)
def test_the_published_errors_are_found_again(size: str) -> None:
    """Of the published parameters, rounded as they are, and of a fit to the three curves that the authors fitted, on six others.

    The authors' parameters are an early stop of their optimizer: at the minimum of the same objective the fitted curves are met
    better, and a cosine of three times the steps worse (docs/rates.md). So the fit may err by a fifth more than they report.
    """
    parameters, (r2, mae, rmse) = SIZES[size]
    files = sorted((PUBLISHED_CURVES / size).glob("*.csv"))
    table = pl.concat([pl.read_csv(path).with_columns(run=pl.lit(path.stem)) for path in files])
    held = "run not in ('cosine_24000', 'constant_24000', 'wsdcon_9')"
    found = [
        errors(internal(parameters), curve(path.stem, *pl.read_csv(path).get_columns()))
        for path in files
        if path.stem not in ("cosine_24000", "constant_24000", "wsdcon_9")
    ]
    means = {name: np.mean([each[name] for each in found]) for name in found[0]}
    assert (means["r2"], means["mae"], means["rmse"]) == (
        pytest.approx(r2, abs=2e-4), pytest.approx(mae, abs=3e-4), pytest.approx(rmse, abs=3e-4)
    )  # fmt: skip
    fit = fit_table(table, "multi-power", columns={"learning_rate": "lr"}, held_out=held, n_bootstrap=0)
    assert len(fit["curves"]) == 9 and fit["judged"]["r2"] > r2 - 1.2e-3
    assert fit["judged"]["mae"] < 1.2 * mae and fit["judged"]["rmse"] < 1.1 * rmse
