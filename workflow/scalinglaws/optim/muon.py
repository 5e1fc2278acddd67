"""Muon: matrices of layers move by their momentum made near-orthogonal, everything else by AdamW.

On a CPU it calls the function below ``torch.optim.Muon``, for the reason given in adamw.py. That function starts some twenty
kernels a matrix, so that on a GPU matrices of one shape are updated together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim import _muon as torch_muon

from scalinglaws.optim import stacks
from scalinglaws.optim.adamw import EPS
from scalinglaws.optim.base import FlatParameters, Processes, Settings, clip, decay_matrices
from scalinglaws.optim.stacks import Stack


class Muon:
    """Muon for matrices of layers; AdamW at the same rate for embeddings, biases, norms and tensors of three dimensions.

    The momentum is beta1, of Nesterov's kind; five Newton-Schulz iterations in bfloat16 make it near-orthogonal. An update of an
    (m, n) matrix is scaled by 0.2 sqrt(max(m, n)), about the RMS of AdamW's updates, so that one rate serves all. AdamW has
    beta1 and beta2. A matrix is what the model stores: if queries, keys and values are stored as one, they are one.

    References
    ----------
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al. 2025, equation 4 for the scale.
    """

    by_element = False

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings = model, settings
        self.hidden = [name for name, size in model.sizes.items() if len(size) == 2 and not _is_embedding(name)]
        self.rest = [name for name in model.sizes if name not in self.hidden]
        self.momentum = [torch.zeros_like(model.grads[name]) for name in self.hidden]
        self.stacks = stacks.stacks(model.sizes, self.hidden) if stacks.pays(model.flat) else []
        self.stacked: list[Tensor] = []
        if self.stacks:
            named = dict(zip(self.hidden, self.momentum, strict=True))
            self.stacked = [stack.stacked(named) for stack in self.stacks]
            for stack, whole in zip(self.stacks, self.stacked, strict=True):
                named.update(zip(stack.names, whole.unbind(), strict=True))
            self.momentum = list(named.values())
        self.exp_avg = [torch.zeros_like(model.grads[name]) for name in self.rest]
        self.exp_avg_sq = [torch.zeros_like(model.grads[name]) for name in self.rest]
        self.count = torch.zeros((), device=model.flat.device)
        self.tensors = {f"{name}.momentum": t.view(-1) for name, t in zip(self.hidden, self.momentum, strict=True)}
        for kind, tensors in (("exp_avg", self.exp_avg), ("exp_avg_sq", self.exp_avg_sq)):
            self.tensors |= {f"{name}.{kind}": t.view(-1) for name, t in zip(self.rest, tensors, strict=True)}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        model, settings = self.model, self.settings
        norm = clip(model, settings)
        decay_matrices(model, settings, rate)
        for stack, momentum in zip(self.stacks, self.stacked, strict=True):
            self._update_stack(stack, momentum, rate)
        if not self.stacks:
            self._update_matrices(rate)
        self.count.fill_(step + 1)
        torch._fused_adamw_(
            [model.params[name] for name in self.rest],
            [model.grads[name] for name in self.rest],
            self.exp_avg,
            self.exp_avg_sq,
            [],
            [self.count] * len(self.rest),
            lr=rate,
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
        return norm

    def _update_matrices(self, rate: float) -> None:
        """Update the matrices of layers one after another."""
        model = self.model
        torch_muon.muon(
            [model.params[name] for name in self.hidden],
            [model.grads[name] for name in self.hidden],
            self.momentum,
            lr=rate,
            weight_decay=0.0,
            momentum=self.settings.beta1,
            nesterov=True,
            ns_coefficients=(torch_muon.DEFAULT_A, torch_muon.DEFAULT_B, torch_muon.DEFAULT_C),
            ns_steps=torch_muon.DEFAULT_NS_STEPS,
            eps=torch_muon.EPS,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )

    def _update_stack(self, stack: Stack, momentum: Tensor, rate: float) -> None:
        """Update the matrices of a stack: what ``torch.optim.Muon`` does to each, by batched products."""
        grad = stack.stacked(self.model.grads)
        momentum.lerp_(grad, 1 - self.settings.beta1)
        x = grad.lerp_(momentum, self.settings.beta1).bfloat16()
        x.div_(stack.scale(stack.norms(x).clamp_(min=torch_muon.EPS)))
        m, n = stack.size
        x = x.mT if m > n else x
        a, b, c = torch_muon.DEFAULT_A, torch_muon.DEFAULT_B, torch_muon.DEFAULT_C
        for _ in range(torch_muon.DEFAULT_NS_STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        update = (x.mT if m > n else x).to(momentum.dtype)
        torch._foreach_add_(stack.of(self.model.params), list(update.unbind()), alpha=-0.2 * math.sqrt(max(m, n)) * rate)


def _is_embedding(name: str) -> bool:
    """Tell an embedding by its name: token_embedding, or token_embedding.weight where a module holds it."""
    return name.removesuffix(".weight").endswith("embedding")
