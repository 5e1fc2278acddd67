"""What a profile asks of the processes that train, by environment variables that the Snakefile sets. It imports no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

DETERMINISTIC = "SCALINGLAWS_DETERMINISTIC"  # 1: a GPU gives equal bits each time
GRACE = "SCALINGLAWS_GRACE_SECONDS"  # seconds from the signal to stop until the process is killed
TENSORBOARD = "SCALINGLAWS_TENSORBOARD"  # folder of the event files that trainings write; unset for none
# What torchrun, Slurm's default and most service managers leave a process that they have told to stop.
USUAL_GRACE = 30.0


def deterministic(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether equal bits are asked for on a GPU."""
    return environment.get(DETERMINISTIC) == "1"


def grace_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Return the seconds in which a process that is told to stop must have saved."""
    try:
        given = float(environment.get(GRACE, ""))
    except ValueError:
        return USUAL_GRACE
    return given if math.isfinite(given) and given >= 0 else USUAL_GRACE


def tensorboard(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder in which trainings write event files of their curves; None where they write none."""
    folder = environment.get(TENSORBOARD)
    return Path(folder) if folder else None
