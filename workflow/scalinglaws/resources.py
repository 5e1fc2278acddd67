"""What a training job asks a cluster for: GPUs, memory, time; computed from the run and a description of the device. Pure.

The description stands in a profile, as ``config: [device={…}]``. Without one every job asks for little, as on a laptop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from scalinglaws.config import explain
from scalinglaws.errors import StudyError
from scalinglaws.ladder import flops_per_step, n_vocab_guess
from scalinglaws.models.count import n_params_total
from scalinglaws.spec import RunSpec
from scalinglaws.study import Study

START_SECONDS = 60.0  # of a job: two starts of Snakemake, torch, tokens, compilation
LAUNCH_SECONDS = 2e-3  # of a layer in a step, whatever its size: some 60 kernels forward and back, and the interpreter
MARGIN = 1.5  # of time over what is expected
EVALUATION = 0.2  # of the time of training
BYTES = {"adamw": 16, "muon": 13, "sgd": 12, "adafactor": 8.1}  # a parameter: weight, gradient, optimizer state
SHARED = {"adamw": 8, "sgd": 4}  # of these, what several GPUs share
PROCESS_MB = 2500  # of host memory of a process that has loaded torch


class Device(BaseModel):
    """One kind of GPU, or of CPU node where gpus_per_node is 0, and what its partition allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="a part of the name that the driver gives: earlier runs on it correct the times")
    bfloat16: PositiveFloat = Field(description="peak FLOP/s in bfloat16")
    float32: PositiveFloat = Field(description="peak FLOP/s in float32")
    utilisation: float = Field(gt=0, le=1, description="share of the peak that training reaches, before it was measured")
    memory_gib: PositiveFloat = Field(description="of one GPU, or of the node where there are none")
    gpus_per_node: int = Field(8, ge=0)
    gres: str = Field("gpu", description="how the cluster calls it, with its type where it has one: gpu:h100")
    most_gpus: PositiveInt = Field(1, description="at most so many for one run; above gpus_per_node on several nodes")
    hours: PositiveFloat = Field(24.0, description="runs that would take longer get more GPUs")
    max_minutes: PositiveInt = Field(1440, description="the partition's time limit")
    allocations: PositiveInt = Field(1, description="so many in a row may train one run: the profile's retries and one")
    runs_per_gpu: int = Field(
        0, ge=0, description="on one machine: so many at a time on each GPU; 0: the cluster gives each its own"
    )
    small_minutes: float = Field(0.0, ge=0, description="trunks expected to take less share an allocation; 0: none")

    def peak(self, precision: str) -> float:
        """FLOP/s, as far as training reaches."""
        return self.utilisation * (self.bfloat16 if precision == "bfloat16" else self.float32)


@dataclass(frozen=True)
class Needs:
    """Of one job: GPUs, nodes, host memory of a node, minutes with the margin, and the seconds that are expected."""

    gpus: int
    nodes: int
    mem_mb: int
    minutes: int
    seconds: float


Speeds = Mapping[tuple[int, str], float]


def read(value: Any) -> Device | None:
    """The device of a profile. Raises StudyError naming the key that is wrong."""
    if value is None:
        return None
    try:
        return Device.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"the profile's device cannot be used:\n{explain(error, 'device')}") from None


def of_profile(path: Path) -> Device | None:
    """The device of a Snakemake profile, a folder or its file. Raises StudyError where that cannot be read."""
    file = (
        path
        if path.is_file()
        else next((path / name for name in ("config.yaml", "profile.yaml") if (path / name).exists()), path)
    )
    try:
        entries = (yaml.safe_load(file.read_text()) or {}).get("config") or []
        given = [entry.partition("=")[2] for entry in entries if entry.startswith("device=")]
        return read(yaml.safe_load(given[0])) if given else None
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise StudyError(f"{file} cannot be read as a profile: {error}") from None


def step_seconds(spec: RunSpec, device: Device, gpus: int = 1, speeds: Speeds | None = None) -> float:
    """Expected seconds of an update: its FLOP at the device's speed or the launches of its kernels, whichever is longer.

    Corrected by the measured run that is nearest in N at the same precision (``speeds``).
    """
    compute = flops_per_step(spec) / device.peak(spec.precision) / max(1, gpus)
    expected = max(compute, LAUNCH_SECONDS * (1 + spec.n_layer * spec.n_repeats)) if device.gpus_per_node else compute
    near = [
        (abs(math.log(n / spec.n_params)), factor)
        for (n, precision), factor in (speeds or {}).items()
        if precision == spec.precision
    ]
    return expected * (min(near)[1] if near else 1.0)


def measured(study: Study, results: Path, device: Device) -> dict[tuple[int, str], float]:
    """(N, precision) -> measured over expected seconds of a step, geometric means over the study's runs on this device."""
    found: dict[tuple[int, str], list[float]] = {}
    for run, spec in study.runs.items():
        try:
            timing = json.loads((results / "runs" / run / "timing.json").read_text())
            speed, gpus = float(timing["tokens_per_second"]), int(timing.get("processes") or 1)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if speed > 0 and device.name.lower() in str(timing.get("device")).lower():
            ratio = spec.batch_tokens / speed / step_seconds(spec, device, gpus)
            found.setdefault((spec.n_params, spec.precision), []).append(math.log(ratio))
    return {key: math.exp(sum(logs) / len(logs)) for key, logs in found.items()}


def gpu_bytes(spec: RunSpec, gpus: int = 1) -> float:
    """Memory that each GPU needs at least: weights, gradients, its share of the optimizer's state, a micro-batch of one context.

    Of a token a layer keeps about 34 d_model and, of every head, its row of attention, twice; the last layer's logits are kept
    in float32, with their gradient.
    """
    shape = spec.shape(n_vocab_guess(spec))
    wide = 2 if spec.precision == "bfloat16" else 4
    token = wide * spec.n_layer * spec.n_repeats * (17 * spec.d_model + 2 * spec.n_heads * spec.n_ctx) + 8 * n_vocab_guess(spec)
    state = BYTES.get(spec.optimizer, 16) - SHARED.get(spec.optimizer, 0) * (1 - 1 / max(1, gpus))
    return state * n_params_total(shape) + token * spec.n_ctx


def gpus_of(spec: RunSpec, device: Device, speeds: Speeds | None = None) -> int:
    """The fewest of 1, 2, 4, …, a node's, two nodes', … with which the run fits and takes at most device.hours.

    At most device.most_gpus and one a context of a batch.

    Raises StudyError where it fits no GPU or takes longer than the partition allows.
    """
    if not device.gpus_per_node:
        return 0
    room = device.memory_gib * 2**30
    most = min(device.most_gpus, spec.batch_tokens // spec.n_ctx)
    gpus = 1
    while gpu_bytes(spec, gpus) > room or spec.steps * step_seconds(spec, device, gpus, speeds) > 3600 * device.hours:
        further = min(2 * gpus, device.gpus_per_node) if gpus < device.gpus_per_node else 2 * gpus
        if further > most:
            break
        gpus = further
    if (least := gpu_bytes(spec, gpus)) > room:
        raise StudyError(
            f"run {spec.id} needs {least / 2**30:.0f} GiB on each of {gpus} GPUs and {device.name} has {device.memory_gib:g}: "
            "take a GPU with more memory, raise most_gpus, or take optimizer: adafactor or a smaller model"
        )
    return gpus


def needs(spec: RunSpec, steps: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None) -> Needs:
    """What a job asks for that trains ``steps`` updates of a run or trunk; memory and time grow with the attempt.

    Raises StudyError where it cannot fit the device or the time limit.
    """
    if device is None:
        return Needs(0, 1, PROCESS_MB, 60, 0.0)
    gpus = gpus_of(spec, device, speeds)
    nodes = max(1, gpus // max(1, device.gpus_per_node))
    seconds = START_SECONDS + steps * step_seconds(spec, device, max(1, gpus), speeds)
    if seconds > 60 * device.max_minutes * device.allocations:
        raise StudyError(
            f"{spec.id} is expected to take {seconds / 3600:.1f} hours on {max(1, gpus)} × {device.name} and "
            f"{device.allocations} allocations of {device.max_minutes / 60:.1f} hours: raise most_gpus, max_minutes or "
            "allocations of the profile's device, or train fewer tokens"
        )
    minutes = min(device.max_minutes, math.ceil(attempt * MARGIN * seconds / 60))
    copies = 3 * BYTES.get(spec.optimizer, 16) * n_params_total(spec.shape(n_vocab_guess(spec))) / 2**20
    return Needs(gpus, nodes, math.ceil(attempt * max(1, gpus // nodes) * (PROCESS_MB + copies)), minutes, seconds)


def needs_of_evaluation(spec: RunSpec, device: Device | None, attempt: int = 1, speeds: Speeds | None = None) -> Needs:
    """What the evaluation of a run asks for: one GPU, and EVALUATION of the time of its training on one."""
    if device is None:
        return needs(spec, 0, None)
    seconds = START_SECONDS + EVALUATION * spec.steps * step_seconds(spec, device, 1, speeds)
    minutes = min(device.max_minutes, math.ceil(attempt * MARGIN * seconds / 60))
    return Needs(min(1, device.gpus_per_node), 1, attempt * PROCESS_MB, minutes, seconds)


def small_trunks(study: Study, device: Device, speeds: Speeds | None = None) -> frozenset[str]:
    """The runs and trunks whose family (a trunk with its budgets; else a run alone) takes small_minutes at most, as expected."""
    families: dict[str, list[str]] = {}
    for run in study.runs:
        families.setdefault(study.trunk_ids.get(run, run), []).append(run)
    out: set[str] = set()
    for family, runs in families.items():
        longest = max(study.runs[run].steps * step_seconds(study.runs[run], device, 1, speeds) for run in runs)
        if longest + START_SECONDS <= 60 * device.small_minutes:
            out |= {family, *runs}
    return frozenset(out)


def check(study: Study, device: Device, speeds: Speeds | None = None) -> None:
    """Refuses, before anything is submitted, a study with a run that cannot fit."""
    for run, spec in study.runs.items():
        needs(spec, spec.steps - study.starts[run], device, 1, speeds)


def table(study: Study, device: Device, speeds: Speeds | None = None) -> list[str]:
    """Lines of text: of each size the runs, GPUs a run, hours of the longest, and GPU-hours of all, rungs shared."""
    rows: dict[tuple[int, int], list[float]] = {}
    shared: dict[str, tuple[RunSpec, int]] = {}
    for run, spec in study.runs.items():
        trunk = study.trunk_ids.get(run)
        if trunk and study.starts[run] > shared.get(trunk, (spec, 0))[1]:
            shared[trunk] = (spec, study.starts[run])
        _count(rows, spec, spec.steps - study.starts[run], device, speeds)
    for spec, steps in shared.values():
        _count(rows, spec, steps, device, speeds, runs=0)
    lines = [f"{'N':>14}{'runs':>7}{'GPUs a run':>12}{'longest job, h':>16}{'GPU-hours':>12}   on {device.name}"]
    for (n, gpus), (count, longest, total) in sorted(rows.items()):
        lines.append(f"{n:>14,}{count:>7.0f}{gpus:>12}{longest:>16.2f}{total:>12,.1f}")
    sums: Iterable[float] = (row[2] for row in rows.values())
    return [*lines, f"{'all':>14}{len(study.runs):>7}{'':>28}{sum(sums):>12,.1f}"]


def _count(
    rows: dict[tuple[int, int], list[float]], spec: RunSpec, steps: int, device: Device, speeds: Speeds | None, runs: int = 1
) -> None:
    found = needs(spec, steps, device, 1, speeds)
    row = rows.setdefault((spec.n_params, found.gpus), [0, 0.0, 0.0])
    hours = found.seconds / 3600
    row[0], row[1], row[2] = row[0] + runs, max(row[1], hours), row[2] + max(1, found.gpus) * hours
