"""Figures 4, 9 and 16 of runs that max_tokens ended while their loss still fell: they are drawn as bounds and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
import pytest

from fixtures import planted, planted_figures
from fixtures import planted_training as plant
from fixtures.drawing import draw, words
from scalinglaws.figures.shared import fit_json, groups
from scalinglaws.figures.training import fig16_early_stopping
from scalinglaws.laws.result import fit_table


def capped_study() -> tuple[dict[str, polars.DataFrame], dict[str, Any]]:
    """Return a study whose runs on all the data, and one on part of it, max_tokens ended while their loss still fell."""
    tables, fits = planted.study(sizes=planted.SIZES[::4])
    early, whole = polars.col("stop") == "early", ~polars.col("dataset_limited")
    capped = early & (whole | (polars.col("dataset_tokens") == 3_000_000) & (polars.col("n_params") < 10_000))
    ended = polars.when(capped).then(polars.lit("max_tokens")).when(early).then(polars.lit("patience"))
    best = polars.when(capped).then("steps").when(early).then(polars.col("steps") // 2)
    tables["runs"] = tables["runs"].with_columns(stopped=ended, best_step=best)
    return tables, fits | {"kaplan-nd": fit_table(tables["runs"], "kaplan-nd", n_bootstrap=0)}


def test_losses_that_still_fell_are_drawn_as_bounds() -> None:
    tables, fits = capped_study()
    left_out = fit_json.left_out(fits["kaplan-nd"], tables["runs"])
    assert left_out["dataset_limited"].to_list().count(False) == 2 and len(left_out) == 3
    for name in ("fig04_loss_vs_data", "fig09_overfitting"):
        figure = draw(name, tables, fits)
        assert "3 left out: max_tokens ended them while the loss still fell" in words(figure).replace("\n", " ")
        hollow = [line for line in figure.axes[0].lines if line.get_marker() == "^" and np.size(line.get_xdata())]
        drawn = sorted(float(np.asarray(line.get_ydata())[0]) for line in hollow)
        assert drawn == pytest.approx(sorted(left_out["loss"]))
        low, high = figure.axes[0].get_ylim()
        assert low < min(drawn) and max(drawn) < high
    assert "at least: max_tokens ended the run on the whole split" in words(figure).replace("\n", " ")
    without = draw("fig09_overfitting", *planted.study(sizes=planted.SIZES[::4]))
    assert "left out" not in words(without) and "at least" not in words(without)


def test_the_excess_is_over_the_runs_on_the_whole_split_though_no_fit_has_them() -> None:
    tables, fits = capped_study()
    data = fit_json.points(fits["kaplan-nd"], tables["runs"])
    assert groups.overfitting(data, tables["runs"]).is_empty()
    found = groups.overfitting(groups.with_whole(data, fit_json.left_out(fits["kaplan-nd"], tables["runs"])), tables["runs"])
    assert len(found) == len(data) and set(found["n_params"]) == set(data["n_params"])
    whole = tables["runs"].filter((polars.col("stop") == "early") & ~polars.col("dataset_limited"))
    losses = dict(whole.select("n_params", "loss").rows())
    expected = [row["loss"] / losses[row["n_params"]] - 1 for row in found.iter_rows(named=True)]
    assert np.allclose(found["delta"], expected) and found["delta_stderr"].is_not_null().all()


def test_early_stopping_marks_the_runs_that_max_tokens_ended() -> None:
    """A best step before the last is no end of the fall where no token was repeated."""
    tables, fits = plant.stopped(factor=1.6), plant.step_fits()
    fresh = polars.col("dataset_tokens") == 1_000_000
    changed = tables["runs"].with_columns(
        stopped=polars.when(fresh).then(polars.lit("max_tokens")).otherwise(polars.lit("patience")),
        tokens=polars.when(fresh).then(900_000).otherwise("tokens"),
    )
    found = fig16_early_stopping.bounds(changed, fits["kaplan-ns"])
    assert set(found.filter("ended")["dataset_tokens"]) == {1_000_000} and found["ended"].sum() == 2
    text = words(draw("fig16_early_stopping", tables | {"runs": changed}, fits)).replace("\n", " ")
    assert "ended by its budget: would stop later" in text and "the same, of a run that its budget ended" in text


def test_without_fitted_exponents_the_excess_is_drawn_over_the_published_ones() -> None:
    tables, fits = planted_figures.study("fig09_overfitting")
    unknown = {**fits["kaplan-nd"], "parameters": {}, "published": {"alpha_N": 0.076, "alpha_D": 0.103}}
    text = words(draw("fig09_overfitting", tables, {**fits, "kaplan-nd": unknown}))
    assert "the published exponents, a ratio of 0.74" in " ".join(text.split()) and "fit against the whole split" not in text
