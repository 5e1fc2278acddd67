"""Files that are whole or absent, whatever is killed when: a file that exists is complete. It imports the standard library only.

Every file that others read is written through this module; no other module renames files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError


def temporary_suffix() -> str:
    """Return how the names of temporary files of this process end; they begin with a dot (common/leftovers.py)."""
    return f".{socket.gethostname()}-{os.getpid()}.tmp"


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; what is written there becomes ``path`` when the block ends.

    The content is on the disk (fsync) before the file gets its name. Where the block raises, the temporary file is removed and
    ``path`` stays as it was. The name of the temporary file holds this machine and the number of this process, so that two
    processes that write the same file do not disturb each other, and what a killed process left behind can be told from what is
    being written (common/leftovers.py). Without ``sync`` nothing waits for the disk: a power failure may leave the file empty.

    Raises
    ------
    StudyError
        The disk or the quota is full; the message names ``path``.
    """
    temporary = path.with_name(f".{path.name}{temporary_suffix()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a killed process of this number may have left it as a second name of another file
        yield temporary
        move(temporary, path, sync)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StudyError(f"no space left to write {path}: free some and run again") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file so that it is whole or absent, as ``replacing`` does; raises StudyError where the disk is full."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def move(source: Path, path: Path, sync: bool = True) -> None:
    """Give a finished file the name ``path``, on the same filesystem, with ``sync`` after its content is on the disk (fsync)."""
    if sync:
        with source.open("rb+") as file:
            os.fsync(file.fileno())
    os.replace(source, path)


def link(source: Path, path: Path) -> None:
    """Give a finished file a second name on the same filesystem; where that has no hard links, write a copy instead."""
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def keep(path: Path, text: str) -> Path:
    """Write ``text`` to ``path``, whose name tells its content, where it is not there yet; return the path."""
    if not path.exists():
        write_text(path, text)
    return path


def look(folder: Path) -> None:
    """List a folder, if it is there.

    A network filesystem may still hold that the folder lacks files that other nodes made since; listing it makes it look again.
    """
    with contextlib.suppress(FileNotFoundError):
        os.listdir(folder)
