"""Tables and files that hold what no text is, and how much time and memory reading takes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.data import corpus, encodings, formats, sources
from scalinglaws.data.pinned import file_at
from scalinglaws.study.spec import CorpusSpec, Source


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(name: str, content: bytes | None = None) -> list[tuple[str, str]]:
    if content is not None:
        Path(name).write_bytes(content)
    source = Source("files", (name,), sha256=hashlib.sha256(Path(name).read_bytes()).hexdigest())
    return list(sources.documents(source, Path("downloads")))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "a.jsonl:2 is not JSON"),
        ('{"text": {"text": "nested"}}', "a.jsonl:2: column 'text' holds a dict, not text"),
        ('{"text": 3}', "a.jsonl:2: column 'text' holds a int, not text"),
        ('{"text": NaN}', "a.jsonl:2: column 'text' holds a float, not text"),
        ('{"text": true}', "a.jsonl:2: column 'text' holds a bool, not text"),
        ('{"text": ' + "1" * 5000 + "}", "a.jsonl:2 is not JSON"),
        ('{"text": "cut', "a.jsonl:2 is not JSON"),
        ('"text"', "a.jsonl:2 is not a JSON object"),
        ("null", "a.jsonl:2 is not a JSON object"),
    ],
)
def test_a_row_that_is_no_text_is_named(row: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        read("a.jsonl", b'{"text": "x"}\n' + row.encode() + b"\n")


def test_rows_whose_text_is_null_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "x"}, {"text": None}, {"text": ""}, {"text": "y"}, {"text": None}]
    wanted = [("a.jsonl:1", "x"), ("a.jsonl:4", "y")]
    assert read("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()) == wanted
    assert capsys.readouterr().err == "a.jsonl: 2 rows without text (null) are left out, the first is a.jsonl:2\n"
    pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
    assert [text for _, text in read("a.parquet")] == ["x", "y"]
    assert "a.parquet: 2 rows without text (null) are left out, the first is a.parquet:2" in capsys.readouterr().err


def test_parquet_text_that_is_not_utf8_names_its_row() -> None:
    data = pa.array([b"good", b"caf\xe9"], pa.binary())
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 2, data.buffers())}), "a.parquet")
    with pytest.raises(StudyError, match=r"a.parquet:2 is not UTF-8"):
        read("a.parquet")
    pq.write_table(pa.table({"text": data}), "a.parquet")
    with pytest.raises(StudyError, match=r"a.parquet:1: column 'text' holds a bytes, not text"):
        read("a.parquet")


def test_a_damaged_table_is_one_sentence() -> None:
    pq.write_table(pa.table({"text": [f"Row {i}." for i in range(50)]}), "a.parquet", write_page_checksum=True)
    whole, draw = Path("a.parquet").read_bytes(), random.Random(0)
    wanted = read("a.parquet")
    for end in (0, 3, len(whole) // 2, len(whole) - 1):
        with pytest.raises(StudyError, match=r"a.parquet (is not a readable parquet file|has no text)"):
            read("a.parquet", whole[:end])
    noticed = 0
    for _ in range(150):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        try:
            assert read("a.parquet", bytes(content)) == wanted
        except StudyError as error:
            noticed += "a.parquet" in str(error)
    assert noticed > 50


def test_files_whose_names_are_not_utf8_or_that_cannot_be_read() -> None:
    Path(os.fsdecode(b"caf\xe9.txt")).write_text("text")
    with pytest.raises(StudyError, match=r"the name of the file 'caf\\udce9.txt' is not UTF-8: rename it"):
        sources.resolve(Source("files", ("*.txt",), sha256=hashlib.sha256(b"text").hexdigest()), Path("downloads"))
    for pattern in ("\ud800*.txt", "a\0.txt", ""):
        spec = CorpusSpec((Source("files", (pattern,), sha256="0" * 64),), 100, 0.1, 0.1, 0)
        Path("spec.json").write_text(spec.canonical)
        assert main(["corpus", "--spec", "spec.json", "--out", "out", "--downloads", "downloads"]) == 1
    os.mkfifo("pipe.jsonl")
    with pytest.raises(StudyError, match="no file of the working directory matches"):
        sources.resolve(Source("files", ("pipe.jsonl", "/dev/zero"), sha256="0" * 64), Path("downloads"))


def test_a_long_line_takes_linear_time() -> None:
    blocks = [str(i % 10) * 65536 for i in range(512)]

    def seconds(join: Callable[[], str]) -> float:
        began = time.process_time()
        assert len(join()) == 512 * 65536
        return time.process_time() - began

    # Copying the line anew for each block would copy 256 times as much as joining the blocks once does.
    once = min(seconds(lambda: "".join(blocks)) for _ in range(3))
    assert min(seconds(lambda: next(formats._lines(iter(blocks)))) for _ in range(3)) < 20 * once


def test_memory_holds_few_rows_of_a_table_at_a_time() -> None:
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["y" * 100_000]))
    pq.write_table(pa.table({"text": one}), "a.parquet", store_schema=False)
    before, most = pa.total_allocated_bytes(), 0
    for _ in formats.read(file_at("a.parquet", Path("a.parquet")), "utf-8", "text"):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 100_000 < most < 10_000_000  # the 2,000 texts are 200,000,000 bytes


@pytest.mark.parametrize("seen", [1 << 18, 0])
def test_memory_does_not_grow_with_copies_of_a_text(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    def rows() -> Iterator[str]:
        yield from (f"Row {i}. " * 50 for i in range(200))
        yield from ("A copy of one text. " * 50 for _ in range(5000))

    content = "".join(json.dumps({"text": text}) + "\n" for text in rows()).encode()
    Path("a.jsonl").write_bytes(content)
    spec = CorpusSpec((Source("files", ("a.jsonl",), sha256=hashlib.sha256(content).hexdigest()),), 2000, 0.1, 0.1, 0)
    monkeypatch.setattr(corpus, "SEEN", seen)
    monkeypatch.setattr(corpus, "BATCH", 50_000)
    monkeypatch.setattr(encodings, "BLOCK", 50_000)
    monkeypatch.setattr(corpus, "near_duplicates", lambda *_: {})
    tracemalloc.start()
    report = corpus.build(spec, Path("out"), Path("downloads"), 1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report["duplicates_removed"] == 4999 and sum(report["passages"].values()) == 201
    assert len(content) > 5_000_000 and most < 2_500_000


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_tab_file_that_ends_within_quotes_is_refused(end: str) -> None:
    whole = 'text\tn\nstring\tc\n\t\n"He said ""no"".\nAnd left."\t1\nYes.\t2'
    found = read("a.tab", (whole + end).encode())
    assert found == [("a.tab:1", 'He said "no".\nAnd left.'), ("a.tab:2", "Yes.")]
    for cut in (whole.index("And"), whole.index("left") + 5):
        with pytest.raises(StudyError, match=r"a\.tab ends within double quotes: it is cut off"):
            read("a.tab", (whole[:cut] + end).encode())
