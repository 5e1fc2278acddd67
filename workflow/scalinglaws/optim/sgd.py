"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from scalinglaws.optim.base import FlatParameters, Processes, Settings, clip, decay_matrices, parts
from scalinglaws.optim.parametrization import step_factors


class SGD:
    """Gradient descent with the momentum beta1: v <- beta1 v + g, then w <- w - rate v, without dampening; beta2 is unused.

    References
    ----------
    Sutskever et al. 2013, section 2, classical momentum, with the rate outside of v as in torch.optim.SGD.
    """

    by_element = True
    by_share = True

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings, self.processes = model, settings, processes
        self.share = processes.share(len(model.flat))
        self.momentum = torch.zeros_like(model.flat[self.share])
        self.tensors = {"momentum": self.momentum}
        self.parts = parts(model, self.share, lambda name, size: step_factors(settings, name, size).rate)

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        norm = clip(self.model, self.settings, self.processes)
        decay_matrices(self.model, self.settings, rate)
        self.momentum.mul_(self.settings.beta1).add_(self.model.grad[self.share])
        flat = self.model.flat[self.share]
        for part, factor in self.parts:
            flat[part].add_(self.momentum[part], alpha=-rate * factor)
        self.processes.spread(self.model.flat)
        return norm
