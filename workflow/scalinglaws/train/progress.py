"""What a training process says while it runs: lines on stderr and in a log, and a heartbeat file that other processes read."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scalinglaws.common import processes
from scalinglaws.common.files import write_json

SECONDS = 10.0  # time between two lines


class Progress:
    """Prints a line at the start of training, every ten seconds and at the end, and writes progress.json with each.

    ``folder`` is that of the run or of the trunk; ``start`` and ``last`` are the first and the last step of this training.
    Only an instance that ``tells`` prints anything: where several processes train one run, that of the first process.
    """

    def __init__(
        self, name: str, folder: Path, start: int, last: int, batch_tokens: int, log: Path | None = None, tells: bool = True
    ):
        self.name, self.folder, self.start, self.last, self.batch_tokens = name, folder, start, last, batch_tokens
        self.log, self.tells = log, tells
        self.began = time.monotonic()
        self.shown = -SECONDS

    def due(self) -> bool:
        """Tell whether the last line is ten seconds old."""
        return time.monotonic() - self.shown >= SECONDS

    def tokens_per_second(self, step: int) -> float:
        """Return the mean speed of this process since its first step; 0 before it has made a step."""
        return (step - self.start) * self.batch_tokens / max(time.monotonic() - self.began, 1e-9)

    def show(self, step: int, loss: float | None) -> None:
        """Say how far training is. ``loss``, in nats per token, is the last one known."""
        self.shown = time.monotonic()
        if not self.tells:
            return
        speed = self.tokens_per_second(step)
        left = (self.last - step) * self.batch_tokens / speed if speed else None
        self.say(
            f"{self.name}: step {step}/{self.last}, loss {'-' if loss is None else format(loss, '.4f')}, "
            f"{speed:,.0f} tokens/s, {'-' if left is None else format(left, '.0f')} s left"
        )
        beat = {"id": self.name, "step": step, "start_step": self.start, "steps": self.last, "loss": loss}
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
        """Remove progress.json: nothing trains in this folder any more."""
        if self.tells:
            (self.folder / "progress.json").unlink(missing_ok=True)
