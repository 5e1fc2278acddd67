"""Adafactor and Muon on stacks of tensors of one shape, as a GPU runs them: torch's classes, without asking for numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.parameters import Parameters
from fixtures.small_runs import flat_model, small_spec, write_tokens
from scalinglaws.optim import stacks
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.train.trainer import Trainer
from unit.optim.test_optim import RATE, STEPS, assert_same, random_grads, torchs

KINDS = ("adafactor", "muon")


@pytest.fixture(autouse=True)
def on_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "pays", lambda flat: True)


def is_matrix(name: str, value: Tensor) -> bool:
    return value.dim() == 2 and "embedding" not in name


def parts(kind: str, params: dict[str, Tensor]) -> list[torch.optim.Optimizer]:
    if kind == "adafactor":
        return [torch.optim.Adafactor(params.values(), eps=(1e-15, 1e-3), weight_decay=0.0)]
    hidden = [value for name, value in params.items() if is_matrix(name, value)]
    rest = [value for name, value in params.items() if not is_matrix(name, value)]
    muon = torch.optim.Muon(hidden, weight_decay=0.0, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0)]


@pytest.mark.parametrize("model", ["transformer", "a user's"])
@pytest.mark.parametrize("kind", KINDS)
def test_updates_are_those_of_torchs_classes(kind: str, model: str) -> None:
    spec = small_spec(optimizer=kind, grad_clip=0.0, n_layer=3)
    made: Any = Parameters() if model == "a user's" else flat_model(spec)
    before = {name: value.detach().clone() for name, value in made.params.items()}
    optimizer, grads = build_optimizer(made, spec), []
    for step in range(STEPS):
        grads.append(random_grads(made, step))
        optimizer.update(RATE / (step + 1), step)
    # Muon's iterations are in bfloat16: they agree to its rounding, of steps that are 0.2 RATE.
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if kind == "adafactor" else {"rtol": 0.0, "atol": 0.03 * RATE}
    assert_same(made, torchs(lambda params: parts(kind, params), before, grads), **tolerance)
    assert all(not torch.equal(before[name], value) for name, value in made.params.items())


class Watch(TorchDispatchMode):
    """Counts the operations in a block, and those that ask a device for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.asked = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        self.asked += "_local_scalar_dense" in str(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_asked_for_and_depth_costs_no_operation(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {}
    for pays, n_layer in ((True, 2), (True, 12), (False, 12)):
        monkeypatch.setattr(stacks, "pays", lambda flat, pays=pays: pays)
        spec = small_spec(optimizer=kind, n_layer=n_layer)
        model = flat_model(spec)
        optimizer = build_optimizer(model, spec)
        random_grads(model, 0)
        with Watch() as watch:
            optimizer.update(RATE, 0)
        counts[pays, n_layer] = watch
    assert counts[True, 12].asked == 0
    assert counts[True, 12].operations == counts[True, 2].operations < counts[False, 12].operations / 5
    assert kind == "muon" or counts[False, 12].asked > 100


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_that_of_a_cpu_and_is_restored(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, spec = write_tokens(tmp_path), small_spec(optimizer=kind, n_layer=2)
    one, other = Trainer(spec, tokens), Trainer(spec, tokens)
    for _ in range(3):
        one.update()
    tensors, values = one.state()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    other.restore(saved, values)
    for trainer in (one, other):
        trainer.update()
    assert torch.equal(one.model.flat, other.model.flat)
    monkeypatch.setattr(stacks, "pays", lambda flat: False)
    cpu = Trainer(spec, tokens)
    assert {name: tensor.shape for name, tensor in cpu.state()[0].items()} == {name: t.shape for name, t in saved.items()}
    cpu.restore(saved, values)
    cpu.update()
    torch.testing.assert_close(cpu.model.flat, one.model.flat, rtol=0, atol=1e-5 if kind == "adafactor" else 1e-3)


def test_a_stack_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"a": (4, 2), "b": (3,), "c": (4, 2), "d": (4, 2), "e": (30, 30)}
    monkeypatch.setattr(stacks, "MOST", 16)
    assert [stack.names for stack in stacks.stacks(sizes, sizes)] == [("a", "c"), ("d",), ("b",), ("e",)]
