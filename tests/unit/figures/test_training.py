"""Figures of training: what they derive from planted tables is what was planted, and they say what they cannot tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
import pytest
from scipy.optimize import brentq, minimize_scalar

from fixtures import planted
from fixtures import planted_training as plant
from fixtures.drawing import draw, words
from fixtures.pictures import panels
from scalinglaws.figures import registry
from scalinglaws.figures.scaling import fig04_loss_vs_data
from scalinglaws.figures.shared import groups, least_squares, loss_by_position, loss_by_steps, rate_sweeps, style
from scalinglaws.figures.training import (
    fig11_fixed_resources,
    fig16_early_stopping,
    fig20_position,
    fig21_position_by_size,
    fig22_schedules,
    learning_rate,
    optimizers,
    parametrizations,
    repetition,
)
from scalinglaws.laws.allocation import steps_min
from scalinglaws.laws.catalogue import LAWS

NAMES = [name for name, figure in registry.FIGURES.items() if figure.folder == "training"]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_without_runs_is_drawn_and_says_why(name: str) -> None:
    assert "not resolved" in words(draw(name, plant.tables([])))


@pytest.mark.parametrize("name", NAMES)
def test_one_run_is_drawn_and_says_why(name: str) -> None:
    one = plant.run("alone", 6144, 2.3)
    tables = plant.tables([one], plant.curve(one, lambda s: 8.0 * s**-0.1), plant.by_position(one, lambda t: 3 * t**-0.1))
    assert "not resolved" in words(draw(name, tables))


def test_loss_at_a_batch_size_solves_both_equations() -> None:
    n, steps = 20_000.0, 700.0
    found = float(loss_by_steps.loss_at(plant.LAW, plant.B_CRIT, n, steps, plant.BATCH))
    expected = brentq(
        lambda loss: loss - float(plant.LAW.loss(n, steps_min(steps, plant.BATCH, plant.B_CRIT.tokens(loss)))),
        1.0,
        20.0,
        xtol=1e-12,
    )
    assert np.isclose(found, expected, rtol=1e-10)


def test_fixed_resources_are_read_off_the_planted_curves() -> None:
    tables = plant.sizes()
    curves = loss_by_steps.sized_curves(tables["curves"], tables["runs"])
    for column in ("flops_6nd", "step"):
        points = fig11_fixed_resources.at_levels(curves, column)
        assert points["level"].n_unique() == 6 and points.group_by("level").len()["len"].to_numpy().min() >= 3
        n, level = points["n_params"].to_numpy(), points["level"].to_numpy()
        steps = level / (6 * n * plant.BATCH) if column == "flops_6nd" else level
        assert np.allclose(points["loss"], loss_by_steps.loss_at(plant.LAW, plant.B_CRIT, n, steps, plant.BATCH), rtol=4e-3)
    for flops, least in fig11_fixed_resources.minima(fig11_fixed_resources.at_levels(curves, "flops_6nd")):
        best = minimize_scalar(
            lambda x, flops=flops: float(
                loss_by_steps.loss_at(plant.LAW, plant.B_CRIT, np.exp(x), flops / (6 * np.exp(x) * plant.BATCH), plant.BATCH)
            ),
            bounds=(np.log(100), np.log(1e6)), method="bounded",
        )  # fmt: skip
        # Three sizes a factor of four apart and no parabola: the vertex is rough.
        assert least.edge == -1 if np.exp(best.x) < 1800 else abs(np.log(least.x) - best.x) < 0.5 or least.edge
    text = words(draw("fig11_fixed_resources", tables, plant.step_fits()))
    assert "parabola through three sizes" in text and "smallest or largest size" in text
    assert "not resolved" not in text and "misses its points" not in text
    other = plant.step_fits()
    other["kaplan-ns"]["parameters"]["alpha_S"]["estimate"] /= 2
    assert words(draw("fig11_fixed_resources", tables, other)).count("the fit misses its points") == 2


def test_of_a_size_one_shape_is_taken_and_one_family() -> None:
    tables = plant.sizes()
    rows = tables["runs"].to_dicts()
    other = [plant.run(f"odd{k}", 6144, 2.0, d_model=4 + k, n_layer=9, n_ctx=128 - 64 * (k > 0)) for k in range(2)]
    curves = tables["curves"].to_dicts() + [row for one in other for row in plant.curve(one, lambda s: 2.0)]
    changed = plant.tables([*rows, *other], curves)
    kept = loss_by_steps.sized_curves(changed["curves"], changed["runs"])
    assert set(kept["trunk"]) == {f"trunk-n{n}" for n in plant.SIZES}


def test_early_stopping_against_the_planted_bound() -> None:
    tables, fits = plant.stopped(factor=1.6), plant.step_fits()
    found = fig16_early_stopping.bounds(tables["runs"], fits["kaplan-ns"])
    assert len(found) == 8 and not found["ended"].any()
    assert np.allclose(found["best_step"] / found["bound"], 1.6, rtol=5e-3)
    assert "0 of 8 runs that stopped lie below the bound" in words(draw("fig16_early_stopping", tables, fits))
    tables = plant.stopped(factor=0.5)
    assert "8 of 8 runs that stopped lie below the bound" in words(draw("fig16_early_stopping", tables, fits))


def test_early_stopping_without_a_fit_has_the_published_slope() -> None:
    tables = plant.stopped()
    found = fig16_early_stopping.bounds(tables["runs"], None)
    assert np.allclose(found["bound"], found["excess"].to_numpy() ** (-1 / 0.76))
    text = words(draw("fig16_early_stopping", tables))
    assert "with the paper's" in text and "this study has no fit of kaplan-ns" in text
    late = {"runs": tables["runs"].with_columns(steps="best_step"), "curves": tables["curves"]}
    assert "ended by its budget" in words(draw("fig16_early_stopping", late))


@pytest.mark.parametrize(("factor", "bound_shown"), [(1.6, True), (1e-3, False)])
def test_the_axes_of_early_stopping_reach_little_beyond_the_runs(factor: float, bound_shown: bool) -> None:
    tables, fits = plant.stopped(factor=1.0), plant.step_fits()
    # The bound lies at 1/factor times the steps of the runs. One run has an excess that is not told from 0.
    fits["kaplan-ns"]["parameters"]["S_c"]["estimate"] = plant.LAW.s_c / factor
    odd = polars.col("run") == "e6144-1000000"
    tables["runs"] = tables["runs"].with_columns(loss=polars.when(odd).then(2.0 + 1e-6).otherwise(polars.col("loss")))
    figure = draw("fig16_early_stopping", tables, fits)
    axis, text = figure.axes[0], words(figure)
    best = tables["runs"].filter("dataset_limited")["best_step"].to_numpy()
    low, high = axis.get_ylim()
    assert low > best.min() / 20 and high < best.max() * 20
    assert axis.get_xlim()[0] > 0.006 and "upper limit: the excess is not told from 0" in text
    assert ("the bound lies outside the axes" in text) != bound_shown
    assert f"{0 if bound_shown else 7} of 7 runs that stopped lie below the bound" in text


def test_a_power_law_in_the_position_is_recovered() -> None:
    tables = plant.positions(exponent=0.11)
    runs = fig20_position.chosen_runs(tables["runs"])
    assert runs["n_params"].to_list() == plant.SIZES
    data = loss_by_position.final(tables["evals"], runs)
    assert data["position"].min() == 1 and data["position"].max() == plant.N_CTX
    for n_params in plant.SIZES:
        position, loss, _ = loss_by_position.binned(data.filter(polars.col("n_params") == n_params))
        line = least_squares.power_law(position, loss)
        assert line is not None and line.low - 0.002 < -0.11 < line.high + 0.002 and line.resolved
    rows, run = fig20_position.training(tables["curves"], runs)
    assert run["n_params"] == plant.SIZES[-1] and rows["step"].is_sorted() and len(rows) == 5
    text = words(draw("fig20_position", tables))
    assert "N 55.3k: exponent 0.11" in text and "no exponent" not in text


def test_losses_that_level_off_are_said_to_bend() -> None:
    one = plant.run("bent", 6144, 2.3)
    tables = plant.tables([one], (), plant.by_position(one, lambda t: 2.0 + 1.5 / t))
    figure = draw("fig20_position", tables)
    assert "N 6.1k: no exponent: the points bend" in words(figure)
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_a_bend_is_told_from_chance_at_one_percent() -> None:
    rng = np.random.default_rng(7)
    x = np.geomspace(1, 128, 6)
    straight = [least_squares.power_law(x, 3 * x**-0.1 * np.exp(rng.normal(0, 0.02, 6))) for _ in range(1000)]
    assert 2 <= sum(line.bent for line in straight if line) <= 22
    many = np.geomspace(1, 128, 12)
    bent = least_squares.power_law(many, 2.0 + 1.5 / many)
    assert bent is not None and bent.bent and bent.exponent(-1.0) == "no exponent: the points bend"


def test_bins_of_positions() -> None:
    assert np.allclose(loss_by_position.octaves(4, 9), [1, 6**0.5, 840**0.25, 72**0.5])
    edges = loss_by_position.bin_edges(128)
    assert edges[0] == 1 and edges[-1] == 129 and (np.diff(edges) > 0).all()


def test_position_by_size_compares_the_lengths_of_context() -> None:
    tables = plant.contexts()
    assert fig21_position_by_size.chosen_positions([128, 8]) == [1, 2, 4, 8, 16, 32, 64, 128]
    figure = draw("fig21_position_by_size", tables, {})
    lines = [(line.get_linestyle(), tuple(np.asarray(line.get_xdata()))) for line in figure.axes[0].lines]
    drawn = {(look, sizes) for look, sizes in lines if len(sizes) > 1}
    assert len(drawn) == 2 and all(sizes == tuple(plant.SIZES) for _, sizes in drawn)
    text = words(figure)
    assert "position 128: exponent 0.0" in text and "context of 8 tokens" in text
    rows = loss_by_position.final(tables["evals"], tables["runs"]).filter(
        (polars.col("n_ctx") == 128) & (polars.col("position") == 128)
    )
    line = least_squares.power_law(rows["n_params"], rows["loss"])
    assert line is not None and abs(line.slope + 0.08) < 0.004


def test_schedules_and_the_sums_of_their_rates() -> None:
    tables = plant.schedules()
    family = groups.family(tables["runs"], fig22_schedules.KEY, fig22_schedules.FOLLOW, fig22_schedules.FEWEST)
    chosen = fig22_schedules.one_size(family)
    assert chosen["n_params"].unique().to_list() == [plant.SIZES[2]] and len(chosen) == 10
    summary = fig22_schedules.variants(chosen)
    assert fig22_schedules.names(summary) == ["wsd, decay 0.1", "wsd, decay 0.3", "cosine", "linear", "constant"]
    # Of 1000 steps 100 warm up (mean 101/200 of the peak); 1 − √x has the mean 1/3, the others 1/2.
    warm = 100 * 101 / 200
    expected = [warm + 800 + 100 / 3, warm + 600 + 300 / 3, warm + 450, warm + 450, warm + 900]
    assert np.allclose(summary["summed"], 0.01 * np.array(expected), rtol=2e-3)
    scatter = groups.scatter(chosen, fig22_schedules.VARIANT)
    assert scatter is not None and np.isclose(scatter, 0.004 / 2**0.5)
    text = words(draw("fig22_schedules", tables))
    assert "worst less best: 0.050 nats" in text and "2: wsd, decay 0.3" in text


def test_the_best_rate_follows_the_planted_law() -> None:
    tables = plant.rates()
    sweep = groups.family(tables["runs"], "learning_rate", (), 3)
    found = learning_rate.optima(sweep)
    assert [(n, least.edge) for n, least in found] == [(n, int(n == plant.SIZES[0])) for n in plant.SIZES]
    assert np.allclose([least.x for _, least in found[1:]], [plant.best_rate(n) for n in plant.SIZES[1:]], rtol=1e-6)
    own = learning_rate.rule(tables["runs"], sweep)
    assert own is not None and np.isclose(own.slope, -1 / 3, atol=1e-4) and np.isclose(own(1.0), 0.3, rtol=1e-3)
    text = words(draw("learning_rate", tables))
    assert "exponent −0.300" in text and r"$0.3\,N^{-0.333}$" in text and "edge of the rates" in text
    assert "1 diverged run left out" in text
    other = tables["runs"].with_columns(
        learning_rate=polars.when(polars.col("run") == "o6144").then(0.001).otherwise(polars.col("learning_rate"))
    )
    assert learning_rate.rule(other, sweep) is None


def test_best_rates_under_two_parametrizations_are_those_planted() -> None:
    tables = plant.parametrizations()
    found = parametrizations.sweeps(tables["runs"])
    assert [name for name, _ in found] == ["standard", "muP, base width 8"]
    widths = list(plant.SHAPES.values())[:3]  # the fourth has no sweep under the standard one
    for (_, runs), planted_rates in zip(found, ([0.08 / width for width in widths], [0.01] * 3), strict=True):
        best = rate_sweeps.optima(runs, "d_model")
        assert [width for width, _ in best] == widths
        assert np.allclose([least.x for _, least in best], planted_rates, rtol=1e-6)
    text = words(draw("parametrizations", tables))
    assert "standard: best rate × 0.25 from width 8 to 32" in text and "base width 8: best rate × 1.00 from" in text
    assert "1 diverged run left out" in text


def test_the_interval_of_a_minimum_holds_the_truth() -> None:
    rng, inside = np.random.default_rng(8), 0
    x = np.geomspace(0.001, 0.1, 5)
    for _ in range(400):
        y = 0.05 * np.log(x / 0.012) ** 2 + rng.normal(0, 0.004, 5)
        least = least_squares.minimum(x, y, scatter=0.004)
        assert least is not None and least.edge == 0
        inside += least.low <= 0.012 <= least.high
    assert 0.91 <= inside / 400 <= 0.99


def test_the_interval_of_a_power_law_holds_the_truth() -> None:
    rng, inside = np.random.default_rng(9), 0
    x = np.geomspace(1e3, 1e5, 6)
    for _ in range(400):
        line = least_squares.power_law(x, 3 * x**-0.07 * np.exp(rng.normal(0, 0.01, 6)))
        assert line is not None
        inside += line.low <= -0.07 <= line.high
    assert 0.92 <= inside / 400 <= 0.98
    two = least_squares.power_law([1, 10], [2, 1])
    assert two is not None and np.isclose(two.slope, -np.log10(2)) and not two.resolved and "no interval" in two.words()


def test_optimizers_at_their_best_rates_need_the_planted_tokens() -> None:
    tables = plant.optimizers()
    family = groups.family(tables["runs"], optimizers.KEY, optimizers.FOLLOW)
    best = optimizers.best_rates(family)
    assert len(best) == 12
    assert set(best.filter(polars.col("optimizer") == "sgd")["learning_rate"]) == {0.02}
    assert best.filter(polars.col("edge"))["optimizer"].unique().to_list() == ["sgd"]
    needed = optimizers.tokens_needed(best, tables["curves"])
    base = needed.filter(polars.col("optimizer") == "adamw").select("n_params", base="tokens")
    ratio = needed.join(base, on="n_params").with_columns(ratio=polars.col("tokens") / polars.col("base"))
    for name, gain in (("muon", 1.8), ("adafactor", 0.9)):
        # The losses fall as one power of the tokens: a gain in tokens is the same at every loss.
        assert np.allclose(ratio.filter(polars.col("optimizer") == name)["ratio"], 1 / gain, rtol=1e-6)
    assert "best rate at the edge of those tried" in words(draw("optimizers", tables))


def test_optimizers_of_plug_ins_are_told_apart() -> None:
    looks = optimizers.looks_of(["adamw", "mine", "yours", "sgd"])
    assert looks["adamw"] == optimizers.LOOKS["adamw"] and len(set(looks.values())) == 4


def test_the_law_of_repetition_is_that_of_the_fits() -> None:
    law = LAWS["repetition"]
    n, data = np.array([5e3, 5e4, 1e6]), np.array([1e5, 1e6, 1e6])
    tokens = np.array([3.2e6, 5e5, 4e7])
    e, a, b, alpha, beta, rd, rn = plant.REPETITION.values()
    theta = np.array([[np.log(e), np.log(a), alpha, np.log(rn), np.log(b), beta, np.log(rd)]])
    z = np.log(np.column_stack([n, tokens, data]))
    expected = np.exp(law.log_prediction(theta, z)[0])
    found = repetition.law(plant.fit(plant.REPETITION), n, tokens, data)
    assert found is not None and np.allclose(found, expected, rtol=1e-10)


def test_repeated_data_against_fresh_data() -> None:
    tables, fits = plant.repeated()
    excess = repetition.over_fresh(repetition.family(tables["runs"]))
    assert len(excess) == 2 * 3 * 5
    n, tokens, data = (excess[name].to_numpy() for name in ("n_params", "tokens", "dataset_tokens"))
    part, fresh = (repetition.law(fits["repetition"], n, tokens, d) for d in (data, 1e8))
    assert part is not None and fresh is not None
    assert np.allclose(excess["excess"], part / fresh - 1, atol=0.008)
    assert "a loss is told from fresh data" in words(draw("repetition", tables, fits))
    assert "this study has no fit of repetition" in words(draw("repetition", tables))


def test_figure_four_has_its_right_panel_where_the_study_fits_it() -> None:
    tables, fits = planted.study(sizes=planted.SIZES[::4])
    alone = draw("fig04_loss_vs_data", tables, {"kaplan-nd": fits["kaplan-nd"]})
    assert len(panels(alone)) == 1
    both = plant.step_fits()
    points = fig04_loss_vs_data.step_points(both["kaplan-ns"])
    assert np.allclose(points["loss"], plant.LAW.loss(points["n_params"], points["steps_min"]))
    text = words(draw("fig04_loss_vs_data", tables, fits | both))
    assert "4 learning curves" in text and "published 0.76" in text


def test_the_same_tables_in_another_order_give_the_same_bytes(tmp_path: Any) -> None:
    tables = plant.rates()
    turned = {name: table.reverse() for name, table in tables.items()}
    for name, given in (("a", tables), ("b", turned)):
        style.save(draw("learning_rate", given, {}), tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_figures_worth_drawing_without_their_laws() -> None:
    kinds = {"size", "curves", "data", "repetition"}
    assert {"fig11_fixed_resources", "fig16_early_stopping", "repetition"} <= set(registry.drawable(kinds, set()))
    assert "learning_rate" not in registry.drawable(kinds, set())
