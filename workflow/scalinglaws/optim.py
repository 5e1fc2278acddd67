"""AdamW with gradient clipping over a model's flat buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scalinglaws.errors import StudyError

if TYPE_CHECKING:
    from scalinglaws.models.flat import Model
    from scalinglaws.spec import RunSpec

EPS = 1e-8


class AdamW:
    """Loshchilov and Hutter 2019; weight decay on matrices only. ``exp_avg`` and ``exp_avg_sq`` are flat, as the model is.

    Calls the fused kernel below torch.optim.AdamW: on a model of a few thousand parameters the class around it costs as
    much as the arithmetic.
    """

    def __init__(self, model: Model, spec: RunSpec):
        if spec.optimizer != "adamw":
            raise StudyError(f"optimizer: {spec.optimizer!r} of run {spec.id} is unknown: use adamw")
        self.model, self.spec = model, spec
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(model.flat), torch.zeros_like(model.flat)
        n = model.n_matrix
        everything, matrices, vectors = slice(None), slice(0, n), slice(n, None)
        decayed = [(matrices, spec.weight_decay), (vectors, 0.0)]
        self.parts = decayed if spec.weight_decay else [(everything, 0.0)]
        self.count = torch.zeros((), device=model.flat.device)

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take update number ``step`` (from 0) with model.grad; returns the gradient's norm before clipping, 0-d."""
        model, spec = self.model, self.spec
        norm = torch.linalg.vector_norm(model.grad)
        # The kernel divides gradients by grad_scale: clipping needs no pass of its own.
        scale = (norm / spec.grad_clip).clamp_(min=1.0) if spec.grad_clip else None
        self.count.fill_(step + 1)
        for part, weight_decay in self.parts:
            torch._fused_adamw_(
                [model.flat[part]],
                [model.grad[part]],
                [self.exp_avg[part]],
                [self.exp_avg_sq[part]],
                [],
                [self.count],
                lr=rate,
                beta1=spec.beta1,
                beta2=spec.beta2,
                weight_decay=weight_decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )
        return norm
