"""The order in which the trainings of a study start, as priorities for Snakemake's scheduler.

To be done early, a study starts with its longest path of trainings. To show something early, it starts with the runs that L(N)
and L(C) are fitted to, from the smallest model up: then Figure 1 can be drawn of a study that is stopped half-way. The order here
does both: the next is the smallest of these models as long as the longest path that is left has time to end with all the rest,
and that path otherwise.

Where runs are forecast, the runs that the laws of forecasts are fitted to stand on their path: these and the trunks of the
forecast runs are put in order so, and come before all others, of which the longest path is first. Before all of them come the
runs of sweeps that give others their learning rate, since these wait for the whole sweep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from scalinglaws.cluster.cost import CORE, step_seconds
from scalinglaws.dag.context import Context
from scalinglaws.study.study import Study

# How much longer the rest must take than the longest path that waits for it: expected times are rough, and jobs are large pieces.
MARGIN = 1.25


@dataclass(frozen=True)
class Unit:
    """Trainings that stand together in the order: a trunk with its runs, or a run that has no trunk.

    Attributes
    ----------
    name
        Id of the trunk, or of the run.
    work
        Expected seconds of all its trainings.
    path
        Expected seconds of the longest chain of trainings in it, which no number of cores makes shorter.
    early
        Whether L(N) and L(C) are fitted to any of its runs.
    """

    name: str
    work: float
    path: float
    early: bool


def first_runs(study: Study) -> list[str]:
    """Return the runs that are put in order: where runs are forecast, these and those that they wait for, else all."""
    first = study.basis | study.forecasts | study.swept if study.forecasts else study.runs.keys()
    return [run for run in study.runs if run in first]


def units(context: Context) -> list[Unit]:
    """Return the units of ``first_runs``, with times on the device of the jobs, or on a core of a laptop where there is none."""
    study, device = context.study, context.device or CORE
    members: dict[str, list[str]] = {}
    for run in first_runs(study):
        members.setdefault(study.trunk_ids.get(run, run), []).append(run)
    found = []
    for name, runs in members.items():
        seconds = step_seconds(study.runs[runs[0]], device, speeds=context.speeds)
        shared = max(study.starts[run] for run in runs) if name in study.rungs else 0
        alone = sum(study.runs[run].steps - study.starts[run] for run in runs)
        longest = max(study.runs[run].steps for run in runs)
        found.append(Unit(name, (shared + alone) * seconds, longest * seconds, any(is_early(study, run) for run in runs)))
    return found


def is_early(study: Study, run: str) -> bool:
    """Tell whether L(N) and L(C) are fitted to a run: a budget on all the data, of an experiment that laws are fitted to."""
    return run in study.fitted and run in study.trunk_ids and study.runs[run].dataset_tokens is None


def ordered(found: Sequence[Unit], at_once: int) -> list[Unit]:
    """Return units in the order in which they start where ``at_once`` trainings run beside each other."""
    early, rest = (deque(sorted((u for u in found if u.early == kind), key=lambda u: (u.path, u.name))) for kind in (True, False))
    left = sum(unit.work for unit in found)
    order: list[Unit] = []
    while early or rest:
        of_longest = max((each for each in (early, rest) if each), key=lambda each: each[-1].path)
        if early and left - early[0].work >= MARGIN * at_once * of_longest[-1].path:
            order.append(early.popleft())
        else:
            order.append(of_longest.pop())
        left -= order[-1].work
    return order


@cache
def ranks(context: Context, at_once: int) -> dict[tuple[str, int], int]:
    """Return (run, 0) or (trunk, step of a rung) -> the place of its unit in the order.

    Places are counted from the end, so that larger numbers start first. Trainings that are not put in order are left out.
    """
    study, every = context.study, units(context)
    swept = {study.trunk_ids.get(run, run) for run in study.swept}
    parts = ([unit for unit in every if (unit.name in swept) == of_sweep] for of_sweep in (True, False))
    places = {unit.name: place for place, unit in enumerate(reversed([u for part in parts for u in ordered(part, at_once)]), 1)}
    found = {}
    for run in first_runs(study):
        unit = study.trunk_ids.get(run, run)
        found[run, 0] = places[unit]
        found |= {(unit, step): places[unit] for step in study.rungs.get(unit, ()) if step <= study.starts[run]}
    return found


@cache
def longest_path(context: Context) -> int:
    """Return a number above the GFLOP of every path of the study: within a unit, longer paths start first."""
    study = context.study
    rungs = (study.priority_of_rung(trunk, steps[0]) for trunk, steps in study.rungs.items())
    return 1 + max((*rungs, *map(study.priority_of_run, study.runs)), default=0)


def priority_of_run(context: Context, run: str, at_once: int) -> int:
    """Return the priority of the job that trains a run; 0 for a run that is not of the study."""
    return ranks(context, at_once).get((run, 0), 0) * longest_path(context) + context.study.priority_of_run(run)


def priority_of_rung(context: Context, trunk: str, step: int, at_once: int) -> int:
    """Return the priority of the job that trains a trunk to the rung at ``step``; 0 for a trunk that is not of the study."""
    rank = ranks(context, at_once).get((trunk, step), 0)
    return rank * longest_path(context) + context.study.priority_of_rung(trunk, step)


def priority_of_bundle(context: Context, name: str, at_once: int) -> int:
    """Return the highest priority of what is in a bundle."""
    bundle = context.bundle(name)
    found = [priority_of_run(context, run, at_once) for run in bundle.runs]
    return max(found + [priority_of_rung(context, *rung, at_once) for rung in bundle.rungs], default=0)


def priority_of_fit(context: Context, law: str, at_once: int) -> int:
    """Return the priority of the fit of a law: above that of all trainings where runs wait for what it says of them, else 0."""
    return priority_of_forecasts(context, at_once) if law in context.forecasting else 0


def priority_of_rates(context: Context, at_once: int) -> int:
    """Return the priority of the rules that are fitted to sweeps: above that of all trainings; 0 in a study without sweeps."""
    return (1 + len(ranks(context, at_once))) * longest_path(context) if context.study.sweeps else 0


def priority_of_forecasts(context: Context, at_once: int) -> int:
    """Return the priority of the forecasts and of the tables that they follow from; 0 in a study without forecasts."""
    return (1 + len(ranks(context, at_once))) * longest_path(context) if context.study.forecasts else 0
