"""The checkpoint ladder: budgets of one model under warmup-stable-decay share their stable phase, the trunk.

The trunk stops at rungs of base · ratio^k tokens, rounded down to whole steps. A run takes the last rung at or below the end of
its stable phase and trains the rest. Hägele et al. 2024 show that a short decay from a shared trunk matches a cosine schedule.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Protocol

from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import flops_attention
from scalinglaws.study.spec import RunSpec

MOST_RUNGS = 1000  # of a trunk


class LadderSettings(Protocol):
    """The places of rungs: the first is at ``base`` tokens, each later one ``ratio`` times as far; ``ratio`` is above 1."""

    @property
    def base(self) -> int: ...

    @property
    def ratio(self) -> float: ...


def has_ladder(spec: RunSpec) -> bool:
    """Tell whether a run shares a trunk: under every schedule but wsd, the rate depends on the budget from the first step on."""
    return spec.schedule == "wsd" and spec.stop == "budget"


def rungs(ladder: LadderSettings, batch_tokens: int, last_step: int) -> list[int]:
    """Return the steps of the rungs up to ``last_step``, ascending. Raises StudyError where there are too many."""
    last = max(0, last_step)
    factors = math.log(max(1, (last + 1) * batch_tokens / ladder.base)) / math.log1p(ladder.ratio - 1)
    if factors > MOST_RUNGS:
        raise StudyError(
            f"ladder.ratio: {ladder.ratio} with base {ladder.base} puts {factors:,.0f} rungs below {last * batch_tokens:,} "
            f"tokens: there may be {MOST_RUNGS:,} at most, so raise the ratio or the base"
        )
    steps = _rungs(ladder.base, ladder.ratio, batch_tokens, 1 << last.bit_length())
    return list(steps[: bisect_right(steps, last_step)])


@cache
def _rungs(base: int, ratio: float, batch_tokens: int, last_step: int) -> tuple[int, ...]:
    """Compute ``rungs`` up to a power of two once for all the runs of a study that have the same batch."""
    steps: list[int] = []
    position, factor = Fraction(base), Fraction(repr(ratio))
    while (step := int(position / batch_tokens)) <= last_step:
        if step > 0 and (not steps or step > steps[-1]):
            steps.append(step)
        position *= factor
    return tuple(steps)


def rungs_of_run(spec: RunSpec, ladder: LadderSettings) -> list[int]:
    """Return the steps of the rungs in the stable phase of a run, ascending; none where it has no ladder."""
    return rungs(ladder, spec.batch_tokens, spec.stable_steps) if has_ladder(spec) else []


def start_of(spec: RunSpec, ladder: LadderSettings) -> int:
    """Return the step of the rung that a run starts from; 0 where it starts from nothing."""
    steps = rungs_of_run(spec, ladder)
    return steps[-1] if steps else 0


def below(step: int, batch_tokens: int, ladder: LadderSettings) -> int:
    """Return the step of the rung below the one at ``step``; 0 where that is the first."""
    steps = rungs(ladder, batch_tokens, step - 1)
    return steps[-1] if steps else 0


def needed_rungs(
    runs: Mapping[str, RunSpec], ladder: LadderSettings, exists: Callable[[str, int], bool] = lambda trunk, step: False
) -> dict[str, list[int]]:
    """Answer which rungs must be trained before these runs can start: the one query of the ladder that all others use.

    Parameters
    ----------
    runs
        The runs that are to be trained, by id. Those without a ladder need no rung.
    ladder
        The study's ladder.
    exists
        Whether the rung of a trunk at a step is there already. A run needs its own rung and those below it, down to the first
        that is there; by default nothing is.

    Returns
    -------
    dict
        Trunk id -> steps of its rungs, ascending. Trunks that need none are left out.
    """
    needed: dict[str, set[int]] = {}
    for spec in runs.values():
        steps = rungs_of_run(spec, ladder)
        if not steps:
            continue
        trunk = spec.trunk.id
        found = needed.setdefault(trunk, set())
        for step in reversed(steps):
            if step in found or exists(trunk, step):
                break
            found.add(step)
    return {trunk: sorted(steps) for trunk, steps in needed.items() if steps}


def n_vocab_guess(spec: RunSpec) -> int:
    """Guess the vocabulary for predicted cost and memory: a given tokenizer.json is read only when it is used."""
    return {"bytes": 256, "file": 32768}.get(spec.tokenizer.kind, spec.tokenizer.n_vocab or 256)


def flops_per_step(spec: RunSpec) -> int:
    """Predict the FLOP of one training step; the last layer and attention are counted."""
    return flops_attention(spec.shape(n_vocab_guess(spec)), spec.batch_tokens)


def tokens_to_train(runs: Mapping[str, RunSpec], ladder: LadderSettings) -> tuple[int, int]:
    """Return (tokens trained with the ladder, tokens trained run by run), exact; a run that stops early counts its max_tokens."""
    with_ladder = run_by_run = 0
    batch: dict[str, int] = {}
    for spec in runs.values():
        run_by_run += spec.steps * spec.batch_tokens
        with_ladder += (spec.steps - start_of(spec, ladder)) * spec.batch_tokens
        batch[spec.trunk.id] = spec.batch_tokens
    with_ladder += sum(steps[-1] * batch[trunk] for trunk, steps in needed_rungs(runs, ladder).items())
    return with_ladder, run_by_run
