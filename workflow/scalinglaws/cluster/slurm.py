"""What a process asks Slurm about the job in which it runs. It imports the standard library only."""

from __future__ import annotations

import math
import os
import subprocess
import time
from datetime import datetime

from scalinglaws.common.errors import StudyError


def stop_time() -> float:
    """Return the time, in seconds since 1970, at which a process should save and end; infinity where its job has no time limit.

    It is before the limit by a twentieth of the time that is left, at least 10 seconds and at most 2 minutes: the SIGTERM that
    Slurm sends at the limit may leave too little time to save a large state.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return math.inf
    try:
        told = subprocess.run(["squeue", "-h", "-j", job, "-o", "%e"], capture_output=True, text=True, timeout=30, check=True)
        end = datetime.fromisoformat(told.stdout.split()[0]).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # the job has no limit, or Slurm does not answer
        return math.inf
    return end - min(120.0, max(10.0, (end - time.time()) / 20))


def first_address(job: str) -> str:
    """Return the address of the first node of a Slurm job. Raises StudyError where Slurm does not tell it."""
    try:
        names = subprocess.check_output(["squeue", "-h", "-j", job, "-o", "%N"], text=True, timeout=60).strip()
        first = subprocess.check_output(["scontrol", "show", "hostnames", names], text=True, timeout=60).split()[0]
        return subprocess.check_output(["sinfo", "-h", "-N", "-n", first, "-o", "%o"], text=True, timeout=60).split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise StudyError(f"several nodes are asked for, but Slurm does not tell which they are: {error}") from None
