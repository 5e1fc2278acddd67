"""What a training process says while it runs: lines on stderr and in a log, and a heartbeat file that other processes read."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scalinglaws.common import processes
from scalinglaws.common.files import write_json

SECONDS = 10.0  # time between two lines
MISSED = 3  # a training lives, as far as another machine sees, until so many of its heartbeats are missing
# The first step may wait for the model to be compiled, and the last line is followed by the measurement on the test split.
LONG_SECONDS = 300.0


def trains(beat: dict[str, Any]) -> bool:
    """Tell whether the process that wrote a heartbeat lives.

    On this machine its number and its start tell, since another process may have the number by now. A process on another machine
    lives while its heartbeat is no older than what the heartbeat says of the next one.
    """
    if beat.get("host") != socket.gethostname():
        return "host" in beat and abs(time.time() - beat.get("time", 0)) < beat.get("next_within", MISSED * SECONDS)
    number = beat.get("pid", 0)
    return "scalinglaws" in processes.command(number) and beat.get("started") in (None, processes.started(number))


class Progress:
    """Prints a line at the start of training, every ten seconds and at the end, and writes progress.json with each.

    ``folder`` is that of the run or of the trunk; ``start`` and ``last`` are the first and the last step of this training.
    Only an instance that ``tells`` prints anything: where several processes train one run, that of the first process. As a
    context manager it removes progress.json at the end of its block.
    """

    def __init__(
        self, name: str, folder: Path, start: int, last: int, batch_tokens: int, log: Path | None = None, tells: bool = True
    ):
        self.name, self.folder, self.start, self.last, self.batch_tokens = name, folder, start, last, batch_tokens
        self.log, self.tells = log, tells
        self.began = time.monotonic()
        self.shown, self.longest = -SECONDS, SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def due(self) -> bool:
        """Tell whether the last line is ten seconds old."""
        return time.monotonic() - self.shown >= SECONDS

    def tokens_per_second(self, step: int) -> float:
        """Return the mean speed of this process since its first step; 0 before it has made a step."""
        return (step - self.start) * self.batch_tokens / max(time.monotonic() - self.began, 1e-9)

    def show(self, step: int, loss: float | None, test_loss: float | None = None) -> None:
        """Say how far training is.

        ``loss`` is the last one known of a batch, and ``test_loss`` the last one on the test split, in nats per token.
        """
        now = time.monotonic()
        self.longest = max(self.longest, now - self.shown if self.shown > 0 else 0.0)
        self.shown = now
        if not self.tells:
            return
        speed = self.tokens_per_second(step)
        left = (self.last - step) * self.batch_tokens / speed if speed else None
        self.say(
            f"{self.name}: step {step}/{self.last}, loss {'-' if loss is None else format(loss, '.4f')}, "
            f"{speed:,.0f} tokens/s, {'-' if left is None else format(left, '.0f')} s left"
        )
        beat = {"id": self.name, "step": step, "start_step": self.start, "steps": self.last, "loss": loss}
        within = LONG_SECONDS if step in (self.start, self.last) else 0.0
        beat |= {"test_loss": test_loss, "next_within": max(within, MISSED * self.longest)}
        beat |= {"tokens_per_second": speed, "time": time.time(), **processes.identity()}
        write_json(self.folder / "progress.json", beat)

    def say(self, line: str) -> None:
        """Write one line to stderr and to the log."""
        print(line, file=sys.stderr, flush=True)
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(line + "\n")

    def close(self) -> None:
        """Remove progress.json, once: this training is over, and another one in this folder may write its own."""
        if self.tells:
            (self.folder / "progress.json").unlink(missing_ok=True)
        self.tells = False
