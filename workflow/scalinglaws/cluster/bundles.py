"""Which small runs share an allocation, several at a time on its GPU: 500 small points are not 500 waits in a queue. Pure.

A member is a trunk with the runs that start from it, or a run that has no trunk: one process trains it. A bundle is the members
of one job; the rungs of a large trunk are one alone. It lies in a file named by its content, which the job reads whatever
config.yaml says by then.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from scalinglaws.cluster import needs as resources
from scalinglaws.cluster.needs import Device, Needs, Speeds
from scalinglaws.common.errors import StudyError
from scalinglaws.study.ladder import below
from scalinglaws.study.paths import bundle_marker, evaluation_path, has_run, rung_path
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

MEMBER_SECONDS = 30.0  # until a process of a bundle trains: torch, tokens, compilation


@dataclass(frozen=True)
class Member:
    """What is to be made: rungs of the trunk ``name`` (by step), runs, and evaluations as (run, set); and what that takes."""

    name: str
    rungs: tuple[int, ...]
    runs: tuple[str, ...]
    evaluations: tuple[tuple[str, str], ...]
    seconds: int  # expected, in a process that shares a GPU


@dataclass(frozen=True)
class Bundle:
    """Members of one job, ``at_once`` of which train beside each other; threads and memory (MB, of the node) of one."""

    members: tuple[Member, ...]
    at_once: int
    threads: int
    mem_mb: int

    @cached_property
    def canonical(self) -> str:
        """JSON in one line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), sort_keys=True) + "\n"

    @property
    def seconds(self) -> float:
        """Expected: the longest member, or all of them shared by the processes."""
        times = [member.seconds for member in self.members]
        return resources.START_SECONDS + max(max(times), sum(times) / self.at_once)

    @property
    def runs(self) -> list[str]:
        """Those to train."""
        return [run for member in self.members for run in member.runs]

    @property
    def evaluations(self) -> list[tuple[str, str]]:
        return [pair for member in self.members for pair in member.evaluations]

    @property
    def rungs(self) -> list[tuple[str, int]]:
        """As (trunk, step)."""
        return [(member.name, step) for member in self.members for step in member.rungs]

    def processes(self, attempt: int = 1) -> int:
        """At once, in the attempt of this number: fewer after a failure, which may have been one of memory."""
        return max(1, self.at_once // attempt)

    def needs(self, device: Device, attempt: int = 1) -> Needs:
        """What the job asks for: one GPU, and what ``at_once`` processes take."""
        minutes = resources.minutes(self.seconds, device, attempt)
        return Needs(min(1, device.gpus_per_node), 1, self.at_once * self.mem_mb, minutes, self.seconds)


def read(path: Path) -> Bundle:
    """The bundle in a file. Raises StudyError where it is none."""
    try:
        data = json.loads(path.read_text())
        members = [
            Member(f["name"], tuple(f["rungs"]), tuple(f["runs"]), tuple((run, of) for run, of in f["evaluations"]), f["seconds"])
            for f in data["members"]
        ]
        return Bundle(tuple(members), data["at_once"], data["threads"], data["mem_mb"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is not a list of runs to train together ({error}): run snakemake, which writes it") from None


def plan(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> dict[str, Bundle]:
    """Bundles by id: of all that is to be made in members expected to take at most device.small_minutes; of the rungs of others.

    Members of like size come together, until their bundle is expected to take device.bundle_minutes. Raises StudyError where a
    rung cannot fit the device.
    """
    if not device.small_minutes:
        return {}
    small: list[tuple[Member, RunSpec]] = []
    bundles: list[Bundle] = []
    for member, spec in missing_members(study, results, device, speeds):
        if member.seconds <= 60 * device.small_minutes and share(spec, device) <= 1:
            small.append((member, spec))
        elif found := trunk_bundle(study, member, device, speeds):
            bundles.append(found)
    small.sort(key=lambda pair: (pair[1].n_params, pair[0].seconds, pair[0].name))
    members: list[tuple[Member, RunSpec]] = []
    for pair in small:
        if members and bundle([*members, pair], device).seconds > 60 * device.bundle_minutes:
            bundles.append(bundle(members, device))
            members = []
        members.append(pair)
    if members:
        bundles.append(bundle(members, device))
    return {_id(results, found): found for found in bundles}


def bundle(members: list[tuple[Member, RunSpec]], device: Device) -> Bundle:
    """Of members and their specs: as many at once as the largest leaves room for."""
    specs = [spec for _, spec in members]
    at_once = min(len(members), math.floor(1 / max(share(spec, device) for spec in specs) + 1e-9))
    mem_mb = math.ceil(max(resources.host_mb(spec, device) for spec in specs))
    # With a GPU a process keeps a core busy, which starts kernels, whatever its threads are.
    threads = 1 if device.gpus_per_node else max(spec.threads for spec in specs)
    return Bundle(tuple(member for member, _ in members), at_once, threads, mem_mb)


def trunk_bundle(study: Study, member: Member, device: Device, speeds: Speeds | None = None) -> Bundle | None:
    """The rungs of a large trunk: one job, not a wait in a queue for each. Its runs, which start when it has ended, end no later.

    None where there are not several, where they have several GPUs, or where they take longer than a job may.
    """
    if len(member.rungs) < 2:
        return None
    trunk = study.trunks[member.name]
    steps = sum(step - below(step, trunk.batch_tokens, study.ladder) for step in member.rungs)
    seconds = MEMBER_SECONDS + steps * resources.step_seconds(trunk, device, 1, speeds)
    rungs = Member(member.name, member.rungs, (), (), math.ceil(seconds))
    found = Bundle((rungs,), 1, trunk.threads, math.ceil(resources.host_mb(trunk, device)))
    gpus = resources.needs_of_rung(study, trunk, member.rungs[-1], device, 1, speeds).gpus
    return found if gpus <= 1 and resources.MARGIN * found.seconds <= 60 * device.max_minutes else None


def share(spec: RunSpec, device: Device) -> float:
    """Of a GPU, that the training of a run keeps busy or of whose memory it needs, whichever is more; above 1: it does not fit.

    A small model leaves its GPU idle while the next kernel is started. Without GPUs as little as device.at_once allows.
    """
    if not device.gpus_per_node:
        return 1 / device.at_once
    compute = resources.compute_seconds(spec, device)
    busy = compute / max(compute, resources.launch_seconds(spec))
    room = device.memory_gib * 2**30
    # A micro-batch is halved until it fits: that is slower, but no reason for a job of its own.
    memory = min(1.0, resources.gpu_bytes(spec, tokens=spec.micro_batch_tokens or spec.batch_tokens) / room)
    return max(busy, memory, resources.gpu_bytes(spec) / room, 1 / device.at_once)


def missing_members(
    study: Study, results: Path, device: Device, speeds: Speeds | None = None
) -> Iterator[tuple[Member, RunSpec]]:
    """Each member of which something is not there, with the spec of one of its runs."""
    members: dict[str, list[str]] = {}
    for run in study.runs:
        members.setdefault(study.trunk_ids.get(run, run), []).append(run)
    for name, runs in members.items():
        spec = study.runs[runs[0]]
        train = tuple(run for run in runs if not has_run(results, run))
        evaluate = tuple(
            (run, study.evaluations[run])
            for run in runs
            if run in study.evaluations and not evaluation_path(results, run, study.evaluations[run]).exists()
        )
        rungs = missing_rungs(study, results, name, train)
        steps = sum(step - below(step, spec.batch_tokens, study.ladder) for step in rungs)
        steps += sum(study.runs[run].steps - study.starts[run] for run in train)
        steps += sum(resources.evaluation_steps(study.runs[run], len(study.evaluate[run])) for run, _ in evaluate)
        seconds = MEMBER_SECONDS + steps * resources.step_seconds(spec, device, 1, speeds, shared=True)
        if train or evaluate:
            yield Member(name, rungs, train, evaluate, math.ceil(seconds)), spec


def missing_rungs(study: Study, results: Path, trunk: str, runs: tuple[str, ...]) -> tuple[int, ...]:
    """The rungs that runs of a trunk start from and those below, down to one that is there; ascending."""
    found: set[int] = set()
    for step in {study.starts[run] for run in runs}:
        while step and step not in found and not rung_path(results, trunk, step).exists():
            found.add(step)
            step = below(step, study.trunks[trunk].batch_tokens, study.ladder)
    return tuple(sorted(found))


def _id(results: Path, found: Bundle) -> str:
    """By its content; and by how often that was made, where it was and its results were deleted since."""
    names = (hashlib.sha256(f"{found.canonical}{times or ''}".encode()).hexdigest()[:10] for times in itertools.count())
    return next(name for name in names if not bundle_marker(results, name).exists())


@dataclass(frozen=True)
class Work:
    """Of a job that is left, what is done for one size: on so many GPUs (of a bundle each process has a part of one), for so many
    seconds; and how long the whole job takes."""

    kind: str  # bundle, trunk, run, rung or evaluation
    n_params: int
    gpus: Fraction
    seconds: float
    job_seconds: float
    runs: int = 0


def work_left(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> Iterator[Work]:
    """Of everything that is not there. Raises StudyError where a run cannot fit the device or its time limit."""
    bundles = plan(study, results, device, speeds).values()
    for found in bundles:
        for member in found.members:
            made = [*member.runs, *(run for run, _ in member.evaluations)]
            n_params = (study.runs[made[0]] if made else study.trunks[member.name]).n_params
            part, kind = Fraction(1, found.at_once), "bundle" if made else "trunk"
            yield Work(kind, n_params, part, member.seconds, found.seconds, len(member.runs))
    bundled = {run for found in bundles for run in found.runs}
    evaluated = {pair for found in bundles for pair in found.evaluations}
    rungs = {rung for found in bundles for rung in found.rungs}
    alone: dict[str, list[str]] = {}
    for run, spec in study.runs.items():
        if run not in bundled and not has_run(results, run):
            needs = resources.needs(spec, spec.steps - study.starts[run], device, 1, speeds)
            yield _of_job("run", spec, needs, runs=1)
            alone.setdefault(study.trunk_ids.get(run, ""), []).append(run)
    for trunk, spec in study.trunks.items():
        for step in missing_rungs(study, results, trunk, tuple(alone.get(trunk, ()))):
            if (trunk, step) not in rungs:
                yield _of_job("rung", spec, resources.needs_of_rung(study, spec, step, device, 1, speeds))
    for run, name in study.evaluations.items():
        if (run, name) not in evaluated and not evaluation_path(results, run, name).exists():
            spec, corpora = study.runs[run], len(study.evaluate[run])
            yield _of_job("evaluation", spec, resources.needs_of_evaluation(spec, corpora, device, 1, speeds))


def _of_job(kind: str, spec: RunSpec, needs: Needs, runs: int = 0) -> Work:
    return Work(kind, spec.n_params, Fraction(max(1, needs.gpus)), needs.seconds, needs.seconds, runs)


def table(study: Study, results: Path, device: Device, speeds: Speeds | None = None) -> list[str]:
    """Lines of text of what is not there: GPU-hours by size, then how many jobs it is.

    Raises StudyError where a run cannot fit the device or its time limit.
    """
    left = list(work_left(study, results, device, speeds))
    lines = [f"{'N':>14}{'runs left':>11}{'GPUs a run':>12}{'longest job, h':>16}{'GPU-hours':>12}   on {device.name}"]
    for n, gpus in sorted({(work.n_params, work.gpus) for work in left}):
        rows = [work for work in left if (work.n_params, work.gpus) == (n, gpus)]
        longest, runs = max(work.job_seconds for work in rows) / 3600, sum(work.runs for work in rows)
        lines.append(f"{n:>14,}{runs:>11}{gpus!s:>12}{longest:>16.2f}{gpu_hours(rows):>12,.1f}")
    lines.append(f"{'all':>14}{sum(work.runs for work in left):>11}{'':>28}{gpu_hours(left):>12,.1f}")
    kinds = Counter(work.kind for work in left if work.kind != "bundle")
    bundles = len(plan(study, results, device, speeds)) - kinds["trunk"]
    small = sum(work.runs for work in left if work.kind == "bundle")
    alone = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("trunk", "run", "rung", "evaluation"))
    return [*lines, f"jobs left: {bundles + kinds.total()} ({bundles} bundles of {small} small runs; alone: {alone})"]


def gpu_hours(left: list[Work]) -> float:
    """Of GPUs that are held, busy or not."""
    return float(sum(work.gpus * Fraction(work.seconds) for work in left)) / 3600
