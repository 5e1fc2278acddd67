"""What the jobs of a study take on this machine: seconds and memory of each, and when the last of them ends on so many cores.

A job takes its start, the steps that it trains, and its measurements: an evaluation reads its tokens forwards alone. A run that
stops early has two ends, that of its budget and the expected one, where the validation loss has turned: that is a guess within a
factor of two or three until runs of the study have ended so.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scalinglaws.cluster import needs
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.decide.speeds import Speeds, start_seconds
from scalinglaws.figures import registry
from scalinglaws.laws.registry import forecasting, laws_of
from scalinglaws.study.ladder import below, needed_rungs
from scalinglaws.study.paths import evaluation_path, has_run, has_rung, rate_rule_path, run_folder, study_folder
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study
from scalinglaws.train.steps import FIRST_CURVE_STEP, FIRST_VALIDATION_STEP

FORWARD = 0.4  # time of a token that is evaluated, over that of one that is trained: 0.40 to 0.47 were measured on small models
POINTS_PER_OCTAVE = 4  # of a learning curve (train/steps.py)
# Epochs after which runs on part of a text have lost patience, for each token of it per parameter, where no such run of the study
# is there. The more text a model has for its size, the more often it can see it before it overfits (docs/plan.md).
EPOCHS, FEWEST_EPOCHS = 15.0, 4.0
PROCESS_BYTES = 0.3 * 2**30  # memory of a process that trains on a processor, besides the training itself
# Seconds of other jobs over the start of a training, as processor times of the smoke study have them: Snakemake itself until it
# starts the first job, a small corpus and its tokens, a fit, a figure, a page or table.
WORKFLOW, TEXT, FIT, FIGURE, TABLE = 1.5, 0.7, 0.75, 1.0, 1.0


@dataclass(frozen=True)
class Job:
    """A job of the workflow.

    Attributes
    ----------
    name
        What it makes.
    seconds
        Expected time.
    after
        Names of the jobs that must have ended.
    rank
        Jobs of a smaller rank start first, among those that can start.
    threads
        Cores that it holds.
    """

    name: str
    seconds: float
    after: tuple[str, ...] = ()
    rank: int = 0
    threads: int = 1


def memory_bytes(spec: RunSpec) -> float:
    """Return the memory in bytes that the training of a run takes on a processor."""
    return PROCESS_BYTES + needs.gpu_bytes(spec, 1, spec.micro_batch_tokens or spec.batch_tokens)


def curve_points(first: int, last: int, earliest: int = FIRST_CURVE_STEP) -> float:
    """Return about how many points a learning curve has after step ``first`` and up to step ``last``."""
    begin = max(first, earliest)
    return POINTS_PER_OCTAVE * math.log2(last / begin) if last > begin else 0.0


def training_seconds(spec: RunSpec, first: int, last: int, speeds: Speeds, final: bool = True) -> float:
    """Return the expected seconds of the job that trains a run or trunk from one step to another on a processor.

    ``final`` says whether its loss is measured at the end, which is so for runs and not for rungs.
    """
    measured = curve_points(first, last) * spec.curve_tokens + (spec.eval_tokens if final else 0)
    if spec.stop == "early":
        measured += curve_points(first, last, FIRST_VALIDATION_STEP) * spec.eval_tokens
    step = speeds.step(spec)
    return start_seconds(speeds) + (last - first) * step + FORWARD * measured / spec.batch_tokens * step


def epochs_at_end(study: Study, results: Path) -> float:
    """Return the epochs after which runs on part of a text are expected to have lost patience, for each token per parameter.

    It is the geometric mean over the early-stopped runs of the study that are there and ended before their budget, else EPOCHS.
    """
    found = []
    for run, spec in study.runs.items():
        if spec.stop != "early" or not spec.dataset_tokens:
            continue
        try:
            tokens = float(read_object(run_folder(results, run) / "metrics.json")["tokens"])
        except (StudyError, KeyError, TypeError, ValueError):
            continue
        if 0 < tokens <= spec.tokens - spec.batch_tokens:
            found.append(tokens / spec.dataset_tokens / (spec.dataset_tokens / spec.n_params))
    return statistics.geometric_mean(found) if found else EPOCHS


def expected_steps(spec: RunSpec, epochs: float) -> int:
    """Return the step at which a run is expected to end: that of its budget, or where it has lost patience.

    ``epochs`` is what ``epochs_at_end`` returns.
    """
    if spec.stop != "early" or spec.dataset_tokens is None:
        return spec.steps
    times = max(FEWEST_EPOCHS, epochs * spec.dataset_tokens / spec.n_params)
    return max(1, min(spec.steps, round(times * spec.dataset_tokens / spec.batch_tokens)))


def jobs_left(study: Study, results: Path, speeds: Speeds, ends: Mapping[str, int]) -> list[Job]:
    """Return the jobs that are left.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results, which tells what is there.
    speeds
        The speed of this machine.
    ends
        Run -> the step at which it ends.
    """
    start = start_seconds(speeds)
    left = {run: spec for run, spec in study.runs.items() if not has_run(results, run)}
    texts = {spec.tokens_id for spec in left.values()} | {
        folder for run, name in study.evaluations.items() if not _evaluated(results, run, name) for folder in study.evaluate[run]
    }
    found = [Job(f"text {of}", TEXT * start) for of in sorted(texts) if not (results / "tokens" / of / "meta.json").exists()]
    made = {job.name for job in found}
    rungs = needed_rungs(left, study.ladder, lambda trunk, step: has_rung(results, trunk, step))
    for sweep, of in study.sweeps.items():
        if not rate_rule_path(results, sweep).exists():
            found.append(Job(f"rates {sweep}", FIT * start, _runs(left, of.runs), rank=0))
    first = study.basis | study.forecasts if study.forecasts else left.keys()
    waits = bool(study.forecasts & left.keys())
    if waits:
        laws = (1 + len(forecasting(study))) * FIT * start
        found.append(Job("forecasts", laws, _runs(left, study.basis), rank=0))
    for run, spec in left.items():
        rank = 0 if run in study.swept else 1 if run in first else 2
        needed = _needed(spec, spec.tokens_id, made) + (("forecasts",) if run in study.forecasts else ())
        if study.starts[run] in rungs.get(study.trunk_ids.get(run, ""), ()):
            needed += (f"rung {study.trunk_ids[run]} {study.starts[run]}",)
        seconds = training_seconds(spec, study.starts[run], max(ends[run], study.starts[run]), speeds)
        found.append(Job(f"run {run}", seconds, needed, rank, spec.threads))
    for trunk, steps in rungs.items():
        spec = study.trunks[trunk]
        users = [run for run in left if study.trunk_ids.get(run) == trunk]
        rank = 0 if study.swept.intersection(users) else 1 if any(run in first for run in users) else 2
        for step in steps:
            lower = below(step, spec.batch_tokens, study.ladder)
            needed = _needed(study.runs[users[0]], spec.tokens_id, made)
            needed += (f"rung {trunk} {lower}",) if lower in steps else ()
            needed += ("forecasts",) if waits and (trunk, step) in study.forecasts_of_rungs else ()
            found.append(
                Job(f"rung {trunk} {step}", training_seconds(spec, lower, step, speeds, final=False), needed, rank, spec.threads)
            )
    for run, name in study.evaluations.items():
        if not _evaluated(results, run, name):
            spec = study.runs[run]
            tokens = spec.eval_tokens * len(study.evaluate[run])
            seconds = start + FORWARD * tokens / spec.batch_tokens * speeds.step(spec)
            texts_of = tuple(f"text {of}" for of in study.evaluate[run] if f"text {of}" in made)
            found.append(Job(f"evaluation {run} {name}", seconds, _runs(left, [run]) + texts_of, 3))
    found += _last_stages(study, results, [job.name for job in found], start)
    if not found:
        return []
    # Every other job waits for Snakemake.
    begun = [replace(job, after=(*job.after, "workflow")) for job in found]
    return [Job("workflow", WORKFLOW * start), *begun]


def _evaluated(results: Path, run: str, name: str) -> bool:
    return evaluation_path(results, run, name).exists()


def _runs(left: Mapping[str, RunSpec], runs: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the jobs of runs that are left."""
    return tuple(f"run {run}" for run in sorted(runs) if run in left)


def _needed(spec: RunSpec, text: str, made: set[str]) -> tuple[str, ...]:
    """Return the jobs that any training of a run waits for: its text, and the rule of its learning rate."""
    return (f"text {text}",) * (f"text {text}" in made) + ((f"rates {spec.rate_sweep}",) if spec.rate_sweep else ())


def _last_stages(study: Study, results: Path, before: list[str], start: float) -> list[Job]:
    """Return the jobs that make the tables, fits, figures and the report; none where these are there and nothing is left."""
    if not study.runs or (not before and (study_folder(results, study.name) / "report.md").exists()):
        return []
    laws = laws_of(study)
    asked = registry.asked(study.figures)
    figures = [name for name in registry.drawable(study.kinds, set(laws)) if name in asked]
    fits = tuple(f"fit {law}" for law in laws)
    return [
        Job("tables", TABLE * start, tuple(before), 4),
        *(Job(fit, FIT * start, ("tables",), 4) for fit in fits),
        *(Job(f"figure {name}", FIGURE * start, ("tables", *fits), 4) for name in figures),
        Job("report", TABLE * start, ("tables", *fits), 4),
    ]


def wall_seconds(jobs: Iterable[Job], cores: int) -> float:
    """Return when the last job has ended, where jobs start in the order of their rank and of the longest path behind them.

    A job that asks for more cores than there are takes all of them, as Snakemake has it. What a job waits for and is not in the
    list is there.
    """
    by_name = {job.name: replace(job, threads=min(job.threads, cores)) for job in jobs}
    waits = {job.name: {name for name in job.after if name in by_name} for job in by_name.values()}
    followers: dict[str, list[str]] = {name: [] for name in by_name}
    for name, others in waits.items():
        for other in others:
            followers[other].append(name)
    paths = _paths(by_name, waits, followers)
    ready = [(by_name[name].rank, -paths[name], name) for name, others in waits.items() if not others]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now, free = 0.0, cores
    while ready or running:
        held = []
        while ready and free:
            entry = heapq.heappop(ready)
            job = by_name[entry[2]]
            if job.threads > free:
                held.append(entry)
                continue
            free -= job.threads
            heapq.heappush(running, (now + job.seconds, job.name))
        for entry in held:
            heapq.heappush(ready, entry)
        now, ended = heapq.heappop(running)
        free += by_name[ended].threads
        for name in followers[ended]:
            waits[name].remove(ended)
            if not waits[name]:
                heapq.heappush(ready, (by_name[name].rank, -paths[name], name))
    return now


def _paths(jobs: Mapping[str, Job], waits: Mapping[str, set[str]], followers: Mapping[str, list[str]]) -> dict[str, float]:
    """Return job -> seconds of the longest path that begins with it."""
    left = {name: len(others) for name, others in waits.items()}
    order = [name for name, count in left.items() if not count]
    for name in order:
        for follower in followers[name]:
            left[follower] -= 1
            if not left[follower]:
                order.append(follower)
    paths: dict[str, float] = {}
    for name in reversed(order):
        paths[name] = jobs[name].seconds + max((paths[other] for other in followers[name]), default=0.0)
    return paths
