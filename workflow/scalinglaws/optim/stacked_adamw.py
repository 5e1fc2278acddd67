"""AdamW for a stack: many models of one shape, each with a learning rate and a number of updates of its own, in one step.

The arithmetic is that of ``torch._fused_adamw_``, which takes one rate for all that it is given. Each operation here works on the
whole stack at once and on each row alone, so that a row with NaN leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from scalinglaws.optim.adamw import EPS
from scalinglaws.optim.base import Settings, parts
from scalinglaws.optim.parametrization import StepFactors, step_factors


class StackedParameters(Protocol):
    """Models of one shape: a row of ``flat`` has the parameters of one, of which the last few entries may belong to none."""

    flat: Tensor  # (E, P) float32
    grad: Tensor  # (E, P), a row is the gradient of the mean loss of one model

    @property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the parameters of one model by name, in the order of a row."""


class StackedAdamW:
    """``AdamW`` on each row of a stack. A row of ``exp_avg`` and ``exp_avg_sq``, (E, P) each, is the state of one model.

    Parameters
    ----------
    model
        The models.
    settings
        What all of them share: betas, weight decay, the largest norm of a gradient and the parametrization.
    """

    def __init__(self, model: StackedParameters, settings: Settings):
        self.model, self.settings = model, settings
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(model.flat), torch.zeros_like(model.flat)
        # What differs from column to column: each (P,), so that a step takes as many kernels whatever the parametrization is.
        self.rate, self.decay, self.eps = (torch.zeros_like(model.flat[0]) for _ in range(3))
        for part, (weight_decay, factors) in parts(model, slice(0, model.flat.shape[1]), self._factors):
            self.rate[part], self.eps[part] = factors.rate, EPS * factors.eps
            self.decay[part] = factors.rate * weight_decay
        self.eps[self.eps == 0] = EPS  # of the columns that belong to no parameter

    def _factors(self, name: str, size: tuple[int, ...]) -> tuple[float, StepFactors]:
        """Return the weight decay of a parameter, and its factors of the parametrization."""
        factors = step_factors(self.settings, name, size)
        return self.settings.weight_decay * factors.decay if len(size) > 1 else 0.0, factors

    @torch.no_grad()
    def update(self, rates: Sequence[float], steps: Sequence[int]) -> Tensor:
        """Change the weights of each model by its row of ``model.grad``, which is overwritten.

        Parameters
        ----------
        rates
            The learning rate of each of the E models.
        steps
            The number of updates of each before this one.

        Returns
        -------
        Tensor
            (E,) the norms of the gradients before clipping, on the device of the models.
        """
        model, beta1, beta2 = self.model, self.settings.beta1, self.settings.beta2
        norm = torch.linalg.vector_norm(model.grad, dim=1)
        if self.settings.grad_clip:
            model.grad.div_((norm / self.settings.grad_clip).clamp_(min=1.0)[:, None])
        # In float64 on the host, as the kernel for a single model has them: rate, rate over bias 1, root of bias 2.
        biased = [[r, r / (1 - beta1 ** (s + 1)), (1 - beta2 ** (s + 1)) ** 0.5] for r, s in zip(rates, steps, strict=True)]
        rate, step, root = to_device(biased, model.flat).unbind(1)
        self.exp_avg.lerp_(model.grad, 1 - beta1)
        self.exp_avg_sq.mul_(beta2).addcmul_(model.grad, model.grad, value=1 - beta2)
        if self.settings.weight_decay:
            model.flat.mul_(1 - rate[:, None] * self.decay)
        size = self.exp_avg_sq.sqrt().div_(root[:, None]).add_(self.eps)
        model.flat.sub_((step[:, None] * self.rate).mul_(self.exp_avg).div_(size))
        return norm


def to_device(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return numbers as a float32 tensor on the device of ``like``; a GPU is not waited for."""
    return torch.tensor(rows, dtype=torch.float32, pin_memory=like.is_cuda).to(like.device, non_blocking=True)
