"""Which runs share a job, and what is left to train: with bundles, 500 small points do not wait in a queue 500 times.

Small members share a job, several at a time on its GPU. The rungs of one large trunk are a job of their own.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from scalinglaws.cluster import needs
from scalinglaws.cluster.bundle import Bundle, Member
from scalinglaws.cluster.cost import MEMBER_SECONDS, Speeds, busy_seconds, evaluation_steps, gpu_seconds, step_seconds
from scalinglaws.cluster.device import Device
from scalinglaws.study.ladder import below, needed_rungs
from scalinglaws.study.paths import bundle_marker, evaluation_path, has_run, has_rung
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study


def bundle_up(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> dict[str, Bundle]:
    """Divide what is to be made among bundles.

    Members that are expected to take at most ``device.small_minutes`` come together with others of like size, until their bundle
    is expected to take ``device.bundle_minutes``. The rungs of a larger trunk are a bundle, where ``trunk_bundle`` finds one. All
    else is left to jobs of its own. What takes its learning rate from a sweep shares a bundle with nothing that does not.

    Returns
    -------
    dict
        Bundles by id; empty where ``device.small_minutes`` is 0.

    Raises
    ------
    StudyError
        A rung does not fit the device.
    """
    if not device.small_minutes:
        return {}
    small: list[tuple[Member, RunSpec]] = []
    bundles: list[Bundle] = []
    for member, spec in missing_members(study, results, device, speeds):
        if member.seconds <= 60 * device.small_minutes and share_of_gpu(spec, device) <= 1:
            small.append((member, spec))
        elif found := trunk_bundle(study, member, device, speeds):
            bundles.append(found)
    # What takes its rate from a sweep waits for the sweep's runs, which would wait for a bundle that has both.
    small.sort(key=lambda pair: (pair[1].rate_sweep, pair[1].n_params, pair[0].seconds, pair[0].name))
    members: list[tuple[Member, RunSpec]] = []
    for pair in small:
        other = members and members[-1][1].rate_sweep != pair[1].rate_sweep
        if members and (other or bundle_of([*members, pair], device).seconds > 60 * device.bundle_minutes):
            bundles.append(bundle_of(members, device))
            members = []
        members.append(pair)
    if members:
        bundles.append(bundle_of(members, device))
    return {_id(results, found): found for found in bundles}


def bundle_of(members: list[tuple[Member, RunSpec]], device: Device) -> Bundle:
    """Return the bundle of these members, given with their specs: as many train at once as the largest leaves room for."""
    specs = [spec for _, spec in members]
    at_once = min(len(members), math.floor(1 / max(share_of_gpu(spec, device) for spec in specs) + 1e-9))
    mem_mb = math.ceil(max(needs.host_mb(spec, device) for spec in specs))
    # A process with a GPU keeps one core busy, which starts kernels, whatever the number of its threads is.
    threads = 1 if device.gpus_per_node else max(spec.threads for spec in specs)
    return Bundle(tuple(member for member, _ in members), at_once, threads, mem_mb)


def trunk_bundle(study: Study, member: Member, device: Device, speeds: Speeds | None = None) -> Bundle | None:
    """Return the rungs of a large trunk as one bundle, so that they do not wait in a queue one by one.

    The runs of the trunk start when the bundle has ended, and the last of them ends no later for it. There is no bundle (None)
    where fewer than two rungs are missing, where they take several GPUs, and where they take longer than a job may.
    """
    if len(member.rungs) < 2:
        return None
    trunk = study.trunks[member.name]
    steps = sum(step - below(step, trunk.batch_tokens, study.ladder) for step in member.rungs)
    seconds = MEMBER_SECONDS + steps * step_seconds(trunk, device, 1, speeds)
    rungs = Member(member.name, member.rungs, (), (), math.ceil(seconds))
    found = Bundle((rungs,), 1, trunk.threads, math.ceil(needs.host_mb(trunk, device)))
    gpus = needs.needs_of_rung(study, trunk, member.rungs[-1], device, 1, speeds).gpus
    return found if gpus <= 1 and needs.MARGIN * found.seconds <= 60 * device.max_minutes else None


def share_of_gpu(spec: RunSpec, device: Device) -> float:
    """Return the share of a GPU that the training of a run takes, of its time or of its memory, whichever is larger.

    A small model leaves its GPU idle while the next kernel is started. A share above 1 means that the run does not fit. The share
    is at least 1 / ``device.at_once``, and just that where there are no GPUs.
    """
    least = 1 / device.at_once
    if not device.gpus_per_node:
        return least
    busy = busy_seconds(spec, device) / gpu_seconds(spec, device)
    room = device.memory_gib * 2**30
    # A micro-batch that does not fit is halved until it does: that is slower, but no reason for a job of its own.
    memory = min(1.0, needs.process_bytes(spec, tokens=spec.micro_batch_tokens or spec.batch_tokens) / room)
    return max(busy, memory, needs.process_bytes(spec) / room, least)


def missing_members(
    study: Study, results: Path, device: Device, speeds: Speeds | None = None
) -> Iterator[tuple[Member, RunSpec]]:
    """Yield each member that has a run or an evaluation to be made, with the spec of one of its runs.

    Runs that are forecast are in none: they wait for the fits of others, which would wait for a bundle that has both.
    """
    members: dict[str, list[str]] = {}
    for run in (run for run in study.runs if run not in study.forecasts):
        members.setdefault(study.trunk_ids.get(run, run), []).append(run)
    for name, runs in members.items():
        spec = study.runs[runs[0]]
        train = tuple(run for run in runs if not has_run(results, run))
        evaluate = tuple(
            (run, study.evaluations[run])
            for run in runs
            if run in study.evaluations and not evaluation_path(results, run, study.evaluations[run]).exists()
        )
        rungs = tuple(missing_rungs(study, results, train).get(name, ()))
        steps = sum(step - below(step, spec.batch_tokens, study.ladder) for step in rungs)
        steps += sum(study.runs[run].steps - study.starts[run] for run in train)
        steps += sum(evaluation_steps(study.runs[run], len(study.evaluate[run])) for run, _ in evaluate)
        seconds = MEMBER_SECONDS + steps * step_seconds(spec, device, 1, speeds, shared=True)
        if train or evaluate:
            yield Member(name, rungs, train, evaluate, math.ceil(seconds)), spec


def missing_rungs(study: Study, results: Path, runs: Iterable[str]) -> dict[str, list[int]]:
    """Return trunk -> steps of the rungs that have to be made before these runs can start, ascending."""
    wanted = {run: study.runs[run] for run in runs}
    return needed_rungs(wanted, study.ladder, lambda trunk, step: has_rung(results, trunk, step))


def _id(results: Path, found: Bundle) -> str:
    """Return the id of a bundle: a hash of its content, and another one if it was made before and its results were deleted."""
    names = (hashlib.sha256(f"{found.canonical}{times or ''}".encode()).hexdigest()[:10] for times in itertools.count())
    return next(name for name in names if not bundle_marker(results, name).exists())


@dataclass(frozen=True)
class Work:
    """What a job that is left does for one model size.

    Attributes
    ----------
    kind
        What the job makes: bundle, trunk, run, rung or evaluation.
    n_params
        N of the model.
    gpus
        GPUs that are held for it: a part of one for each process of a bundle.
    seconds
        Expected time for which they are held.
    job_seconds
        Expected time of the whole job.
    runs
        Number of runs that it trains.
    """

    kind: str
    n_params: int
    gpus: Fraction
    seconds: float
    job_seconds: float
    runs: int = 0


def work_left(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> Iterator[Work]:
    """Yield what every job does that is left. Raises StudyError where a run cannot fit the device or its time limit."""
    bundles = bundle_up(study, results, device, speeds).values()
    for found in bundles:
        for member in found.members:
            made = [*member.runs, *(run for run, _ in member.evaluations)]
            n_params = (study.runs[made[0]] if made else study.trunks[member.name]).n_params
            part, kind = Fraction(1, found.at_once), "bundle" if made else "trunk"
            yield Work(kind, n_params, part, member.seconds, found.seconds, len(member.runs))
    bundled = {run for found in bundles for run in found.runs}
    evaluated = {pair for found in bundles for pair in found.evaluations}
    rungs = {rung for found in bundles for rung in found.rungs}
    alone = [run for run in study.runs if run not in bundled and not has_run(results, run)]
    for run in alone:
        spec = study.runs[run]
        asked = needs.needs_of_training(spec, spec.steps - study.starts[run], device, 1, speeds)
        yield _of_job("run", spec, asked, runs=1)
    for trunk, steps in missing_rungs(study, results, alone).items():
        for step in steps:
            if (trunk, step) not in rungs:
                spec = study.trunks[trunk]
                yield _of_job("rung", spec, needs.needs_of_rung(study, spec, step, device, 1, speeds))
    for run, name in study.evaluations.items():
        if (run, name) not in evaluated and not evaluation_path(results, run, name).exists():
            spec, corpora = study.runs[run], len(study.evaluate[run])
            yield _of_job("evaluation", spec, needs.needs_of_evaluation(spec, corpora, device, 1, speeds))


def _of_job(kind: str, spec: RunSpec, asked: needs.Needs, runs: int = 0) -> Work:
    """Return the work of a job that is no bundle."""
    return Work(kind, spec.n_params, Fraction(max(1, asked.gpus)), asked.seconds, asked.seconds, runs)


@dataclass(frozen=True)
class WorkOfSize:
    """Jobs that are left for one model size: runs, GPUs that each holds, hours of the longest job, and GPU-hours in all."""

    n_params: int
    runs: int
    gpus: Fraction
    longest_hours: float
    gpu_hours: float


def work_by_size(left: list[Work]) -> list[WorkOfSize]:
    """Sum the work that is left by model size and by the GPUs of a job, ascending."""
    found = []
    for n_params, gpus in sorted({(work.n_params, work.gpus) for work in left}):
        rows = [work for work in left if (work.n_params, work.gpus) == (n_params, gpus)]
        longest = max(work.job_seconds for work in rows) / 3600
        found.append(WorkOfSize(n_params, sum(work.runs for work in rows), gpus, longest, hours_held(rows)))
    return found


def hours_held(left: Iterable[Work]) -> float:
    """Return the hours for which GPUs are held, busy or not."""
    return float(sum(work.gpus * Fraction(work.seconds) for work in left)) / 3600


def table(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> list[str]:
    """Write what is left as lines of text: GPU-hours by size, then the number of jobs.

    Raises StudyError where a run cannot fit the device or its time limit.
    """
    left = list(work_left(study, results, device, speeds))
    lines = [f"{'N':>14}{'runs left':>11}{'GPUs a run':>12}{'longest job, h':>16}{'GPU-hours':>12}   on {device.name}"]
    lines += [
        f"{row.n_params:>14,}{row.runs:>11}{row.gpus!s:>12}{row.longest_hours:>16.2f}{row.gpu_hours:>12,.1f}"
        for row in work_by_size(left)
    ]
    lines.append(f"{'all':>14}{sum(work.runs for work in left):>11}{'':>28}{hours_held(left):>12,.1f}")
    kinds = Counter(work.kind for work in left if work.kind != "bundle")
    bundles = len(bundle_up(study, results, device, speeds)) - kinds["trunk"]
    small = sum(work.runs for work in left if work.kind == "bundle")
    alone = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("trunk", "run", "rung", "evaluation"))
    return [*lines, f"jobs left: {bundles + kinds.total()} ({bundles} bundles of {small} small runs; alone: {alone})"]
