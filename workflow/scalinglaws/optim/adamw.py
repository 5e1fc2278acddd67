"""AdamW: adaptive moments with decoupled weight decay.

It calls the fused kernel below ``torch.optim.AdamW``: constructing that class imports torch._dynamo, which takes longer than
torch itself, and on a model of a few thousand parameters the class costs as much as the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scalinglaws.optim.base import FlatParameters, Processes, Settings, parts
from scalinglaws.optim.parametrization import StepFactors, step_factors

SCALED_ON = ("cpu", "cuda")  # devices whose kernel divides gradients by grad_scale; that of mps takes no notice of it
EPS = 1e-8  # added to the root of the second moment: the default of Kingma and Ba 2015 and of torch


class AdamW:
    """Adam whose weight decay acts on the matrices alone, beside the gradient.

    The moments ``exp_avg`` and ``exp_avg_sq`` are flat, as the model is. The kernel is called for each part of the flat
    buffer that has a weight decay and factors of the parametrization of its own: once or twice under the standard one.

    References
    ----------
    Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """

    by_element = True
    by_share = True

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings, self.processes = model, settings, processes
        self.share = processes.share(len(model.flat))
        like = model.flat[self.share]
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(like), torch.zeros_like(like)
        self.tensors = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        self.parts = parts(model, self.share, self._factors)
        self.count = torch.zeros((), device=model.flat.device)

    def _factors(self, name: str, size: tuple[int, ...]) -> tuple[float, StepFactors]:
        """Return the weight decay of a parameter, and its factors of the parametrization."""
        factors = step_factors(self.settings, name, size)
        return self.settings.weight_decay * factors.decay if len(size) > 1 else 0.0, factors

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        model, settings = self.model, self.settings
        norm = self.processes.norm(model.grad)
        # The kernel divides gradients by grad_scale, so that clipping needs no pass of its own.
        scale = (norm / settings.grad_clip).clamp_(min=1.0) if settings.grad_clip else None
        if scale is not None and model.grad.device.type not in SCALED_ON:
            model.grad.div_(scale)
            scale = None
        self.count.fill_(step + 1)
        flat, grad = model.flat[self.share], model.grad[self.share]
        for part, (weight_decay, factors) in self.parts:
            torch._fused_adamw_(
                [flat[part]],
                [grad[part]],
                [self.exp_avg[part]],
                [self.exp_avg_sq[part]],
                [],
                [self.count],
                lr=rate * factors.rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                weight_decay=weight_decay,
                eps=EPS * factors.eps,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )
        self.processes.spread(model.flat)
        return norm
