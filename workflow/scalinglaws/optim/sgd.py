"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from scalinglaws.optim.base import FlatParameters, Processes, Settings, clip, decay_matrices


class SGD:
    """Gradient descent with the momentum beta1: v <- beta1 v + g, then w <- w - rate v, without dampening; beta2 is unused.

    References
    ----------
    Sutskever et al. 2013, section 2, classical momentum, with the rate outside of v as in torch.optim.SGD.
    """

    by_element = True

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings, self.processes = model, settings, processes
        self.share = processes.share(len(model.flat))
        self.momentum = torch.zeros_like(model.flat[self.share])
        self.tensors = {"momentum": self.momentum}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        norm = clip(self.model, self.settings)
        decay_matrices(self.model, self.settings, rate)
        self.momentum.mul_(self.settings.beta1).add_(self.model.grad[self.share])
        self.model.flat[self.share].add_(self.momentum, alpha=-rate)
        self.processes.spread(self.model.flat)
        return norm
