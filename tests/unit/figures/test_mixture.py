"""The figure of mixtures: its series, the least mean loss that it names, and what it draws of three corpora or without a fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fixtures import planted_mixtures as plant
from fixtures.drawing import draw, words
from fixtures.pictures import faults
from scalinglaws.figures.training import mixture
from scalinglaws.laws.mixture_points import points_of


def test_the_picture_names_the_planted_best_mixture() -> None:
    tables, fits = plant.study()
    found = mixture.series(points_of(tables["runs"], tables["evals"], {}, None, None), tables["evals"], fits["mixture"])
    assert len(found) == 2 and all(one.corpora == ["books", "mail"] for one in found)
    grid = np.linspace(0, 1, 101)
    losses = [sum(plant.loss(law, {"books": r, "mail": 1 - r}) for law in plant.TEXTS.values()) for r in grid]
    best = 100 * grid[int(np.argmin(losses))]
    figure = draw("mixture", tables, fits)
    said = words(figure)
    shown = [float(part.split(" %")[0]) for part in said.split(": ")[1:] if part[:2].isdigit() and " % [" in part[:6]]
    assert len(shown) == 2 and shown == pytest.approx([best, best], abs=6)
    assert "hollow: unseen text, not fitted" in said and "books unseen: " in said
    assert faults(figure) == []


def test_runs_are_drawn_without_a_fit_and_without_mixtures_the_picture_says_so() -> None:
    tables, _ = plant.study()
    assert "fit:" not in words(draw("mixture", tables, {}))
    none = tables | {"runs": tables["runs"].with_columns(mixture=pl.lit(None, pl.String))}
    assert "no run was trained on a mixture" in words(draw("mixture", none, {}))
