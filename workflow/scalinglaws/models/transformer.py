"""The decoder-only Transformer of Kaplan et al. 2020 (section 2.1) and GPT-2: pre-norm, learned positions, tied embeddings.

In comments of shapes B is sequences, T positions, C = d_model, A = d_attn, H heads and S = A / H the width of a head.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.common.errors import StudyError
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.layers import Embedding, Linear, draw_weights, scaled
from scalinglaws.models.recurrent import layer_order


class Block(nn.Module):
    """A layer: attention and then a feed-forward part, each of which reads the residual stream through a norm and adds to it."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.dropout, self.residual = config.n_heads, config.dropout, config.multipliers.residual
        self.scale = config.multipliers.attention / math.sqrt(config.d_attn // config.n_heads)
        self.qkv = Linear(config.d_model, 3 * config.d_attn)
        self.project = Linear(config.d_attn, config.d_model)
        self.up = Linear(config.d_model, config.d_ff)
        self.down = Linear(config.d_ff, config.d_model)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream (B, T, C) after this layer."""
        x = x + scaled(self.drop(self.attention(self.norm1(x))), self.residual)
        return x + scaled(self.drop(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))), self.residual)

    def attention(self, x: Tensor) -> Tensor:
        """Return what causal attention adds to the residual stream, (B, T, C)."""
        n_seq, n_pos, _ = x.shape
        q, k, v = self.qkv(x).view(n_seq, n_pos, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, S) each
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)  # (B, H, T, S)
        return self.project(mixed.transpose(1, 2).reshape(n_seq, n_pos, -1))  # (B, T, A) -> (B, T, C)

    def drop(self, x: Tensor) -> Tensor:
        """Apply dropout, in training alone."""
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """The model of a config; ``layers`` are the blocks in the order of their use.

    Raises
    ------
    StudyError
        If the heads do not divide d_attn, or if the order of shared layers is unknown.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.d_attn % config.n_heads:
            raise StudyError(f"d_attn = {config.d_attn} is not a multiple of n_heads = {config.n_heads}: change one of them")
        self.config = config
        self.token_embedding = Embedding(config.n_vocab, config.d_model)
        self.position_embedding = Embedding(config.n_ctx, config.d_model)
        blocks = [Block(config) for _ in range(config.n_layer)]
        for i, block in enumerate(blocks):
            self.add_module(f"layer{i}", block)
        self.layers = [blocks[i] for i in layer_order(config)]
        self.norm = nn.LayerNorm(config.d_model)
        # What adds to the residual stream is drawn smaller, so that the stream is as long at any depth (GPT-2).
        branch = config.multipliers.branch / math.sqrt(2 * len(self.layers))
        draw_weights(self, {"project.weight": branch, "down.weight": branch}, config.multipliers.embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden state (B, T, C) at each of the tokens (B, T)."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]  # (B, T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        for layer in self.layers:
            x = layer(x)
        return scaled(self.norm(x), self.config.multipliers.output)
