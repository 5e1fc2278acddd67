"""Figures that compare models and texts: what they say of a planted study is what was planted."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import polars
import pytest
from scipy.stats import chi2

from fixtures import planted_models as planted
from fixtures import planted_training as plant
from fixtures.drawing import draw, words
from scalinglaws.figures.models import (
    architectures,
    fig05_shape,
    fig06_depth,
    fig07_lstm,
    fig08_transfer,
    fig17_recurrent,
    fig24_transfer_depth,
    quality,
)
from scalinglaws.figures.registry import FIGURES
from scalinglaws.figures.shared import groups, loss_by_text, model_comparison, seed_noise, style
from scalinglaws.study.questions import kinds

Tables = dict[str, polars.DataFrame]
NAMES = [name for name, figure in FIGURES.items() if figure.folder == "models"]


@pytest.fixture(scope="module")
def exact() -> Tables:
    """Return the study without noise, in which what is planted is exact."""
    return planted.study(noise=0.0)


@pytest.fixture(scope="module")
def noisy() -> Tables:
    return planted.study()


def test_the_planted_study_has_every_figure() -> None:
    found = kinds([run for run, _ in planted.asked()], transfer=True)
    assert all(set(FIGURES[name].needs) <= found for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_of_one_run_says_why_it_is_empty(name: str, exact: Tables) -> None:
    one = exact["runs"].filter(polars.col("architecture") == "transformer").head(1)
    assert "not resolved" in words(draw(name, {"runs": one, "evals": exact["evals"].clear()}))


@pytest.mark.parametrize("ratio", [0, 1])
def test_shape_series_hold_the_other_ratios_and_find_the_planted_best(ratio: int, exact: Tables) -> None:
    column, _, fixed = fig05_shape.RATIOS[ratio]
    best, change = (planted.FEED_FORWARD, planted.ASPECT)[ratio]
    one = fig05_shape.series(exact["runs"], column, fixed)[0]
    sizes = one["n_params"].to_numpy()
    assert sizes.max() <= 1.02 * sizes.min()
    assert len(one) == (5, 6)[ratio] and all(one[name].n_unique() == 1 for name in fixed)
    lost = change * np.log(one[column].to_numpy() / best) ** 2
    # N differs by up to 2 %, which the planted exponent makes up to 0.13 % of loss; rounded ratios add to it.
    assert np.allclose(one["change"], 100 * np.expm1(lost - lost.min()), atol=0.3)
    assert f"best at {one[column].to_numpy()[lost.argmin()]:.3g}" in words(draw("fig05_shape", exact))


def test_a_change_within_the_noise_is_not_resolved(noisy: Tables) -> None:
    column, _, fixed = fig05_shape.RATIOS[2]
    (one,) = fig05_shape.series(noisy["runs"], column, fixed)
    assert one["head_width"].to_list() == [2, 4, 8, 16, 32] and one["n_layer"].n_unique() == 1
    half, source = fig05_shape.band(noisy["runs"], one)
    assert "between seeds" in source
    assert half == pytest.approx(100 * 1.96 * math.sqrt(2 / 2) * planted.SEED_SD, rel=0.4)  # each model has two seeds
    assert "not resolved" in fig05_shape.verdict(one["head_width"].to_numpy(), one["change"].to_numpy(), half)
    alone = noisy["runs"].filter(polars.col("seed") == 0)
    assert "standard errors of the test loss" in fig05_shape.band(alone, one)[1]


def test_points_of_a_sweep_of_rates_stay_out(exact: Tables) -> None:
    run = next(run for run, _ in planted.sizes() if run.d_model == 32 and run.tokens == 2_000_000)
    sweep = [planted.row(dataclasses.replace(run, learning_rate=rate), -0.1) for rate in (0.003, 0.03)]
    extra = planted.frames(sweep, [])["runs"]
    kept = groups.one_rate(polars.concat([exact["runs"], extra]))
    assert not set(extra["run"]) & set(kept["run"])
    assert len(kept) == len(groups.one_rate(exact["runs"]))


def test_depths_fall_on_one_curve_without_embeddings(exact: Tables) -> None:
    data = fig06_depth.depths(exact["runs"])
    assert data["n_ctx"].unique().to_list() == [64] and len(data) == 16
    with_embeddings, without = (fig06_depth.parabola(data, column) for column in ("n_params_total", "n_params"))
    assert with_embeddings is not None and without is not None and with_embeddings[1] > 5 * without[1]
    assert fig06_depth.parabola(data.head(4), "n_params") is None


def test_lstms_lie_the_planted_excess_above_transformers(exact: Tables) -> None:
    data = fig07_lstm.compared(exact["runs"])
    standard, lstm = (data.filter(polars.col("architecture") == name) for name in ("transformer", "lstm"))
    assert standard["n_layer"].unique().to_list() == [2] and len(lstm) == 8
    above = model_comparison.excess(standard, "n_params", lstm)
    assert np.isnan(above[lstm["n_params"].to_numpy() < 1536]).all()
    # The Transformers' line bends: between two of its points the straight one lies up to 0.6 % too high.
    assert np.allclose(above[np.isfinite(above)], 100 * math.expm1(planted.LSTM), atol=0.7)
    (pair, *_) = fig07_lstm.pairs(standard, lstm)
    lines = [fig07_lstm.by_place(exact["evals"], row) for row in pair]
    first = pair[0]["loss"] * (1 + 0.6 / np.arange(1, 129))
    assert lines[0]["loss"][0] == pytest.approx(first[0]) and lines[0]["position"].to_list()[:3] == [1, 2, pytest.approx(3)]
    level = lines[1].filter(polars.col("position") > 33)["loss"].to_numpy()
    assert len(level) and np.allclose(level, pair[1]["loss"] * (1 + 0.6 / 32))
    assert f"{pair[1]['loss'] * 1.6 - first[0]:+.2f} nats at position 1" in str(fig07_lstm.gap(*lines))


def test_shared_layers_lie_the_planted_excess_beside_the_standard(exact: Tables) -> None:
    standard, shared = fig17_recurrent.compared(exact["runs"])
    assert standard["n_layer"].unique().to_list() == [2] and shared["n_repeats"].unique().sort().to_list() == [2, 4]
    above = model_comparison.excess(standard, "n_params", shared)
    assert np.allclose(above, 100 * math.expm1(planted.SHARED), atol=0.7)
    for form in shared.partition_by("n_repeats", "sharing", maintain_order=True):
        assert np.allclose(form["flops_6nd"], 6 * form["n_params"] * form["tokens"] * form["n_repeats"])
        assert (
            fig17_recurrent.beside(standard, "n_params", form)
            == f"−{abs(model_comparison.excess(standard, 'n_params', form).mean()):.1f} % (4 models)"
        )
    said = words(draw("fig17_recurrent", exact))
    assert "layers used 2 times, AABB" in said and "layers used 4 times, ABAB" in said


def test_a_line_joins_models_that_differ_in_size_alone(exact: Tables) -> None:
    standard, shared = fig17_recurrent.compared(exact["runs"])
    mixed = polars.concat([standard.with_columns(n_layer=polars.lit(depth)) for depth in (1, 2)], how="vertical_relaxed")
    for models, count in ((standard, 1), (shared, 3), (mixed, 2)):
        groups = model_comparison.alike(models)
        assert len(groups) == count and sum(map(len, groups)) == len(models)
        assert all(group["n_layer"].n_unique() == 1 and (group["d_ff"] == 4 * group["d_model"]).all() for group in groups)
    figure = draw("fig17_recurrent", exact)
    joined = [line for line in figure.axes[0].lines if line.get_linestyle() != "None" and len(np.asarray(line.get_xdata())) > 1]
    assert len(joined) == 4


def test_losses_on_other_text_have_the_planted_slopes(exact: Tables) -> None:
    points = fig08_transfer.transferred(exact["runs"], exact["evals"])
    paired = loss_by_text.beside_own(points, "loss")
    assert set(paired["tested"]) == set(planted.TRANSFER) and set(points["own"]) == {"books"}
    for name, (offset, slope) in planted.TRANSFER.items():
        ends = paired.filter(polars.col("tested") == name)
        assert f"slope {slope:.2f} [{slope:.2f}, {slope:.2f}]" in fig08_transfer.tie(ends)
        assert np.allclose(ends["loss"], offset + slope * ends["inside"])
    left = fig08_transfer.by_size(points)
    assert left["tokens"].unique().to_list() == [2_000_000] and left["n_params"].n_unique() == 5
    assert "books (trained on)" in words(draw("fig08_transfer", exact))


def test_tokens_longer_than_bytes_get_a_row_of_nats_per_byte(exact: Tables) -> None:
    assert len(draw("fig08_transfer", exact).axes) == 2
    longer = exact | {"evals": exact["evals"].with_columns(nats_per_byte=polars.col("nats_per_byte") / 4)}
    figure = draw("fig08_transfer", longer)
    assert len(figure.axes) == 4 and "nats per byte" in figure.axes[2].get_ylabel()
    tokens, byte = (figure.axes[place].get_ylim()[0] for place in (0, 2))
    assert byte == pytest.approx(tokens / 4, rel=0.01)


def test_losses_during_training_are_drawn_where_there_are_any(exact: Tables) -> None:
    ends = exact["evals"].filter(polars.col("position").is_null())
    middle = ends.with_columns(polars.col("step") // 2, polars.col("loss") * 1.1)
    more = exact | {"evals": polars.concat([exact["evals"], middle])}
    points = fig08_transfer.transferred(more["runs"], more["evals"])
    assert (points["final"].not_()).sum() == points["final"].sum()
    drawn, before = draw("fig08_transfer", more), draw("fig08_transfer", exact)
    assert len(drawn.axes[1].lines) == len(before.axes[1].lines) + points.filter("final")["run"].n_unique() * len(
        planted.TRANSFER
    )


def test_depth_on_other_text_at_one_size(exact: Tables) -> None:
    data = fig24_transfer_depth.depths(exact["runs"], exact["evals"])
    assert data["n_layer"].unique().sort().to_list() == [1, 2, 3, 8, 12, 32]
    sizes = data["n_params"].to_numpy()
    assert sizes.max() <= 1.02 * sizes.min() and set(data["seeds"]) == {2}
    line = polars.DataFrame({"n_layer": [1, 2, 4, 8], "loss": [2.0 * 1.03**k for k in range(4)]})
    assert fig24_transfer_depth.per_doubling(line) == "+3.00 % [+3.00, +3.00]"
    flat = line.with_columns(loss=polars.Series([2.0, 2.1, 2.1, 2.0]))
    assert fig24_transfer_depth.per_doubling(flat).endswith("not resolved")


def test_corrupted_text_costs_what_was_planted_on_the_clean_text(exact: Tables) -> None:
    data = quality.compared(exact["runs"])
    assert list(quality.corpora(data)) == ["books", "books-5", "books-20"]
    name, common = quality.on_common(data, exact["evals"])
    assert name == "books" and common["n_params"].n_unique() == 5
    clean = common.filter(polars.col("own") == "books")
    for share, cost in planted.CORRUPTED.items():
        mine = common.filter(polars.col("own") == f"books-{100 * share:g}") if share else clean
        assert np.allclose(model_comparison.excess(clean, "n_params", mine), 100 * math.expm1(cost), atol=1e-9)
    said = words(draw("quality", exact))
    low = f"+{100 * math.expm1(planted.CORRUPTED[0.2]):.1f}"
    assert f"books-20 (20 % replaced): {low} % from books at equal N" in said


def test_seeds_spread_is_the_standard_deviation_within_groups() -> None:
    rng = np.random.default_rng(5)
    runs = [planted.spec(2, width, seed=seed) for width in (8, 16) for seed in range(200)]
    rows = [planted.row(run, noise=float(rng.normal(0, 0.01))) for run in runs]
    spread = seed_noise.seed_spread(planted.frames(rows, [])["runs"])
    for place, width in enumerate((8, 16)):
        losses = np.array([row["loss"] for row in rows if row["d_model"] == width])
        sd = losses.std(ddof=1)
        assert spread["sd"][place] == pytest.approx(sd)
        low, high = sd * np.sqrt(199 / chi2.ppf([0.975, 0.025], 199))
        assert (spread["low"][place], spread["high"][place]) == (pytest.approx(low), pytest.approx(high))
    share, freedom = seed_noise.pooled(spread) or (0.0, 0)
    assert freedom == 398 and share == pytest.approx(0.01, rel=0.1)


def test_seeds_are_averaged_and_the_error_of_the_text_is_not(noisy: Tables) -> None:
    group = groups.comparison(noisy["runs"].filter(polars.col("d_model") == 8), "seed")[0]
    row = model_comparison.over_seeds(group).row(0, named=True)
    assert row["loss"] == pytest.approx(group["loss"].mean()) and row["seeds"] == len(group)
    assert row["loss_stderr"] == pytest.approx(planted.STDERR)


def test_a_minus_is_not_put_into_names() -> None:
    assert model_comparison.minus("books-20: -1.5 % [-2, -1]") == "books-20: −1.5 % [−2, −1]"


def test_diverged_runs_are_counted(noisy: Tables) -> None:
    assert model_comparison.diverged(noisy["runs"]) == "; 1 run diverged"
    assert "1 run diverged" in words(draw("seeds", noisy))


def test_drawn_from_shuffled_rows_every_byte_is_the_same(tmp_path: Path, noisy: Tables) -> None:
    shuffled = {name: table.sample(fraction=1.0, shuffle=True, seed=3) for name, table in noisy.items()}
    for place, tables in enumerate((noisy, shuffled)):
        with style.style():
            style.save(draw("quality", tables), tmp_path / f"{place}.svg", tmp_path / f"{place}.png")
    for suffix in ("svg", "png"):
        first, second = ((tmp_path / f"{place}.{suffix}").read_bytes() for place in (0, 1))
        assert first and first == second, suffix


def test_gains_of_architectures_are_those_planted() -> None:
    """A log loss that lies 3 % lower is that of a Transformer with exp(0.03/0.09) times the compute."""
    planted_loss = {n: 2.0 * (6144 / n) ** 0.09 for n in plant.SIZES}
    runs = [plant.run(f"t{n}", n, loss) for n, loss in planted_loss.items()]
    llama = {"architecture": "llama", "options": '{"norm":"pre"}', "n_kv_heads": 1, "d_ff": 20}
    runs += [plant.run(f"l{n}", n, planted_loss[n] * math.exp(-0.03), **llama) for n in plant.SIZES[:3]]
    post = {**llama, "options": '{"norm":"post"}'}
    runs += [plant.run(f"p{n}", n, planted_loss[n] * math.exp(0.03), **post) for n in plant.SIZES]
    runs.append(plant.run("twice", 6144, 1.5, architecture="recurrent", n_repeats=2))
    data = architectures.compared(plant.tables(runs)["runs"])
    assert architectures.names(data) == ["transformer", "llama (norm:post)", "llama (norm:pre)"]
    for name, gain, beyond in (("pre", 1 / 3, [False] * 3), ("post", -1 / 3, [True, False, False, False])):
        found = architectures.gains(data, f"llama (norm:{name})")
        assert np.allclose(found.each, math.exp(gain)) and list(found.beyond) == beyond
        assert np.isclose(found.mean, math.exp(gain)) and np.isclose(found.mean_low, found.mean_high)
    text = words(draw("architectures", plant.tables(runs)))
    assert "llama (norm:pre): × 1.40 [1.40, 1.40] on average" in text and "transformer: exponent 0.090" in text
