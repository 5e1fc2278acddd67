"""The schemas follow from the records of a run; a row that does not fit is refused."""

import dataclasses
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.figures.command import read_table
from scalinglaws.study.spec import RunSpec
from scalinglaws.tables.read import read_own
from scalinglaws.tables.schema import CURVES, RUNS, SCHEMAS, TIMINGS, column, columns
from scalinglaws.tables.write import write
from scalinglaws.train.metrics import CurveRow, Flop, RunMetrics, RunTiming


def test_types_give_columns():
    assert column(int) == column(int | None) == pa.int64()
    assert column(float | None) == column(Flop) == pa.float64()
    assert column(list[float | None] | None) == pa.list_(pa.float64())
    with pytest.raises(TypeError, match="bytes"):
        column(bytes)


def test_a_field_that_is_added_is_a_column():
    wider = dataclasses.make_dataclass("Wider", [("loss_median", float | None, None)], bases=(RunTiming,), frozen=True)
    assert columns(wider, "device", without=("id", "version"))[0] == ("device", pa.string())
    assert columns(wider)[-1] == ("loss_median", pa.float64())


def test_every_field_is_a_column_or_is_told_elsewhere():
    names = {
        record: {field.name for field in dataclasses.fields(record)} for record in (RunSpec, RunMetrics, CurveRow, RunTiming)
    }
    assert names[RunSpec] <= set(RUNS.names)
    assert names[RunMetrics] - set(RUNS.names) == {"id", "loss_tokens", "positions", "version"}
    assert names[CurveRow] <= set(CURVES.names)
    assert names[RunTiming] - set(TIMINGS.names) == {"id", "version"}
    assert all(schema.names[0] == "run" for name, schema in SCHEMAS.items() if name != "fits")


def test_wrong_columns_and_types_are_refused(tmp_path):
    good = dict.fromkeys(TIMINGS.names)
    with pytest.raises(StudyError, match="extra"):
        write([{**good, "extra": 1}], TIMINGS, tmp_path / "timings.parquet")
    with pytest.raises(StudyError, match="does not fit"):
        write([{**good, "seconds": "long"}], TIMINGS, tmp_path / "timings.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "timings.parquet"
    with pytest.raises(StudyError, match=r"timings\.parquet does not exist: aggregate the runs first"):
        read_own(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(StudyError, match="is not a readable Parquet table"):
        read_own(path)


def test_a_table_of_another_version_is_refused_before_a_figure_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    pl.DataFrame({"id": ["a"], "trunk": ["b"]}).write_parquet(path)  # the id of a run was the column ``id``
    with pytest.raises(StudyError, match=r"runs\.parquet has no column run: it was written by another version"):
        read_table(path)
