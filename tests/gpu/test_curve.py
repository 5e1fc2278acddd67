"""The learning curve in bfloat16 against that of the CPU in float32: the same data, rates and initial weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fixtures.on_a_gpu import sized, trainer_on
from scalinglaws.train.trainer import Trainer

STEPS = 200
NATS = 0.02


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_two_hundred_steps_in_bfloat16(tokens: Path, device: str, compiled: bool, record_property: Any) -> None:
    if compiled and device == "cpu":
        pytest.skip("needs a GPU: a CPU takes minutes for it, and test_against_gpt2.py holds compiled code to float64 there too")
    spec = sized(2, 64, n_ctx=64, batch_tokens=1024, tokens=1024 * STEPS, curve_tokens=4096, learning_rate=0.003)
    exact = Trainer(spec, tokens, "cpu")
    other = trainer_on(dataclasses.replace(spec, precision="bfloat16"), tokens, device, compiled)
    assert not compiled or other.gradient.compiled == "yes", other.gradient.compiled
    for _ in range(STEPS):
        exact.update()
        other.update()
    exact.add_row(final=True)
    other.add_row(final=True)
    apart = [
        abs(ours[name] - theirs[name])
        for ours, theirs in zip(other.rows, exact.rows, strict=True)
        for name in ("loss_train", "loss_test")
    ]
    first, last = exact.rows[0]["loss_test"], exact.rows[-1]["loss_test"]
    record_property("largest difference", f"{max(apart):.4f} nats over {len(exact.rows)} points")
    record_property("test loss", f"{first:.2f} to {last:.2f}")
    assert last < first - 1, "the curve must fall for its shape to be compared"
    assert max(apart) < NATS
