"""Lists of sums: what coreutils makes of them, and what is told of a damaged file, a damaged list and both."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_json, read_object

NAMES = ["a.bin", "b.json", "last.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "b.json").write_text('{"b": 1}')
    sums.finish(tmp_path / sums.LIST, [tmp_path / "b.json", tmp_path / "a.bin"], tmp_path / "last.json", b'{"last": 1}')
    return tmp_path


def test_a_list_is_that_of_coreutils_and_repeats(folder: Path) -> None:
    text = (folder / sums.LIST).read_text()
    assert [line.split("  ")[1] for line in text.splitlines()[1:]] == NAMES
    sums.record(folder / sums.LIST, [folder / name for name in reversed(NAMES)])
    assert (folder / sums.LIST).read_text() == text
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "--strict", "-c", sums.LIST], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.count(": OK") == 3, done.stderr
    (folder / sums.LIST).write_text(text.partition("\n")[2])  # as sha256sum writes it
    sums.require(folder / sums.LIST, NAMES)
    (folder / sums.LIST).unlink()
    sums.require(folder / sums.LIST, NAMES)  # an earlier version left none


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / "a.bin").write_bytes(bytes(255))
    with pytest.raises(StudyError, match=r"a\.bin is damaged.*SHA256SUMS: run `scalinglaws verify --repair`"):
        sums.require(folder / sums.LIST, NAMES)
    (folder / "b.json").unlink()
    sums.require(folder / sums.LIST, ["b.json", "last.json", "unknown"])
    found = sums.look(folder / sums.LIST, NAMES)
    assert list(found.damaged) == ["a.bin"] and found.missing == ["b.json"] and found.listed


CHANGES = {
    "digit": lambda line: line.replace("1", "2", 1),
    "no ASCII": lambda line: "\N{DEGREE SIGN}" + line[1:],
    "cut": lambda line: line[:-9],
    "gone": lambda line: "",
}


@pytest.mark.parametrize("line", [0, 1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_list_is_told_from_what_it_lists(folder: Path, line: int, change: str) -> None:
    path = folder / sums.LIST
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    lines[line] = CHANGES[change](lines[line])
    path.write_text("".join(lines))
    if (line, change) == (0, "gone"):
        sums.require(path, NAMES)  # it is as sha256sum writes it
        return
    with pytest.raises(StudyError, match="SHA256SUMS is damaged"):
        sums.require(path, NAMES)
    assert sums.look(path, NAMES).again == whole
    (folder / "a.bin").write_bytes(b"")
    found = sums.look(path, NAMES)
    assert found.again is None and list(found.damaged) == [sums.LIST]


def test_an_empty_list_and_names_of_other_folders_are_damage(folder: Path) -> None:
    for text in ("", f"{'0' * 64}  ../a.bin\n", "x" * 9):
        (folder / sums.LIST).write_text(text)
        with pytest.raises(StudyError, match="SHA256SUMS is damaged"):
            sums.require(folder / sums.LIST, NAMES)


def test_a_file_that_is_written_again_by_hand_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """The workflow asks for a list; a user who writes the same file without one removes the list of what was there."""
    out = tmp_path / "power-n.json"
    for text, wanted in (("1", True), ("22", True), ("333", False)):
        with sums.listing(sums.beside(out), [out], wanted):
            out.write_text(text)
        assert sums.beside(out).exists() == wanted
        sums.require_own(out)
    other = sums.beside(out)
    other.write_text("a user's own file")
    with sums.listing(other, [out], False):
        out.write_text("4444")
    assert other.read_text() == "a user's own file"


def test_files_are_named_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "manifest-2c624232cc.jsonl"
    path.write_text("222")
    assert sums.is_named_by(b"anything", "by hand")
    with pytest.raises(StudyError, match="its content is not what its name says"):
        sums.read_named(path)
    path = tmp_path / "9b871512327c09ce91dd649b3f96a63b7408ef267c8cc5710114e629730cb61f.py"
    path.write_text("222\n")
    assert sums.read_named(path) == "222\n"


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1\xb1}', b"[" * 100_000, b'{"a": NaN}', b"1" * 5000, b"\0"])
def test_damaged_json_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fit.json"
    path.write_bytes(data)
    with pytest.raises(StudyError, match=r"fit\.json is damaged .*verify --repair"):
        read_json(path)
    path.write_bytes(b"[]")
    with pytest.raises(StudyError, match="it holds no JSON object"):
        read_object(path)
