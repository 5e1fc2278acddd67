"""Adafactor: second moments of a matrix as the product of row means and column means, for models whose state must be small.

On a CPU it calls the function below ``torch.optim.Adafactor``, for the reason given in adamw.py. That function asks for numbers
of each tensor, for which a GPU's queue would have to drain, and starts some thirty kernels a tensor. So on a GPU tensors of one
shape are updated together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim._adafactor import adafactor

from scalinglaws.optim import stacks
from scalinglaws.optim.base import FlatParameters, Processes, Settings, clip, decay_matrices
from scalinglaws.optim.stacks import Stack

# The floors of the paper: 1e-30 for a squared gradient (torch squares this number) and 1e-3 for the RMS that scales a step.
# torch's default for the first, 1.2e-7, also floors the mean square of a matrix's gradients, which large models are below.
EPS = (1e-15, 1e-3)


class Adafactor:
    """Adafactor without momentum, which Kaplan et al. 2020 use for N > 1e9.

    The decay of the second moments is 1 - t^-0.8 at update t (from 1); beta1 and beta2 are unused. The rate is **relative**: a
    tensor moves by at most rho · max(1e-3, RMS of its weights), in RMS, with rho = min(rate, 1 / sqrt(t)). So the rate of the
    schedule takes the place of the paper's 0.01, and after 1 / rate² updates the square root takes over. The paper's
    clipping of the update of each tensor to an RMS of 1 comes after the clipping of the whole gradient by grad_clip.

    References
    ----------
    Shazeer and Stern 2018, algorithms 4 and 5.
    """

    by_element = False

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings = model, settings
        like, sizes = model.flat, model.sizes.items()
        rows = {name: like.new_zeros(*size[:-1], 1) for name, size in sizes if len(size) > 1}
        columns = {name: like.new_zeros(*size[:-2], 1, size[-1]) for name, size in sizes if len(size) > 1}
        whole = {name: like.new_zeros(size) for name, size in sizes if len(size) == 1}
        kinds = {"rows": rows, "columns": columns, "exp_avg_sq": whole}
        self.stacks = stacks.stacks(model.sizes, model.sizes) if stacks.pays(model.flat) else []
        self.stacked = [{kind: _stack(stack, named) for kind, named in kinds.items()} for stack in self.stacks]
        self.moments: list[list[Any]] = [[named.get(name) for name in model.sizes] for named in kinds.values()]
        self.tensors = {f"{name}.{kind}": t.view(-1) for kind, named in kinds.items() for name, t in named.items()}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        params, grads = list(self.model.params.values()), list(self.model.grads.values())
        rows, columns, whole = self.moments
        norm = clip(self.model, self.settings)
        decay_matrices(self.model, self.settings, rate)
        for stack, moments in zip(self.stacks, self.stacked, strict=True):
            self._update_stack(stack, moments, rate, step + 1)
        if self.stacks:
            return norm
        adafactor(
            params,
            grads,
            rows,
            columns,
            whole,
            [torch.tensor(float(step)) for _ in params],  # adafactor counts each of them up
            lr=rate,
            beta2_decay=-0.8,
            d=1.0,
            eps1=EPS[0],
            eps2=EPS[1],
            weight_decay=0.0,
            maximize=False,
        )
        return norm

    def _update_stack(self, stack: Stack, moments: dict[str, Tensor | None], rate: float, t: int) -> None:
        """Take update ``t`` (from 1) of a stack as ``torch.optim.Adafactor`` does, without asking the device for numbers."""
        grad, params = stack.stacked(self.model.grads), stack.of(self.model.params)
        rows, columns, whole = moments.values()
        if rows is not None and columns is not None:
            rows.lerp_(torch.linalg.vector_norm(grad, dim=-1, keepdim=True).square_().div_(grad.shape[-1]), t**-0.8)
            columns.lerp_(torch.linalg.vector_norm(grad, dim=-2, keepdim=True).square_().div_(grad.shape[-2]), t**-0.8)
            moment = (rows @ columns).div_(rows.mean(dim=-2, keepdim=True).clamp_(min=EPS[0]))
        else:
            assert whole is not None
            moment = whole.lerp_(grad * grad, t**-0.8).clone()
        update = moment.clamp_(min=EPS[0] ** 2).rsqrt_().mul_(grad)
        root = math.sqrt(stack.numel)
        sizes = (torch.stack(torch._foreach_norm(params)) / root).clamp_(min=EPS[1])
        lengths = (stack.norms(update) / root).clamp_(min=1.0)
        update.mul_(stack.scale(sizes * -min(rate, t**-0.5) / lengths))
        torch._foreach_add_(params, list(update.unbind()))


def _stack(stack: Stack, named: dict[str, Tensor]) -> Tensor | None:
    """Bring the moments of a stack's parameters together, of which those in ``named`` become views; None where there are none."""
    if stack.names[0] not in named:
        return None
    whole = stack.stacked(named)
    named.update(zip(stack.names, whole.unbind(), strict=True))
    return whole
