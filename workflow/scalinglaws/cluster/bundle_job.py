"""Train the members of a bundle in one job, several at a time; a process trains a member, or on a GPU a stack of them.

    python -m scalinglaws bundle --list results/bundles/ID.json --out results/bundles/ID.done

What is there is not made again. A member that fails does not stop the others; its name is reported at the end.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from scalinglaws.cluster import bundle, gpus, mps, stacks
from scalinglaws.cluster.bundle import Member
from scalinglaws.cluster.slurm import stop_time
from scalinglaws.common import asked, files, stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.models.cuda import is_used
from scalinglaws.models.device import require

POLL_SECONDS = 0.1  # time between looks at the processes that run
TELL_SECONDS = 10.0  # time between lines of progress


class MemberProcesses:
    """The processes of a bundle's members: those that wait, that run and that have ended. Each trains a group of members.

    A signal is passed on to those that run, as SIGTERM, and none is started after it.

    Parameters
    ----------
    groups
        The members to train: those of one process.
    at_once
        Largest number of processes that run at the same time.
    command
        Command line of a process, to which the names of its members are added.
    end
        Time, in seconds since 1970, after which none is started.
    """

    def __init__(self, groups: list[list[Member]], at_once: int, command: list[str], end: float = math.inf):
        # The last, the longest, is started first.
        self.waiting = sorted(groups, key=lambda group: sum(member.seconds for member in group))
        self.all, self.at_once, self.command, self.end = sum(map(len, groups)), at_once, command, end
        self.running: dict[subprocess.Popen, list[Member]] = {}
        self.done: list[Member] = []
        self.failed: list[Member] = []
        self.stopping = False
        self.began = self.told = time.monotonic()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Tell the processes that run to save and to stop, and start no more.

        They are sent SIGTERM whatever came: after Ctrl-C they have had a SIGINT themselves, and a second one ends them at once.
        """
        self.stopping = True
        for process in list(self.running):
            process.terminate()

    def run(self) -> None:
        """Start processes and wait until all have ended; after a signal or the end of the time, start no more."""
        while self.running or (self.waiting and not self.stopping):
            self.stopping |= time.time() > self.end
            while self.waiting and not self.stopping and len(self.running) < self.at_once:
                self.start(self.waiting.pop())
            time.sleep(POLL_SECONDS)
            for process in [process for process in self.running if process.poll() is not None]:
                group = self.running.pop(process)
                self.stopping |= process.returncode in (stopping.STOPPED, stopping.INTERRUPTED)
                (self.failed if process.returncode else self.done).extend(group)
            self.tell()

    def start(self, group: list[Member]) -> None:
        """Start the process of a group of members."""
        process = subprocess.Popen([*self.command, *(word for member in group for word in ("--name", member.name))])
        self.running[process] = group
        if self.stopping:  # a signal came while the process was being started, so it has not been passed on
            process.terminate()

    def tell(self) -> None:
        """Print, every few seconds, how many members are done, and the time left by the expected times of the members."""
        now = time.monotonic()
        if now - self.told < TELL_SECONDS:
            return
        self.told = now
        running = [member for group in self.running.values() for member in group]
        waiting = [member for group in self.waiting for member in group]
        ended, left = (sum(m.seconds for m in ms) for ms in (self.done + self.failed, waiting + running))
        eta = f"{(now - self.began) * left / ended:.0f} s left" if ended else "time left not known yet"
        counts = f"{len(self.done)} of {self.all} members done, {len(running)} train, {len(self.failed)} failed"
        print(f"bundle: {counts}, {eta}", file=sys.stderr, flush=True)


def groups_of(path: Path, results: Path, device: str) -> list[list[Member]]:
    """Return the members of the bundle in a file by process: on a GPU without equal bits, those of one shape are a stack."""
    members = list(bundle.read(path).members)
    if is_used(device) and not asked.deterministic():
        return stacks.grouped(members, results)
    return [[member] for member in members]


def train_all(path: Path, at_once: int, results: Path, device: str = "auto", limit_minutes: float = 0.0) -> None:
    """Train every member of the bundle in a file.

    Parameters
    ----------
    path
        The bundle's file.
    at_once
        Largest number of processes that train at the same time.
    results
        The folder of results.
    device
        Where members train: auto, cpu, cuda or mps.
    limit_minutes
        The time limit with which the job was submitted: see ``slurm.stop_time``.

    Raises
    ------
    StudyError
        Members failed; the message names them.
    SystemExit
        The job was stopped before all members were done; the status is 143.
    """
    groups = groups_of(path, results, device)
    end = stop_time(limit_minutes)
    command = [sys.executable, "-m", "scalinglaws", "member", "--list", str(path), "--results", str(results)]
    at_once = min(at_once, len(groups))
    sharing = mps.shared_gpu(at_once) if is_used(device) else contextlib.nullcontext(at_once)
    # A signal before the members run, or after them, ends what lets them share the GPU.
    with stopping.handled(stopping.leave), sharing as allowed:
        command += ["--at-once", str(allowed), "--end", str(end), "--device", device]
        processes = MemberProcesses(groups, allowed, command, end)
        with stopping.handled(processes.on_signal):
            processes.run()
    if processes.stopping and len(processes.done) < processes.all:
        raise SystemExit(stopping.STOPPED)
    if processes.failed:
        names = ", ".join(sorted(member.name for member in processes.failed))
        raise StudyError(
            f"{len(processes.failed)} of {processes.all} members failed: {names}. The reasons stand above, in "
            f"{results}/logs/train and in {results}/logs/rung; what is done is kept"
        )


def train_bundle(
    path: Path, out: Path, results: Path, at_once: int | None = None, device: str = "auto", limit_minutes: float = 0.0
) -> None:
    """Make everything in the bundle's file ``path`` and then write ``out``, which is empty and says that all is there.

    ``at_once`` is the number of members that train at the same time; None takes the bundle's. Where the GPUs of a machine are
    divided among runs, this process holds one for all members. Raises StudyError and SystemExit as ``train_all`` does, and
    StudyError where PyTorch cannot use ``device``.
    """
    if device != "cpu":
        gpus.take(1)
    require(device)
    # Without this each process would start as many compilers as the job has cores.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    train_all(path, at_once or bundle.read(path).at_once, results, device, limit_minutes)
    files.write_bytes(out, b"")
