"""The signals that tell a process to stop, and the exit statuses of one that has saved its work because of them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

# Of schedulers, of Ctrl-C, of the end of a login. SIGUSR1 is a scheduler's warning before its limit.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
STOPPED = 143  # exit status after a signal or near the end of a time limit
INTERRUPTED = 130  # exit status after Ctrl-C


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[dict[int, Any]]:
    """Call ``handler`` for each of SIGNALS in the block, and give the handlers that they had: number -> handler.

    A signal that the process ignores stays ignored: a shell that starts it in the background has told it not to heed Ctrl-C.
    """
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: was for number, was in before.items() if was != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def leave(number: int, frame: FrameType | None) -> None:
    """End this process, as a signal handler, at a moment when there is nothing to save. Raises SystemExit."""
    raise SystemExit(INTERRUPTED if number == signal.SIGINT else STOPPED)
