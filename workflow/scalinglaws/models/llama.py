"""The decoder of Llama, Qwen3 and OLMo-2: rotary positions, RMS norms, SwiGLU, grouped queries, no biases.

Su et al. 2021 (rotary positions), Zhang and Sennrich 2019 (RMSNorm), Shazeer 2020 (SwiGLU), Ainslie et al. 2023 (grouped
queries); docs/models.md says which options are whose block. In comments of shapes B is sequences, T positions, C = d_model, H
heads, K heads of keys and values, and S the width of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.models.config import ModelConfig
from scalinglaws.models.layers import Embedding, Linear, OutputEmbedding, draw_weights


class RMSNorm(nn.RMSNorm):
    """An RMS norm that is computed in float32 whatever the precision of products, as in the published models."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (…, n) divided by the root of its mean square over the last dimension, times the weights (n,)."""
        return F.rms_norm(x.to(self.weight.dtype), self.normalized_shape, self.weight, self.eps)


def rotations(n_pos: int, width: int, base: float) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines (T, 1, S) of ``rotate``, by angles in float32 as the published models have them."""
    frequency = 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.arange(n_pos, dtype=torch.float32)[:, None, None] * frequency
    return torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the heads (B, T, H, S) in which pairs are turned: (a, b), i of the first half and i of the second.

    They become (a cos − b sin, b cos + a sin): each half is multiplied by the cosines, and the other half by the sines.
    """
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


class Attention(nn.Module):
    """Causal attention, in which H / K heads of queries share a head of keys and values."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.width = config.d_attn // config.n_heads
        d_kv, kind, eps = self.width * config.n_kv_heads, config.options["qk_norm"], config.options["norm_eps"]
        self.q = Linear(config.d_model, config.d_attn, bias=False)
        self.k = Linear(config.d_model, d_kv, bias=False)
        self.v = Linear(config.d_model, d_kv, bias=False)
        self.project = Linear(config.d_attn, config.d_model, bias=False)
        # Queries and keys are normalised over each head, over all heads together, or not at all.
        self.spans = (config.d_attn, d_kv) if kind == "all" else (self.width, self.width)
        self.q_norm, self.k_norm = (nn.Identity() if kind == "none" else RMSNorm(span, eps) for span in self.spans)
        self.grouped = config.n_kv_heads < config.n_heads

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return what attention adds to the residual stream, (B, T, C)."""
        n_seq, n_pos, _ = x.shape
        q = self.q_norm(self.q(x).view(n_seq, n_pos, -1, self.spans[0])).view(n_seq, n_pos, -1, self.width)  # (B, T, H, S)
        k = self.k_norm(self.k(x).view(n_seq, n_pos, -1, self.spans[1])).view(n_seq, n_pos, -1, self.width)  # (B, T, K, S)
        v = self.v(x).view(n_seq, n_pos, -1, self.width)  # (B, T, K, S)
        q, k, v = (part.transpose(1, 2) for part in (rotate(q, cos, sin), rotate(k, cos, sin), v))
        # Autocast would do the same, but not below torch.func.vmap.
        q, k = q.to(v.dtype), k.to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.grouped)  # (B, H, T, S)
        return self.project(mixed.transpose(1, 2).reshape(n_seq, n_pos, -1))


class FeedForward(nn.Module):
    """SwiGLU: the product of a linear map and of another one through SiLU."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.gate = Linear(d_model, d_ff, bias=False)
        self.up = Linear(d_model, d_ff, bias=False)
        self.down = Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the feed-forward part adds to the residual stream, (B, T, C)."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """A layer, whose two parts have their norm before them, or (``norm: post``) after them and before the sum."""

    def __init__(self, config: ModelConfig, feed_forward: nn.Module):
        super().__init__()
        self.post, self.dropout = config.options["norm"] == "post", config.dropout
        self.attention, self.feed_forward = Attention(config), feed_forward
        self.norm1, self.norm2 = (RMSNorm(config.d_model, config.options["norm_eps"]) for _ in range(2))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the residual stream (B, T, C) after this layer."""
        if self.post:
            x = x + self.drop(self.norm1(self.attention(x, cos, sin)))
            return x + self.drop(self.norm2(self.feed_forward(x)))
        x = x + self.drop(self.attention(self.norm1(x), cos, sin))
        return x + self.drop(self.feed_forward(self.norm2(x)))

    def drop(self, x: Tensor) -> Tensor:
        """Apply dropout, in training alone."""
        return F.dropout(x, self.dropout, self.training)


class Llama(nn.Module):
    """The model of a config."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.token_embedding = Embedding(config.n_vocab, config.d_model)
        self.layers = [Block(config, self.feed_forward(config)) for _ in range(config.n_layer)]
        for i, layer in enumerate(self.layers):
            self.add_module(f"layer{i}", layer)
        self.norm = RMSNorm(config.d_model, config.options["norm_eps"])
        if not config.options["tied"]:
            self.head = OutputEmbedding(config.n_vocab, config.d_model)
        cos, sin = rotations(config.n_ctx, config.d_attn // config.n_heads, config.options["rope_base"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        # What adds to the residual stream is drawn smaller, so that the stream is as long at any depth (GPT-2).
        residual = 1.0 / math.sqrt(2 * config.n_layer)
        draw_weights(self, {"project.weight": residual, "down.weight": residual, "down": residual})

    def feed_forward(self, config: ModelConfig) -> nn.Module:
        """Return the feed-forward part of one layer."""
        return FeedForward(config.d_model, config.d_ff)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden state (B, T, C) at each of the tokens (B, T)."""
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        x = F.dropout(self.token_embedding(tokens), self.config.dropout, self.training)  # (B, T, C)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)
