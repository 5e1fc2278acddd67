"""The page ``explore.html``: what it says of runs, fits and forecasts, its size, and that the same study gives the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fixtures import explored, planted
from fixtures.small_study import changed
from scalinglaws.cli.app import main
from scalinglaws.cluster.cost import H100
from scalinglaws.decide import explore, explore_forecast, explore_laws, forecast
from scalinglaws.decide.explore_runs import NO_EXPERIMENT, PANELS, experiments, shown
from scalinglaws.tables.schema import RUNS

MOST_BYTES = 5_000_000  # of a page of 1,000 runs
MANY = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the fits of the small study."""
    return explored.write_fits(tmp_path_factory.mktemp("fits"), explored.fits())


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the slider few steps: each takes a while."""
    monkeypatch.setattr(explore_forecast, "A_DECADE", 1)


@pytest.fixture(scope="module")
def basis(folder: Path) -> forecast.Basis:
    return forecast.of_study(folder, explored.RESAMPLES, 0)


def row(table: pl.DataFrame, run: str) -> dict[str, Any]:
    return table.row(by_predicate=pl.col("run") == run, named=True)


def data_of(page: bytes) -> dict[str, Any]:
    """Return the data that a page holds."""
    text = page.decode().partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return dict(json.loads(text))


def test_runs_enter_the_fits_of_their_panel_and_others_say_why_not() -> None:
    fits = explored.fits()
    table = shown(explored.runs(), fits)
    assert len(table) == len(explored.runs())
    for letter, law in (("N", "power-n"), ("D", "power-d"), ("C", "power-c")):
        inside = set(table.filter(f"in_{letter}")["run"])
        assert inside == {point["run"] for point in fits[law]["points"]} and inside
    early = row(table, "gpt-1536-16000000-30000")
    assert early["data"] == 30_000 and "not the largest model" in early["note_D"] and "stopped early" in early["note_N"]
    assert row(table, "gpt-1536-500000-None")["data"] == 500_000
    lost = row(table, "diverged")
    assert not lost["ok"] and lost["loss_text"] == "not known" and lost["status"] == "diverged"
    two = row(table, "two")
    assert two["low"] == pytest.approx(1.95 - 1.96 * 0.01) and "fit: false" in two["note_C"] and two["names"] == "external, size"
    assert row(table, explored.HOSTILE)["low"] == 1.9
    assert experiments(table)["external"] == 2


def test_a_run_of_no_experiment_is_there() -> None:
    table = shown(explored.runs().with_columns(experiments=pl.lit(None, pl.List(pl.String))), {})
    assert experiments(table) == {NO_EXPERIMENT: len(table)} and set(table["fits"]) == {""}
    assert set(table["note_N"]) == {"in no fit here, since there is none"}


def test_the_steps_of_the_slider_are_the_answers_of_the_command_forecast(basis: forecast.Basis) -> None:
    steps = explore_forecast.steps(basis)
    assert [step.flops for step in steps] == sorted({step.flops for step in steps})
    assert 0.1 < steps[-1].flops / (100 * 6 * planted.SIZES[-2] * planted.BUDGETS[-1]) <= 1
    for step in (steps[0], steps[len(steps) // 2], steps[-1]):
        found = forecast.answer(basis, {"flops": step.flops}, H100, "bfloat16", None, None)
        assert (step.n_params, step.tokens) == pytest.approx((found.n_params, found.tokens))
        assert (step.loss, step.low, step.high) == pytest.approx(
            (found.losses[-1].loss, found.losses[-1].low, found.losses[-1].high)
        )
        assert step.factors["compute"] == pytest.approx(found.beyond.compute)
        assert [cells[0] for cells in step.rows] == [of.method for of in found.losses]
        assert (step.state == explore_forecast.UNCHECKED) == bool(found.doubts)
    assert steps[0].state == explore_forecast.INSIDE and steps[-1].state != explore_forecast.INSIDE


def test_a_curve_is_the_law_at_its_points_and_wider_beyond_them(folder: Path, basis: forecast.Basis) -> None:
    fits = explored.fits()
    (panel,) = (panel for panel in PANELS if panel.letter == "N")
    (curve,) = explore_laws.curves(panel, fits, folder, basis, 1e7, explored.RESAMPLES, 0)
    found = fits["power-n"]["parameters"]
    n = np.unique([point["n_params"] for point in fits["power-n"]["points"]])[1:]  # the curve begins before the first
    law = (found["N_c"]["estimate"] / n) ** found["alpha_N"]["estimate"]
    assert np.exp(np.interp(np.log(n), np.log(curve.x), np.log(curve.loss))) == pytest.approx(law, rel=1e-4)
    assert curve.last == pytest.approx(n.max()) and curve.x[-1] == pytest.approx(1e7)
    width = np.log(curve.high / curve.low)
    assert width[-1] > 1.5 * width[np.searchsorted(curve.x, curve.last)]
    assert explore_laws.doubts(panel, {}) == [
        "This study has no fit of power-n or power-n-offset (taken: budgets on all the data)."
    ]


def test_the_same_study_gives_the_same_page_which_needs_nothing_else(folder: Path) -> None:
    made = [explore.page(explored.runs(), explored.fits(), folder, "small", explored.RESAMPLES, 0) for _ in range(2)]
    assert made[0] == made[1]
    page = made[0].decode()
    own = page.partition('<script type="application/json"')[0] + page.rpartition("<script>")[2]
    assert not re.search(r"""(src|href)=|url\(|https?://|@import""", own)
    assert explored.HOSTILE not in page and "<h1>Study small: " in page
    assert "1 run diverged and is in the table alone." in page
    assert not re.search(r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}", own)


def test_a_page_of_a_thousand_runs_is_small_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, tokens = np.round(np.exp(rng.uniform(12, 20, MANY))), np.round(np.exp(rng.uniform(16, 23, MANY)))
    loss = 1.7 + 400 / n**0.34 + 410 / tokens**0.28
    runs = pl.DataFrame(
        {
            "run": [f"gpt-n{n[k]:.0f}-t{tokens[k]:.0f}-s0-{k:010x}" for k in range(MANY)],
            "trunk": [f"gpt-n{n[k]:.0f}-trunk-s0-{k:010x}" for k in range(MANY)],
            "experiments": [[f"experiment-{k % 40}"] for k in range(MANY)],
            "n_params": n.astype(int), "tokens": tokens.astype(int), "flops_6nd": 6 * n * tokens,
            "loss": loss, "loss_stderr": 0.004, "status": "ok", "fitted": True,
        }
    )  # fmt: skip
    page = explore.page(planted.complete(runs, RUNS), {}, tmp_path, "many", 0, 0)
    assert len(page) < MOST_BYTES and len(data_of(page)["experiments"]) == MANY
    assert b"Nothing is forecast. This study has no fit of chinchilla or overtraining" in page


def test_a_law_that_was_not_fitted_is_told(tmp_path: Path) -> None:
    fit = {"law": "chinchilla", "parameters": {}, "points": [], "flags": ["Not fitted: too few points."]}
    found, told = explore.basis_of({"chinchilla": fit}, tmp_path, 0, 0)
    assert found is None and told == "Nothing is forecast, as the runs are too few for a fit of chinchilla."


def test_the_command_writes_the_page_of_the_study_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(changed(fits={"bootstrap": 2, "laws": ["power-n"]})))
    words = ["explore", "--configfile", str(config), "--results", str(tmp_path / "results")]
    assert main(words) == 1
    assert "runs.parquet is not there: run the study first" in capsys.readouterr().err
    folder = explored.write_study(tmp_path / "results" / "studies" / "test")
    (folder / "fits" / "chinchilla.json").unlink()
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(folder / "explore.html")
    assert (folder / "explore.html").read_text().startswith("<!DOCTYPE html>")
    (folder / "fits" / "power-n.json").write_text("{}")
    assert main(words) == 1
    assert "power-n.json is damaged" in capsys.readouterr().err
