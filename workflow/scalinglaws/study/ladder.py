"""The checkpoint ladder: budgets of one model under warmup-stable-decay share their stable phase, the trunk.

The trunk stops at rungs of base · ratio^k tokens, rounded down to whole steps. A run takes the last rung at or below
its stable phase's end and trains the rest. Hägele et al. 2024 show that a short decay from a shared trunk matches cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Protocol

from scalinglaws.models.count import flops_attention
from scalinglaws.study.spec import RunSpec


class LadderSettings(Protocol):
    """``base`` in tokens; ``ratio`` above 1."""

    @property
    def base(self) -> int: ...

    @property
    def ratio(self) -> float: ...


def has_ladder(spec: RunSpec) -> bool:
    """Only a budget under wsd has one: other schedules depend on the budget from the first step."""
    return spec.schedule == "wsd" and spec.stop == "budget"


def rungs(ladder: LadderSettings, batch_tokens: int, last_step: int) -> list[int]:
    """The steps of the rungs up to ``last_step``, ascending."""
    steps: list[int] = []
    position, ratio = Fraction(ladder.base), Fraction(repr(ladder.ratio))
    while (step := int(position / batch_tokens)) <= last_step:
        if step > 0 and (not steps or step > steps[-1]):
            steps.append(step)
        position *= ratio
    return steps


def start_of(spec: RunSpec, ladder: LadderSettings) -> int:
    """The step of the rung that a run starts from; 0 where it has none."""
    steps = rungs(ladder, spec.batch_tokens, spec.stable_steps) if has_ladder(spec) else []
    return steps[-1] if steps else 0


def below(step: int, batch_tokens: int, ladder: LadderSettings) -> int:
    """The rung below the one at ``step``; 0 where that is the first."""
    steps = rungs(ladder, batch_tokens, step - 1)
    return steps[-1] if steps else 0


def n_vocab_guess(spec: RunSpec) -> int:
    """n_vocab for predicted cost and memory only: a given tokenizer.json is read when it is used."""
    return {"bytes": 256, "file": 32768}.get(spec.tokenizer.kind, spec.tokenizer.n_vocab or 256)


def flops_per_step(spec: RunSpec) -> int:
    """Predicted FLOP of one training step, last layer and attention counted."""
    return flops_attention(spec.shape(n_vocab_guess(spec)), spec.batch_tokens)


def trunk_steps(runs: Mapping[str, RunSpec], ladder: LadderSettings) -> dict[str, int]:
    """Trunk id -> the last rung that any of the runs starts from."""
    last: dict[str, int] = {}
    for spec in runs.values():
        if start := start_of(spec, ladder):
            trunk = spec.trunk.id
            last[trunk] = max(last.get(trunk, 0), start)
    return last


def tokens_to_train(runs: Mapping[str, RunSpec], ladder: LadderSettings) -> tuple[int, int]:
    """(tokens trained with the ladder, tokens trained run by run), exact; a stop: early run counts its max_tokens."""
    with_ladder = run_by_run = 0
    batch: dict[str, int] = {}
    for spec in runs.values():
        run_by_run += spec.steps * spec.batch_tokens
        with_ladder += (spec.steps - start_of(spec, ladder)) * spec.batch_tokens
        batch[spec.trunk.id] = spec.batch_tokens
    with_ladder += sum(step * batch[trunk] for trunk, step in trunk_steps(runs, ladder).items())
    return with_ladder, run_by_run
