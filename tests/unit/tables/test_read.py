"""Tables made elsewhere: any kind of file, their own names of columns, tokens and FLOP from each other."""

import contextlib
import os
from decimal import Decimal
from random import Random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.tables import rows
from scalinglaws.tables.read import named, read_any, read_own, read_warnings, with_budgets

THEIRS = pl.DataFrame({"N": [1e6, 2e6], "C": [6e15, 24e15], "L": [3.0, 2.8], "name": ["a", "b"]})


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
    with pytest.raises(StudyError, match=r"a\.xlsx: unknown kind of table: use a file that ends in \.csv"):
        read_any(tmp_path / "a.xlsx")
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(StudyError, match=r"external_runs: .*a\.parquet cannot be read"):
        read_any(tmp_path / "a.parquet", "external_runs: ")


LINES = ["name,n", "a,1.5", "b,-2", "c,"]
TEXT = "\n".join(LINES) + "\n"
EXPECTED = [("a", 1.5), ("b", -2.0), ("c", None)]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace(",", "\t").encode(),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", ";").replace(".", ",").encode(),  # a decimal comma, as spreadsheets of half the world write it
        TEXT.replace(",", " | ").replace(" ", "").encode(),
        ("\n" + TEXT.replace("\n", "\n\n")).encode(),
        TEXT.replace("name,n", ' "name" , n ').replace("c,", 'c,"nan"').replace(" ", "").encode(),
    ],
)
def test_encodings_and_separators_of_text_are_found_out(data, tmp_path):
    (tmp_path / "a.CSV").write_bytes(data)
    table = rows.numbers(read_any(tmp_path / "a.CSV"), ["n"], "a", "mend it")
    assert table.select("name", "n").rows() == EXPECTED


def test_json_lines_hold_what_python_writes(tmp_path):
    lines = ['{"run": 1, "n": NaN}', "", '{"n": 2.5, "run": [1]}', '{"run": null, "n": 123456789012345678901234567890}', "{}"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert read_any(tmp_path / "a.jsonl")["run"].to_list() == ["1", "[1]", None, None]
    table = rows.numbers(read_any(tmp_path / "a.jsonl"), ["n"], "a", "mend it")
    assert table["n"].to_list() == [None, 2.5, 123456789012345678901234567890.0, None]


def test_types_of_parquet_become_simple_ones(tmp_path):
    table = {
        "whole": pa.array([1, None], pa.uint8()),
        "half": pa.array([1.5, None], pa.float16()),
        "decimal": pa.array([Decimal("2.3"), None], pa.decimal128(10, 3)),
        "wide": pa.array([Decimal("2.3"), None], pa.decimal256(60, 3)),
        "word": pa.array(["a", None]).dictionary_encode(),
        "list": pa.array([[1, 2], None]),
        "object": pa.array([{"a": 1}, None]),
        "bytes": pa.array([b"\xff", None]),
        "time": pa.array([1, None], pa.duration("s")),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    first, second = read_any(tmp_path / "a.parquet").rows()
    assert first == (1, 1.5, 2.3, 2.3, "a", [1, 2], '{"a": 1}', "\"b'\\\\xff'\"", '"0:00:01"', None) and set(second) == {None}


def not_utf8():
    buffers = [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    return pa.table({"run": pa.Array.from_buffers(pa.string(), 1, buffers)})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "no header"),
        ("a.csv", b"n,n\n1,2\n", "two columns named 'n'"),
        ("a.csv", b"n,l\n1,2\n3,4,5\n", "line 3 has 3 values and the header 2 names"),
        ("a.csv", b'"n,l\n1,2\n', "never closed"),
        ("a.csv", "n,é\n1,2\n".encode("latin-1"), "not UTF-8 text .its byte 2 is 0xe9.: save it as UTF-8"),
        ("a.csv", b"n,l\n1,\0\n", "NUL"),
        ("a.jsonl", b'{"n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1 is nested too deeply"),
        ("a.jsonl", b'{"n": 1}\n{"n": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"n": 1}\n[1]\n', "line 2 is no JSON object"),
        ("a.jsonl", b'{"n": "\\ud800"}', "cannot be read"),
        ("a.parquet", b"PAR1 and more PAR1", "cannot be read"),
        ("a.parquet", not_utf8(), "UTF8"),
        ("a.parquet", pa.Table.from_arrays([pa.array([1])] * 2, names=["n", "n"]), "two columns named 'n'"),
        ("a.csv", "/dev/zero", "a device, pipe or socket"),
        ("a.csv", ".", "is a folder"),
        ("a.csv", None, "a device, pipe or socket"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(name, content, said, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif content is None:
        os.mkfifo(path)
    else:
        path.symlink_to(content)
    with pytest.raises(StudyError, match=said) as refused:
        read_any(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_no_bit_of_a_parquet_table_makes_a_traceback(tmp_path, capfd):
    THEIRS.write_parquet(tmp_path / "a.parquet")
    whole, random = (tmp_path / "a.parquet").read_bytes(), Random(0)
    for _ in range(150):
        data = bytearray(whole)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        (tmp_path / "b.parquet").write_bytes(data if random.random() < 0.7 else data[: random.randrange(len(data))])
        for reader in (read_any, read_own):
            with contextlib.suppress(StudyError):
                reader(tmp_path / "b.parquet")
    assert "panicked" not in capfd.readouterr().err


def test_names_are_mapped_then_taken_then_aliases():
    table = pl.DataFrame({"step": [1], "flops_6nd": [2.0], "flops": [3.0], "id": ["x"], "mine": [4.0]})
    found = named(table, ("run", "steps", "flops", "loss"), {})
    assert found.select("run", "steps", "flops").row(0) == ("x", 1, 3.0) and "loss" not in found.columns
    assert named(table, ("flops", "loss"), {"flops": "flops_6nd", "loss": "mine"}).select("flops", "loss").row(0) == (2.0, 4.0)
    with pytest.raises(StudyError, match=r"the table has no column 'L' .for loss.: it has step"):
        named(table, ("loss",), {"loss": "L"})
    with pytest.raises(StudyError, match=r"--columns names los: did you mean loss\? It can map loss"):
        named(table, ("loss",), {"los": "L"})


def test_names_are_mapped_all_at_once():
    table = pl.DataFrame({"n_params": [1], "tokens": [2], "loss": [9], "val loss": [3]})
    found = named(table, ("n_params", "tokens", "loss"), {"n_params": "tokens", "tokens": "n_params", "loss": "val loss"})
    assert found.select("n_params", "tokens", "loss").row(0) == (2, 1, 3)


def test_tokens_and_flop_come_from_each_other():
    table = pl.DataFrame({"n_params": [10, 10, 10], "tokens": [100, None, 7], "flops": [None, 6000.0, 1.0]})
    assert with_budgets(table).rows() == [(10, 100.0, 6000.0), (10, 100.0, 6000.0), (10, 7.0, 1.0)]


def test_warnings_are_sentences(tmp_path):
    assert read_warnings(tmp_path) == []
    (tmp_path / "warnings.json").write_text('["a"]')
    assert read_warnings(tmp_path) == ["a"]
    for text in ("{", '{"a": 1}', "[1]"):
        (tmp_path / "warnings.json").write_text(text)
        with pytest.raises(StudyError, match=r"warnings\.json is"):
            read_warnings(tmp_path)
