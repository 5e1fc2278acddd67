"""What a killed job leaves behind: finished files are put back whole, and temporary files of dead processes are told apart."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.common import files, finished, leftovers, processes


@pytest.fixture
def last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two files as a job of the workflow does, and return the last."""
    monkeypatch.setenv(finished.VARIABLE, "1")
    return make(tmp_path / "run" / "last.json")


def make(last: Path) -> Path:
    with finished.making(last) as folder:
        (folder / "first.bin").write_bytes(b"weights")
        (folder / last.name).write_text("{}")
    return last


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_finished_files_are_put_back_and_removed(last: Path, capsys: Any) -> None:
    assert names(last.parent) == [".finished-last.json", "first.bin", "last.json"]
    assert (last.parent / "first.bin").stat().st_nlink == 2, "a second copy takes no space"
    assert not finished.restore(last), "what is there is left alone"
    for path in (last, last.with_name("first.bin")):
        path.unlink()
    assert finished.is_kept(last) and finished.restore(last)
    assert last.read_text() == "{}" and last.with_name("first.bin").read_bytes() == b"weights"
    assert "finished before its job was stopped" in capsys.readouterr().err
    finished.remove(last)
    assert names(last.parent) == ["first.bin", "last.json"]


def test_a_temporary_name_of_another_file_is_not_written_through(last: Path) -> None:
    os.link(last.with_name("first.bin"), last.with_name(f".{last.name}{files.temporary_suffix()}"))
    files.write_text(last, "new")
    assert last.with_name("first.bin").read_bytes() == b"weights" and last.read_text() == "new"


def test_files_are_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setenv(finished.VARIABLE, "1")
    monkeypatch.setattr(files.os, "link", none)
    last = make(tmp_path / "last.json")
    assert last.read_text() == "{}" and last.stat().st_nlink == 1
    assert names(tmp_path) == [".finished-last.json", "first.bin", "last.json"]


@pytest.mark.parametrize("damage", ["flipped", "missing", "no sums", "sums of nothing"])
def test_damaged_files_are_not_put_back(last: Path, damage: str, capsys: Any) -> None:
    kept = finished.folder_of(last)
    last.unlink()
    if damage == "flipped":
        (kept / "first.bin").write_bytes(b"weightr")
    elif damage == "missing":
        (kept / "first.bin").unlink()
    else:
        (kept / finished.SUMS).write_text("" if damage == "sums of nothing" else "\0")
    assert not finished.restore(last) and not last.exists() and not kept.exists()
    assert "is damaged and is not used" in capsys.readouterr().err


def test_a_failure_and_a_call_by_hand_keep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "last.json")
    assert names(tmp_path) == ["first.bin", "last.json"]
    monkeypatch.setenv(finished.VARIABLE, "1")
    with pytest.raises(KeyboardInterrupt), finished.making(tmp_path / "other.json") as folder:
        (folder / "half.bin").touch()
        raise KeyboardInterrupt
    assert names(tmp_path) == ["first.bin", "last.json"]


def test_temporary_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    here, hour = socket.gethostname(), 3700
    left = {f".a.bin.{here}-{child.pid}.tmp": 0, f".a.bin.{child.pid}.tmp": 0, f".reused.{here}-{os.getpid()}.tmp": 10**8}
    left |= {".far.elsewhere-1.tmp": hour, ".future.elsewhere-1.tmp": -hour}
    stays = {f".a.bin.{here}-{os.getpid()}.tmp": 0, ".a.bin.elsewhere-1.tmp": 0, ".hidden.tmp": hour, "a-1.tmp": hour, "a": 0}
    for name, age in (left | stays).items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    leftovers.clear(tmp_path)
    assert names(tmp_path) == sorted(stays)


def test_a_temporary_name_is_told_as_its_writers(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a.b-c.json") as temporary:
        temporary.touch()
        assert leftovers.NAME.fullmatch(temporary.name) and not leftovers.is_left(temporary)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what() and time.monotonic() < end:
        time.sleep(0.01)


def test_a_process_is_told_from_another_of_its_number() -> None:
    own, child = processes.identity(), subprocess.Popen(["sleep", "60"])
    try:
        assert own["started"] == processes.started(os.getpid()) != processes.started(child.pid)
        until(lambda: processes.command(child.pid))  # a process that has just been started may not show its words yet
        assert processes.command(child.pid) == {"sleep", "60"}
    finally:
        child.kill()
        child.wait()
    assert processes.started(child.pid) is None and processes.command(child.pid) == processes.command(-1) == set()
