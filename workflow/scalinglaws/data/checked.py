"""Token files are compared with their sums where they are read: once for each content, not once for each training.

What was checked is noted in a small file beside them, with what a filesystem tells of a file's content: size, times and inode.
A file of which any of these is another is checked again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_json
from scalinglaws.common.read import read_object

NOTES = ".checked"
LARGE = 10**9  # bytes from which a check takes seconds and is said
SETTLED = 2.0  # seconds after which a change of a file surely changes its times


def once(path: Path, expected: str, where: str, test: Callable[[], None] | None = None, tested: Any = None) -> None:
    """Compare a file with its sum and run a test on its content, unless both were done for the content that it has.

    Parameters
    ----------
    path
        The file. Notes on what was checked are kept in its folder, where that can be written.
    expected
        Its sha256, which stands in the file ``where``.
    test
        What else is to be found out about the content; it raises StudyError.
    tested
        What the test depends on besides the content, as a JSON value.

    Raises
    ------
    StudyError
        The file is damaged.
    """
    notes = path.with_name(NOTES)
    stamp = [*_stamp(path), expected, tested]
    if _noted(notes).get(path.name) == stamp:
        return
    if stamp[0] > LARGE:
        print(f"checking {path}, {stamp[0] / 1e9:.1f} GB, once for this content", file=sys.stderr, flush=True)
    sums.require_sum(path, expected, where)
    if test:
        test()
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED or [*_stamp(path), expected, tested] != stamp:
        return
    with contextlib.suppress(OSError, StudyError):  # notes save time alone: a folder may be read-only, or its disk full
        write_json(notes, _noted(notes) | {path.name: stamp})


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _noted(notes: Path) -> dict[str, Any]:
    """Return the notes; none where they are missing or damaged, since the files are then checked again."""
    try:
        return read_object(notes)
    except StudyError:
        return {}
