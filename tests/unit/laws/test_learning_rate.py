"""Best rates and batch sizes: planted surfaces, numpy's parabola, the sweep of docs/learning-rate.md, and Step Law's table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fixtures.planted_rates import STEP_LAW, sweeps
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.rate_optima import minimum, optima, quadratic
from scalinglaws.laws.result import fit_table

PUBLISHED_RUNS = Path(__file__).parents[4] / "shared" / "validation" / "steplaw" / "dense.csv"
# N, learning rate and test loss of the sweep in docs/learning-rate.md: one batch size, 4M tokens.
SWEEP = {
    1_536: {8e-3: 2.429, 1.6e-2: 2.324, 3.2e-2: 2.321, 6.4e-2: 2.341, 0.128: 2.361},
    6_144: {8e-3: 2.049, 1.6e-2: 2.014, 3.2e-2: 2.026, 6.4e-2: 2.090, 0.128: 2.175},
    24_576: {4e-3: 1.814, 8e-3: 1.776, 1.6e-2: 1.767, 3.2e-2: 1.814},
    82_944: {4e-3: 1.638, 8e-3: 1.620, 1.6e-2: 1.655, 3.2e-2: 1.802},
    196_608: {1e-3: 1.723, 2e-3: 1.605, 4e-3: 1.563, 8e-3: 1.604, 1.6e-2: 1.758},
    442_368: {1e-3: 1.604, 2e-3: 1.511, 4e-3: 1.520, 8e-3: 1.581, 1.6e-2: 2.404},
}


def own_sweep() -> pl.DataFrame:
    rows = [(n, 4e6, rate, 2048.0, loss) for n, losses in SWEEP.items() for rate, loss in losses.items()]
    return pl.DataFrame(rows, schema=["n_params", "tokens", "learning_rate", "batch_tokens", "loss"], orient="row")


def estimates(fit: dict) -> dict[str, float]:
    return {name: value["estimate"] for name, value in fit["parameters"].items()}


def test_exact_quadratics_give_the_exact_law() -> None:
    table, truth = sweeps(np.random.default_rng(0), scatter=0.0, noise=0.0)
    fit = fit_table(table.sample(fraction=1.0, shuffle=True, seed=1), "learning-rate", n_bootstrap=0)
    assert estimates(fit) == pytest.approx(truth, rel=1e-6)
    assert len(fit["optima"]) == 12 and all(each["scatter"] < 1e-9 for each in fit["optima"])
    assert fit["checks"]["batch_N"]["estimate"] == pytest.approx(0.0, abs=1e-7)
    assert fit["held_out"]["error"] == pytest.approx(0.0, abs=1e-6)


def test_the_parabola_is_that_of_numpy() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, 30)
    y = 1 + 0.3 * (x - 0.2) ** 2 + 0.01 * rng.standard_normal(30)
    found = quadratic(x[:, None], y, np.ones(30))
    assert not isinstance(found, str)
    at, value, scatter = found
    c2, c1, c0 = np.polyfit(x, y, 2)
    assert (at[0], value) == pytest.approx((-c1 / (2 * c2), c0 - c1**2 / (4 * c2)))
    assert scatter == pytest.approx(np.sqrt(((y - np.polyval([c2, c1, c0], x)) ** 2).sum() / 27))
    assert quadratic(x[:2, None], y[:2], np.ones(2)) == "too few runs lie about its least loss"
    assert quadratic(x[:, None], -y, np.ones(30)) == "the loss does not curve upwards about its least value"


def test_points_far_from_the_minimum_do_not_move_it() -> None:
    """A diverged run, or a surface that is no parabola far away, lies outside the window."""
    x = np.log(np.geomspace(1e-4, 1e-1, 13))
    y = 1 + 0.02 * (x - np.log(2e-3)) ** 2
    y[-2:] += 0.5
    found = minimum(x[:, None], y)
    assert not isinstance(found, str) and np.exp(found[0][0]) == pytest.approx(2e-3, rel=1e-6)


def test_optima_beyond_the_rates_are_left_out() -> None:
    table, truth = sweeps(np.random.default_rng(3), scatter=0.0, noise=0.0)
    largest = pl.col("n_params") == pl.col("n_params").max()
    best = truth["K_LR"] * 1e9 ** truth["alpha"] * 2e10 ** truth["beta"]
    for keep, why in ((pl.col("learning_rate") < 0.4 * best, "largest"), (pl.col("learning_rate") > 3 * best, "smallest")):
        fit = fit_table(table.filter(~largest | keep), "learning-rate", n_bootstrap=50)
        left = [each for each in fit["optima"] if each["why"]]
        assert left and all(each["n_params"] == pytest.approx(1e9) and why in each["why"] for each in left)
        assert estimates(fit) == pytest.approx(truth, rel=1e-5)
        assert sum("is left out" in flag for flag in fit["flags"]) == len(left)
    with pytest.raises(StudyError, match="No law: 0 of 12"):
        fit_table(table.filter(pl.col("learning_rate") < 5e-4), "learning-rate")
    empty = fit_table(table.filter(pl.col("learning_rate") < 5e-4), "learning-rate", allow_empty=True)
    assert empty["parameters"] == {} and "No law" in empty["flags"][-1]


def test_a_sweep_of_one_batch_size_and_budget_is_a_power_of_n() -> None:
    """The figure of this sweep has −0.40 [−0.53, −0.28] by parabolas through each lowest point and its neighbours."""
    fit = fit_table(own_sweep(), "learning-rate")
    assert list(fit["parameters"]) == ["K_LR", "alpha"]
    alpha = fit["parameters"]["alpha"]
    assert alpha["estimate"] == pytest.approx(-0.40, abs=0.02)
    assert (alpha["ci_low"], alpha["ci_high"]) == pytest.approx((-0.53, -0.28), abs=0.02)
    assert any("tokens does not vary" in flag for flag in fit["flags"])
    assert any("No law of the batch size" in flag for flag in fit["flags"])


def test_tokens_that_follow_n_get_no_exponent() -> None:
    table, truth = sweeps(np.random.default_rng(4), scatter=0.0, noise=0.0)
    fit = fit_table(table.filter((pl.col("tokens") / pl.col("n_params")).is_between(19, 21)), "learning-rate", n_bootstrap=0)
    assert estimates(fit)["alpha"] == pytest.approx(truth["alpha"] + truth["beta"], rel=1e-5)
    assert "beta" not in fit["parameters"] and any("tokens follow n_params" in flag for flag in fit["flags"])
    assert estimates(fit)["gamma"] == pytest.approx(truth["gamma"], rel=1e-5)


def test_intervals_cover_the_truth() -> None:
    hits = []
    for seed in range(30):
        table, truth = sweeps(np.random.default_rng(seed))
        found = fit_table(table, "learning-rate", n_bootstrap=200, seed=seed)["parameters"]
        hits.append([found[name]["ci_low"] < value < found[name]["ci_high"] for name, value in truth.items()])
    assert (np.mean(hits, axis=0) >= 0.85).all()


def test_runs_of_other_settings_are_left_out() -> None:
    table = own_sweep().with_columns(warmup_tokens=100_000, optimizer=pl.lit("adamw"))
    other = table.head(7).with_columns(warmup_tokens=20_000, loss=pl.col("loss") + 0.1)
    fit = fit_table(pl.concat([table, other]), "learning-rate", n_bootstrap=0)
    assert [item["reason"] for item in fit["excluded"]] == ["other settings than most runs"] * 7
    assert estimates(fit) == estimates(fit_table(own_sweep(), "learning-rate", n_bootstrap=0))


def test_the_recommended_rate_and_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweeps.csv"
    table, _ = sweeps(np.random.default_rng(5), scatter=0.0, noise=0.0)
    table.rename({"learning_rate": "lr"}).write_csv(path)
    ask = ["fit", "--law", "learning-rate", "--table", str(path), "--columns", "learning_rate=lr", "--bootstrap", "20"]
    out = ["--out", str(tmp_path / "fit.json")]
    assert main([*ask, *out, "--at", "n_params=300M,tokens=30G", "--at", "n_params=100G,tokens=10T"]) == 0
    near, far = json.loads((tmp_path / "fit.json").read_text())["recommended"]
    for item, (n, d) in ((near, (3e8, 3e10)), (far, (1e11, 1e13))):
        rate = STEP_LAW["K_LR"] * n ** STEP_LAW["alpha"] * d ** STEP_LAW["beta"]
        assert item["learning_rate"]["estimate"] == pytest.approx(rate, rel=1e-4)
        assert item["batch_tokens"]["estimate"] == pytest.approx(STEP_LAW["K_B"] * d ** STEP_LAW["gamma"], rel=1e-4)
    assert near["flag"] is None and "beyond the optima" in far["flag"]
    assert main([*ask, "--at", "flops=1e20"]) == 1
    assert "recommends at positive values of n_params, tokens" in capsys.readouterr().err


def test_the_order_of_rows_changes_nothing() -> None:
    table, _ = sweeps(np.random.default_rng(6))
    one, other = (fit_table(each, "learning-rate", n_bootstrap=50) for each in (table, table.reverse()))
    assert one["parameters"] == other["parameters"] or estimates(one) == pytest.approx(estimates(other), rel=1e-9)
    assert one["resamples"].keys() == other["resamples"].keys()


def test_groups_are_sizes_and_budgets() -> None:
    found = optima([1e6] * 6 + [2e6] * 3, [1e8, 1.001e8, 0.999e8] * 3, [1e-3, 2e-3, 4e-3] * 3, [np.nan] * 9, [3.0, 2.9, 3.0] * 3)
    assert [(each.n_params, each.n_points, each.n_rates, each.n_batches) for each in found] == [(1e6, 6, 3, 1), (2e6, 3, 3, 1)]
    assert [each.learning_rate for each in found] == pytest.approx([2e-3, 2e-3])


@pytest.mark.skipif(not PUBLISHED_RUNS.is_file(), reason="Step Law's table is not here")
def test_step_law_is_found_again() -> None:
    table = pl.read_csv(PUBLISHED_RUNS).with_columns(batch_tokens=2048 * pl.col("batch_sequences"))
    fit = fit_table(table, "learning-rate", columns={"loss": "loss_smooth"})
    for name, value in STEP_LAW.items():
        assert fit["parameters"][name]["ci_low"] < value < fit["parameters"][name]["ci_high"], name
    assert estimates(fit)["alpha"] == pytest.approx(STEP_LAW["alpha"], abs=0.06)
