"""Two steps of each optimizer against NumPy's float64 and the formulas of the papers (references.py)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.on_a_gpu import model_on, sized
from gpu.references import Settings, steps
from scalinglaws.optim import stacks
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.registry import OPTIMIZERS

# The largest error of an update over its length. Muon's iterations are in bfloat16 here and in float64 there.
TOLERANCES = {"muon": 0.03}
RATES = {"sgd": 1.0}  # a clipped gradient of many numbers is short: a smaller step would be lost in the rounding of float32
STEPS = 2


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_two_steps_are_those_of_the_papers(kind: str, device: str, record_property: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "pays", lambda flat: True)  # as on a GPU: tensors of one shape are updated together
    rate = RATES.get(kind, 0.02)
    spec = sized(3, 64, 16, optimizer=kind, weight_decay=0.5, beta1=0.9, beta2=0.95, grad_clip=1.0)
    model = model_on(spec, device)
    optimizer = build_optimizer(model, spec)
    generator, gradients = torch.Generator().manual_seed(0), []
    before = {name: value.detach().cpu().double().numpy() for name, value in model.params.items()}
    for step in range(STEPS):
        drawn = torch.randn(len(model.flat), generator=generator)
        model.grad.copy_(drawn)
        gradients.append({name: value.cpu().double().numpy().copy() for name, value in model.grads.items()})
        norm = optimizer.update(rate, step)
        assert float(norm) == pytest.approx(float(drawn.double().norm()), rel=1e-5)
    settings = Settings(rate, spec.beta1, spec.beta2, spec.weight_decay, spec.grad_clip)
    wanted = steps(kind, settings, before, gradients)
    errors = {}
    for name, value in model.params.items():
        error = np.linalg.norm(value.detach().cpu().double().numpy() - wanted[name])
        errors[name] = float(error / np.linalg.norm(wanted[name] - before[name]))
    worst = max(errors, key=errors.__getitem__)
    record_property("error", f"{errors[worst]:.1e} ({worst})")
    assert math.isfinite(errors[worst]) and errors[worst] < TOLERANCES.get(kind, 1e-4)
