"""Trains a few steps in float64 in as many processes as torchrun started, and saves what the first has.

python -m torch.distributed.run --standalone --nproc-per-node=2 tests/unit/together.py SPECS TOKENS OUT.pt
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from scalinglaws.models.flat import views
from scalinglaws.optim import build_optimizer
from scalinglaws.parallel import ALONE, Processes, join, leave
from scalinglaws.spec import RunSpec, read_spec
from scalinglaws.trainer import Trainer

STEPS = 12


def doubled(spec: RunSpec, tokens: Path, processes: Processes = ALONE) -> Trainer:
    """A trainer whose weights, gradients and optimizer are float64."""
    trainer = Trainer(spec, tokens, "cpu", processes)
    model = trainer.model
    model.flat, model.grad = model.flat.double(), model.grad.double()
    model.params, model.values = views(model.flat, model.sizes), views(model.flat, model.sizes)
    model.grads = views(model.grad, model.sizes)
    for name, parameter in model.params.items():
        parameter.requires_grad_(True)
        parameter.grad = model.grads[name]
    trainer.optimizer = build_optimizer(model, spec, processes)
    return trainer


def steps(spec: RunSpec, tokens: Path, processes: Processes = ALONE) -> dict[str, Any]:
    """Weights, gradient, state, curve and noise scale after STEPS updates, half of them by a trainer that was restored."""
    trainer = doubled(spec, tokens, processes)
    for _ in range(STEPS // 2):
        trainer.update()
    saved = processes.from_first(trainer.state())
    trainer = doubled(spec, tokens, processes)
    trainer.restore(*saved)
    for _ in range(STEPS // 2):
        trainer.update()
    noise = trainer.noise.moving if trainer.noise else torch.zeros(2)
    return {"grad": trainer.model.grad, "state": trainer.state()[0], "rows": trainer.rows, "noise": noise}


def main() -> None:
    """Train each spec of a folder."""
    specs, tokens, out = (Path(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)
    processes = join("cpu")
    found = {path.stem: steps(read_spec(path), tokens, processes) for path in sorted(specs.glob("*.json"))}
    leave()
    if processes.first:
        torch.save(found, out)


if __name__ == "__main__":
    main()
