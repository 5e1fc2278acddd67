"""Temporary files of processes that were killed while they wrote (common/files.py)."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path

import psutil

NAME = re.compile(r"\..+[.-](?P<pid>\d+)\.tmp")  # earlier versions wrote no machine in front of the number
SECONDS = 3600.0  # a file of another machine that was not written to for so long has no writer


def is_left(path: Path) -> bool:
    """Tell whether a file is a temporary one whose writer is gone.

    A process of this machine that started after the file was last written to is another one with the writer's number.
    """
    match = NAME.fullmatch(path.name)
    if not match:
        return False
    number, before = int(match["pid"]), path.name[: match.start("pid")]
    try:
        written = path.lstat().st_mtime
    except OSError:
        return False
    if before.endswith("-") and not before.endswith(f".{socket.gethostname()}-"):
        return abs(time.time() - written) > SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(number).create_time() > written + 1
    return True


def clear(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers are gone."""
    for path in folder.glob(".*.tmp"):
        if is_left(path):
            path.unlink(missing_ok=True)
