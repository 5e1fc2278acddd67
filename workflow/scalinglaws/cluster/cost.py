"""The cost model: the FLOP of a run give seconds on a device, and these give GPU-hours. ``measured_speeds`` alone reads files.

Progress, plans, what jobs ask for and how bundles are filled all follow from these functions. A step of training takes

- on a GPU, the time of its FLOP or the time to start its kernels, whichever is longer, since the two overlap;
- on CPUs, the time of its FLOP and a time for each token (softmax, memory, interpreter), one after the other.

Speeds that were measured on runs of the study correct both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from scalinglaws.cluster.device import Device
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

# A core of a laptop, for progress and for plans without a profile. Runs of 1k to 100k parameters were near these numbers.
CORE = Device(name="cpu", bfloat16=4e10, float32=4e10, utilisation=1, memory_gib=8, gpus_per_node=0)
CORE_START_SECONDS = 2.5  # start of a process on a laptop: importing torch and reading tokens
TOKEN_SECONDS = 3.75e-6  # time of a training token on a CPU besides its FLOP
# The GPU in which ``plan`` states the compute of a study where no profile is given; small models reach less of its peak.
H100 = Device(name="H100", bfloat16=989e12, float32=67e12, utilisation=0.4, memory_gib=80)
LAUNCH_SECONDS = 2e-3  # time of a layer in a step on a GPU, whatever its size: some 60 kernels, and the interpreter
START_SECONDS = 60.0  # start of a job on a cluster: two starts of Snakemake, importing torch, reading tokens, compilation
MOST_APART = 1e6  # a measured time that is so many times the expected one, or the other way round, is none
MEMBER_SECONDS = 30.0  # start of a process of a bundle: importing torch, reading tokens, compilation

# (N, precision, whether processes shared the GPU) -> measured over expected seconds of a step
Speeds = Mapping[tuple[int, str, bool], float]


def compute_seconds(spec: RunSpec, device: Device) -> float:
    """Return the seconds that the FLOP of a step take on one device that does nothing else."""
    return flops_per_step(spec) / device.peak(spec.precision)


def launch_seconds(spec: RunSpec) -> float:
    """Return the seconds that the kernels of a step take to start on a GPU: no step is shorter."""
    return LAUNCH_SECONDS * (1 + spec.n_layer * spec.n_repeats)


def step_seconds(spec: RunSpec, device: Device, gpus: int = 1, speeds: Speeds | None = None, shared: bool = False) -> float:
    """Return the expected seconds of a training step.

    Parameters
    ----------
    spec
        A run or a trunk.
    device
        The device, by its peak speed and the share of it that training reaches.
    gpus
        Number of GPUs among which the batch is divided.
    speeds
        Measured speeds. The expectation is corrected by the one that is nearest in N at the same precision.
    shared
        Whether other processes use the same GPU. If so, speeds of runs that shared their GPU are preferred to those of runs that
        did not; if not, the former are ignored.
    """
    compute = compute_seconds(spec, device) / max(1, gpus)
    on_cpus = compute + TOKEN_SECONDS * spec.batch_tokens
    expected = max(compute, launch_seconds(spec)) if device.gpus_per_node else on_cpus
    near = [
        (with_others != shared, abs(math.log(n / spec.n_params)), factor)
        for (n, precision, with_others), factor in (speeds or {}).items()
        if precision == spec.precision and (shared or not with_others)
    ]
    return expected * (min(near)[2] if near else 1.0)


def measured_speeds(study: Study, results: Path, device: Device) -> dict[tuple[int, str, bool], float]:
    """Read the ``Speeds`` of the study's runs that were trained on this device, as geometric means."""
    found: dict[tuple[int, str, bool], list[float]] = {}
    for run, spec in study.runs.items():
        try:
            timing = read_object(results / "runs" / run / "timing.json")
            speed = float(timing["tokens_per_second"])
            gpus, at_once = (int(timing.get(name) or 1) for name in ("processes", "at_once"))
        except (StudyError, ValueError, KeyError, TypeError, OverflowError):
            continue
        if not 0 < speed < math.inf or device.name.lower() not in str(timing.get("device")).lower():
            continue
        ratio = spec.batch_tokens / speed / step_seconds(spec, device, gpus)
        if 1 / MOST_APART < ratio < MOST_APART:
            found.setdefault((spec.n_params, spec.precision, at_once > 1), []).append(math.log(ratio))
    return {key: math.exp(sum(logs) / len(logs)) for key, logs in found.items()}


def evaluation_steps(spec: RunSpec, corpora: int) -> int:
    """Return a number of training steps that take at least as long as an evaluation on so many corpora.

    An evaluation only reads its tokens forwards, so it takes less time a token than training does.
    """
    return math.ceil(corpora * spec.eval_tokens / spec.batch_tokens)


def gpu_hours(flops: float, device: Device, precision: str = "bfloat16") -> float:
    """Return the hours of one GPU that so many FLOP take at the speed that training of large models reaches."""
    return flops / device.peak(precision) / 3600
