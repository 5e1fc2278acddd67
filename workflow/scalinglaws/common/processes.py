"""Which process is which: a number that a file holds may have been given to another process since it was written."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")


def started(number: int) -> str | None:
    """Tell when a process of this machine was started, in words that no other process with its number shares.

    The words are the id of the machine's boot and the time since that boot, which a clock that is set does not change. Without
    /proc they are the time of day. None stands for a process that is gone.
    """
    try:
        ticks = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        return f"{BOOT.read_text().strip()} {ticks}"
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(number).create_time():.0f}"
    except psutil.Error:
        return None


def identity() -> dict[str, Any]:
    """Return what tells this process from all others: its number, its machine and when it was started."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started(os.getpid())}


def command(number: int) -> set[str]:
    """Return the last part of each word of the command line of a process; nothing for a process that is gone."""
    with contextlib.suppress(psutil.Error, ValueError, OverflowError):
        return {Path(word).name for word in psutil.Process(number).cmdline()}
    return set()
