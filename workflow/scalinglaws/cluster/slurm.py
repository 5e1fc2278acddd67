"""When the Slurm job ends in which a process runs. It imports no more than the standard library and psutil."""

from __future__ import annotations

import math
import os
import subprocess
import time
from datetime import datetime

import psutil

# The variable that holds a job of Slurm and when its first process started, as "JOB:SECONDS": see ``note_start``.
BEGAN = "SCALINGLAWS_JOB_BEGAN"
SHORTEST, LONGEST = 10.0, 120.0  # seconds before the limit at which a process saves


def note_start() -> None:
    """Note when this job of Slurm began, in the first process of the workflow in it, for all that it starts.

    A job that Slurm starts again has the environment with which it was submitted, in which there is no note of this job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and not os.environ.get(BEGAN, "").startswith(f"{job}:"):
        os.environ[BEGAN] = f"{job}:{psutil.Process().create_time():.0f}"


def stop_time(minutes: float = 0.0) -> float:
    """Return the time, in seconds since 1970, at which a process should save and end; infinity where its job has no time limit.

    It is before the limit by a twentieth of the time that is left, at least 10 seconds and at most 2 minutes: the SIGTERM that
    Slurm sends at the limit may leave too little time to save a large state.

    Parameters
    ----------
    minutes
        The limit of the job, as it was submitted; 0 where that is not known. It counts from ``note_start`` where the node has no
        clients of Slurm, or Slurm does not answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return math.inf
    end, began = _told_end(job), os.environ.get(BEGAN, "").rpartition(":")
    if end is None and os.environ.get("SLURM_JOB_END_TIME", "").isdigit():
        end = float(os.environ["SLURM_JOB_END_TIME"])
    if end is None and minutes and began[0] == job:
        end = float(began[2]) + 60 * minutes
    return math.inf if end is None else end - min(LONGEST, max(SHORTEST, (end - time.time()) / 20))


def _told_end(job: str) -> float | None:
    """Ask Slurm when a job ends. Return None where it has no limit, Slurm does not answer, or its clients are not here."""
    try:
        told = subprocess.run(["squeue", "-h", "-j", job, "-o", "%e"], capture_output=True, text=True, timeout=30, check=True)
        return datetime.fromisoformat(told.stdout.split()[0]).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
