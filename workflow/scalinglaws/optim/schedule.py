"""Learning rates and evaluation steps: pure functions of a spec and an absolute step. No torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scalinglaws.common.errors import StudyError

if TYPE_CHECKING:
    from scalinglaws.study.spec import RunSpec

# The validation loss of the first steps falls fast whatever the data: patience starts to count here.
FIRST_VALIDATION_STEP = 32
# A point of the curve takes as long as some steps, and no law looks at the first.
FIRST_CURVE_STEP = 8


def phase(spec: RunSpec, step: int) -> str:
    """warmup, stable or decay: of the update that takes the model from ``step`` updates to one more."""
    if step < spec.warmup_steps:
        return "warmup"
    if spec.schedule == "constant" or (spec.schedule == "wsd" and (not spec.tokens or step < spec.stable_steps)):
        return "stable"
    return "decay"


def learning_rate(spec: RunSpec, step: int) -> float:
    """The rate of the update that takes the model from ``step`` updates to one more.

    Warm-up is linear. Then wsd is constant until ``spec.stable_steps`` and falls as 1 - sqrt to zero at ``spec.steps``
    (Hägele et al. 2024); cosine and linear fall to zero from the end of the warm-up; a trunk (no tokens) never falls.
    Raises StudyError for an unknown schedule.
    """
    if spec.schedule not in ("wsd", "cosine", "linear", "constant"):
        raise StudyError(f"schedule: {spec.schedule!r} of run {spec.id} is unknown: use wsd, cosine, linear or constant")
    now = phase(spec, step)
    if now == "warmup":
        return spec.learning_rate * (step + 1) / spec.warmup_steps
    if now == "stable":
        return spec.learning_rate
    start = spec.stable_steps if spec.schedule == "wsd" else spec.warmup_steps
    done = min(1.0, (step - start) / (spec.steps - start))
    falls = {"wsd": 1 - math.sqrt(done), "cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}
    return spec.learning_rate * falls[spec.schedule]


def kaplan_rate(n_params: float) -> float:
    """LR(N) of Kaplan et al. 2020 (D.1), for Adam and batches of 2^19 tokens; negative from N near 1.2e10 on."""
    return 0.003239 - 0.0001395 * math.log(n_params)


def is_eval_step(step: int) -> bool:
    """Whether the curve has a point after ``step`` updates: round(2^(k/4)) for whole k, from 8 on.

    Depends on the absolute step alone, never on the budget, so a run and its trunk have the same points.
    """
    if step < FIRST_CURVE_STEP:
        return False
    near = round(4 * math.log2(step))
    return any(round(2 ** (k / 4)) == step for k in (near - 1, near, near + 1))


def is_validation_step(spec: RunSpec, step: int) -> bool:
    """Whether the point of the curve after ``step`` updates has a validation loss: in runs that stop early, from 32 on."""
    return spec.stop == "early" and step >= FIRST_VALIDATION_STEP and is_eval_step(step)
