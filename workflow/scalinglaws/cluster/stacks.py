"""Which members of a bundle are trained as a stack (train/stack.py), and how many of them a GPU has memory for.

On a GPU the members of one shape share a process, in which every kernel works on all of them. Others get a process each. Where a
profile asks for equal bits (``deterministic: true``), and on CPUs, whose bits are promised for each number of threads, there are
no stacks: a stack gives what its members give alone but for rounding.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path

from scalinglaws.cluster.bundle import Member
from scalinglaws.cluster.cost import H100, busy_seconds, gpu_seconds
from scalinglaws.cluster.needs import CONTEXT_BYTES, gpu_bytes
from scalinglaws.common.errors import StudyError
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.study.ladder import n_vocab_guess
from scalinglaws.study.paths import run_folder, rung_path
from scalinglaws.study.plugins import read_run
from scalinglaws.study.spec import RunSpec

MOST_ROWS = 64  # trainings of a stack: more of them fill a GPU whatever their size, and are another process
ROOM = 0.9  # share of a GPU's memory that a stack may be expected to take
FULL = 0.5  # share of a step for which the kernels of a run may keep a GPU busy: above it, a stack saves less than half
LOGIT_BYTES = 16  # bytes of a logit in float32, as its probability, as its gradient and in the precision of products


def reason_alone(spec: RunSpec) -> str:
    """Say why a run cannot be trained in a stack, in words that follow its name; empty where it can."""
    if not ARCHITECTURES.find(spec.architecture).stacks:
        return f"has the architecture {spec.architecture}, which torch.func.vmap cannot compute"
    reasons = {
        f"has the optimizer {spec.optimizer}: only adamw works on a stack": spec.optimizer != "adamw",
        "has dropout, whose noise would depend on the other members": spec.dropout > 0,
        "stops early": spec.stop == "early",
        "measures the gradient noise scale": spec.noise_every > 0,
        "keeps a GPU busy by itself": busy_seconds(spec, H100) > FULL * gpu_seconds(spec, H100),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def shape_of(spec: RunSpec) -> str:
    """Return what the members of a stack must have in common, as text.

    It is all of a spec but the seed, the learning rate and its schedule, the budget, the part of the training data, what the
    weights begin from, and how much held-out text measures the losses.
    """
    free = {"seed": 0, "learning_rate": 1.0, "rate_sweep": "", "warmup_tokens": 0, "schedule": "constant", "tokens": 0}
    free |= {"decay": 0.0, "dataset_tokens": None, "init": (), "eval_tokens": 1, "curve_tokens": 1}
    return dataclasses.replace(spec, **free).canonical  # type: ignore[arg-type]


def specs_of(member: Member, results: Path) -> list[RunSpec]:
    """Return the specs of the runs that a member trains, or of its trunk where it trains rungs alone.

    One that cannot be read is left out: the process that is to train it says why.
    """
    folders = [run_folder(results, run) for run in member.runs]
    if not folders and member.rungs:
        folders = [rung_path(results, member.name, member.rungs[0]).parent]
    found = []
    for folder in folders:
        with contextlib.suppress(StudyError):
            found.append(read_run(folder / "spec.json", results))
    return found


def grouped(members: list[Member], results: Path) -> list[list[Member]]:
    """Divide members among processes: those that one stack can train together, and each other one alone.

    Parameters
    ----------
    members
        The members of a bundle.
    results
        The folder of results, which has their specs.

    Returns
    -------
    list
        Members of like expected time are together. No group has more than ``MOST_ROWS``.
    """
    shapes: dict[str, list[Member]] = {}
    for member in sorted(members, key=lambda member: (member.seconds, member.name)):
        specs = specs_of(member, results)
        key = member.name if not specs or any(map(reason_alone, specs)) else shape_of(specs[0])
        shapes.setdefault(key, []).append(member)
    return [same[i : i + MOST_ROWS] for same in shapes.values() for i in range(0, len(same), MOST_ROWS)]


def member_bytes(spec: RunSpec) -> float:
    """Return the memory in bytes that one member of a stack takes on a GPU.

    It is that of the run alone at its whole micro-batch, and of the logits of that micro-batch, which a stack makes at once.
    """
    tokens = spec.micro_batch_tokens or spec.batch_tokens
    return gpu_bytes(spec, tokens=tokens) + LOGIT_BYTES * n_vocab_guess(spec) * tokens


def rows_that_fit(spec: RunSpec, room: float) -> int:
    """Return how many members of a stack fit so many bytes of a GPU's memory, at most ``MOST_ROWS``; 0 or 1 is no stack."""
    return max(0, min(MOST_ROWS, math.floor((ROOM * room - CONTEXT_BYTES) / member_bytes(spec))))
