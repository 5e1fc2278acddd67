"""The law of data mixing: planted losses come back, the best mixture is the lowest of a grid, too few mixtures are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from printed import printed

from fixtures import planted_mixtures as plant
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.result import fit_table

RNG = np.random.default_rng(0)
CORNERS = np.array([[a, b, 4 - a - b] for a in range(5) for b in range(5 - a)]) / 4  # 15 mixtures of three corpora


def estimates(fit: dict[str, Any]) -> dict[str, float]:
    return {name: value["estimate"] for name, value in fit["parameters"].items()}


@pytest.mark.parametrize(("shares", "texts"), [(plant.two(7), plant.TEXTS), (CORNERS, plant.OF_THREE)])
def test_losses_without_noise_give_the_law_back(shares: np.ndarray, texts: dict[str, Any]) -> None:
    fit = fit_table(plant.table(RNG, shares, texts, noise=0.0), "mixture", n_bootstrap=0)
    assert estimates(fit) == pytest.approx(plant.truth(texts), rel=1e-5)
    assert fit["held_out"]["error"] < 1e-6
    unseen = [item for item in fit["excluded"] if "trained on none of" in item["reason"]]
    assert len(unseen) == int((shares == 0).sum())


def test_weights_are_divided_by_their_sum() -> None:
    table = plant.table(RNG, plant.two(7), noise=0.0)
    scaled = table.with_columns(pl.col("share_books", "share_mail") * 70)
    assert estimates(fit_table(scaled, "mixture", n_bootstrap=0)) == pytest.approx(
        estimates(fit_table(table, "mixture", n_bootstrap=0)), rel=1e-9
    )


def test_forecasts_and_the_best_mixture_are_those_of_the_planted_law() -> None:
    table = plant.table(np.random.default_rng(3), plant.two(13), noise=0.002)
    at = [{"books": 3.0, "mail": 1.0}, {"for_books": 1.0, "for_mail": 3.0}, {"books": 1.0}]
    there, best, far = fit_table(table, "mixture", n_bootstrap=200, at=at)["recommended"]
    for text, law in plant.TEXTS.items():
        found = there[f"loss_{text}"]
        assert found["ci_low"] < plant.loss(law, {"books": 0.75, "mail": 0.25}) < found["ci_high"]
        assert found["ci_high"] / found["ci_low"] < 1.02
    grid = np.linspace(0, 1, 2001)
    losses = [0.25 * plant.loss(plant.TEXTS["books"], {"books": r, "mail": 1 - r}) for r in grid]
    losses = [a + 0.75 * plant.loss(plant.TEXTS["mail"], {"books": r, "mail": 1 - r}) for a, r in zip(losses, grid, strict=True)]
    lowest = grid[int(np.argmin(losses))]
    assert best["books"]["ci_low"] < lowest < best["books"]["ci_high"]
    assert best["books"]["estimate"] == pytest.approx(lowest, abs=0.05)
    assert best["books"]["estimate"] + best["mail"]["estimate"] == pytest.approx(1)
    assert there["flag"] is None and "nothing tests the law there" in far["flag"]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({"boks": 1.0}, "knows no corpus 'boks': did you mean books"),
        ({"for_boks": 1.0}, "knows no text 'boks'"),
        ({"for_books": 1.0, "mail": 1.0}, "not both at one place"),
        ({"books": 0.0}, "weights above 0"),
    ],
)
def test_a_place_that_is_none_is_refused(at: dict[str, float], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        fit_table(plant.table(RNG, plant.two(7)), "mixture", n_bootstrap=0, at=[at])


def test_too_few_mixtures_are_refused_with_how_many_are_needed() -> None:
    few = plant.table(RNG, plant.two(3))
    with pytest.raises(
        StudyError, match=r"2 corpora has 3 parameters for each text, and .* books have a loss on it on 2 mixtures"
    ):
        fit_table(few, "mixture")
    fit = fit_table(few, "mixture", allow_empty=True)
    assert fit["parameters"] == {} and fit["flags"][0].startswith("Not fitted: ")
    exact = fit_table(plant.table(RNG, plant.two(5)[1:4]), "mixture")
    assert any("as many parameters as mixtures" in flag for flag in exact["flags"])
    assert exact["parameters"]["c[books]"]["ci_low"] is None
    line = np.array([[r, 1 - r - 0.2, 0.2] for r in np.linspace(0.1, 0.7, 6)])
    with pytest.raises(StudyError, match="do not vary apart from each other"):
        fit_table(plant.table(RNG, line, plant.OF_THREE), "mixture")


def test_losses_of_another_form_are_doubted() -> None:
    table = plant.table(RNG, plant.two(9), noise=0.0)
    bent = table.with_columns(loss_books=2.0 + 0.5 * pl.col("share_books") * (1 - pl.col("share_books")))
    flags = fit_table(bent, "mixture", n_bootstrap=50)["flags"]
    assert any("books" in flag and "misses" in flag for flag in flags)


def test_the_tables_of_a_study_give_a_fit_for_each_size() -> None:
    tables, fits = plant.study()
    groups = fits["mixture"]["groups"]
    assert [each["corpora"] for each in groups] == [["books", "mail"]] * 2
    assert {len(text["points"]) for each in groups for text in each["texts"].values()} == {6}  # of seven, one saw none of it
    largest = max(groups, key=lambda each: each["n_params"])
    assert fits["mixture"]["parameters"]["t[books, mail]"] == largest["texts"]["books"]["parameters"]["t[books, mail]"]
    with pytest.raises(StudyError, match="runs with --table and evals with --evals"):
        fit_table(tables["runs"], "mixture")
    unfitted = tables["runs"].with_columns(fitted=False)
    with pytest.raises(StudyError, match="no run was trained on a mixture"):
        fit_table(unfitted, "mixture", evals=tables["evals"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share_mail": pl.lit(-0.1)}, "row 1 of the table has a share below 0"),
        ({"share_mail": 0 * pl.col("share_mail")}, "row 7 of the table has"),
        ({"loss_mail": pl.lit(-1.0)}, "no positive loss"),
    ],
)
def test_a_table_with_a_share_or_loss_that_cannot_be_is_refused(change: dict[str, pl.Expr], words: str) -> None:
    table = plant.table(RNG, plant.two(7)).with_columns(**change)
    with pytest.raises(StudyError, match=words):
        fit_table(table, "mixture")
    with pytest.raises(StudyError, match="share_NAME"):
        fit_table(table.drop("loss_books", "loss_mail"), "mixture")


def test_the_command_prints_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant.table(RNG, plant.two(9)).write_csv(tmp_path / "runs.csv")
    at = ["--at", "books=0.5,mail=0.5", "--at", "for_books=1,for_mail=1"]
    assert main(["fit", "--law", "mixture", "--table", str(tmp_path / "runs.csv"), "--bootstrap", "50", *at]) == 0
    page = capsys.readouterr().out
    assert "loss_books" in page and "for_books = 1, for_mail = 1" in page
    assert main(["fit", "--law", "mixture", "--table", str(tmp_path / "runs.csv"), "--bootstrap", "0", "--json"]) == 0
    assert printed("fit", capsys.readouterr().out)["law"] == "mixture"
