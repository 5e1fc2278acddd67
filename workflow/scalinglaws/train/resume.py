"""Where a training goes on from: the furthest valid state, which its first process chooses and every other process takes.

On a network filesystem the listing of a folder may be stale. Processes that chose for themselves could go on from different
steps, and would then save a checkpoint with a valid sum and wrong weights.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scalinglaws.common.errors import StudyError
from scalinglaws.train import checkpoint, sealed
from scalinglaws.train.distributed import Processes
from scalinglaws.train.metrics import CurveRow
from scalinglaws.train.trainer import Trainer

State = tuple[dict[str, Tensor], dict[str, Any]]
PATIENCE = 300.0  # seconds for which a process waits until it sees the file that the first one has read
POLL_SECONDS = 0.5  # time between two looks at it


@dataclass(frozen=True)
class Start:
    """What the first process tells the others: the files of the state, whose it is, its step, their sha256, and the attempts."""

    paths: tuple[Path, ...]
    spec_id: str
    step: int
    sha256: tuple[str, ...]
    attempts: int


def resume(trainer: Trainer, kept: checkpoint.Checkpoints, rungs: Path | None, rung_id: str, most: int) -> None:
    """Continue from the furthest valid state: a checkpoint of this training, or a rung of its trunk.

    Of several processes the first one chooses. The others wait until they see its files with that content. Parts of states that
    are not whole are then deleted.

    Parameters
    ----------
    trainer
        The training, at its first step; it is left as it is where there is no valid state.
    kept
        The checkpoints of this training.
    rungs
        The folder of the trunk's rungs; None where this training has none.
    rung_id
        The id of the trunk, which each of its rungs holds.
    most
        The largest step of a rung that is taken.

    Raises
    ------
    StudyError
        The furthest state is whole and of another form, as one of another version or of another vocabulary is, or a process
        does not see it within ``PATIENCE``; then each of the processes raises.
    """
    processes = trainer.processes
    if processes.count > 1:
        kept.launch = processes.from_first(secrets.token_hex(8))
    state: State | None = None
    start: Start | None = None
    if processes.first:
        own = checkpoint.latest(kept.folder, kept.prefix, trainer.spec.id)
        rung = checkpoint.latest(rungs, "step", rung_id, most) if rungs else None
        if states := [(found, owner) for found, owner in ((rung, rung_id), (own, trainer.spec.id)) if found]:
            (tensors, values, paths), owner = max(states, key=lambda found: found[0][1]["step"])
            state, attempts = (tensors, values), own[1]["attempts"] + 1 if own else 1
            # One process alone compares nothing, and need not read the files once more.
            sha256 = tuple(sealed.digest(path) or "" for path in paths) if processes.count > 1 else ()
            start = Start(paths, owner, values["step"], sha256, attempts)
    start = processes.from_first(start)
    if start is None:
        _clear(kept, processes)
        return
    kept.attempts = start.attempts
    state, fault = (state, "") if state else _taken(start)
    if processes.most(int(state is None)):
        raise StudyError(
            f"{checkpoint.named(start.paths)}, the state that this training goes on from, is not seen by each of its "
            f"{processes.count} processes{f' ({fault})' if fault else ''}: the folder must lie on a filesystem that "
            "all nodes share; run again"
        )
    assert state is not None
    _clear(kept, processes)
    _restore(trainer, *state, start.paths)


def _clear(kept: checkpoint.Checkpoints, processes: Processes) -> None:
    """Delete what earlier processes left of states, once all have what they go on from and before any of them saves."""
    if processes.first:
        checkpoint.clear(kept.folder, kept.prefix)
    processes.most(0)


def _taken(start: Start) -> tuple[State | None, str]:
    """Wait until this process sees the files that the first one has read. Return the state, or None and what was wrong."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return checkpoint.load_state(start.paths, start.spec_id, start.sha256), ""
        except ValueError as error:
            if time.monotonic() > end:
                return None, f"{error}, after {PATIENCE:.0f} s"
        time.sleep(POLL_SECONDS)


def _restore(trainer: Trainer, tensors: dict[str, Tensor], values: dict[str, Any], paths: Sequence[Path]) -> None:
    try:
        trainer.restore(tensors, values)
        for row in trainer.rows:
            CurveRow(**row)
    except (ValueError, KeyError, TypeError) as error:  # it is as another version or vocabulary wrote it
        raise StudyError(
            f"{checkpoint.named(paths)} holds no state of this training ({error!r}): delete it and run again"
        ) from None
