"""The GPUs of one machine, which runs divide among themselves where no cluster gives each job GPUs of its own.

A place on a GPU is a file that a process holds locked. The kernel frees it when the process ends, in whatever way.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import TextIO

from scalinglaws.common.errors import StudyError

# The variable that the Snakefile sets for a profile whose device has runs_per_gpu: number of GPUs x runs on each, such as 2x4.
PLACES = "SCALINGLAWS_GPUS"
FOLDER = Path("results/logs/gpus")
_held: list[TextIO] = []  # open until this process ends, which keeps them locked


def take(count: int, environment: MutableMapping[str, str] = os.environ, folder: Path = FOLDER) -> None:
    """Wait for a place on each of ``count`` GPUs, hold it until this process ends, and let CUDA see only these GPUs.

    Parameters
    ----------
    count
        Number of GPUs.
    environment
        Environment variables. Nothing is done where PLACES is not among them; CUDA_VISIBLE_DEVICES is set.
    folder
        Folder of the locked files.

    Raises
    ------
    StudyError
        The machine has fewer GPUs.
    """
    if not environment.get(PLACES):
        return
    gpus, places = map(int, environment[PLACES].split("x"))
    seen = environment.get("CUDA_VISIBLE_DEVICES")
    names = (seen.split(",") if seen else [str(gpu) for gpu in range(gpus)])[:gpus]
    if count > len(names):
        raise StudyError(f"{count} GPUs are asked for and there are {len(names)}: lower most_gpus of the profile's device")
    folder.mkdir(parents=True, exist_ok=True)
    while not (found := _places(count, names, places, folder)):
        time.sleep(0.2)
    _held.extend(found.values())
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(found)


def _places(count: int, names: list[str], places: int, folder: Path) -> dict[str, TextIO]:
    """Lock a place on each of ``count`` GPUs, the emptiest first: GPU -> its file. Where there are too few, lock none."""
    found: dict[str, TextIO] = {}
    for place in range(places):
        for name in names:
            if name in found or len(found) == count:
                continue
            file: TextIO = (folder / f"{name}-{place}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found[name] = file
            except OSError:
                file.close()
    if len(found) == count:
        return found
    for file in found.values():
        file.close()
    return {}
