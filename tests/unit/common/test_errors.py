"""Faults of the machine are told in a sentence that names the file; errors that may be mistakes of the program are not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scalinglaws.common.errors import OF_A_PATH, OF_THE_MACHINE, shown, told


@pytest.mark.parametrize("code", [*OF_A_PATH, errno.EBUSY, errno.ENXIO])
def test_a_fault_of_a_path_names_it(code: int) -> None:
    said = told(OSError(code, os.strerror(code), "a/new\nfile"))
    assert said and "a/new\\nfile" in said and "\n" not in said
    assert told(OSError(code, os.strerror(code)), Path("b")) == told(OSError(code, os.strerror(code), "b"))
    assert told(OSError(code, os.strerror(code))) is None, "without a file it may be a mistake of the program"


@pytest.mark.parametrize("code", OF_THE_MACHINE)
def test_a_fault_of_the_machine_needs_no_path(code: int) -> None:
    for error in (OSError(code, os.strerror(code)), OSError(code, os.strerror(code), "a")):
        assert (told(error) or "").startswith(OF_THE_MACHINE[code])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libx.so: cannot allocate memory in static TLS block"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("can't start new thread"),
        SystemError("error return without exception set"),
    ],
)
def test_memory_that_runs_out_is_told_however_a_library_says_it(error: Exception) -> None:
    said = told(error)
    assert said and said.startswith("memory ran out: ") and "\n" not in said


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("shape mismatch"), KeyError("a"), ImportError("no name x"), OSError("x")]
)
def test_other_errors_are_not_told(error: Exception) -> None:
    assert told(error) is None


def test_what_lies_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("nowhere")
    for code in (errno.EEXIST, errno.ENOENT):
        said = told(OSError(code, "x", str(tmp_path / "results/runs/a")))
        assert said and said.startswith(f"{tmp_path}/results is a link to nowhere, which does not exist")
    (tmp_path / "file").touch()
    said = told(OSError(errno.ENOTDIR, "x", str(tmp_path / "file/runs/a")))
    assert said and said.startswith(f"{tmp_path}/file is a file where a folder is needed")


def test_names_are_shown_on_one_line() -> None:
    assert shown("ä b$c") == "ä b$c"
    assert shown(Path("a\nb\udcff")) == shown(b"a\nb\xff") == "a\\nb\\udcff"
