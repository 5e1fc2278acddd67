"""Files of a finished job that are kept a second time until the workflow has taken note of them.

Snakemake deletes the outputs of a job that ends with an error, also where the error came after the last of them was written: a
kill in the moment before the process ends, a node that fails. In a job of the workflow, the files of a long stage are therefore
written to a hidden folder first, with their sha256, and then linked to their names. Where the names have gone, the next start of
the stage puts the files back. Snakemake does not know that folder; dag/tidy.py removes it once the files have their names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from scalinglaws.common import files

# This variable is set in the environment of the workflow's jobs. A stage that is called by hand keeps nothing: nobody deletes
# what it wrote.
VARIABLE = "SCALINGLAWS_KEEP_FINISHED"
PREFIX = ".finished-"
SUMS = ".sums"  # HASH  NAME for each file, written last


def folder_of(last: Path) -> Path:
    """Return the hidden folder of the files that end with ``last``."""
    return last.with_name(f"{PREFIX}{last.name}")


def is_kept(last: Path) -> bool:
    """Tell whether the files that end with ``last`` are kept; whether they are undamaged is not looked at."""
    return (folder_of(last) / SUMS).exists()


@contextlib.contextmanager
def making(last: Path) -> Iterator[Path]:
    """Give the folder to which a job writes its files; they get their names beside ``last``, and ``last`` is the last of them.

    Outside of the workflow it is the folder of ``last`` itself. Where the block raises, nothing is kept.

    Raises
    ------
    StudyError
        The disk is full.
    """
    if not os.environ.get(VARIABLE):
        yield last.parent
        return
    folder = folder_of(last)
    remove(last)
    folder.mkdir(parents=True)
    try:
        yield folder
        sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        files.write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    except BaseException:
        remove(last)
        raise
    _place(last, list(sums))


def restore(last: Path) -> bool:
    """Give kept files their names again where ``last`` is missing, and tell whether that was done.

    Damaged files are named by a line on stderr and removed, so that they are made anew.
    """
    if last.exists() or not is_kept(last):
        return False
    sums = _whole(last)
    if sums is None:
        print(f"warning: {folder_of(last)} is damaged and is not used", file=sys.stderr)
        remove(last)
        return False
    _place(last, sums)
    print(f"{last} was finished before its job was stopped: it is taken as it was", file=sys.stderr)
    return True


def remove(last: Path) -> None:
    """Remove the second copy of the files that end with ``last``."""
    shutil.rmtree(folder_of(last), ignore_errors=True)


def _place(last: Path, names: list[str]) -> None:
    for name in sorted(names, key=lambda name: (name == last.name, name)):
        files.link(folder_of(last) / name, last.with_name(name))


def _whole(last: Path) -> list[str] | None:
    """Return the names of the kept files; None where one of them is missing or is not what was written."""
    folder = folder_of(last)
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]
        if all(_sha256(folder / name) == digest for digest, name in lines) and last.name in (name for _, name in lines):
            return [name for _, name in lines]
    except (OSError, ValueError):
        pass
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
