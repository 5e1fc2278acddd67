"""GPUs of one machine, which runs share out among themselves where no cluster gives each job its own.

A place on a GPU is a file that a process holds locked: the kernel frees it when the process ends, however that is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import TextIO

from scalinglaws.common.errors import StudyError

PLACES = "SCALINGLAWS_GPUS"  # GPUs x runs on each: set by the Snakefile for a profile whose device has runs_per_gpu
FOLDER = Path("results/logs/gpus")
_held: list[TextIO] = []


def take(count: int, environment: MutableMapping[str, str] = os.environ, folder: Path = FOLDER) -> None:
    """Hold a place on each of ``count`` GPUs until this process ends, waiting for them, and let CUDA see these alone.

    Does nothing where PLACES is not set. Raises StudyError where there are fewer GPUs than that.
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
    """GPU -> its locked file, the emptiest GPUs first; nothing is held where there are too few."""
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
