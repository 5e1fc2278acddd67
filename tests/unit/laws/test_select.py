"""Which runs enter which law, every exclusion with its reason, and what a bad table is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS, METHODS
from scalinglaws.laws.result import fit_table, warning_of_time
from scalinglaws.laws.select import Points, read_table, select


def chosen(table: pl.DataFrame, law: str, **options: Any) -> Points:
    return select(table, LAWS[law], **options)


def study_table() -> pl.DataFrame:
    """Return three sizes at three budgets (the first has one layer), early-stopped runs, and three unusable runs."""
    rows = []
    for k, n in enumerate((1e4, 1e5, 1e6)):
        for tokens in (1e6, 2e6, 4e6):
            rows.append((f"size{k}-{tokens:g}", f"size{k}", k + 1, n, tokens, 1e7, False, "budget", "wsd", "ok"))
        for data in (1e5, 1e6, 1e7):
            run = f"data{k}-{data:g}"
            rows.append((run, run, k + 1, n, 8e6, data, data < 1e7, "early", "linear", "ok"))
    rows.append(("bad", "bad", 3, 1e6, 4e6, 1e7, False, "budget", "wsd", "diverged"))
    rows.append(("twice", "twice", 3, 1e6, 2e7, 1e7, False, "budget", "wsd", "ok"))
    rows.append(("flat", "flat", 3, 1e6, 4e6, 1e7, False, "budget", "constant", "ok"))
    names = ["run", "trunk", "n_layer", "n_params", "tokens", "dataset_tokens", "dataset_limited", "stop", "schedule"]
    table = pl.DataFrame(rows, schema=[*names, "status"], orient="row")
    loss = 1 + (1e4 / pl.col("n_params")) ** 0.2 + (1e6 / pl.min_horizontal("tokens", "dataset_tokens")) ** 0.1
    return table.with_columns(
        pl.when(pl.col("status") == "ok").then(loss).alias("loss"),
        pl.when(pl.col("schedule") == "wsd").then(0.2).otherwise(0.0).alias("decay"),
        (6 * pl.col("n_params") * pl.col("tokens")).alias("flops_6nd"),
    )


@pytest.mark.parametrize(
    ("law", "runs"),
    [
        ("power-n", {"size1-4e+06", "size2-4e+06"}),
        ("chinchilla", {f"size{k}-{t}" for k in range(3) for t in ("1e+06", "2e+06", "4e+06")}),
        ("kaplan-nd", {f"data{k}-{d}" for k in range(3) for d in ("100000", "1e+06", "1e+07")}),
        ("power-d", {"data2-100000", "data2-1e+06", "data2-1e+07"}),
    ],
)
def test_each_law_takes_its_losses(law: str, runs: set[str]) -> None:
    table = study_table()
    points = chosen(table, law)
    assert set(points.run) == runs
    left_out = {item["run"]: item["reason"] for item in points.excluded}
    assert set(left_out) == set(table["run"]) - runs
    assert left_out["bad"] == "status diverged"
    if law == "chinchilla":
        assert left_out["twice"] == "more than one epoch"
        assert "not decay" in left_out["flat"]
        assert "early" in left_out["data0-1e+07"]


def test_the_compute_frontier_has_no_run_that_another_betters() -> None:
    points = chosen(study_table(), "power-c")
    order = np.argsort(points.columns["flops"])
    assert (np.diff(points.loss[order]) < 0).all()
    decayed = chosen(study_table(), "chinchilla")
    for flops, loss in zip(points.columns["flops"], points.loss, strict=True):
        cheaper = (decayed.columns["flops"] <= flops) & (decayed.columns["n_params"] > 1e4)
        assert loss <= decayed.loss[cheaper].min()


def test_the_envelope_is_the_lowest_of_all_curves() -> None:
    steps = np.geomspace(1e5, 1e8, 40)
    first = steps[steps >= 2e5][0]
    rows = [
        {"run": f"r{n:g}", "trunk": f"r{n:g}", "n_layer": 2, "n_params": n, "tokens": t, "flops_6nd": 6 * n * t}
        | {"phase": "warmup" if t < 2e5 else "stable", "loss_test": 1 + (1e4 / n) ** 0.2 + (1e6 / t) ** 0.3}
        for n in (1e4, 1e5, 1e6)
        for t in steps
    ]
    runs = pl.DataFrame({"run": ["r10000"], "n_params": [1e4], "tokens": [1e6], "loss": [2.0]})
    points = chosen(runs, "envelope", curves=pl.DataFrame(rows))
    assert len(points) > 20
    for flops, loss in zip(points.columns["flops"], points.loss, strict=True):
        reached = [n for n in (1e4, 1e5, 1e6) if first <= flops / (6 * n) <= 1e8]
        lowest = min(1 + (1e4 / n) ** 0.2 + (1e6 * 6 * n / flops) ** 0.3 for n in reached)
        assert loss == pytest.approx(lowest, rel=2e-3)
    fit = fit_table(runs, "envelope", curves=pl.DataFrame(rows), n_bootstrap=0)
    assert 0 < fit["parameters"]["alpha_C"]["estimate"] < 1
    with pytest.raises(StudyError, match="--curves"):
        fit_table(runs, "envelope")


def swept_curves(batches: dict[float, tuple[int, ...]]) -> pl.DataFrame:
    """Return curves of 20 losses, one for each size and each of its batch sizes; a larger batch has higher losses."""
    tokens = np.geomspace(1e5, 1e7, 20)
    rows = [
        {"run": f"r{n:g}-{batch}", "trunk": f"r{n:g}-{batch}", "n_params": n, "batch_tokens": batch, "phase": "stable"}
        | {"tokens": t, "flops_6nd": 6 * n * t, "loss_test": (1 + (1e4 / n) ** 0.2 + (1e6 / t) ** 0.3) * (1 + batch / 1e6)}
        for n, given in batches.items()
        for batch in given
        for t in tokens
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize(
    ("batches", "kept"),
    [
        # The middle one is that of three sizes, though not the one with the lowest losses.
        ({1e4: (4096,), 1e5: (1024, 4096, 16384), 1e6: (4096, 16384)}, {1e4: 4096, 1e5: 4096, 1e6: 4096}),
        ({1e4: (1024, 4096), 1e5: (1024, 4096)}, {1e4: 1024, 1e5: 1024}),
        # A batch size that grows with the model is no sweep.
        ({1e4: (1024,), 1e5: (4096,), 1e6: (16384,)}, {1e4: 1024, 1e5: 4096, 1e6: 16384}),
    ],
)
def test_the_envelope_is_at_one_batch_size_of_each_model(batches: dict[float, tuple[int, ...]], kept: dict[float, int]) -> None:
    curves = swept_curves(batches)
    runs = pl.DataFrame({"run": ["r"], "n_params": [1e4], "tokens": [1e6], "loss": [2.0]})
    points = chosen(runs, "envelope", curves=curves)
    used = {(float(n), int(batch)) for n, batch in (name[1:].split("-") for name in set(points.trunk))}
    assert used == set(kept.items())
    left_out = {item["run"] for item in points.excluded if item["reason"].startswith("a batch size that fewer")}
    assert left_out == {f"r{n:g}-{b}" for n, given in batches.items() for b in given if b != kept[n]}


def test_runs_of_experiments_without_fit_enter_no_law() -> None:
    table = study_table().with_columns(fitted=pl.col("n_params") > 1e4)
    points = chosen(table, "chinchilla")
    assert set(points.run) == {f"size{k}-{t}" for k in (1, 2) for t in ("1e+06", "2e+06", "4e+06")}
    reasons = {item["run"]: item["reason"] for item in points.excluded}
    assert reasons["size0-1e+06"] == "its experiments have fit: false or forecast: true"
    own = chosen(table, "chinchilla", where="not fitted")
    assert {name.split("-")[0] for name in own.run} == {"size0"}
    assert len(chosen(table, "chinchilla", where="n_params > 1").run) == len(points.run)


def test_a_curve_counts_where_any_budget_of_its_trunk_is_fitted() -> None:
    """Budgets of one trunk belong to several experiments: the curve that they share is fitted where one of them is."""
    curves = swept_curves({1e4: (1024,), 1e5: (1024,)})
    runs = pl.DataFrame(
        {"run": ["a", "b", "c"], "trunk": ["r10000-1024", "r10000-1024", "r100000-1024"], "fitted": [False, True, False]}
        | {"n_params": [1e4, 1e4, 1e5], "tokens": [1e6, 2e6, 1e6], "loss": [2.0, 1.9, 1.8]}
    )
    points = chosen(runs, "kaplan-ns", curves=curves.with_columns(steps_min=pl.col("tokens") / 1024))
    assert set(points.trunk) == {"r10000-1024"}
    assert {item["run"] for item in points.excluded} == {"r100000-1024"}
    both = runs.with_columns(fitted=True)
    wanted = chosen(both, "kaplan-ns", curves=curves.with_columns(steps_min=pl.col("tokens") / 1024), where="n_params > 5e4")
    assert set(wanted.trunk) == {"r100000-1024"}


def test_where_and_exclude_highest_are_listed() -> None:
    table = study_table()
    points = chosen(table, "chinchilla", where="n_params > 1e4", exclude_highest=1)
    assert len(points) == 5
    reasons = [item["reason"] for item in points.excluded]
    assert reasons.count("not (n_params > 1e4)") == 6
    assert reasons.count("among the 1 highest losses") == 1


@pytest.mark.parametrize(("batches", "kept"), [((65_536, 262_144), 2), ((65_536, 65_536), 1), ((None, None), 1)])
def test_budgets_that_differ_by_less_than_a_step_are_equal(batches: tuple[int | None, int | None], kept: int) -> None:
    """A budget of 1M tokens is 15 steps of 65,536 or 3 of 262,144."""
    budgets = pl.DataFrame({"tokens": [983_040, 786_432], "batch_tokens": batches, "loss": [3.0, 2.9]})
    points = chosen(budgets.with_columns(n_params=pl.lit(10_000)), "power-n")
    assert len(points) == kept and points.notes == []
    assert [item["reason"] for item in points.excluded] == ["not the largest budget of its size"] * (2 - kept)


def test_what_lies_beyond_one_epoch_is_in_no_law_but_repetition() -> None:
    """The finals of such budgets are left out whole, and of curves the part that repeats."""
    curves = swept_curves({1e4: (1024,), 1e5: (1024,)})
    runs = pl.DataFrame({"run": ["a", "b"], "trunk": ["r10000-1024", "r100000-1024"], "n_params": [1e4, 1e5]})
    runs = runs.with_columns(tokens=1e7, loss=pl.Series([2.0, 1.9]), dataset_tokens=pl.Series([1e6, 1e7]))
    limit = {"r10000-1024": 1e6, "r100000-1024": 1e7}
    for law in ("envelope", "kaplan-ns"):
        points = chosen(runs, law, curves=curves.with_columns(steps_min=pl.col("tokens") / 1024))
        for trunk, n, flops in zip(points.trunk, points.columns["n_params"], points.columns["flops"], strict=True):
            assert flops / (6 * n) <= limit[trunk] * (1 + 1e-9)
        assert {"run": "r10000-1024", "reason": "more than one epoch"} in points.excluded
    for law in ("power-n", "power-c", "chinchilla", "overtraining", "isoflop"):
        found = LAWS.get(law) or METHODS[law]
        assert select(runs, found).excluded == [{"run": "a", "reason": "more than one epoch"}]
    assert len(chosen(runs, "repetition")) == 2


def test_rows_that_say_nothing_of_a_rule_pass_it() -> None:
    """An external run in a study's table has nulls in the columns that it lacks."""
    external = pl.DataFrame({"run": ["theirs"], "n_params": [3e7], "flops_6nd": [6 * 3e7 * 1e6], "loss": [1.9]})
    points = chosen(pl.concat([study_table(), external], how="diagonal"), "chinchilla")
    at = points.run.index("theirs")
    assert points.trunk[at] == "theirs"
    assert points.columns["tokens"][at] == pytest.approx(1e6)


def good(n: int = 12) -> dict[str, list[float]]:
    values = np.geomspace(1e5, 1e8, n)
    return {"n_params": list(values), "tokens": list(values[::-1] * 20), "loss": list(2 + (1e5 / values) ** 0.3)}


@pytest.mark.parametrize(
    ("law", "change", "message"),
    [
        ("chinchilla", {"loss": None}, "no column 'loss'"),
        ("chinchilla", {"tokens": None}, "needs the column 'tokens': the table has n_params, loss: map it"),
        ("power-c", {"n_params": None, "tokens": None, "flops": [1e-5] * 12}, "in 12 rows flops is not between .*, not PF-days"),
        ("power-n", {"loss": [-1.0] * 12}, r"no usable row: 12 rows left out: loss is not a positive number .row 1: -1, "),
        ("power-n", {"loss": [float("nan")] * 12}, "12 rows left out: loss is missing"),
        ("power-n", {"loss": [30.0] * 12}, "nats per token"),
        ("power-n", {"n_params": [0.0] * 12}, "n_params is not a positive number"),
        ("power-n", {"n_params": [], "tokens": [], "loss": []}, "no rows"),
        ("power-n", {"n_params": [5e6] * 12, "tokens": [1e6] * 12}, "all 12 points have n_params = 5e"),
        ("power-n", {"loss": ["a"] * 12}, "not numeric"),
    ],
)
def test_bad_tables_get_a_message(law: str, change: dict[str, list | None], message: str) -> None:
    columns = {name: values for name, values in (good() | change).items() if values is not None}
    with pytest.raises(StudyError, match=message):
        fit_table(pl.DataFrame(columns), law, n_bootstrap=0)


def test_too_few_points_are_counted_or_give_an_empty_fit() -> None:
    table = pl.DataFrame(good(3))
    with pytest.raises(StudyError, match="5 parameters and 3 points are left"):
        fit_table(table, "chinchilla")
    empty = fit_table(table, "chinchilla", allow_empty=True)
    assert empty["parameters"] == {}
    assert empty["n_points"] == 3
    assert "3 points are left" in empty["flags"][0]
    with pytest.raises(StudyError, match="not a positive number"):
        fit_table(pl.DataFrame(good() | {"loss": [-1.0] * 12}), "chinchilla", allow_empty=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "no_such > 1"}, "no_such"),
        ({"where": "loss +"}, "--where"),
        ({"where": "loss + 1"}, "not a condition"),
        ({"columns": {"params": "x"}}, "--columns names params: did you mean n_params"),
        ({"columns": {"loss": "x"}}, "no column 'x'"),
        ({"columns": {"n_params": "tokens"}}, "--columns takes both n_params and tokens from the column 'tokens'"),
        ({"objective": "cubic"}, "use one of huber, squared, absolute"),
        ({"delta": 0.0}, "delta"),
        ({"n_bootstrap": 1}, "--bootstrap"),
        ({"exclude_highest": -1}, "--exclude-highest"),
    ],
)
def test_bad_options_get_a_message(options: dict, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        fit_table(pl.DataFrame(good()), "power-n", **options)
    with pytest.raises(StudyError, match=r"law 'power-x' is unknown: did you mean power-n\? Use one of power-n, "):
        fit_table(pl.DataFrame(good()), "power-x")


def test_a_fit_of_very_many_rows_says_how_long_it_takes() -> None:
    assert [warning_of_time("chinchilla", rows) for rows in (100, 100_000)] == ["", ""]
    assert warning_of_time("chinchilla", 1_000_000) == "A fit of 1,000,000 rows may take 2 minutes."
    assert warning_of_time("repetition", 1_000_000) == "A fit of 1,000,000 rows may take 10 minutes."


def run_command(*words: str) -> int:
    return main(["fit", *words])


def test_the_command_writes_the_same_bytes_from_any_kind_of_table(tmp_path: Path) -> None:
    table = pl.DataFrame(good())
    table.write_csv(tmp_path / "runs.csv")
    table.write_parquet(tmp_path / "runs.parquet")
    table.write_ndjson(tmp_path / "runs.jsonl")
    written = []
    for kind in ("csv", "parquet", "jsonl", "csv"):
        out = tmp_path / "out" / "fit.json"
        table_path = str(tmp_path / f"runs.{kind}")
        assert run_command("--law", "power-n", "--table", table_path, "--bootstrap", "50", "--out", str(out)) == 0
        written.append(out.read_bytes())
    assert len(set(written)) == 1
    fit = json.loads(written[0])
    assert list(fit)[:3] == ["law", "formula", "parameters"]
    assert set(fit["parameters"]["alpha_N"]) == {"estimate", "stderr", "ci_low", "ci_high", "unit"}
    assert fit["points"][0]["predicted"] == pytest.approx(fit["points"][0]["loss"], rel=0.1)


def test_the_command_lists_laws_and_refuses_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--list") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in LAWS)
    assert run_command("--law", "power-n") == 2
    assert "--law and --table" in capsys.readouterr().err
    (tmp_path / "runs.csv").write_text("a\n1\n")
    for words, said in (
        (["--columns", "loss"], "NAME=COLUMN"),
        (["--columns", 'loss="a'], "never closed"),
        (["--columns", "loss=a", "--columns", "loss=b"], "gives loss twice"),
        (["--at", "n_params=inf"], "not a finite number"),
    ):
        assert run_command("--law", "power-n", "--table", str(tmp_path / "runs.csv"), *words) == 1
        assert said in capsys.readouterr().err
    for words in (["--seed", "-1"], ["--bootstrap", "-1"], ["--exclude-highest", "-1"], ["--delta", "inf"]):
        assert run_command("--law", "power-n", "--table", str(tmp_path / "runs.csv"), *words) == 2
    with pytest.raises(StudyError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(StudyError, match="unknown kind"):
        read_table(tmp_path / "none.xlsx")
    (tmp_path / "broken.parquet").write_text("not parquet")
    with pytest.raises(StudyError, match="cannot be read"):
        read_table(tmp_path / "broken.parquet")
