"""Where a study stands: the runs and rungs that are there, what is being trained now, and the work that is left."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalinglaws.cluster.cost import CORE, CORE_START_SECONDS, H100, step_seconds
from scalinglaws.study import ladder
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.study.paths import evaluation_path, has_run, has_rung
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

# What the values of a heartbeat are, where it has them.
NUMBER: Any = (int, float)
KINDS: dict[str, Any] = {"id": str, "pid": int, "host": str, "started": (str, type(None))}
KINDS |= dict.fromkeys(("loss", "test_loss"), (*NUMBER, type(None)))
KINDS |= dict.fromkeys(("step", "steps", "time", "tokens_per_second", "next_within"), NUMBER)
MOST_DIGITS = 40
# Share of a study's work that must be done before the time that it took tells the time that is left.
ENOUGH = 0.02


@dataclass(frozen=True)
class Status:
    """Where a study stands.

    Attributes
    ----------
    runs_done, runs
        Runs that are trained, and all runs of the study.
    rungs_done, rungs
        Of the rungs on the way of runs that are not trained yet: those that are there, and all.
    work_left
        Expected time in seconds of all that is left on one core of a laptop, with a start for each job. It is meant for ratios:
        the share that is done tells the time that is left on any machine.
    tokens_left, flops_left
        Tokens that are left to train, and their FLOP.
    h100_seconds_left
        Expected time in seconds of the steps that are left on one H100, without the starts of jobs.
    """

    runs_done: int
    runs: int
    rungs_done: int
    rungs: int
    work_left: float
    tokens_left: int
    flops_left: float
    h100_seconds_left: float

    @property
    def finished(self) -> bool:
        """Tell whether every run is trained."""
        return self.runs_done == self.runs


def heartbeats(results: Path) -> dict[str, dict[str, Any]]:
    """Tell what is being trained now.

    Parameters
    ----------
    results
        The folder of results.

    Returns
    -------
    dict
        Run or trunk -> the last progress.json that its process wrote (train/progress.py). A process that was killed leaves its
        last one behind. A file that is none is left out: nothing depends on it, and the next training there replaces it.
    """
    found = {}
    for path in sorted([*results.glob("runs/*/progress.json"), *results.glob("trunks/*/progress.json")]):
        try:
            beat = json.loads(path.read_bytes(), parse_float=_finite, parse_constant=_finite, parse_int=_whole)
        except (OSError, ValueError, RecursionError):
            continue  # the process removed or replaced it while it was read, or it is damaged
        if isinstance(beat, dict) and all(isinstance(beat.get(key), kind) for key, kind in KINDS.items() if key in beat):
            found[path.parent.name] = beat
    return found


def _finite(text: str) -> float:
    """Return the number that a heartbeat holds. Raises ValueError for one that is not finite."""
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    """Return the whole number that a heartbeat holds. Raises ValueError for one that is too large for a float's arithmetic."""
    if len(text) > MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def seconds_left(
    study: Study, now: Status, work_before: float | None, seconds: float, beats: Iterable[dict[str, Any]]
) -> float | None:
    """Return the time in seconds after which a study is expected to be trained and evaluated: the clock of all commands.

    Parameters
    ----------
    study
        The study.
    now
        Where it stands.
    work_before, seconds
        The work that was left so many seconds ago (``Status.work_left``); None where that is not known.
    beats
        Heartbeats of the trainings that live. Their speeds tell as long as little of the work is done: as many trainings are then
        taken to run beside each other until the end.

    Returns
    -------
    float or None
        Seconds; None where nothing tells them yet.
    """
    done = 0.0 if work_before is None else work_before - now.work_left
    if work_before and done > ENOUGH * work_before:
        return now.work_left / done * seconds
    specs = {**study.trunks, **study.runs}
    rate = 0.0  # seconds of work on the laptop's core that a second brings
    for beat in beats:
        spec, speed = specs.get(beat.get("id", "")), beat.get("tokens_per_second", 0)
        if spec is not None and speed > 0:
            rate += speed / spec.batch_tokens * step_seconds(spec, CORE)
    return now.work_left / rate if rate else None


def needed_rungs(study: Study, results: Path) -> dict[str, list[int]]:
    """Return trunk -> steps of the rungs on the way of runs that are not trained yet, there or not, ascending."""
    left = {run: spec for run, spec in study.runs.items() if not has_run(results, run)}
    return ladder.needed_rungs(left, study.ladder)


def status(study: Study, results: Path) -> Status:
    """Tell where a study stands; what jobs have trained so far is counted by their heartbeats.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results.

    Returns
    -------
    Status
        Counts of runs and rungs, and the work that is left.
    """
    beats = heartbeats(results)
    work, tokens, flops, h100 = 0.0, 0, 0.0, 0.0

    def train(spec: RunSpec, steps: int, starts: int) -> None:
        """Add a training of so many steps, in so many jobs."""
        nonlocal work, tokens, flops, h100
        work += starts * CORE_START_SECONDS + steps * step_seconds(spec, CORE)
        tokens += steps * spec.batch_tokens
        flops += steps * flops_per_step(spec)
        h100 += steps * step_seconds(spec, H100)

    for run, name in study.evaluations.items():
        work += 0.0 if evaluation_path(results, run, name).exists() else CORE_START_SECONDS
    left = [run for run in study.runs if not has_run(results, run)]
    for run in left:
        spec = study.runs[run]
        reached = min(spec.steps, max(study.starts[run], beats.get(run, {}).get("step", 0)))  # a heartbeat may be damaged
        train(spec, spec.steps - reached, starts=1)
    needed = needed_rungs(study, results)
    made = 0
    for trunk, steps in needed.items():
        there = [step for step in steps if has_rung(results, trunk, step)]
        made += len(there)
        reached = max([*there, beats.get(trunk, {}).get("step", 0), 0])
        train(study.trunks[trunk], max(0, steps[-1] - reached), starts=len(steps) - len(there))
    runs, rungs = len(study.runs), sum(map(len, needed.values()))
    return Status(runs - len(left), runs, made, rungs, work, tokens, flops, h100)
