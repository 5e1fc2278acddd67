"""What a training job asks a cluster for: GPUs, memory, time; computed from the run and a description of the device. Pure.

The description stands in a profile, as ``config: [device={…}]``. Without one every job asks for little, as on a laptop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import n_params_total
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study.config import explain
from scalinglaws.study.ladder import below, flops_per_step, n_vocab_guess
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

START_SECONDS = 60.0  # of a job: two starts of Snakemake, torch, tokens, compilation
LAUNCH_SECONDS = 2e-3  # of a layer in a step, whatever its size: some 60 kernels forward and back, and the interpreter
MARGIN = 1.5  # of time over what is expected
PROCESS_MB = 2500  # of host memory of a process that has loaded torch
CUDA_MB = 3500  # more where it uses a GPU: the driver's and the kernels' libraries, compilation


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
    small_minutes: float = Field(
        0.0, ge=0, description="trunks that take less, all runs, share an allocation; 0: each rung and run has its own"
    )
    bundle_minutes: PositiveFloat = Field(60.0, description="expected time of such an allocation")
    at_once: PositiveInt = Field(8, description="at most so many of its processes share its GPU")

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


# (N, precision, whether processes shared the GPU) -> measured over expected seconds of a step
Speeds = Mapping[tuple[int, str, bool], float]


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


def step_seconds(spec: RunSpec, device: Device, gpus: int = 1, speeds: Speeds | None = None, shared: bool = False) -> float:
    """Expected seconds of an update: its FLOP at the device's speed or the launches of its kernels, whichever is longer.

    Corrected by the measured run that is nearest in N at the same precision (``speeds``), for a ``shared`` GPU by one that shared
    its GPU where there is one.
    """
    compute = compute_seconds(spec, device) / max(1, gpus)
    expected = max(compute, launch_seconds(spec)) if device.gpus_per_node else compute
    near = [
        (with_others != shared, abs(math.log(n / spec.n_params)), factor)
        for (n, precision, with_others), factor in (speeds or {}).items()
        if precision == spec.precision and (shared or not with_others)
    ]
    return expected * (min(near)[2] if near else 1.0)


def compute_seconds(spec: RunSpec, device: Device) -> float:
    """Of an update's FLOP, on one GPU that does nothing else."""
    return flops_per_step(spec) / device.peak(spec.precision)


def launch_seconds(spec: RunSpec) -> float:
    """The least that an update takes on a GPU: the start of its kernels."""
    return LAUNCH_SECONDS * (1 + spec.n_layer * spec.n_repeats)


def measured(study: Study, results: Path, device: Device) -> dict[tuple[int, str, bool], float]:
    """``Speeds`` of the study's runs on this device, geometric means."""
    found: dict[tuple[int, str, bool], list[float]] = {}
    for run, spec in study.runs.items():
        try:
            timing = json.loads((results / "runs" / run / "timing.json").read_text())
            speed, gpus, at_once = float(timing["tokens_per_second"]), timing.get("processes"), timing.get("at_once")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if speed > 0 and device.name.lower() in str(timing.get("device")).lower():
            ratio = spec.batch_tokens / speed / step_seconds(spec, device, int(gpus or 1))
            found.setdefault((spec.n_params, spec.precision, (at_once or 1) > 1), []).append(math.log(ratio))
    return {key: math.exp(sum(logs) / len(logs)) for key, logs in found.items()}


def gpu_bytes(spec: RunSpec, gpus: int = 1, tokens: int | None = None) -> float:
    """Memory of each GPU for weights, gradients, its share of the optimizer's state and a micro-batch of so many tokens.

    Without ``tokens`` what it needs at least: a micro-batch of one context.

    Of a token a layer keeps about 34 d_model and, of every head, its row of attention, twice; the last layer's logits are kept
    in float32, with their gradient.
    """
    shape = spec.shape(n_vocab_guess(spec))
    wide = 2 if spec.precision == "bfloat16" else 4
    token = wide * spec.n_layer * spec.n_repeats * (17 * spec.d_model + 2 * spec.n_heads * spec.n_ctx) + 8 * n_vocab_guess(spec)
    optimizer = OPTIMIZERS.find(spec.optimizer)
    state = optimizer.bytes_per_param - optimizer.shared_bytes * (1 - 1 / max(1, gpus))
    return state * n_params_total(shape) + token * (tokens or spec.n_ctx)


def gpus_of(spec: RunSpec, steps: int, device: Device, speeds: Speeds | None = None) -> int:
    """The fewest of 1, 2, 4, …, a node's, two nodes', … on which so many steps fit and take at most device.hours.

    At most device.most_gpus and one a context of a batch.

    Raises StudyError where it fits no GPU.
    """
    if not device.gpus_per_node:
        return 0
    room = device.memory_gib * 2**30
    most = min(device.most_gpus, spec.batch_tokens // spec.n_ctx)
    gpus = 1
    while gpu_bytes(spec, gpus) > room or steps * step_seconds(spec, device, gpus, speeds) > 3600 * device.hours:
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


def needs(
    spec: RunSpec, steps: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None, whole: int | None = None
) -> Needs:
    """What a job asks for that trains ``steps`` updates of a run or trunk; memory and time grow with the attempt.

    GPUs follow from the ``whole`` of its steps, from nothing: those of the spec where None.

    Raises StudyError where it cannot fit the device or the time limit.
    """
    if device is None:
        return Needs(0, 1, PROCESS_MB, 60, 0.0)
    gpus = gpus_of(spec, spec.steps if whole is None else whole, device, speeds)
    nodes = max(1, gpus // max(1, device.gpus_per_node))
    seconds = START_SECONDS + steps * step_seconds(spec, device, max(1, gpus), speeds)
    if seconds > 60 * device.max_minutes * device.allocations:
        raise StudyError(
            f"{spec.id} is expected to take {seconds / 3600:.1f} hours on {max(1, gpus)} × {device.name} and "
            f"{device.allocations} allocations of {device.max_minutes / 60:.1f} hours: raise most_gpus, max_minutes or "
            "allocations of the profile's device, or train fewer tokens"
        )
    return Needs(
        gpus,
        nodes,
        math.ceil(attempt * max(1, gpus // nodes) * host_mb(spec, device)),
        minutes(seconds, device, attempt),
        seconds,
    )


def minutes(seconds: float, device: Device, attempt: int = 1) -> int:
    """To ask for, for what is expected to take so long."""
    return min(device.max_minutes, math.ceil(attempt * MARGIN * seconds / 60))


def host_mb(spec: RunSpec, device: Device) -> float:
    """Memory of the node that a process takes: torch, and the state three times, while it is loaded or saved."""
    return (
        PROCESS_MB
        + (CUDA_MB if device.gpus_per_node else 0)
        + 3 * OPTIMIZERS.find(spec.optimizer).bytes_per_param * n_params_total(spec.shape(n_vocab_guess(spec))) / 2**20
    )


def evaluation_steps(spec: RunSpec, corpora: int) -> int:
    """Updates that take at least as long as the evaluation on so many corpora: a token is only read forwards there."""
    return math.ceil(corpora * spec.eval_tokens / spec.batch_tokens)


def needs_of_evaluation(
    spec: RunSpec, corpora: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None
) -> Needs:
    """What the evaluation of a run on so many corpora asks for: one GPU."""
    if device is None:
        return needs(spec, 0, None)
    seconds = START_SECONDS + evaluation_steps(spec, corpora) * step_seconds(spec, device, 1, speeds)
    mem_mb = math.ceil(attempt * host_mb(spec, device))
    return Needs(min(1, device.gpus_per_node), 1, mem_mb, minutes(seconds, device, attempt), seconds)


def needs_of_rung(
    study: Study, trunk: RunSpec, step: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None
) -> Needs:
    """What the job asks for that trains a trunk of the study from the rung below to the one at ``step``.

    GPUs are those of the trunk's longest run.
    """
    steps = step - below(step, trunk.batch_tokens, study.ladder)
    return needs(trunk, steps, device, attempt, speeds, whole=study.last_step(trunk.id))


def check(study: Study, device: Device, speeds: Speeds | None = None) -> None:
    """Refuses, before anything is submitted, a study with a run or a rung that cannot fit."""
    for run, spec in study.runs.items():
        needs(spec, spec.steps - study.starts[run], device, 1, speeds)
    for trunk, steps in study.rungs.items():
        for step in steps:
            needs_of_rung(study, study.trunks[trunk], step, device, 1, speeds)
