"""What a training job asks a cluster for: GPUs, nodes, memory and time.

All of it follows from the run, from a description of the device (device.py) and from the cost model (cost.py).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from scalinglaws.cluster.cost import START_SECONDS, Speeds, evaluation_steps, step_seconds
from scalinglaws.cluster.device import Device
from scalinglaws.common.errors import StudyError
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params_total
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study.ladder import below, n_vocab_guess
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

MARGIN = 1.5  # the time that is asked for, over the time that is expected
PROCESS_MB = 2500  # host memory of a process that has loaded torch
CONTEXT_BYTES = 0.75 * 2**30  # GPU memory of a process before it has a model: CUDA's context, kernels, workspaces of cuBLAS
CUDA_MB = 3500  # further host memory of a process that uses a GPU: the driver's and the kernels' libraries, compilation


@dataclass(frozen=True)
class Needs:
    """What one job asks for.

    Attributes
    ----------
    gpus
        GPUs of the whole job; 0 on CPU nodes.
    nodes
        Nodes that the GPUs are divided among.
    mem_mb
        Host memory of each node, in MB.
    minutes
        Time limit, with a margin over what is expected.
    seconds
        Expected time.
    """

    gpus: int
    nodes: int
    mem_mb: int
    minutes: int
    seconds: float


def gpu_bytes(spec: RunSpec, gpus: int = 1, tokens: int | None = None) -> float:
    """Return the memory in bytes that training takes on each of so many GPUs.

    It holds the training state (``state_bytes``), copies of weights in the precision of products, the last layer
    (``head_bytes``), and the activations of a micro-batch of ``tokens``; by default of one context, which is the least that
    training needs. Compiled code keeps less than what is counted here. The collectives of several GPUs work in place.
    """
    shape = spec.shape(n_vocab_guess(spec))
    wide = 2 if spec.precision == "bfloat16" else 4
    kept = ARCHITECTURES.find(spec.architecture).kept
    layers = kept(shape, wide) if kept else 17 * wide * spec.d_model * spec.n_layer * spec.n_repeats
    # The sum of embeddings, the last norm, and the last hidden states and their gradient.
    token = layers + (8 + 4 * wide) * spec.d_model
    rounded = 2 * spec.n_params if wide == 2 else 0
    at_once = tokens or spec.n_ctx
    return state_bytes(spec, gpus) + rounded + head_bytes(shape, wide, at_once) + token * at_once


def state_bytes(spec: RunSpec, gpus: int = 1) -> float:
    """Return the memory in bytes of the numbers that each of so many GPUs keeps for every parameter.

    Weights and gradients are whole on each, and the optimizer's state is divided where it works by element. A run that stops
    early keeps its best weights, and one that measures the noise scale a copy of a gradient while it does.
    """
    optimizer = OPTIMIZERS.find(spec.optimizer)
    kept = optimizer.bytes_per_param - optimizer.shared_bytes * (1 - 1 / max(1, gpus))
    copies = 4 * (spec.stop == "early") + 4 * (spec.noise_every > 0)
    return (kept + copies) * n_params_total(spec.shape(n_vocab_guess(spec)))


def head_bytes(shape: ModelConfig, wide: int, tokens: int) -> float:
    """Return the memory in bytes of the last layer of so many tokens (train/head_loss.py).

    It makes a few hundred rows of logits at a time, in float32 thrice, and keeps the gradients of eight such parts. The table is
    there a second time in the precision of products, and its gradient twice.
    """
    rows = min(tokens, max(512, 2**24 // max(1, shape.n_vocab)))
    kept = min(tokens, 8 * rows)
    return shape.n_vocab * (12 * rows + wide * kept + (8 + wide) * shape.d_model)


def process_bytes(spec: RunSpec, gpus: int = 1, tokens: int | None = None) -> float:
    """Return the memory in bytes that the process of a training takes on its GPU: ``gpu_bytes``, and a context of its own."""
    return CONTEXT_BYTES + gpu_bytes(spec, gpus, tokens)


def host_mb(spec: RunSpec, device: Device) -> float:
    """Return the host memory in MB of a process: torch, and three copies of the state while it is loaded or saved."""
    return (
        PROCESS_MB
        + (CUDA_MB if device.gpus_per_node else 0)
        + 3 * OPTIMIZERS.find(spec.optimizer).bytes_per_param * n_params_total(spec.shape(n_vocab_guess(spec))) / 2**20
    )


def minutes(seconds: float, device: Device, attempt: int = 1) -> int:
    """Return the time limit in minutes of a job that is expected to take so long; it grows with the attempt."""
    return min(device.max_minutes, math.ceil(attempt * MARGIN * seconds / 60))


def gpus_of(spec: RunSpec, steps: int, device: Device, speeds: Speeds | None = None) -> int:
    """Return the fewest GPUs on which so many steps fit the memory and take at most ``device.hours``.

    The numbers tried are 1, 2, 4 and so on up to a whole node, then two nodes, four and so on. They stop at ``device.most_gpus``
    and at one GPU for each context of a batch; a run may then take longer than ``device.hours``.

    Raises
    ------
    StudyError
        The run does not fit the memory of that many GPUs.
    """
    if not device.gpus_per_node:
        return 0
    room = device.memory_gib * 2**30
    contexts = spec.batch_tokens // spec.n_ctx
    most, gpus = min(device.most_gpus, contexts), 1
    while process_bytes(spec, gpus) > room or steps * step_seconds(spec, device, gpus, speeds) > 3600 * device.hours:
        further = min(2 * gpus, device.gpus_per_node) if gpus < device.gpus_per_node else 2 * gpus
        if further > most:
            break
        gpus = further
    if (least := process_bytes(spec, gpus)) > room:
        needed = f"run {spec.id} needs {least / 2**30:.0f} GiB on each of {gpus} GPUs and {device.name} has {device.memory_gib:g}"
        if process_bytes(spec, contexts) <= room:
            raise StudyError(f"{needed}: take a GPU with more memory, raise most_gpus, or take a smaller model")
        smaller = process_bytes(dataclasses.replace(spec, optimizer="adafactor"), gpus) <= room
        raise StudyError(
            f"{needed}: more GPUs do not help, since each holds the weights and gradients of all "
            f"{n_params_total(spec.shape(n_vocab_guess(spec))):.2g} parameters (there is no FSDP, which would divide them). Take "
            f"a GPU with more memory{', optimizer: adafactor' if smaller else ''} or a smaller model"
        )
    return gpus


def needs_of_training(
    spec: RunSpec, steps: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None, whole: int | None = None
) -> Needs:
    """Return what a job asks for that trains a run or a trunk for ``steps`` steps.

    Parameters
    ----------
    spec
        The run or trunk.
    steps
        Steps that this job trains.
    device
        The device; None asks for little.
    attempt
        Number of the attempt, from 1: memory and time grow with it.
    speeds
        Measured speeds, which correct the expected time.
    whole
        Steps of the whole training, by which GPUs are chosen; by default those of the spec, which for a trunk are none.

    Raises
    ------
    StudyError
        The run does not fit the device's memory, or its time the allocations.
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
    mem_mb = math.ceil(attempt * max(1, gpus // nodes) * host_mb(spec, device))
    return Needs(gpus, nodes, mem_mb, minutes(seconds, device, attempt), seconds)


def needs_of_rung(
    study: Study, trunk: RunSpec, step: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None
) -> Needs:
    """Return what the job asks for that trains a trunk of the study from the rung below to the one at ``step``.

    It has as many GPUs as the longest run of the trunk. Raises StudyError as ``needs_of_training`` does.
    """
    steps = step - below(step, trunk.batch_tokens, study.ladder)
    return needs_of_training(trunk, steps, device, attempt, speeds, whole=study.last_step(trunk.id))


def needs_of_evaluation(
    spec: RunSpec, corpora: int, device: Device | None, attempt: int = 1, speeds: Speeds | None = None
) -> Needs:
    """Return what the evaluation of a run on so many corpora asks for; it uses one GPU."""
    if device is None:
        return needs_of_training(spec, 0, None)
    seconds = START_SECONDS + evaluation_steps(spec, corpora) * step_seconds(spec, device, 1, speeds)
    mem_mb = math.ceil(attempt * host_mb(spec, device))
    return Needs(min(1, device.gpus_per_node), 1, mem_mb, minutes(seconds, device, attempt), seconds)


def check_fits(study: Study, device: Device, speeds: Speeds | None = None) -> None:
    """Refuse a study with a run or a rung that cannot fit the device, before anything is submitted. Raises StudyError."""
    for run, spec in study.runs.items():
        needs_of_training(spec, spec.steps - study.starts[run], device, 1, speeds)
    for trunk, steps in study.rungs.items():
        for step in steps:
            needs_of_rung(study, study.trunks[trunk], step, device, 1, speeds)
