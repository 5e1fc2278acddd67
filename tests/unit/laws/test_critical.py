"""B_crit from learning curves of Kaplan et al.'s own equations (1.4, 1.6, 5.4), and hyperbolas against scipy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.allocation import CriticalBatch, LossNS
from scalinglaws.laws.catalogue import PF_DAY
from scalinglaws.laws.critical import WHY, CriticalFit, _hyperbolas, fit_critical, steps_to_reach
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.stored import read_critical_batch

ALPHA_B, B_STAR = 0.21, 2e8
LAW, CRITICAL = LossNS(0.077, 0.76, 6.5e13, 2.1e3), CriticalBatch(B_STAR, ALPHA_B)
SIZES = (1e6, 1e7)
BATCHES = CRITICAL.tokens(5.0) * np.geomspace(1 / 8, 8, 7)

Rows = dict[str, Any]  # columns by name: arrays, passed to fit_critical as keywords


def rows(noise: float = 0.0, seed: int = 0, points: int = 100, batches: np.ndarray = BATCHES) -> Rows:
    """Return curves of two sizes at each batch size, for S_min of about 500 to 20 000; no two have points at the same losses."""
    rng = np.random.default_rng(seed)
    parts = []
    for n in SIZES:
        for b in batches:
            s_min = np.geomspace(500, 20_000, points) * np.exp(0.05 * rng.standard_normal())
            loss = LAW.loss(n, s_min)
            steps = s_min * (1 + CRITICAL.tokens(loss) / b)
            loss = loss * np.exp(noise * rng.standard_normal(points))
            parts.append((np.full(points, f"N{n:.0e}-B{b:.6g}"), np.full(points, n), np.full(points, b), steps, loss))
    return dict(
        zip(("run", "n_params", "batch_tokens", "steps", "loss"), map(np.concatenate, zip(*parts, strict=True)), strict=True)
    )


def inside(interval: dict[str, float], value: float) -> bool:
    return interval["ci_low"] < value < interval["ci_high"]


def same(one: CriticalFit, other: CriticalFit) -> bool:
    assert one.resamples.tobytes() == other.resamples.tobytes()
    parts = [dataclasses.asdict(dataclasses.replace(fit, resamples=np.empty(0))) for fit in (one, other)]
    return repr(parts[0]) == repr(parts[1])


def test_exact_curves_give_the_law_back() -> None:
    # A chord lies above a convex curve by up to h²/8 of its bend, h the spacing in log steps: B_crit errs as h².
    errors = []
    for points in (50, 100, 200):
        fit = fit_critical(**rows(points=points), n_bootstrap=0)
        used = [level for level in fit.levels if not level.why]
        truth = CRITICAL.tokens([level.loss for level in used])
        errors.append(np.abs(np.log([level.b_crit for level in used]) - np.log(truth)).max())
        assert fit.counts["resolved"] == len(used) >= 20 and fit.counts["sizes"] == 2
    h = np.log(20_000 / 500) / 199
    assert errors[-1] < h * h and errors[0] > 8 * errors[2]
    # Errors up to e in y make at most 2e over the range of x of slope.
    x = -np.log([level.loss for level in used])
    assert abs(1 / fit.alpha_b["estimate"] - 1 / ALPHA_B) < 2 * errors[-1] / np.ptp(x)
    assert fit.alpha_b["estimate"] == pytest.approx(ALPHA_B, rel=1e-3)
    assert fit.b_star["estimate"] == pytest.approx(B_STAR, rel=5e-3) and np.isnan(fit.b_star["ci_low"])
    for level in used:
        assert LAW.loss(level.n_params, level.steps_min) == pytest.approx(level.loss, rel=1e-4)
        assert level.tokens_min == pytest.approx(level.steps_min * level.b_crit)


def test_intervals_cover_the_truth() -> None:
    hits = []
    for seed in range(40):
        fit = fit_critical(**rows(noise=0.003, seed=seed), n_levels=8, n_bootstrap=200, seed=seed)
        hits.append(inside(fit.alpha_b, ALPHA_B) and inside(fit.b_star, B_STAR))
        assert fit.alpha_b["stderr"] < 0.05
    assert hits[0] and np.mean(hits) >= 0.8


def test_a_batch_of_hyperbolas_is_least_squares() -> None:
    rng = np.random.default_rng(3)
    log_b = np.log(BATCHES)
    weights, truth = rng.integers(0, 3, (12, 7)).astype(float), rng.uniform(log_b[1], log_b[-2], 12)
    log_s = 8 + np.logaddexp(0, truth[:, None] - log_b) + 0.05 * rng.standard_normal((12, 7))
    log_s[:, 3] = np.where(rng.random(12) < 0.3, np.nan, log_s[:, 3])
    crit, low, why = _hyperbolas(log_b, log_s, weights)
    for k in np.flatnonzero(why != 1):
        ok = np.isfinite(log_s[k]) & (weights[k] > 0)
        b, y, root = log_b[ok], log_s[k, ok], np.sqrt(weights[k, ok])
        best = least_squares(lambda p, b=b, y=y, root=root: root * (np.logaddexp(p[0], p[1] - b) - y), [8, 8 + truth[k]],
                             xtol=1e-15, ftol=1e-15, gtol=1e-15)  # fmt: skip
        assert (low[k], low[k] + crit[k]) == pytest.approx(best.x.tolist(), abs=1e-6)
    assert (why != 1).sum() >= 8
    assert _hyperbolas(log_b, log_s[:1], np.eye(7)[:1])[2].tolist() == [1]


def test_batch_sizes_far_from_b_crit_give_no_law() -> None:
    for batches, sentence in ((BATCHES / 1000, WHY[3]), (BATCHES * 1000, WHY[2])):
        fit = fit_critical(**rows(0.003, batches=batches), n_bootstrap=100)
        assert fit.counts["resolved"] < 0.1 * fit.counts["levels"]
        left = [level for level in fit.levels if level.why]
        assert {level.why for level in left} == {sentence} and np.isnan([level.b_crit for level in left]).all()
    fit = fit_critical(**rows(batches=BATCHES / 1000), n_bootstrap=100)
    assert fit.counts["resolved"] == 0 and np.isnan([fit.b_star["estimate"], fit.alpha_b["ci_low"]]).all()
    assert "No law: 0 of 40 levels" in fit.flags[-1] and f"40 of 40 levels are left out: {WHY[3]}." in fit.flags


def test_levels_that_are_not_reached_are_counted() -> None:
    table = rows()
    short = (table["batch_tokens"] < BATCHES[3]) & (table["loss"] < 5)
    fit = fit_critical(**{name: values[~short] for name, values in table.items()}, n_bootstrap=0)
    for level in fit.levels:
        if 4.4 < level.loss < 4.99 or 5.05 < level.loss < 6:
            assert level.n_reached == (7 if level.loss > 5 else 4)
        assert level.n_reached + level.n_censored == 7
    assert fit.counts["censored"] == sum(level.n_censored for level in fit.levels) > 0
    assert any(f"Censored: {fit.counts['censored']} times" in flag for flag in fit.flags)
    assert fit.alpha_b["estimate"] == pytest.approx(ALPHA_B, rel=0.02)
    none = fit_critical(**rows(batches=BATCHES[:2]), n_bootstrap=10)
    assert none.levels == [] and "No law: 0 of 0" in none.flags[-1] and "2 sizes are left out" in none.flags[0]
    assert "No law" in fit_critical([], [], [], [], []).flags[-1]


def test_losses_within_the_warm_up_of_a_batch_size_are_left_out() -> None:
    """All warm-ups last one number of tokens, in which nothing is learned: a loss after them costs that many tokens more."""
    table = rows()
    tokens = 2e3 * CRITICAL.tokens(5.0)
    table["steps"] = table["steps"] + tokens / table["batch_tokens"]
    # In truth small batches are below high losses when it ends, and their curves begin there.
    small = (table["batch_tokens"] < BATCHES[3]) & (table["loss"] > 5)
    cut = {name: values[~small] for name, values in table.items()}
    fit = fit_critical(**cut, n_bootstrap=0)
    assert max(level.loss for level in fit.levels) < 5
    for n in SIZES:
        assert next(level for level in fit.levels if level.n_params == n).n_reached == 7


def test_steps_to_reach() -> None:
    steps, loss = np.array([10.0, 100, 1000, 10_000]), np.array([8.0, 4, 4, 2])
    found = steps_to_reach(steps, loss, [9, 8, np.sqrt(32), 2, 1.9])
    # The two equal losses stand at their mean log step, 10^2.5.
    assert found[1:4] == pytest.approx([10, 10**1.75, 10_000]) and np.isnan(found[[0, 4]]).all()
    rising = steps_to_reach(steps, [8, 3.9, 4.1, 2], [np.sqrt(3.9 * 4.1)])
    assert rising == pytest.approx([10**2.5])


def test_bad_values_raise() -> None:
    table = rows(points=3)
    for name in ("n_params", "batch_tokens", "steps", "loss"):
        for bad in (0.0, np.nan):
            with pytest.raises(StudyError, match=name):
                fit_critical(**(table | {name: np.append(table[name][:-1], bad)}))
    with pytest.raises(StudyError, match="several"):
        fit_critical(**(table | {"run": np.full(len(table["run"]), "r")}))


def test_the_order_of_rows_changes_nothing_and_a_seed_fixes_the_rest() -> None:
    table = rows(noise=0.003)
    fit = fit_critical(**table, n_bootstrap=100, seed=3)
    order = np.random.default_rng(5).permutation(len(table["run"]))
    assert same(fit, fit_critical(**{name: values[order] for name, values in table.items()}, n_bootstrap=100, seed=3))
    other = fit_critical(**table, n_bootstrap=100, seed=4)
    assert other.alpha_b["estimate"] == fit.alpha_b["estimate"] and other.alpha_b["ci_low"] != fit.alpha_b["ci_low"]


def test_as_a_law_of_the_command() -> None:
    curves = pl.DataFrame(rows()).with_columns(flops=6 * pl.col("n_params") * pl.col("batch_tokens") * pl.col("steps"))
    runs = pl.DataFrame({"run": ["none"], "n_params": [1.0], "loss": [1.0]})
    fit = fit_table(runs, "critical-batch", curves=curves, n_bootstrap=100)
    assert fit["parameters"]["alpha_B"]["estimate"] == pytest.approx(ALPHA_B, rel=0.02)
    assert {"n_params", "loss", "steps_min", "tokens_min", "b_crit"} <= set(fit["levels"][0])
    with pytest.raises(StudyError, match="No law"):
        fit_table(runs, "critical-batch", curves=curves.filter(pl.col("batch_tokens") == pl.col("batch_tokens").min()))


def test_a_fit_of_it_gives_the_least_compute_of_runs(tmp_path: Path) -> None:
    """--critical-batch takes the numbers or the file of the fit; a file without them leaves no points, in words."""
    runs, curves, out = tmp_path / "runs.csv", tmp_path / "curves.parquet", tmp_path / "critical.json"
    table = pl.DataFrame(rows(noise=0.0005)).with_columns(tokens=pl.col("steps") * pl.col("batch_tokens"))
    table.with_columns(flops=6 * pl.col("n_params") * pl.col("tokens")).write_parquet(curves)
    c = np.geomspace(1e17, 1e20, 12)
    loss = (3.1e8 * PF_DAY / c) ** 0.05
    batch = CRITICAL.tokens(loss)
    plan = {"n_params": 1e7 * (c / c[0]) ** 0.7, "flops": 2 * c, "batch_tokens": batch, "loss": loss}
    pl.DataFrame(plan).write_csv(runs)
    fit = ["fit", "--bootstrap", "0", "--table", str(runs)]
    assert main([*fit, "--law", "critical-batch", "--curves", str(curves), "--out", str(out)]) == 0
    given = tmp_path / "given.json"
    found = {}
    for source, path in ((str(out), tmp_path / "own.json"), ("2e8,0.21", given)):
        assert main([*fit, "--law", "power-cmin", "--critical-batch", source, "--out", str(path)]) == 0
        found[source] = json.loads(path.read_text())["parameters"]["alpha_C"]["estimate"]
    assert found["2e8,0.21"] == pytest.approx(0.05, rel=1e-6)
    assert found[str(out)] == pytest.approx(0.05, rel=0.05)
    out.write_text(json.dumps(json.loads(out.read_text()) | {"parameters": {}}))
    assert main([*fit, "--law", "power-cmin", "--critical-batch", str(out), "--allow-empty", "--out", str(given)]) == 0
    empty = json.loads(given.read_text())
    assert empty["parameters"] == {} and "B_crit(L) is not resolved" in empty["flags"][0]
    given.write_text('{"law": "power-n"}')
    with pytest.raises(StudyError, match="not the result of fit --law critical-batch"):
        read_critical_batch(given)
    with pytest.raises(StudyError, match="does not exist"):
        read_critical_batch(runs.with_suffix(".json"))


def test_steps_off_the_hyperbola_are_flagged() -> None:
    """Where the rate is too low for large batches, their steps exceed the hyperbola's: a flag says so and gives the misfit."""
    true = rows(noise=0.0002)
    fit = fit_critical(**true, n_bootstrap=0)
    assert all(level.misfit < 0.05 for level in fit.levels if not level.why) and not any(
        "hyperbola" in flag for flag in fit.flags
    )
    middle = np.median(BATCHES)
    worse = np.where(true["batch_tokens"] > middle, np.sqrt(true["batch_tokens"] / middle), 1.0)
    bent = fit_critical(**(true | {"steps": true["steps"] * worse}), n_bootstrap=0)
    assert any("scatter about the hyperbola" in flag for flag in bent.flags)
    level = next(level for level in bent.levels if not level.why)
    assert 0.15 < level.misfit < 0.6
