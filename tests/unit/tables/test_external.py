"""Runs made elsewhere: rows that cannot be are left out or doubted in words, and a study is refused before it is trained."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import read_table, select
from scalinglaws.tables.external import External, check
from scalinglaws.tables.read import read_any, read_own
from scalinglaws.tables.schema import RUNS
from scalinglaws.tables.write import write

THEIRS = pl.DataFrame({"N": [1e6, 2e6], "C": [6e15, 24e15], "L": [3.0, 2.8], "name": ["a", "b"]})
COLUMNS = {"n_params": "N", "flops_6nd": "C", "loss": "L", "run": "name"}
VALIDATION = Path(__file__).parents[4] / "shared" / "validation"


def test_rows_of_runs(tmp_path):
    path = tmp_path / "theirs.csv"
    THEIRS.write_csv(path)
    elsewhere = External()
    rows = elsewhere.rows(path, COLUMNS)
    assert [row["tokens"] for row in rows] == [10**9, 2 * 10**9]
    assert [row["run"] for row in rows] == ["theirs-a-0", "theirs-b-1"]
    known = {"run": "theirs-b-1", "trunk": "theirs-b", "experiments": ["external"], "fitted": True, "status": "ok"}
    known |= {"n_params": 2_000_000, "tokens": 2 * 10**9, "flops_6nd": 24e15, "loss": 2.8}
    assert rows[1] == dict.fromkeys(RUNS.names) | known and elsewhere.sentences == []
    write(rows, RUNS, tmp_path / "runs.parquet")


def test_rows_without_names_and_with_gaps(tmp_path):
    path = tmp_path / "theirs.jsonl"
    gaps = {"n_params": [1000, 2000, 3000], "tokens": [10_000, None, None], "flops": [None, 1.2e8, None], "loss": [3.0, 2.5, 2.4]}
    pl.DataFrame(gaps | {"run": ["x", None, "y"], "n_layer": [2.0, None, 2.5]}).write_ndjson(path)
    elsewhere = External()
    assert [(row["run"], row["trunk"], row["tokens"], row["flops_6nd"]) for row in elsewhere.rows(path, {})] == [
        ("theirs-x-0", "theirs-x", 10_000, 6e7),
        ("theirs-1-1", "theirs-1", 10_000, 1.2e8),
    ]
    assert elsewhere.sentences == [f"external_runs: {path}: 1 row left out: tokens is missing (row 3)."]


def test_a_table_gives_the_same_points_to_a_fit_as_external_runs_and_by_itself(tmp_path):
    THEIRS.write_csv(tmp_path / "theirs.csv")
    write(External().rows(tmp_path / "theirs.csv", COLUMNS), RUNS, tmp_path / "runs.parquet")
    ours = select(read_own(tmp_path / "runs.parquet"), LAWS["power-c"])
    names = {"n_params": "N", "flops": "C", "loss": "L", "run": "name"}
    direct = select(read_any(tmp_path / "theirs.csv"), LAWS["power-c"], names)
    for name in ("n_params", "tokens", "flops", "dataset_tokens"):
        assert ours.columns[name].tolist() == direct.columns[name].tolist()
    assert ours.loss.tolist() == direct.loss.tolist() == [3.0, 2.8]


def sound(count: int = 12) -> pl.DataFrame:
    """Return a table of runs without names, in which nothing is wrong."""
    rows = [(1_000_000 * 2 ** (k // 3), 100_000_000 * 4 ** (k % 3)) for k in range(count)]
    table = pl.DataFrame(rows, schema=["n_params", "tokens"], orient="row")
    return table.with_columns(loss=(1.7 + 400 / pl.col("n_params") ** 0.34 + 400 / pl.col("tokens") ** 0.28).round(5))


def spoilt(column: str, value: str, *rows: int) -> pl.DataFrame:
    """Return the table with a text in place of a value in some rows, counted from 1, or in all."""
    table = sound().with_columns(pl.all().cast(pl.String))
    table = table if column in table.columns else table.with_columns(pl.lit("ok").alias(column))
    chosen = (pl.int_range(pl.len()) + 1).is_in(rows or range(1, 13))
    return table.with_columns(pl.when(chosen).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def told(table: pl.DataFrame, folder: Path) -> tuple[list[str], int]:
    """Return what external_runs and a fit say of a table, which must be the same, and the number of rows that are left."""
    path = folder / "t.csv"
    table.write_csv(path)
    found, which, elsewhere = [], f"external_runs: {path}", External()
    for name, call in (
        ("the table", lambda: (lambda points: (points.told, len(points)))(select(read_table(path), LAWS["chinchilla"]))),
        (which, lambda: (lambda rows: (elsewhere.sentences, len(rows)))(elsewhere.rows(path, {}))),
    ):
        try:
            sentences, left = call()
        except StudyError as refused:
            sentences, left = [str(refused)], 0
        bare = [sentence.removeprefix(f"{name}: ").removeprefix(name).strip() for sentence in sentences]
        found.append(([re.sub(": (choose|name) another .*", "", sentence) for sentence in bare], left))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("table", "left", "said"),
    [
        (sound(), 12, None),
        (spoilt("loss", "nan", 4, 9, 12), 9, "3 rows left out: loss is missing (rows 4, 9, 12)."),
        (spoilt("n_params", "", 2), 11, "1 row left out: n_params is missing (row 2)."),
        (spoilt("n_params", "44M", 2), 11, "1 row left out: n_params is not a number (row 2: 44M)."),
        (spoilt("n_params", "44M"), 0, "column 'n_params' is not numeric (row 1 has '44M')"),
        (spoilt("n_params", "9" * 25, 2), 11, "n_params is not between 1e+02 and 1e+15"),
        (spoilt("tokens", "0.3", 2), 11, "tokens is not between 1e+03 and 1e+18"),
        (spoilt("tokens", "1e999", 2), 11, "tokens is not a positive number (row 2: inf)."),
        (spoilt("loss", "-1", 2), 11, "loss is not a positive number (row 2: -1)."),
        (spoilt("loss", "-1"), 0, "has no usable row: 12 rows left out: loss is not a positive number"),
        (spoilt("loss", "1e-300", 2), 11, "loss is below 5% of the table's median loss (row 2: 1e-300)."),
        (spoilt("loss", "20", 2), 11, "loss is above the logarithm of any vocabulary"),
        (spoilt("loss", "20", 2, 3), 0, "losses are nats per token, not perplexities or sums (row 2: 20, row 3: 20)"),
        (spoilt("status", "Finished"), 12, None),
        (spoilt("status", "zombie", 2), 11, "status is not that of a finished run"),
        (spoilt("status", "zombie"), 0, "has no usable row: 12 rows left out: status is not that of a finished run"),
        (sound().head(0), 0, "no rows"),
        (pl.concat([sound()] * 50), 12, "588 rows left out: every value but its name is that of an earlier row (rows 13, 14, "),
        (pl.concat([sound()] * 2).with_row_index("run"), 12, "12 rows left out: every value but its name"),
        (pl.concat([sound()] * 2).with_row_index("seed"), 24, "12 rows with the same n_params, tokens and loss as an"),
        (sound().with_columns(pl.col("n_params") / 1e6), 0, "in 12 rows n_params is not between 1e+02 and 1e+15"),
        (sound().with_columns(pl.col("n_params") / 1e3), 12, "6 rows with more than 1e+05 tokens per parameter"),
        (sound().with_columns(pl.col("tokens") / 1e9), 0, "tokens is not between 1e+03 and 1e+18: count tokens, not millions"),
        (sound().with_columns(pl.col("tokens") / 1e5), 12, "fewer than 1e-03 tokens per parameter"),
        (sound().with_columns(flops=6.0 * pl.col("n_params") * pl.col("tokens") / 8.64e19), 12, "12 rows with FLOP that differ"),
        (sound().with_columns(flops=pl.lit(0.1)).drop("tokens"), 0, "and FLOP, not PF-days"),
        (sound().with_columns(n_vocab=pl.lit(16)), 12, "above ln n_vocab, which guessing has: is it in bits, or a sum?"),
        (sound().with_columns(trunk=pl.lit("one")), 12, "All 12 rows belong to 1 trunk"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_left_out_or_doubted_in_words(table, left, said, tmp_path):
    sentences, number = told(table, tmp_path)
    assert number == left
    assert sentences == [] if said is None else any(said in sentence for sentence in sentences), sentences


def test_a_fit_tells_what_was_left_out_among_its_flags():
    table = sound().with_columns(bits=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("loss")).drop("loss")
    fit = fit_table(table, "chinchilla", n_bootstrap=0, columns={"loss": "bits"})
    said = ["1 row left out: loss is missing (row 4).", "The losses come from a column named 'bits'"]
    assert [any(part in sentence for sentence in fit["table"]) for part in said] == [True, True]
    assert fit["flags"][: len(fit["table"])] == fit["table"] and {"run": "4", "reason": "loss is missing"} in fit["excluded"]


@pytest.mark.parametrize("path", sorted(VALIDATION.glob("*/*.*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_published_tables_give_no_false_alarm(path):
    if path.suffix not in (".csv", ".jsonl"):
        pytest.skip("no table")
    table = read_table(path)
    names = {"run": "run_name", "n_params": "params_active_precise", "loss": "final_loss"}
    names = names if path.suffix == ".jsonl" else {}
    assert select(table, LAWS["chinchilla"], names).told == []
    elsewhere = External()
    assert len(elsewhere.rows(path, names)) == len(table) and elsewhere.sentences == []


def test_copies_among_tables_and_of_the_study_count_once(tmp_path):
    sound().write_csv(tmp_path / "a.csv")
    sound().with_columns(more=pl.lit("b")).write_csv(tmp_path / "b.csv")
    first, elsewhere = External(), External()
    ours = first.rows(tmp_path / "a.csv", {})
    assert len(elsewhere.rows(tmp_path / "a.csv", {})) == 12 and elsewhere.rows(tmp_path / "b.csv", {}) == []
    (sentence,) = elsewhere.sentences
    assert (
        "b.csv: 12 rows left out" in sentence
        and f"those of runs of {tmp_path / 'a.csv'} (rows 1, 2, 3, 4, 5 and 7 more)" in sentence
    )
    of_study = External(ours)
    assert of_study.rows(tmp_path / "b.csv", {}) == [] and "those of runs of the study" in of_study.sentences[0]


def test_files_of_one_name_in_two_folders_share_no_run(tmp_path):
    elsewhere, names = External(), []
    for folder, factor in (("a", 1), ("b", 3)):
        (tmp_path / folder).mkdir()
        sound().with_columns(pl.col("n_params") * factor).write_csv(tmp_path / folder / "runs.csv")
        rows = elsewhere.rows(tmp_path / folder / "runs.csv", {})
        names += [(row["run"], row["trunk"]) for row in rows]
    assert names[0] == ("runs-0-0", "runs-0") and names[12] == ("runs(2)-0-0", "runs(2)-0") and len(set(names)) == 24


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([("absent.csv", {})], "external_runs: .*absent.csv does not exist"),
        ([("*.csv", {})], "does not exist"),
        ([("", {})], "is a folder"),
        ([("/dev/zero", {})], "a device, pipe or socket"),
        ([("empty.csv", {})], "is empty"),
        ([("sound.csv", {"n_params": "M"})], "has no column 'M' .for n_params.: it has n_params, tokens, loss, word"),
        ([("sound.csv", {"params": "N"})], "columns names params: did you mean n_params. It can map run"),
        ([("header.csv", {})], "has no rows"),
        ([("{a}.csv", {})], "takes braces in a path for a wildcard: rename the file"),
        ([("sound.csv", {"loss": "word"})], "column 'loss' is not numeric .a row has 'w'.: name another under columns"),
        ([("sound.parquet", {"loss": "word"})], "column 'loss' is not numeric .a row has 'w'."),
        ([("no loss.csv", {})], "has no column loss: it has n_params, tokens"),
        ([("no tokens.csv", {})], "has no column tokens, and no flops_6nd"),
        ([("sound.parquet", {"loss": "M"})], "has no column 'M'"),
        ([("damaged.parquet", {})], "cannot be read as a Parquet table"),
        ([("sound.jsonl", {"loss": "late", "n_params": "M"})], "has no column 'M'"),
        ([("sound.csv", {}), ("sound.csv", {})], "sound.csv is listed twice: its runs would count twice"),
        ([("sound.csv", {}), ("copy.csv", {})], "copy.csv is a copy of .*sound.csv"),
        ([("sound.csv", {"loss": "tokens"})], "columns takes both tokens and loss from the column 'tokens': give each its own"),
        ([("crashed.csv", {})], "has no usable row: 12 rows left out: status is not that of a finished run"),
        ([("millions.csv", {})], "in 12 rows n_params is not between"),
        ([("cut.jsonl", {})], "line 301 is not JSON"),
    ],
)
def test_what_a_study_names_is_checked_before_it_is_trained(tables, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound().with_columns(word=pl.lit("w")).write_csv("sound.csv")
    sound().head(0).write_csv("header.csv")
    shutil.copy("sound.csv", "copy.csv")
    Path("empty.csv").touch()
    spoilt("status", "crashed").write_csv("crashed.csv")
    sound().with_columns(pl.col("n_params") / 1e6).write_csv("millions.csv")
    Path("cut.jsonl").write_text('{"n_params": 1e6, "tokens": 1e9, "loss": 3}\n' * 300 + '{"loss": 3')
    sound().drop("loss").write_csv("no loss.csv")
    sound().drop("tokens").write_csv("no tokens.csv")
    sound().with_columns(word=pl.lit("w")).write_parquet("sound.parquet")
    Path("damaged.parquet").write_bytes(Path("sound.parquet").read_bytes()[:-20])
    Path("sound.jsonl").write_text('{"n_params": 1e6, "tokens": 1e9}\n' * 3 + '{"n_params": 1e6, "tokens": 1e9, "late": 3.0}\n')
    with pytest.raises(StudyError, match=said) as refused:
        check(tables)
    assert "\n" not in str(refused.value)
    check([("sound.csv", {}), ("sound.parquet", {}), ("sound.jsonl", {"loss": "late"}), ("copy.csv", {"loss": "loss"})])
