"""Which jobs of the workflow there are now: those of Slurm, which wait in its queue or run, and processes of this machine.

Snakemake's executor for Slurm gives each job the comment "rule_RULE_wildcards_WILDCARDS", with "_" between wildcards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

COMMENT = "rule_"
SECONDS = 10.0  # an answer that takes longer is not waited for


@dataclass(frozen=True)
class QueuedJob:
    """A job of Slurm.

    Attributes
    ----------
    id
        Its number.
    state
        Its state in Slurm's words, such as PENDING or RUNNING.
    reason
        Why it waits, in Slurm's words, such as Priority.
    """

    id: str
    state: str
    reason: str

    @property
    def runs(self) -> bool:
        """Tell whether its processes run, or are about to end."""
        return self.state in ("RUNNING", "COMPLETING")

    @property
    def words(self) -> str:
        """Return what it waits for, in words."""
        return f"Slurm job {self.id}, {self.state}" + (f" ({self.reason})" if self.reason not in ("", "None") else "")


def queued(folder: Path) -> dict[str, QueuedJob]:
    """Return the jobs of this user that Snakemake submitted from a folder and that have not ended.

    Returns
    -------
    dict
        "RULE" or "RULE_wildcards_WILDCARDS" -> the job. It is empty where Slurm's clients are not installed or do not answer.
    """
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--me", "--format", "%i|%T|%r|%Z|%k"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return parsed(told, folder)


def parsed(told: str, folder: Path) -> dict[str, QueuedJob]:
    """Return the jobs of a folder in what squeue printed, a line of "ID|STATE|REASON|FOLDER|COMMENT" for each job."""
    found = {}
    for line in told.splitlines():
        number, state, reason, submitted, comment = (*line.split("|", 4), "", "", "", "")[:5]
        if comment.startswith(COMMENT) and os.path.realpath(submitted) == os.path.realpath(folder):
            found[comment.removeprefix(COMMENT)] = QueuedJob(number, state, reason)
    return found


def started_here(snakemake: int) -> set[str]:
    """Return the runs and trunks for which a Snakemake of this machine, a process number, has started a training.

    A training has no heartbeat while it loads its libraries. The folder of its --spec is named by the run or trunk.
    """
    found = set()
    with contextlib.suppress(psutil.Error, ValueError, OverflowError):
        for process in psutil.Process(snakemake).children(recursive=True):
            with contextlib.suppress(psutil.Error, ValueError, IndexError):
                words = process.cmdline()
                if words[words.index("scalinglaws") + 1] in ("train", "rung"):
                    found.add(Path(words[words.index("--spec") + 1]).parent.name)
    return found
