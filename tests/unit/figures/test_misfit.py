"""The rule of misfit: silent for noise, spoken where a law bends away from its points."""

from __future__ import annotations

import numpy as np
import polars
import pytest

from fixtures import planted_figures
from scalinglaws.figures.shared import misfit, seed_noise

X = np.geomspace(1e3, 1e6, 12)
LAW = (1e9 / X) ** 0.08


def test_a_law_with_the_noise_that_is_stated_is_right() -> None:
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.02, len(X))
        assert misfit.note("the fit", LAW * np.exp(noise), LAW, 0.02) == []


def test_a_law_that_misses_its_points_says_by_how_much() -> None:
    bent = LAW * np.exp(0.05 * np.tile([1.0, -1.0], 6))
    assert misfit.note("the fit of L(N)", bent, LAW, 0.01) == [
        "the fit of L(N) misses its points: 5.1 % rms, 5 times their noise"
    ]
    assert misfit.note("the fit", bent, LAW) == ["the fit misses its points: 5.1 % rms"]
    assert misfit.note("the fit", bent, LAW, 0.03) == []  # 1.7 times the noise
    assert misfit.note("the fit", bent, LAW, np.r_[0.01, np.full(11, np.nan)]) == misfit.note("the fit", bent, LAW, 0.01)


def test_small_differences_few_points_and_gaps_say_nothing() -> None:
    assert misfit.note("the fit", LAW * np.exp(0.009), LAW, 1e-4) == []  # within the width of a marker
    assert misfit.note("the fit", 2 * LAW[:2], LAW[:2], 0.01) == []
    assert misfit.note("the fit", 2 * LAW, np.where(X < 1e5, np.nan, LAW), 0.01) == [
        "the fit misses its points: 100 % rms, 69 times their noise"
    ]
    assert misfit.note("the fit", [], []) == []


def test_the_noise_of_losses_is_the_test_sample_and_the_seeds_together() -> None:
    tables, _ = planted_figures.study("seeds")
    points = tables["runs"].filter(polars.col("status") == "ok").select("n_params", "loss", "loss_stderr")
    stated = (points["loss_stderr"] / points["loss"]).to_numpy()
    assert misfit.of_losses(points) == pytest.approx(stated)
    assert np.isnan(misfit.of_losses(points.drop("loss_stderr"))).all()
    seeds = seed_noise.noise(tables["runs"], float(points["n_params"].median()))  # type: ignore[arg-type]
    assert seeds is not None and seeds[0] > 0
    assert misfit.of_losses(points, tables["runs"]) == pytest.approx(np.hypot(stated, seeds[0]))
