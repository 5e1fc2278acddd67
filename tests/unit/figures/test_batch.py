"""Figures of batch size and of compute: what they derive against the laws that were planted, and what they say of little data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from fixtures import planted, planted_batches
from fixtures.drawing import draw, words
from fixtures.planted_batches import CRITICAL, LAW
from scalinglaws.figures.batch.fig10_critical_batch import noise_scale
from scalinglaws.figures.batch.fig12_wrong_size import measured
from scalinglaws.figures.batch.fig14_optimal_size import crossovers
from scalinglaws.figures.batch.fig15_contradiction import verdict
from scalinglaws.figures.registry import FIGURES, drawable
from scalinglaws.figures.shared import batch_laws, fit_json, style
from scalinglaws.figures.shared.compute_efficient import Derived, Found
from scalinglaws.figures.shared.least_squares import power_law
from scalinglaws.laws.allocation import excess_compute, excess_steps, frontier

MINE = [name for name, figure in FIGURES.items() if figure.folder == "batch"]
Study = tuple[dict[str, polars.DataFrame], dict[str, Any]]


@pytest.fixture(scope="module")
def study() -> Study:
    return planted_batches.study()


@pytest.fixture(scope="module")
def exact() -> polars.DataFrame:
    """Return points of L(N, S_min) without noise: the curves of five sizes at three batch sizes each."""
    steps = np.geomspace(20, 20_000, 300)
    frames = [
        {"trunk": f"{n}-{b}", "n_params": float(n), "steps_min": steps * shift, "loss": LAW.loss(n, steps * shift)}
        for n in (1500, 3000, 6000, 12_000, 24_000)
        for b, shift in enumerate((1.0, 1.01, 1.02))
    ]
    return polars.concat([polars.DataFrame(frame) for frame in frames])


def test_a_study_of_batch_sizes_has_these_figures() -> None:
    names = drawable({"batch"}, {"critical-batch", "kaplan-ns", "power-cmin"})
    assert names == [name for name in MINE if name != "fig15_contradiction"]
    assert "fig15_contradiction" in drawable({"batch", "data"}, {"power-cmin"})


@pytest.mark.parametrize("name", MINE)
def test_a_full_study_draws_without_doubt(name: str, study: Study) -> None:
    figure = draw(name, *study)
    said = words(figure)
    if name not in ("fig10_critical_batch", "fig14_optimal_size", "fig15_contradiction", "fig18_steps_tokens"):
        assert "not resolved" not in said


@pytest.mark.parametrize("batch_sizes", [(), (1024,)], ids=["no runs", "one batch size"])
def test_without_batch_sizes_each_says_why(batch_sizes: tuple[int, ...]) -> None:
    tables, fits = planted_batches.study(sizes=(6144,), batches=(1024,))
    if not batch_sizes:
        tables, fits = {"runs": planted.empty_runs(), "curves": planted.empty_curves()}, {}
    for name in MINE:
        figure = draw(name, tables, fits)
        assert "not resolved" in words(figure), name


def test_shares_of_compute_are_the_planted_ones(study: Study) -> None:
    figure = draw("fig03_allocation", *study)
    total = 1 / (1 / LAW.alpha_n + 1 / LAW.alpha_s + 1 / CRITICAL.alpha_b)
    said = [float(part.split("}")[0]) for part in words(figure).split("C_{min}^{")[1:]]
    assert said == pytest.approx([total / LAW.alpha_n, total / CRITICAL.alpha_b, total / LAW.alpha_s], abs=0.02)
    assert sum(said) == pytest.approx(1, abs=0.002)


def test_noise_scale_is_the_ratio_of_sums(study: Study) -> None:
    found = noise_scale(*(study[0][name] for name in ("runs", "curves")))
    assert found["n_params"].unique().sort().to_list() == [float(n) for n in planted_batches.SIZES]
    # The planted trace is B_crit(L) times the square: bins of the loss are narrow.
    truth = CRITICAL.tokens(found["loss"].to_numpy())
    assert np.allclose(found["tokens"] / truth, 1, atol=0.1)
    negative = study[0]["curves"].with_columns(noise_square=-polars.col("noise_square"))
    assert noise_scale(study[0]["runs"], negative).is_empty()
    assert noise_scale(study[0]["runs"], study[0]["curves"].drop("noise_square")).is_empty()


def test_levels_have_intervals_that_hold_the_planted_batch_size(study: Study) -> None:
    levels = batch_laws.levels(study[1]["critical-batch"]).drop_nulls("b_crit_low")
    truth = CRITICAL.tokens(levels["loss"].to_numpy())
    low, high = levels["b_crit_low"].to_numpy(), levels["b_crit_high"].to_numpy()
    assert len(levels) > 20 and (low < high).all() and np.mean((low < truth) & (truth < high)) > 0.7
    for row in levels.iter_rows(named=True):
        assert len(row["batch_tokens"]) == len(row["steps"]) >= 3 and row["batch_tokens"] == sorted(row["batch_tokens"])
        expected = row["steps_min"] + row["tokens_min"] / np.array(row["batch_tokens"])
        assert np.allclose(row["steps"], expected, rtol=0.25)


def test_sizes_lie_on_the_curves_of_the_excess(exact: polars.DataFrame) -> None:
    found = measured(exact, LAW)
    assert found["loss"].n_unique() == 5 and len(found) >= 15
    ratio = found["ratio"].to_numpy()
    assert np.allclose(found["steps"], excess_steps(ratio, LAW.alpha_n, LAW.alpha_s), rtol=2e-3)
    assert np.allclose(found["compute"], excess_compute(ratio, LAW.alpha_n, LAW.alpha_s), rtol=2e-3)


def test_crossovers_lie_near_the_best_size(exact: polars.DataFrame) -> None:
    found = crossovers(exact, CRITICAL)
    assert found["n_params"].to_list() == pytest.approx([n * 2**0.5 for n in (1500, 3000, 6000, 12_000)])
    best = frontier(LAW, CRITICAL, found["flops_min"].to_numpy())
    # Equal cost on both sides is a little off the best size, by the same factor everywhere.
    assert np.allclose(found["n_params"] / best.n_opt, 1, atol=0.1)
    assert np.allclose(found["steps_min"] / best.steps_min, 1, atol=0.1)
    line = power_law(found["flops_min"], found["n_params"])
    total = 1 / (1 / LAW.alpha_n + 1 / LAW.alpha_s + 1 / CRITICAL.alpha_b)
    assert line is not None and line.slope == pytest.approx(total / LAW.alpha_n, rel=0.02)


def test_steps_to_a_loss_by_size(exact: polars.DataFrame) -> None:
    losses = batch_laws.shared_losses(exact, 6)
    assert len(losses) == 6 and (np.diff(losses) < 0).all()
    found = batch_laws.reached(exact, losses)
    assert found["curves"].max() == 3
    truth = LAW.steps_to(found["n_params"].to_numpy(), found["loss"].to_numpy())
    assert np.allclose(found["steps_min"], truth, rtol=1e-3)
    assert (found["low"] <= found["steps_min"]).all() and (found["steps_min"] <= found["high"]).all()
    assert len(batch_laws.shared_losses(exact.filter(polars.col("n_params") == 1500), 6)) == 0


def test_resamples_of_several_laws_are_not_tied(study: Study) -> None:
    fits = study[1]
    draws = batch_laws.resamples(fits, ("critical-batch", "kaplan-ns"))
    pairs = np.log([[draw["alpha_B"], draw["alpha_N"]] for draw in draws])
    assert len(draws) >= 200 and len(np.unique(pairs, axis=0)) == len(draws)
    one = [draw["alpha_N"] for draw in batch_laws.resamples(fits, ["kaplan-ns"])]
    assert np.std(one) == pytest.approx(fits["kaplan-ns"]["parameters"]["alpha_N"]["stderr"], rel=0.1)
    assert batch_laws.resamples({}, ["kaplan-ns"]) == []


def test_the_crossing_in_words() -> None:
    def derived(doubt: str | None, gap: float) -> Derived:
        at = {"C*": (1e13, 1e12, 1e15), "N*": (1e5, 1e4, 1e6), "D*": (1e7, 1e6, 1e8), "L*": (1.5, 1.4, 1.6)}
        values: dict[str, Found] = {n: {"estimate": v, "ci_low": low, "ci_high": high} for n, (v, low, high) in at.items()}
        return Derived(values, doubt, "", {"gap": gap})

    assert verdict(derived(None, 0.1), 1e11)[1].startswith("the lines cross at C* = 1.0e13 FLOP [1.0e12, 1.0e15], N* = 1.0e5")
    assert verdict(derived(None, 0.1), 1e14)[1].endswith("the laws disagree already there")
    assert "no contradiction" in verdict(derived(None, -0.1), 1e11)[1]
    assert verdict(derived("not resolved: words.", 0.1), 1e11)[1].endswith("; not resolved: words")
    nothing = Derived({"C*": dict.fromkeys(("estimate", "ci_low", "ci_high"))}, "not resolved: words", "", {})
    assert verdict(nothing, 1e11) == ([], "no crossing; not resolved: words")


def test_unresolved_levels_are_limits(study: Study) -> None:
    fits = json.loads(json.dumps(study[1]))
    for level in fits["critical-batch"]["levels"]:
        level |= {"b_crit": None, "why": "B_crit lies above the batch sizes that reach it"}
    figure = draw("fig10_critical_batch", study[0], fits)
    assert "not resolved at 80 losses" in words(figure)
    marked = [line for line in figure.axes[0].lines if line.get_marker() == "^"]
    assert len(marked) == 80 and all(np.asarray(line.get_ydata())[0] <= max(planted_batches.BATCHES) for line in marked)


@pytest.mark.parametrize("name", ["fig03_allocation"])
def test_drawn_twice_every_byte_is_the_same(name: str, study: Study, tmp_path: Path) -> None:
    for out in "ab":
        style.save(draw(name, *study), tmp_path / f"{out}.svg", tmp_path / f"{out}.png")
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_points_of_these_laws_carry_their_variables(study: Study) -> None:
    assert fit_json.points(study[1]["kaplan-ns"])["steps_min"].null_count() == 0
    assert fit_json.points(study[1]["power-cmin"])["flops_min"].null_count() == 0
