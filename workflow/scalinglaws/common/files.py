"""Files that are whole or absent, whatever is killed when: what exists is complete. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file so that it is whole or absent: a temporary name, fsync, then os.replace.

    Without ``sync`` it does not wait for the disk, and a power failure may leave an empty file.

    Raises StudyError naming the file when the disk (or the quota) is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StudyError(f"no space left to write {path} ({len(data)} bytes): free some and run again") from None
        raise


def keep(path: Path, text: str) -> Path:
    """The file at ``path``, whose name tells its content, written where it is not there."""
    if not path.exists():
        write_bytes(path, text.encode())
    return path


def look(folder: Path) -> None:
    """List a folder, if it is there: a network filesystem may still hold that it lacks files that other nodes made since."""
    with contextlib.suppress(FileNotFoundError):
        os.listdir(folder)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity are refused with ValueError."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
