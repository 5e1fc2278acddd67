"""Tables made elsewhere: any kind of file, their own names of columns, tokens and FLOP from each other."""

import polars as pl
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.select import select
from scalinglaws.tables.external import external_rows
from scalinglaws.tables.read import named, read_any, read_own, read_warnings, with_budgets
from scalinglaws.tables.schema import RUNS
from scalinglaws.tables.write import write

THEIRS = pl.DataFrame({"N": [1e6, 2e6], "C": [6e15, 24e15], "L": [3.0, 2.8], "name": ["a", "b"]})
COLUMNS = {"n_params": "N", "flops_6nd": "C", "loss": "L", "run": "name"}


def test_any_kind_of_file_gives_the_same_table(tmp_path):
    THEIRS.write_csv(tmp_path / "a.csv")
    THEIRS.write_parquet(tmp_path / "a.parquet")
    THEIRS.write_ndjson(tmp_path / "a.jsonl")
    THEIRS.write_ndjson(tmp_path / "a.ndjson")
    assert all(read_any(tmp_path / f"a.{kind}").equals(THEIRS) for kind in ("csv", "parquet", "jsonl", "ndjson"))


def test_a_column_whose_first_rows_are_whole_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("loss\n" + "3\n" * 200 + "2.5\n")
    assert read_any(tmp_path / "a.csv")["loss"][-1] == 2.5


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"absent\.csv does not exist"):
        read_any(tmp_path / "absent.csv")
    with pytest.raises(StudyError, match=r"a\.xlsx: unknown kind of table; use a file that ends in \.csv"):
        read_any(tmp_path / "a.xlsx")
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(StudyError, match=r"external_runs: .*a\.parquet cannot be read"):
        read_any(tmp_path / "a.parquet", "external_runs: ")


def test_names_are_mapped_then_taken_then_aliases():
    table = pl.DataFrame({"step": [1], "flops_6nd": [2.0], "flops": [3.0], "id": ["x"], "mine": [4.0]})
    found = named(table, ("run", "steps", "flops", "loss"), {})
    assert found.select("run", "steps", "flops").row(0) == ("x", 1, 3.0) and "loss" not in found.columns
    assert named(table, ("flops", "loss"), {"flops": "flops_6nd", "loss": "mine"}).select("flops", "loss").row(0) == (2.0, 4.0)
    with pytest.raises(StudyError, match=r"the table has no column 'L' .for loss.: it has step"):
        named(table, ("loss",), {"loss": "L"})
    with pytest.raises(StudyError, match="--columns names los: it can map loss"):
        named(table, ("loss",), {"los": "L"})


def test_tokens_and_flop_come_from_each_other():
    table = pl.DataFrame({"n_params": [10, 10, 10], "tokens": [100, None, 7], "flops": [None, 6000.0, 1.0]})
    assert with_budgets(table).rows() == [(10, 100.0, 6000.0), (10, 100.0, 6000.0), (10, 7.0, 1.0)]


def test_external_runs(tmp_path):
    path = tmp_path / "theirs.csv"
    THEIRS.write_csv(path)
    rows = external_rows(path, COLUMNS)
    assert [row["tokens"] for row in rows] == [10**9, 2 * 10**9]
    assert [row["run"] for row in rows] == ["theirs-a-0", "theirs-b-1"]
    known = {"run": "theirs-b-1", "trunk": "theirs-b", "experiments": ["external"], "fitted": True, "status": "ok"}
    known |= {"n_params": 2_000_000, "tokens": 2 * 10**9, "flops_6nd": 24e15, "loss": 2.8}
    assert rows[1] == dict.fromkeys(RUNS.names) | known
    write(rows, RUNS, tmp_path / "runs.parquet")
    with pytest.raises(StudyError, match=r"has no column 'M' .for n_params.: it has N, C, L, name"):
        external_rows(path, {"n_params": "M"})
    with pytest.raises(StudyError, match="no column tokens: name it under columns"):
        external_rows(path, {"n_params": "N", "loss": "L"})
    with pytest.raises(StudyError, match=r"theirs\.csv: columns names params: it can map run"):
        external_rows(path, {"params": "N"})
    with pytest.raises(StudyError, match="column n_params is not numeric but String"):
        external_rows(path, COLUMNS | {"n_params": "name"})
    with pytest.raises(StudyError, match=r"external_runs: .*absent\.csv does not exist"):
        external_rows(tmp_path / "absent.csv", {})


def test_external_runs_without_names_and_with_gaps(tmp_path):
    path = tmp_path / "theirs.jsonl"
    pl.DataFrame({"n_params": [10, 20], "tokens": [100, None], "flops": [None, 12000], "loss": [3.0, 2.5]}).write_ndjson(path)
    rows = external_rows(path, {})
    assert [(row["run"], row["trunk"], row["tokens"], row["flops_6nd"]) for row in rows] == [
        ("theirs-0-0", "theirs-0", 100, 6000.0),
        ("theirs-1-1", "theirs-1", 100, 12000.0),
    ]
    gap = {"n_params": [10], "tokens": pl.Series([None], dtype=pl.Int64), "loss": [3.0]}
    pl.DataFrame(gap).write_parquet(tmp_path / "gap.parquet")
    with pytest.raises(StudyError, match="row 1 has no tokens"):
        external_rows(tmp_path / "gap.parquet", {})


def test_a_table_gives_the_same_points_to_a_fit_as_external_runs_and_by_itself(tmp_path):
    THEIRS.write_csv(tmp_path / "theirs.csv")
    write(external_rows(tmp_path / "theirs.csv", COLUMNS), RUNS, tmp_path / "runs.parquet")
    ours = select(read_own(tmp_path / "runs.parquet"), LAWS["power-c"])
    names = {"n_params": "N", "flops": "C", "loss": "L", "run": "name"}
    direct = select(read_any(tmp_path / "theirs.csv"), LAWS["power-c"], names)
    for name in ("n_params", "tokens", "flops", "dataset_tokens"):
        assert ours.columns[name].tolist() == direct.columns[name].tolist()
    assert ours.loss.tolist() == direct.loss.tolist() == [3.0, 2.8]


def test_warnings_are_sentences(tmp_path):
    assert read_warnings(tmp_path) == []
    (tmp_path / "warnings.json").write_text('["a"]')
    assert read_warnings(tmp_path) == ["a"]
    for text in ("{", '{"a": 1}', "[1]"):
        (tmp_path / "warnings.json").write_text(text)
        with pytest.raises(StudyError, match=r"warnings\.json is"):
            read_warnings(tmp_path)
