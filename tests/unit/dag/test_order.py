"""The order of trainings, by hand, and on two cores of the default study: what is there when it is stopped half-way."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures.small_study import STUDY, changed
from scalinglaws.cluster.cost import CORE, CORE_START_SECONDS, step_seconds
from scalinglaws.dag import context, order
from scalinglaws.dag.context import Context
from scalinglaws.dag.order import Unit, ordered
from scalinglaws.decide.load import of_config
from scalinglaws.study import config

ROOT = Path(__file__).parents[3]
Job = tuple[str, int]  # a trunk and the step of its rung, or a run and 0


def test_the_smallest_come_first_while_the_longest_path_can_wait() -> None:
    """12 seconds of work. After ``small`` 11 are left, enough to wait for ``long`` (7.5); after ``large`` it would be 7."""
    found = [Unit("small", 1, 1, True), Unit("large", 4, 4, True), Unit("long", 6, 6, False), Unit("short", 1, 1, False)]
    assert [unit.name for unit in ordered(found, 1)] == ["small", "long", "large", "short"]
    assert [unit.name for unit in ordered(found, 100)] == ["long", "large", "small", "short"], "the longest path tells the time"
    assert ordered([], 1) == []


def test_a_run_starts_as_its_unit_does_and_longer_paths_of_a_unit_first() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    study = made.study
    ranks = order.ranks(made, 2)
    assert set(ranks) == {(run, 0) for run in study.runs} | {(t, step) for t, steps in study.rungs.items() for step in steps}
    places = {study.trunk_ids.get(run, run): ranks[run, 0] for run in study.runs}
    assert sorted(places.values()) == list(range(1, len(places) + 1))
    for trunk, steps in study.rungs.items():
        rungs = [order.priority_of_rung(made, trunk, step, 2) for step in steps]
        runs = [order.priority_of_run(made, run, 2) for run, of in study.trunk_ids.items() if of == trunk]
        assert rungs == sorted(rungs, reverse=True) and min(rungs) > max(runs)
        for other, place in places.items():
            if place < places[trunk] and other in study.rungs:
                assert min(runs) > order.priority_of_rung(made, other, study.rungs[other][0], 2)
    assert order.priority_of_run(made, "none", 2) == order.priority_of_rung(made, "none", 4, 2) == 0


def test_what_a_forecast_waits_for_comes_first_with_its_own_trunk() -> None:
    data = changed(experiments__far={"grid": {"model": ["2x64"], "tokens": ["9M"]}, "forecast": True})
    data["experiments"]["other"] = {"grid": {"model": ["2x48"], "tokens": ["8M"]}, "fit": False}
    made = context.read(data, "config.yaml", in_job=False)
    study = made.study
    (far,), (other,) = study.forecasts, study.runs.keys() - study.fitted - study.forecasts
    first = [order.priority_of_run(made, run, 2) for run in sorted(study.basis | study.forecasts)]
    first += [order.priority_of_rung(made, study.trunk_ids[far], step, 2) for step in study.rungs[study.trunk_ids[far]]]
    assert min(first) > order.priority_of_rung(made, study.trunk_ids[other], study.rungs[study.trunk_ids[other]][0], 2)


def jobs_of(made: Context) -> dict[Job, tuple[float, list[Job]]]:
    """Return each training of a study with its expected seconds on a core and the trainings that it waits for."""
    study, jobs = made.study, {}
    for trunk, steps in study.rungs.items():
        for below, step in zip([0, *steps], steps, strict=False):
            seconds = (step - below) * step_seconds(study.trunks[trunk], CORE)
            jobs[trunk, step] = (CORE_START_SECONDS + seconds, [(trunk, below)] if below else [])
    for run, spec in study.runs.items():
        start = study.starts[run]
        seconds = (spec.steps - start) * step_seconds(spec, CORE)
        forecast_by = [(other, 0) for other in sorted(study.basis)] if run in study.forecasts else []
        jobs[run, 0] = (CORE_START_SECONDS + seconds, forecast_by + ([(study.trunk_ids[run], start)] if start else []))
    return jobs


def schedule(jobs: dict[Job, tuple[float, list[Job]]], priority: Callable[[Job], Any], cores: int) -> dict[Job, float]:
    """Return when each job ends if a core that is free takes the job of the highest priority whose inputs are there."""
    ends: dict[Job, float] = {}
    running: list[tuple[float, Job]] = []
    now, left = 0.0, set(jobs)
    while left or running:
        ready = [job for job in left if all(before in ends for before in jobs[job][1])]
        ready.sort(key=lambda job: (priority(job), job))
        while ready and len(running) < cores:
            job = ready.pop()
            left.remove(job)
            heapq.heappush(running, (now + jobs[job][0], job))
        now, job = heapq.heappop(running)
        ends[job] = now
    return ends


def test_figure_1_can_be_drawn_of_the_default_study_that_is_stopped_half_way() -> None:
    """Half of the runs that L(N) and L(C) are fitted to are there, of three sizes or more, and the runs take hardly longer."""
    made = Context(of_config(config.load(ROOT / "config.yaml")))
    study, jobs = made.study, jobs_of(made)

    def now(job: Job) -> int:
        return order.priority_of_rung(made, *job, 2) if job[1] else order.priority_of_run(made, job[0], 2)

    def longest_first(job: Job) -> int:
        return study.priority_of_rung(*job) if job[1] else study.priority_of_run(job[0])

    ends, shortest = schedule(jobs, now, 2), max(schedule(jobs, longest_first, 2).values())
    whole = max(ends.values())
    assert whole <= 1.04 * shortest  # small runs at the end would fill the last gaps
    early = [run for run in study.runs if order.is_early(study, run)]
    there = [run for run in early if ends[run, 0] <= whole / 2]
    assert len(there) >= len(early) / 2 and len({study.runs[run].n_params for run in there}) >= 3
