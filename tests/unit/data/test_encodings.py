"""Encodings: text in another one than the config says is refused by the right name, and never read as garbage."""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.data import encodings, sources
from scalinglaws.data.encodings import decoded
from scalinglaws.study import config
from scalinglaws.study.spec import Source

ENGLISH = "Call me Ishmael.\nSome years ago - never mind how long precisely.\n" * 40
FRENCH = "Été, naïve, garçon; où ça ?\n" * 80
CHINESE = "话说天下大势，分久必合，合久必分。\n一一一周末七国分争，并入于秦。\n" * 40
RUSSIAN = "Все счастливые семьи похожи друг на друга.\n" * 50
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
MARKS |= {"utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}


def text(content: bytes, encoding: str) -> str:
    return "".join(decoded(io.BytesIO(content), encoding, "a.txt"))


@pytest.mark.parametrize("wanted", [ENGLISH, FRENCH, CHINESE, RUSSIAN])
@pytest.mark.parametrize("stored", list(MARKS))
def test_wide_text_is_read_in_its_own_encoding_alone(wanted: str, stored: str) -> None:
    plain = wanted.encode(stored)
    family = stored[:6]
    assert text(MARKS[stored] + plain, family) == text(MARKS[stored] + plain, stored) == text(plain, stored) == wanted
    other = stored[:-2] + ("be" if stored.endswith("le") else "le")
    for given in ("utf-8", "latin-1", "cp1252", "ascii", "utf-8-sig", "koi8-r", other):
        with pytest.raises(StudyError, match=f"a.txt starts with the byte order mark of {family.upper()}.*`encoding: {family}`"):
            text(MARKS[stored] + plain, given)
        with pytest.raises(StudyError, match=f"a.txt.* is not {given}.*perhaps `encoding: {stored}`"):
            text(plain, given)
    with pytest.raises(StudyError, match=f"a.txt.* is not {family}.*perhaps `encoding: {stored}`"):
        text(plain, family)


def test_narrow_text_is_no_wide_text() -> None:
    for given in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        with pytest.raises(StudyError, match=f"a.txt is not {given}.*perhaps `encoding: utf-8`"):
            text(FRENCH.encode(), given)
    with pytest.raises(StudyError, match="starts with the byte order mark of UTF-8"):
        text(codecs.BOM_UTF8 + FRENCH.encode(), "latin-1")
    with pytest.raises(StudyError, match=r"byte 0 is not utf-8: .*perhaps `encoding: latin-1`"):
        text(FRENCH.encode("latin-1"), "utf-8")
    for given in ("utf-8", "utf-8-sig"):
        assert text(codecs.BOM_UTF8 + FRENCH.encode(), given) == FRENCH


def test_utf8_that_is_read_as_latin1_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    for content, encoding in ((FRENCH.encode("latin-1"), "latin-1"), (b"ASCII", "latin-1"), (FRENCH.encode(), "utf-8")):
        text(content, encoding)
    assert not capsys.readouterr().err
    text(FRENCH.encode(), "latin-1")
    assert "a.txt is read as latin-1, but is valid UTF-8" in capsys.readouterr().err


def test_nul_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text(ENGLISH.encode() + b"\0\0", "utf-8") == ENGLISH + "\0\0"  # a stray one is removed later
    with pytest.raises(StudyError, match=r"a.txt holds 100 NUL bytes and is not utf-8: it is perhaps no text at all"):
        text(b"\x01" * 50 + b"\0" * 100, "utf-8")
    monkeypatch.setattr(encodings, "BLOCK", 1)
    assert text(codecs.BOM_UTF8 + FRENCH.encode(), "utf-8") == FRENCH
    assert text(codecs.BOM_UTF16_BE + FRENCH.encode("utf-16-be"), "utf-16") == FRENCH


NO_ENCODINGS = ["zlib_codec", "undefined", "utf\0-8", "rot13", "hex", "base64", "", "../utf_8", "\ud800", "utf-9", "bz2"]


@pytest.mark.parametrize("encoding", NO_ENCODINGS)
def test_what_is_no_encoding_of_text_is_refused_before_anything_runs(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    said = re.escape(f"`encoding: {encoding!r}`")
    fields: dict[str, Any] = {"encoding": encoding, "sha256": hashlib.sha256(b"text").hexdigest()}
    with pytest.raises(StudyError, match=said):
        list(sources.documents(Source("files", (str(tmp_path / "a.txt"),), **fields), tmp_path))
    source = {"kind": "files", "files": ["a.txt"], **fields}
    with pytest.raises(StudyError, match=r"corpora.c.sources\[0\]"):
        config.parse({"study": "s", "corpora": {"c": {"sources": [source]}}, "defaults": {}, "experiments": {"e": {}}})


@pytest.mark.parametrize("encoding", ["idna", "punycode", "utf-7", "unicode_escape", "iso2022_jp", "shift_jis"])
def test_bytes_that_an_odd_encoding_refuses_are_one_sentence(encoding: str) -> None:
    for content in (b"xn--\xff" * 9, b"\\x" + b"a" * 99 + b"\\", b"\x1b$" * 99, b"+AAA" * 99):
        try:
            text(content, encoding)
        except StudyError as error:
            assert "a.txt" in str(error)


REVISIONS = [
    ("main", None, "is a branch or a tag, which can move"),
    ("v1.0", None, "is a branch or a tag, which can move"),
    ("a" * 39, None, "is a branch or a tag, which can move"),
    ("../" * 5 + "etc", "0" * 64, "a commit is expected"),
    ("/etc", "0" * 64, "a commit is expected"),
    ("%2e%2e/x", "0" * 64, "a commit is expected"),
    ("main", "0" * 64, ""),
    ("refs/convert/parquet", "0" * 64, ""),
    ("a" * 40, None, ""),
]


@pytest.mark.parametrize(("revision", "sha256", "said"), REVISIONS)
def test_a_revision_pins_its_files(revision: str, sha256: str | None, said: str) -> None:
    fields: dict[str, Any] = {
        "kind": "huggingface",
        "files": ["*"],
        "repository": "org/texts",
        "revision": revision,
        "sha256": sha256,
    }
    if not said:
        assert config.SourceConfig.model_validate(fields).revision == revision
        return
    with pytest.raises(ValueError, match=said if "branch" in said else ""):
        config.SourceConfig.model_validate(fields)
    with pytest.raises(StudyError, match=said):
        sources.resolve(Source(**{**fields, "files": ("*",)}), Path("downloads"))


NO_REPOSITORIES = ["../texts", "org/../..", "a/b/c", "-x", "org/te xts", "http://host/x", "org/texts\n", "", "%2e%2e"]


@pytest.mark.parametrize("repository", NO_REPOSITORIES)
def test_a_repository_is_a_name(repository: str) -> None:
    with pytest.raises(StudyError, match="name of a data set is expected"):
        sources.resolve(Source("huggingface", ("*",), repository=repository, revision="a" * 40), Path("downloads"))
