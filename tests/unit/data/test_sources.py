"""Readers: every format and kind of source, and the message for every way in which they fail."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from scalinglaws.common.errors import StudyError
from scalinglaws.data import encodings, formats, sources, wheel
from scalinglaws.study.spec import Source

TEXTS = ["One öne.\n\nSecond paragraph.", 'Two "quoted"\twith a tab', "Three\nlines\nof it"]


def local(tmp_path: Path, name: str, content: bytes, **fields: Any) -> Source:
    (tmp_path / name).write_bytes(content)
    return Source("files", (name,), sha256=hashlib.sha256(content).hexdigest(), **fields)


def read(source: Source, tmp_path: Path) -> list[tuple[str, str]]:
    return list(sources.documents(source, tmp_path / "downloads"))


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(suffix: str) -> bytes:
    rows = "".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(TEXTS)).encode()
    if suffix == "jsonl":
        return rows
    if suffix == "jsonl.gz":
        return gzip.compress(rows)
    if suffix == "jsonl.zst":
        return zstandard.ZstdCompressor().compress(rows[:50]) + zstandard.ZstdCompressor().compress(rows[50:])
    if suffix == "tab":
        quoted = "".join(f'{i}\t"{text.replace(chr(34), chr(34) * 2)}"\r\n' for i, text in enumerate(TEXTS))
        return f"id\tbody\r\ncontinuous\tstring\r\n\tinclude=True\r\n{quoted}".encode()
    pq.write_table(pa.table({"id": [0, 1, 2], "body": TEXTS}), "made.parquet", row_group_size=2)
    return Path("made.parquet").read_bytes()


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "tab", "parquet"])
def test_tables_give_a_document_a_row(tmp_path: Path, suffix: str) -> None:
    source = local(tmp_path, f"a.{suffix}", table(suffix), text="body")
    assert read(source, tmp_path) == [(f"a.{suffix}:{row}", text) for row, text in enumerate(TEXTS, 1)]


@pytest.mark.parametrize("suffix", ["jsonl", "tab", "parquet"])
def test_missing_column_names_those_there(tmp_path: Path, suffix: str) -> None:
    source = local(tmp_path, f"a.{suffix}", table(suffix))
    with pytest.raises(StudyError, match=r"no column 'text'.*id, body"):
        read(source, tmp_path)


def test_text_files_are_sorted_and_newlines_normal(tmp_path: Path) -> None:
    Path("b.txt").write_bytes(b"\xef\xbb\xbfb\r\nb\rb")
    Path("a.txt").write_bytes(b"a")
    Path("c.txt").write_bytes(b"c")
    digest = hashlib.sha256(b"a\xef\xbb\xbfb\r\nb\rb").hexdigest()
    source = Source("files", ("*.txt",), exclude=("c*",), sha256=digest)
    assert read(source, tmp_path) == [("a.txt", "a"), ("b.txt", "b\nb\nb")]


def test_long_text_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PIECE", 1000)
    monkeypatch.setattr(encodings, "BLOCK", 7)
    text = "".join(f"Paragraph {i} é.\n\n" for i in range(200)) + "x" * 3000
    pieces = read(local(tmp_path, "a.txt", text.encode()), tmp_path)
    assert {name for name, _ in pieces} == {"a.txt"}
    assert "".join(piece for _, piece in pieces) == text
    assert max(len(piece) for _, piece in pieces) <= 1007
    assert pieces[0][1].endswith("\n\n")


def test_wrong_encoding_names_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "BLOCK", 8)  # the bad byte follows a character that two blocks share
    content = "aaaaaaaéé".encode() + b" caf\xe9 "
    with pytest.raises(StudyError, match=rf"a.txt: byte {content.index(bytes([0xE9]) + b' ')} .*`encoding: latin-1`"):
        read(local(tmp_path, "a.txt", content), tmp_path)
    good = local(tmp_path, "a.txt", b"caf\xe9", encoding="latin-1")
    assert read(good, tmp_path) == [("a.txt", "café")]
    with pytest.raises(StudyError, match="`encoding: 'utf-9'`: an encoding of text"):
        read(local(tmp_path, "a.txt", b"a", encoding="utf-9"), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n", "a.txt has no text"),
        ("a.doc", b"x", r"a.doc: only \.txt"),
        ("a.jsonl", b'{"text": "x"}\nnope\n', "a.jsonl:2 is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1 is not a JSON object"),
        ("a.jsonl", b'{"text": 3}\n', "column 'text' holds a int"),
        ("a.jsonl", b'{"text": null}\n', "a.jsonl has no text"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:-9], "a.jsonl.gz is damaged"),
        ("a.jsonl.zst", b"not zstd", "a.jsonl.zst is damaged"),
        ("a.parquet", b"PAR1nope", "a.parquet is not a readable parquet file"),
    ],
)
def test_broken_content(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read(local(tmp_path, name, content), tmp_path)


def test_hashes_of_files(tmp_path: Path) -> None:
    Path("a.txt").write_text("text")
    digest = hashlib.sha256(b"text").hexdigest()
    with pytest.raises(StudyError, match=f"add `sha256: {digest}`"):
        read(Source("files", ("a.txt",)), tmp_path)
    with pytest.raises(StudyError, match=rf"(?s){digest}.*sha256: {'0' * 64}"):
        read(Source("files", ("a.txt",), sha256="0" * 64), tmp_path)
    with pytest.raises(StudyError, match=r"no file of the working directory matches `files: \['b/\*'\]`"):
        read(Source("files", ("b/*",), sha256=digest), tmp_path)


def made_wheel(folder: Path) -> Source:
    """Write a wheel of an invented package, as pip wants it, and return its source."""
    info = "sltexts-1.0.dist-info"
    members = {
        "sltexts/b.txt": b"b text",
        "sltexts/a.tab": table("tab"),
        "sltexts/old/c.txt": b"c text",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: sltexts\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(exist_ok=True)
    path = folder / "sltexts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"]))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fields: dict[str, Any] = {"text": "body", "package": "sltexts", "version": "1.0", "sha256": digest}
    return Source("wheel", ("sltexts/*",), ("*/old/*",), **fields)


def test_wheel_comes_through_pip_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    wanted = [(f"sltexts/a.tab:{row}", text) for row, text in enumerate(TEXTS, 1)] + [("sltexts/b.txt", "b text")]
    assert read(source, tmp_path) == wanted
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["sltexts-1.0-py3-none-any.whl"]
    with pytest.raises(StudyError, match=rf"(?s)sltexts==1.0 has sha256 {source.sha256}.*{'0' * 64}"):  # pip's own check
        read(dataclasses.replace(source, sha256="0" * 64), tmp_path)
    monkeypatch.setattr(wheel, "_pip_download", None)  # the second time nothing is downloaded
    assert read(source, tmp_path) == wanted


def test_wheel_with_another_hash_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made_wheel(tmp_path / "index")
    monkeypatch.setattr(wheel, "_pip_download", lambda *_: tmp_path / "index" / "sltexts-1.0-py3-none-any.whl")
    with pytest.raises(StudyError, match=f"add `sha256: {source.sha256}`"):
        read(Source("wheel", source.files, package="sltexts", version="1.0"), tmp_path)
    other = Source("wheel", source.files, package="sltexts", version="1.0", sha256="0" * 64)
    with pytest.raises(StudyError, match=rf"(?s)sltexts==1.0.*{source.sha256}.*{'0' * 64}"):
        read(other, tmp_path)


def test_pip_failure_shows_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "a warning\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    source = Source("wheel", ("*.txt",), package="sl-no-such-package", version="9.9", sha256="0" * 64)
    with pytest.raises(StudyError, match=r"pip could not download sl-no-such-package==9.9: .*No matching distribution"):
        read(source, tmp_path)


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="kind: 'ftp' is unknown: use one of wheel"):
        read(Source("ftp", ("*",)), tmp_path)
