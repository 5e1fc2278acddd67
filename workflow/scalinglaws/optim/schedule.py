"""Learning rates over the steps of a run: pure functions of its settings and an absolute step. It imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal


class Scheduled(Protocol):
    """The settings of a run that its schedule reads; tokens are 0 for a trunk, which has no budget."""

    @property
    def id(self) -> str: ...

    @property
    def schedule(self) -> str: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def tokens(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def stable_steps(self) -> int: ...

    @property
    def warmup_steps(self) -> int: ...


def one_minus_sqrt(done: float) -> float:
    """Return the decay of warmup-stable-decay in Hägele et al. 2024, section 3."""
    return 1 - math.sqrt(done)


def half_cosine(done: float) -> float:
    """Return the decay of Loshchilov and Hutter 2017, equation 5, without restarts, to zero."""
    return 0.5 * (1 + math.cos(math.pi * done))


def linear(done: float) -> float:
    """Return a straight line to zero."""
    return 1 - done


# Schedule -> what is left of the rate when a share ``done``, from 0 to 1, of its decay has passed; None where it never decays.
DECAYS: dict[str, Callable[[float], float] | None] = {
    "wsd": one_minus_sqrt,
    "cosine": half_cosine,
    "linear": linear,
    "constant": None,
}


def phase(spec: Scheduled, step: int) -> str:
    """Name the phase of the update that takes the model from ``step`` updates to one more: warmup, stable or decay."""
    if step < spec.warmup_steps:
        return "warmup"
    if spec.schedule == "constant" or (spec.schedule == "wsd" and (not spec.tokens or step < spec.stable_steps)):
        return "stable"
    return "decay"


def learning_rate(spec: Scheduled, step: int, peak: float | None = None) -> float:
    """Return the rate of the update that takes the model from ``step`` updates to one more.

    The warm-up is linear. Then wsd stays constant until ``spec.stable_steps`` and falls to zero at ``spec.steps``; cosine and
    linear fall to zero from the end of the warm-up; a trunk (no tokens) never falls. ``peak`` is the rate after the warm-up where
    it is not that of ``spec``.

    Raises
    ------
    StudyError
        The schedule is unknown.
    """
    if spec.schedule not in DECAYS:
        raise StudyError(f"schedule: {spec.schedule!r} of run {spec.id} is unknown: {proposal(spec.schedule, DECAYS)}")
    decay, now = DECAYS[spec.schedule], phase(spec, step)
    peak = spec.learning_rate if peak is None else peak
    if now == "warmup":
        return peak * (step + 1) / spec.warmup_steps
    if now == "stable" or decay is None:
        return peak
    start = spec.stable_steps if spec.schedule == "wsd" else spec.warmup_steps
    done = min(1.0, (step - start) / (spec.steps - start))
    return peak * decay(done)
