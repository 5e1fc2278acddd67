"""What is compared, by what, and what is said of it: on tables made by known laws, and on a study's folder made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from printed import printed, validator

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.compare import compare
from scalinglaws.decide.comparison import Comparison
from scalinglaws.decide.sides import Side, side
from scalinglaws.laws.gain import compute_equivalent
from scalinglaws.report.one_comparison import page

ROOT = Path(__file__).parents[3]
SIZES, BUDGETS = np.geomspace(1e5, 3e6, 5), np.array([2e7, 4e7, 8e7])


def rows(experiment: str, gain: float = 1.0, budgets: np.ndarray = BUDGETS, fitted: bool = True, **more: Any) -> list[dict]:
    """Return runs of all sizes and budgets; a ``gain`` of 4 says that they are as good as others of twice the size and tokens."""
    found = []
    for n in SIZES:
        for d in budgets:
            loss = 1.2 + 30 / (gain**0.5 * n) ** 0.3 + 60 / (gain**0.5 * d) ** 0.25
            run = {"run": f"{experiment}-{n:.0f}-{d:.0f}", "trunk": f"{experiment}-{n:.0f}", "experiments": [experiment]}
            found.append(run | {"fitted": fitted, "n_params": n, "tokens": d, "flops_6nd": 6 * n * d, "loss": loss, **more})
    return found


def write(results: Path, study: str, runs: list[dict]) -> None:
    folder = results / "studies" / study / "tables"
    folder.mkdir(parents=True)
    pl.DataFrame(runs).write_parquet(folder / "runs.parquet")


def table(letter: str, runs: list[dict], where: str | None = None) -> Side:
    return Side(letter, "a table", pl.DataFrame(runs).drop("experiments", "fitted"), where)


def test_an_experiment_counts_where_it_is_named_and_else_where_it_is_fitted(tmp_path: Path) -> None:
    runs = rows("size") + rows("llama", 3.0, fitted=False, architecture="llama")
    write(tmp_path, "paper", [{"architecture": "transformer"} | run for run in runs])
    for text in ("paper", str(tmp_path / "studies" / "paper"), "paper:size"):
        found = compare(side("A", "paper:llama", tmp_path), side("B", text, tmp_path), n_bootstrap=0)
        assert (found.method, found.law, found.a.n_points, found.b.n_points) == ("law", "chinchilla", 15, 15)
        assert [place.gain.estimate for place in found.at] == pytest.approx([3.0] * 3, rel=1e-4) and not found.at[1].gain.ci_low
    with pytest.raises(StudyError, match=r"A, paper:lama: paper has no experiment 'lama': did you mean llama\?"):
        side("A", "paper:lama", tmp_path)
    with pytest.raises(
        StudyError, match=r"no table or finished study 'papers': .* did you mean paper\? The finished studies are"
    ):
        side("B", "papers", tmp_path)


def test_a_condition_chooses_runs_and_a_wrong_one_names_its_option(tmp_path: Path) -> None:
    write(tmp_path, "paper", rows("size", architecture="a") + rows("other", 2.0, architecture="b"))
    found = compare(*(side(k, "paper", tmp_path, f"architecture = '{k.lower()}'") for k in "BA"), n_bootstrap=0)
    assert found.at[0].gain.estimate == pytest.approx(2.0, rel=1e-4) and found.a.name == "paper where architecture = 'b'"
    with pytest.raises(StudyError, match=r"--where-b .* there is no column 'architectur': did you mean architecture"):
        side("B", "paper", tmp_path, "architectur = 'a'")


def test_a_planted_gain_lies_in_its_intervals_and_places_beyond_the_runs_are_marked() -> None:
    found = compare(
        *(side(k, str(ROOT / f"docs/{name}.csv"), ROOT) for k, name in (("A", "example2"), ("B", "example"))),
        at=[1e18, 2e19, 1e23],
        n_bootstrap=300,
    )
    gains = [place.gain for place in found.at]
    assert all((gain.ci_low or 9) < 2 < (gain.ci_high or 0) for gain in gains)
    assert [gain.extrapolated for gain in gains] == [False, False, True]
    planted = {"E": 0.0, "alpha": 0.0, "beta": 0.0, "alpha_C": 0.0, "a": 0.0}
    assert [item.name for item in found.exponents] == list(planted)
    assert all((item.difference.ci_low or 9) < 0 < (item.difference.ci_high or -9) for item in found.exponents)


def test_power_c_is_taken_where_tokens_follow_size_and_one_budget_where_there_is_one() -> None:
    line = [run for run in rows("size", budgets=20 * SIZES) if run["tokens"] == 20 * run["n_params"]]
    found = compare(table("A", line), table("B", line), n_bootstrap=0)
    assert found.law == "power-c" and found.at[0].gain.estimate == pytest.approx(1.0)
    assert found.doubts[0].startswith("5 of the 5 points of A are points of B, too")
    one, three = table("A", rows("lstm", 1.5, budgets=BUDGETS[1:2])), table("B", rows("size"))
    found = compare(one, three, n_bootstrap=0)
    at_budget = [run for run in rows("size") if run["tokens"] == BUDGETS[1]]
    ours, theirs = (
        [np.array([run[k] for run in part]) for k in ("flops_6nd", "loss")]
        for part in (rows("lstm", 1.5, budgets=BUDGETS[1:2]), at_budget)
    )
    gains = compute_equivalent(*theirs, *ours)
    assert (found.method, found.tokens, found.b.n_points) == ("one budget", 4e7, 5)
    assert [place.gain.estimate for place in found.at] == pytest.approx(list(gains.each))
    assert found.mean_gain and found.mean_gain.ci_high == pytest.approx(gains.mean_high)
    assert compare(one, three, tokens=4e7) == found


def test_texts_tokenizers_and_contexts_that_differ_are_told() -> None:
    ours = rows("a", corpus_name="books", corpus="books-1", tokenizer="bytes", n_ctx=128)
    theirs = rows("b", 2.0, corpus_name="mail", corpus="mail-1", tokenizer="bpe", n_ctx=128)
    doubts = compare(table("A", ours), table("B", theirs), n_bootstrap=0).doubts
    assert doubts[0].startswith("The texts differ: books of A, mail of B.") and "bytes of A, bpe of B" in doubts[1]
    assert not any("context" in sentence or "points of B" in sentence for sentence in doubts)


def test_a_loss_that_b_never_reaches_has_no_gain() -> None:
    worse = [run | {"loss": run["loss"] + 1.5} for run in rows("b")]
    found = compare(table("A", rows("a")), table("B", worse), at=[1e12, 1e19], n_bootstrap=0)
    assert found.at[0].gain.estimate and found.at[1].gain.estimate is None and found.at[1].gain.extrapolated
    assert any(
        block.rows[1][1] == "never"
        for block in page(found.model_dump())
        if not isinstance(block, str | list) and "gain" in block.columns
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"law": "power-d"}, "--law power-d states no loss of the best run of a compute: did you mean power-c?"),
        ({"law": "power-c", "tokens": 4e7}, "exclude each other"),
        ({"tokens": 5e7}, "At 5e\\+07 tokens, A needs a model and B needs 3 of different compute"),
        ({"tokens": 4e7, "at": [1e13]}, "--at is for a law"),
        ({"at": [0.0]}, "--at takes computes"),
        ({"n_bootstrap": 1}, "--bootstrap is 1"),
    ],
)
def test_impossible_options_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        compare(table("A", rows("a")), table("B", rows("b")), **options)


def test_what_both_lack_is_told() -> None:
    with pytest.raises(
        StudyError, match=r"At one budget of tokens, A needs .* No law can be fitted to both either: A: law chinchilla"
    ):
        compare(table("A", rows("a")[:2]), table("B", rows("b")[:2]))


def test_the_json_is_that_of_the_schema(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of comparing meet it, and what lacks a part does not."""
    monkeypatch.chdir(ROOT)
    sides = ["docs/compare.csv"] * 2 + ["--where-a", "architecture = 'lstm'", "--where-b", "architecture = 'transformer'"]
    for words, method in (
        ([*sides], "one budget"),
        (["docs/compare.csv"] * 2 + ["--bootstrap", "20", "--law", "power-c"], "law"),
    ):
        assert main(["compare", *words, "--json"]) == 0
        found, kept = printed("compare", capsys.readouterr().out), validator("compare")
        assert found["method"] == method and Comparison(**found)
        for name in found:
            assert not kept.is_valid({key: value for key, value in found.items() if key != name})
        assert not kept.is_valid(found | {"at": []}) and not kept.is_valid(found | {"law": 3, "more": 1})
