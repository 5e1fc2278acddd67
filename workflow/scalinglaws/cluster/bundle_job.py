"""Train the members of a bundle, several at a time, in one allocation: a process each, which imports torch once.

    python -m scalinglaws bundle --list results/bundles/ID.json --out results/bundles/ID.done

What is there is not made again; a member that fails leaves the others alone, and is told at the end.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from scalinglaws.cluster import bundles, gpus
from scalinglaws.cluster.bundles import Member
from scalinglaws.cluster.slurm import stop_time
from scalinglaws.common import files
from scalinglaws.common.errors import StudyError

STOPPED = 143  # the status of a training that saved and ends
POLL_SECONDS = 0.1
TELL_SECONDS = 10.0


class Processes:
    """Members that wait, that run and that have ended; a signal is passed on to those that run, and none is started after."""

    def __init__(self, members: list[Member], at_once: int, command: list[str], end: float = math.inf):
        self.waiting = sorted(members, key=lambda member: member.seconds)  # the longest is taken first, from the end
        self.all, self.at_once, self.command, self.end = len(members), at_once, command, end
        self.running: dict[subprocess.Popen, Member] = {}
        self.done: list[Member] = []
        self.failed: list[Member] = []
        self.stopping = False
        self.began = self.told = time.monotonic()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        for process in list(self.running):
            process.send_signal(number)

    def run(self) -> None:
        """Until all have ended, or those that run after a signal, or after the end of the time."""
        while self.running or (self.waiting and not self.stopping):
            self.stopping |= time.time() > self.end
            while self.waiting and not self.stopping and len(self.running) < self.at_once:
                self.start(self.waiting.pop())
            time.sleep(POLL_SECONDS)
            for process in [process for process in self.running if process.poll() is not None]:
                member = self.running.pop(process)
                self.stopping |= process.returncode == STOPPED
                (self.failed if process.returncode else self.done).append(member)
            self.tell()

    def start(self, member: Member) -> None:
        process = subprocess.Popen([*self.command, "--name", member.name])
        self.running[process] = member
        if self.stopping:  # since it was started
            process.terminate()

    def tell(self) -> None:
        """A line every few seconds: how far it is, and the time left by what is expected of each member."""
        now = time.monotonic()
        if now - self.told < TELL_SECONDS:
            return
        self.told = now
        ended, left = (sum(f.seconds for f in fs) for fs in (self.done + self.failed, [*self.waiting, *self.running.values()]))
        eta = f"{(now - self.began) * left / ended:.0f} s left" if ended else "time left not known yet"
        counts = f"{len(self.done)} of {self.all} members done, {len(self.running)} train, {len(self.failed)} failed"
        print(f"bundle: {counts}, {eta}", file=sys.stderr, flush=True)


def train_all(path: Path, at_once: int, results: Path) -> None:
    """Make everything in a bundle's file. Raises StudyError naming members that failed, SystemExit(143) when stopped."""
    members = list(bundles.read(path).members)
    end = stop_time()
    command = [sys.executable, "-m", "scalinglaws", "member", "--list", str(path), "--results", str(results)]
    command += ["--at-once", str(min(at_once, len(members))), "--end", str(end)]
    found = Processes(members, at_once, command, end)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, found.on_signal)
    found.run()
    if found.stopping and len(found.done) < found.all:
        raise SystemExit(STOPPED)
    if found.failed:
        names = ", ".join(sorted(member.name for member in found.failed))
        raise StudyError(
            f"{len(found.failed)} of {found.all} members failed: {names}. Why is said above and in {results}/logs/train and "
            f"{results}/logs/rung; what is done is kept"
        )


def train_bundle(path: Path, out: Path, results: Path, at_once: int | None = None) -> None:
    """Make everything in the bundle's file ``path`` and then write ``out``, which is empty and says that all is there.

    ``at_once``: members that train beside each other; where None, as many as the bundle says. Where the GPUs of a machine are
    shared out, this process holds one for all members. Raises StudyError and SystemExit as ``train_all`` does.
    """
    gpus.take(1)
    # Else each process would start as many compilers as the job has cores.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    train_all(path, at_once or bundles.read(path).at_once, results)
    files.write_bytes(out, b"")
