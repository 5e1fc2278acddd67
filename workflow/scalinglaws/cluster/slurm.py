"""What a process asks the Slurm job in which it runs. Standard library only."""

from __future__ import annotations

import math
import os
import subprocess
import time
from datetime import datetime

from scalinglaws.common.errors import StudyError


def stop_time() -> float:
    """When to stop by oneself in a Slurm job with a time limit, as time.time(); infinity where there is none.

    What is left is kept back by a twentieth, 10 seconds to 2 minutes: Slurm's own SIGTERM may leave too little for a large state.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return math.inf
    try:
        told = subprocess.run(["squeue", "-h", "-j", job, "-o", "%e"], capture_output=True, text=True, timeout=30, check=True)
        end = datetime.fromisoformat(told.stdout.split()[0]).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # no limit (NONE), or nobody answers
        return math.inf
    return end - min(120.0, max(10.0, (end - time.time()) / 20))


def first_address(job: str) -> str:
    """Where the first node of a Slurm job is reached. Raises StudyError where nobody tells."""
    try:
        names = subprocess.check_output(["squeue", "-h", "-j", job, "-o", "%N"], text=True, timeout=60).strip()
        first = subprocess.check_output(["scontrol", "show", "hostnames", names], text=True, timeout=60).split()[0]
        return subprocess.check_output(["sinfo", "-h", "-N", "-n", first, "-o", "%o"], text=True, timeout=60).split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise StudyError(f"several nodes are asked for, but no Slurm job tells which they are: {error}") from None
