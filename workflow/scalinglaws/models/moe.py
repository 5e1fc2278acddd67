"""The llama decoder with a mixture of experts in place of the feed-forward part (Shazeer et al. 2017, Jiang et al. 2024).

A router gives each token to the experts of its largest probabilities, and no token is dropped however uneven that is
(Gale et al. 2022). In comments of shapes R is rows, one a token, E experts, K experts of a token, C = d_model and F = d_ff.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.models.config import ModelConfig
from scalinglaws.models.layers import Linear
from scalinglaws.models.llama import FeedForward, Llama
from scalinglaws.models.module import wide


class Experts(nn.Module):
    """The experts of a layer, each a SwiGLU, with their router; ``imbalance`` is that of the last tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        options, n_experts = config.options, config.options["n_experts"]
        self.n_experts, self.n_met, self.renormalize = n_experts, options["n_experts_per_token"], options["renormalize"]
        self.router = Linear(config.d_model, n_experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(n_experts, 2 * config.d_ff, config.d_model))
        self.down = nn.Parameter(torch.empty(n_experts, config.d_model, config.d_ff))
        shared = options["n_shared_experts"] * config.d_ff
        self.shared = FeedForward(config.d_model, shared) if shared else None
        self.imbalance = torch.ones(())

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the outputs of each token's experts, (B, T, C), weighted by its probabilities of them."""
        tokens = x.flatten(0, -2)  # (R, C)
        p = wide(self.router(tokens)).softmax(-1)  # (R, E)
        weight, chosen = p.topk(self.n_met, -1)  # (R, K)
        if self.renormalize:
            weight = weight / weight.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)  # (R K,): what is computed by one expert lies together
        counts = torch.bincount(chosen.flatten(), minlength=self.n_experts)  # (E,)
        row = order // self.n_met
        parts = [self.expert(i, part) for i, part in enumerate(tokens.index_select(0, row).split(counts.tolist()))]
        weighted = torch.cat(parts) * weight.flatten()[order, None]
        out = torch.zeros_like(tokens).index_add(0, row, weighted.to(tokens.dtype)).view(x.shape)
        # The product of the share of tokens that an expert gets and of its mean probability is least where both are even.
        self.imbalance = self.n_experts / self.n_met * (counts / len(tokens) * p.mean(0)).sum()
        return out if self.shared is None else out + self.shared(x)

    def expert(self, i: int, x: Tensor) -> Tensor:
        """Return the output of expert ``i`` for its tokens (r, C)."""
        gate, up = F.linear(x, self.gate_up[i]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, self.down[i])


class Moe(Llama):
    """The model of a config."""

    compiles = False  # the number of tokens of an expert differs from batch to batch

    def feed_forward(self, config: ModelConfig) -> nn.Module:
        """Return the experts of one layer."""
        return Experts(config)

    def extra_loss(self) -> Tensor:
        """Return the load-balancing loss of the last forward pass, the mean over layers, times its weight.

        A layer has 1 where its experts are chosen evenly, and n_experts / n_experts_per_token at most.

        References
        ----------
        Fedus et al. 2021, equations 4 to 6; Shazeer et al. 2017 for several experts of a token.
        """
        layers = [cast(Experts, layer.feed_forward).imbalance for layer in self.layers]
        return self.config.options["balance"] * torch.stack(layers).mean()
