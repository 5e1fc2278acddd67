"""A stack of 64 tiny runs against each of them alone: the same losses, and how much faster it is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.on_a_gpu import sized, trainer_on
from scalinglaws.train.stack import Stack
from scalinglaws.train.trainer import Trainer

MEMBERS, LOOKED_AT, STEPS = 64, (0, 31, 63), 20
# Relative difference of a training loss. In bfloat16 a stack adds a bias after the product is rounded (docs/gpu.md, Stacks).
NEAR = {"float32": 1e-4, "bfloat16": 5e-3}


@pytest.mark.parametrize("precision", NEAR)
def test_a_stack_of_64_has_the_losses_of_runs_alone(tokens: Path, device: str, precision: str, record_property: Any) -> None:
    members = MEMBERS if device == "cuda" else len(LOOKED_AT)
    looked_at = LOOKED_AT if device == "cuda" else range(members)
    base = sized(2, 32, 16, n_ctx=128, batch_tokens=2048, tokens=2048 * STEPS, curve_tokens=2048, precision=precision)
    specs = [dataclasses.replace(base, seed=row, learning_rate=0.002 * (1 + row % 4)) for row in range(members)]
    stack = Stack(members, Trainer(specs[0], tokens, device))
    for row, spec in enumerate(specs):
        stack.put(Trainer(spec, tokens, device), row)
    alone = {row: trainer_on(specs[row], tokens, device, compiled=False) for row in looked_at}
    seconds = timed(stack.update, device)
    lone = sum(timed(trainer.update, device) for trainer in alone.values()) / len(alone)
    apart = 0.0
    for row, trainer in alone.items():
        member = stack.rows[row]
        assert member is not None and member.step == trainer.step == STEPS
        apart = max(apart, abs(float(member.loss_sum) / float(trainer.loss_sum) - 1))
    record_property("largest difference of a mean training loss", f"{apart:.1e}")
    record_property(f"{members} steps alone over one of the stack, uncompiled", f"{members * lone / seconds:.1f}")
    assert apart < NEAR[precision]


def timed(update: Callable[[], None], device: str) -> float:
    """Return the mean seconds of an update after the first two, of STEPS in all."""
    began = 0.0
    for step in range(STEPS):
        if step == 2:
            wait(device)
            began = time.perf_counter()
        update()
    wait(device)
    return (time.perf_counter() - began) / (STEPS - 2)


def wait(device: str) -> None:
    """Wait until a GPU has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()
