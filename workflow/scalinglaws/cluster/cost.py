"""The cost model: the FLOP of a run give seconds on a device, and these give GPU-hours. ``measured_ratios`` alone reads files.

Progress, plans, what jobs ask for and how bundles are filled all follow from these functions. A step of training takes

- on a GPU, max(F / uP, M / W, K) + O / W: F are the FLOP of the step, u is the share of the peak speed P that large products
  of matrices reach, M are the bytes that the forward and the backward pass read and write, W is the bandwidth of the GPU's
  memory, K is the time to start the kernels of the passes, and O are the bytes of the optimizer's step. Within the passes the
  three overlap, so that the longest counts; the optimizer comes after them and is limited by memory alone;
- on CPUs, the time of its FLOP and a time for each token (softmax, memory, interpreter), one after the other.

Several GPUs share the tokens of a batch. The sums of gradients over GPUs are not counted. In a stack of E runs (train/stack.py),
F, M and O are those of all of them and K is that of one. Speeds that were measured on runs of the study correct all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from scalinglaws.cluster.device import Device
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.models.count import n_params_total
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study.ladder import flops_per_step, n_vocab_guess
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

# A core of a laptop, for progress and for plans without a profile. Runs of 1k to 100k parameters were near these numbers.
CORE = Device(name="cpu", bfloat16=4e10, float32=4e10, utilisation=1, memory_gib=8, gpus_per_node=0)
CORE_START_SECONDS = 2.5  # start of a process on a laptop: importing torch and reading tokens
TOKEN_SECONDS = 3.75e-6  # time of a training token on a CPU besides its FLOP
# The GPU in which ``plan`` states the compute of a study where no profile is given; small models reach less of its peak.
H100 = Device(name="H100", bfloat16=989e12, float32=67e12, utilisation=0.4, memory_gib=80, bandwidth=3.35e12)
LAUNCH_SECONDS = 5e-6  # time to start a kernel on a GPU
LAYER_KERNELS, OTHER_KERNELS = 35, 30  # kernels of a layer, and besides the layers, in both passes of compiled code
LOGIT_PASSES = 6  # times that a logit or its gradient is written or read: by the last layer, the loss, and two products backwards
WEIGHT_BYTES = 24  # bytes of a weight in both passes: it is read and cast for either, and its gradient is added to the sum
START_SECONDS = 60.0  # start of a job on a cluster: two starts of Snakemake, importing torch, reading tokens, compilation
MOST_APART = 1e6  # a measured time that is so many times the expected one, or the other way round, is none
MEMBER_SECONDS = 30.0  # start of a process of a bundle: importing torch, reading tokens, compilation

# (N, precision, whether runs shared the GPU) -> measured over expected seconds of a step
Speeds = Mapping[tuple[int, str, bool], float]


def compute_seconds(spec: RunSpec, device: Device, gpus: int = 1) -> float:
    """Return the seconds that the FLOP of a step take on so many devices that do nothing else."""
    return flops_per_step(spec) / device.peak(spec.precision) / max(1, gpus)


def gpu_hours(flops: float, device: Device, precision: str = "bfloat16") -> float:
    """Return the hours that so many FLOP take one GPU at its utilisation, for a run of which only the FLOP are known."""
    return flops / device.peak(precision) / 3600


def tokens_of_gpu(spec: RunSpec, gpus: int = 1) -> int:
    """Return the tokens of a batch that each of so many GPUs computes: whole contexts, of which some have one fewer."""
    return math.ceil(spec.batch_tokens // spec.n_ctx / max(1, gpus)) * spec.n_ctx


def micro_batches(spec: RunSpec, gpus: int = 1) -> int:
    """Return the number of forward and backward passes of a step on each of so many GPUs."""
    return math.ceil(tokens_of_gpu(spec, gpus) / (spec.micro_batch_tokens or spec.batch_tokens))


def pass_bytes(spec: RunSpec, gpus: int = 1) -> float:
    """Return the bytes that the forward and backward passes of a step read and write in the memory of each of so many GPUs.

    For each token, the kernels of a layer read and write 13 d_model + 8 d_attn + 4 d_ff numbers forwards (norms, residuals,
    queries, keys, values, the inner layer; fused as torch.compile does it) and twice as many backwards, and those of the head
    LOGIT_PASSES numbers for each word of the vocabulary. Attention keeps no matrix of scores. Weights are read for each
    micro-batch.
    """
    n_vocab = n_vocab_guess(spec)
    layer = 3 * (13 * spec.d_model + 8 * spec.d_attn + 4 * spec.d_ff)
    numbers = layer * spec.n_layer * spec.n_repeats + LOGIT_PASSES * n_vocab
    width = 2 if spec.precision == "bfloat16" else 4
    weights = WEIGHT_BYTES * n_params_total(spec.shape(n_vocab)) * micro_batches(spec, gpus)
    return width * numbers * tokens_of_gpu(spec, gpus) + weights


def optimizer_bytes(spec: RunSpec, gpus: int = 1) -> float:
    """Return the bytes that the optimizer's step reads and writes on each of so many GPUs.

    Weights and state are read and written; the gradient is read for its norm and for the step, and cleared.
    """
    optimizer = OPTIMIZERS.find(spec.optimizer)
    kept = optimizer.bytes_per_param - 4 - optimizer.shared_bytes * (1 - 1 / max(1, gpus))
    return (2 * kept + 3 * 4) * n_params_total(spec.shape(n_vocab_guess(spec)))


def launch_seconds(spec: RunSpec, gpus: int = 1) -> float:
    """Return the seconds that the kernels of a step's passes take to start on each of so many GPUs: no step is shorter."""
    kernels = LAYER_KERNELS * spec.n_layer * spec.n_repeats + OTHER_KERNELS
    return LAUNCH_SECONDS * kernels * micro_batches(spec, gpus)


def busy_seconds(spec: RunSpec, device: Device, gpus: int = 1) -> float:
    """Return the seconds of a step in which each of so many GPUs computes or moves data, without waiting for kernels to start."""
    passes = max(compute_seconds(spec, device, gpus), pass_bytes(spec, gpus) / device.bytes_per_second)
    return passes + optimizer_bytes(spec, gpus) / device.bytes_per_second


def gpu_seconds(spec: RunSpec, device: Device, gpus: int = 1, stacked: int = 1) -> float:
    """Return the expected seconds of a step of so many stacked runs on so many GPUs: the formula at the head of this file."""
    optimizer = stacked * optimizer_bytes(spec, gpus) / device.bytes_per_second
    return max(stacked * busy_seconds(spec, device, gpus), launch_seconds(spec, gpus) + optimizer)


def step_seconds(
    spec: RunSpec, device: Device, gpus: int = 1, speeds: Speeds | None = None, shared: bool = False, stacked: int = 1
) -> float:
    """Return the expected seconds of a training step.

    Parameters
    ----------
    spec
        A run or a trunk.
    device
        The device: its peak speed, the share of it that training reaches, and the bandwidth of its memory.
    gpus
        Number of GPUs among which the batch is divided.
    speeds
        Measured speeds. The expectation is corrected by the one that is nearest in N at the same precision.
    shared
        Whether other processes use the same GPU. If so, speeds of runs that shared their GPU are preferred to those of runs that
        did not; if not, the former are ignored.
    stacked
        Number of runs in the stack that makes this step.
    """
    if device.gpus_per_node:
        expected = gpu_seconds(spec, device, gpus, stacked)
    else:
        expected = compute_seconds(spec, device, gpus) + TOKEN_SECONDS * spec.batch_tokens
    near = [
        (with_others != shared, abs(math.log(n / spec.n_params)), factor)
        for (n, precision, with_others), factor in (speeds or {}).items()
        if precision == spec.precision and (shared or not with_others)
    ]
    return expected * (min(near)[2] if near else 1.0)


def measured_speeds(study: Study, results: Path, device: Device) -> dict[tuple[int, str, bool], float]:
    """Read the ``Speeds`` of the study's runs that were trained on this device, as geometric means."""
    found: dict[tuple[int, str, bool], list[float]] = {}
    for spec, ratio, shared in measured_ratios(study, results, device):
        found.setdefault((spec.n_params, spec.precision, shared), []).append(math.log(ratio))
    return {key: math.exp(sum(logs) / len(logs)) for key, logs in found.items()}


def measured_ratios(study: Study, results: Path, device: Device) -> Iterator[tuple[RunSpec, float, bool]]:
    """Yield each run trained on this device, its measured over expected seconds of a step, and whether it shared its GPU."""
    for run, spec in study.runs.items():
        try:
            timing = read_object(results / "runs" / run / "timing.json")
            speed = float(timing["tokens_per_second"])
            gpus, at_once, stacked = (int(timing.get(name) or 1) for name in ("processes", "at_once", "stacked"))
        except (StudyError, ValueError, KeyError, TypeError, OverflowError):
            continue
        if not 0 < speed < math.inf or device.name.lower() not in str(timing.get("device")).lower():
            continue
        ratio = spec.batch_tokens / speed / step_seconds(spec, device, gpus, stacked=stacked)
        if 1 / MOST_APART < ratio < MOST_APART:
            yield spec, ratio, max(at_once, stacked) > 1


def evaluation_steps(spec: RunSpec, corpora: int) -> int:
    """Return a number of training steps that take at least as long as an evaluation on so many corpora.

    An evaluation only reads its tokens forwards, so it takes less time a token than training does.
    """
    return math.ceil(corpora * spec.eval_tokens / spec.batch_tokens)
