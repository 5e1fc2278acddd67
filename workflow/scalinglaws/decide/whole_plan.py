"""The whole plan of a study: its runs and what they take, its cost, its laws, the disk, and what is rarely meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scalinglaws.cluster import bundles, needs
from scalinglaws.cluster.cost import START_SECONDS, measured_speeds
from scalinglaws.cluster.cost import Speeds as DeviceSpeeds
from scalinglaws.cluster.device import Device, device_of_profile, placeholders
from scalinglaws.common.errors import StudyError
from scalinglaws.common.machine import has_gpu, processor_name
from scalinglaws.decide import predict
from scalinglaws.decide.design import law_plans, warnings_of
from scalinglaws.decide.disk import disk
from scalinglaws.decide.plan import plan_rows, plan_totals
from scalinglaws.decide.plan_record import Cost, DevicePlan, Plan, PlannedRun, PredictedRun, SizePlan
from scalinglaws.decide.rarely import rarely_meant, too_little_room
from scalinglaws.decide.speeds import Speeds, start_seconds, this_machine
from scalinglaws.study.config import Config
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

NOTHING = Path("results") / ".nothing"  # a folder of results that is never there: the cost of the whole study follows from it
GIB = 2**30
GPU_HERE = (
    "this machine has a GPU, on which runs are trained, and the times here are those of its processor: give the GPU's profile, "
    "as --profile profiles/local-gpu"
)


def make_plan(study: Study, config: Config, results: Path, cores: int, profile: Path | None = None, timing: bool = True) -> Plan:
    """Return what a person should know of a study before anything is trained.

    Parameters
    ----------
    study
        The study.
    config
        The config that it was made from.
    results
        The folder of results, which tells what is there and how fast it was made.
    cores
        Cores of this machine that the jobs would share.
    profile
        A Snakemake profile with a device, for which times and memory are told in place of this machine.
    timing
        Whether steps may be timed where the speed of this machine is not known.

    Raises
    ------
    StudyError
        The profile describes no device, or a run cannot fit it.
    """
    rows, laws = plan_rows(study, results), law_plans(study)
    epochs = predict.epochs_at_end(study, results)
    ends = {run: predict.expected_steps(spec, epochs) for run, spec in study.runs.items()}
    on = _on_profile(study, results, profile, ends) if profile else _on_machine(study, results, cores, ends, timing)
    room = disk(study, config, results, at_once=on.at_once)
    return Plan(
        device=on.device,
        runs=[_predicted(row, on.runs[row["run"]]) for row in rows],
        totals=plan_totals(study, results),
        cost=on.cost,
        sizes=on.sizes,
        laws=laws,
        disk=room,
        warnings=[
            *warnings_of(laws),
            *rarely_meant(study, config, results),
            *too_little_room(study, results, room, on.at_once, here=profile is None),
            *on.warnings,
        ],
    )


def of_profile(study: Study, results: Path, profile: Path) -> list[str]:
    """Return the jobs that are left on the device of a profile, as lines of text. Raises StudyError as ``make_plan`` does."""
    device = _device(profile)
    return bundles.table(study, results, device, measured_speeds(study, results, device))


def _device(profile: Path) -> Device:
    """Return the device of a profile. Raises StudyError where it describes none."""
    device = device_of_profile(profile)
    if device is None:
        raise StudyError(f"{profile} describes no device: give one under config, as profiles/slurm does")
    return device


@dataclass(frozen=True)
class _Run:
    """What the job of a run takes: seconds to its expected end and to that of its budget, GPUs, and bytes of memory of each."""

    seconds: float
    most_seconds: float
    gpus: int
    memory: float


@dataclass(frozen=True)
class _On:
    """What a plan says of the machine or device on which the study is trained."""

    device: DevicePlan
    runs: dict[str, _Run]
    cost: Cost
    sizes: list[SizePlan]
    at_once: int
    warnings: list[str]


def _predicted(row: PlannedRun, run: _Run) -> PredictedRun:
    """Return a row of the plan with what its job takes."""
    times = {"minutes": run.seconds / 60, "most_minutes": run.most_seconds / 60}
    return PredictedRun(**row, **times, gpus=run.gpus, memory_gib=run.memory / GIB)  # type: ignore[typeddict-item]


def _on_machine(study: Study, results: Path, cores: int, ends: dict[str, int], timing: bool) -> _On:
    """Return what the study takes on the processor of this machine."""
    threads = max((spec.threads for spec in study.runs.values()), default=1)
    at_once = max(1, min(cores // min(threads, cores), max(1, len(study.runs))))
    speeds = this_machine(study, results, at_once, timing) if study.runs else Speeds()
    budgets = {run: spec.steps for run, spec in study.runs.items()}

    def seconds(spec: RunSpec, first: int, last: int) -> float:
        return predict.training_seconds(spec, first, max(first, last), speeds)

    def minutes(there: Path, to: dict[str, int]) -> float:
        return predict.wall_seconds(predict.jobs_left(study, there, speeds, to), cores) / 60

    runs = {
        run: _Run(
            seconds(spec, study.starts[run], ends[run]),
            seconds(spec, study.starts[run], spec.steps),
            0,
            predict.memory_bytes(spec),
        )
        for run, spec in study.runs.items()
    }
    cost = Cost(
        minutes=minutes(NOTHING, ends),
        minutes_left=minutes(results, ends),
        most_minutes_left=minutes(results, budgets),
        gpu_hours=None,
        gpu_hours_left=None,
        price=None,
        price_left=None,
    )
    device = DevicePlan(
        name=processor_name(),
        profile=None,
        cores=cores,
        speed=speeds.source,
        start_seconds=start_seconds(speeds),
        price_per_hour=None,
    )
    return _On(device, runs, cost, [], at_once, [GPU_HERE] if has_gpu() and study.runs else [])


def _on_profile(study: Study, results: Path, profile: Path, ends: dict[str, int]) -> _On:
    """Return what the study takes on the device of a profile. Raises StudyError where there is none or a run does not fit it."""
    device = _device(profile)
    speeds = measured_speeds(study, results, device)
    runs = {run: _run_on(spec, study.starts[run], ends[run], device, speeds) for run, spec in study.runs.items()}
    left = list(bundles.work_left(study, results, device, speeds))
    whole, rest = (bundles.hours_held(work) for work in (bundles.work_left(study, NOTHING, device, speeds), left))
    price = device.price_per_hour
    cost = Cost(
        minutes=None,
        minutes_left=None,
        most_minutes_left=None,
        gpu_hours=whole,
        gpu_hours_left=rest,
        price=None if price is None else whole * price,
        price_left=None if price is None else rest * price,
    )
    sizes = [
        SizePlan(
            n_params=row.n_params, runs=row.runs, gpus=float(row.gpus), longest_hours=row.longest_hours, gpu_hours=row.gpu_hours
        )
        for row in bundles.work_by_size(left)
    ]
    told = DevicePlan(
        name=device.name,
        profile=str(profile),
        cores=None,
        speed="runs" if speeds else "assumed",
        start_seconds=START_SECONDS,
        price_per_hour=price,
    )
    doubts = [
        f"{profile} has `{key}: CHANGE_ME`: nothing is submitted before the value of your cluster stands there (docs/cluster.md)"
        for key in placeholders(profile)
    ]
    return _On(told, runs, cost, sizes, device.at_once, doubts)


def _run_on(spec: RunSpec, first: int, end: int, device: Device, speeds: DeviceSpeeds) -> _Run:
    """Return what a run takes on a device, in a job of its own."""
    asked = needs.needs_of_training(spec, max(0, end - first), device, 1, speeds, whole=spec.steps)
    longest = needs.needs_of_training(spec, spec.steps - first, device, 1, speeds)
    if not device.gpus_per_node:
        return _Run(asked.seconds, longest.seconds, 0, predict.memory_bytes(spec))
    # A micro-batch that does not fit is halved until it does.
    wanted = needs.process_bytes(spec, longest.gpus, spec.micro_batch_tokens or spec.batch_tokens // longest.gpus)
    least, room = needs.process_bytes(spec, longest.gpus), device.memory_gib * GIB
    return _Run(asked.seconds, longest.seconds, longest.gpus, max(least, min(wanted, room)))
