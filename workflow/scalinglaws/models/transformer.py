"""The decoder-only Transformer of Kaplan et al. 2020 (section 2.1) and GPT-2: pre-norm, learned positions, tied embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from scalinglaws.common.errors import StudyError
from scalinglaws.models import kernels
from scalinglaws.models.count import Shape
from scalinglaws.models.flat import Model, Sizes


def layout(shape: Shape) -> Sizes:
    """Name -> size of every parameter, matrices (which weight decay applies to) first, then biases and norms."""
    s = shape
    matrices: Sizes = {"token_embedding": (s.n_vocab, s.d_model), "position_embedding": (s.n_ctx, s.d_model)}
    vectors: Sizes = {}
    for i in range(s.n_layer):
        linears = {"qkv": (3 * s.d_attn, s.d_model), "project": (s.d_model, s.d_attn)}
        linears |= {"up": (s.d_ff, s.d_model), "down": (s.d_model, s.d_ff)}
        for name, size in linears.items():
            matrices[f"layer{i}.{name}.weight"] = size
            vectors[f"layer{i}.{name}.bias"] = size[:1]
        for name in ("norm1", "norm2"):
            vectors[f"layer{i}.{name}.weight"] = vectors[f"layer{i}.{name}.bias"] = (s.d_model,)
    vectors["norm.weight"] = vectors["norm.bias"] = (s.d_model,)
    return {**matrices, **vectors}


class Transformer(Model):
    """``order`` names the layer that each step of the residual stream goes through: 0 to n_layer - 1, unless it is given.

    Raises StudyError where the heads do not divide d_attn.
    """

    def __init__(
        self,
        shape: Shape,
        n_heads: int,
        *,
        order: Sequence[int] | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        precision: str = "float32",
        device: str = "cpu",
    ):
        if shape.d_attn % n_heads:
            raise StudyError(f"d_attn = {shape.d_attn} is not a multiple of n_heads = {n_heads}: change one of them")
        self.n_heads, self.order = n_heads, order or range(shape.n_layer)
        super().__init__(shape, layout(shape), dropout=dropout, seed=seed, precision=precision, device=device)

    def length(self, name: str) -> float:
        """As of any model, less where a product adds to the residual stream."""
        residual = name.endswith(("project.weight", "down.weight"))
        return 1.0 / math.sqrt(2 * len(self.order)) if residual else super().length(name)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer norm's output, (sequences, positions, d_model), of tokens (sequences, positions)."""
        p = self.params
        x = F.embedding(tokens, p["token_embedding"]) + p["position_embedding"][: tokens.shape[1]]
        x = self.drop(x)
        for i in self.order:
            at = f"layer{i}."
            x = x + self.drop(self._attention(self.norm(x, at + "norm1"), at))
            up = F.linear(self.norm(x, at + "norm2"), p[at + "up.weight"], p[at + "up.bias"])
            x = x + self.drop(F.linear(F.gelu(up, approximate="tanh"), p[at + "down.weight"], p[at + "down.bias"]))
        return self.norm(x, "norm")

    def _attention(self, x: Tensor, at: str) -> Tensor:
        n_seq, n_pos, _ = x.shape
        qkv = F.linear(x, self.params[at + "qkv.weight"], self.params[at + "qkv.bias"])
        q, k, v = qkv.view(n_seq, n_pos, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        project = self.params[at + "project.weight"], self.params[at + "project.bias"]
        return F.linear(mixed.reshape(n_seq, n_pos, self.shape.d_attn), *project)

    def hidden_value(self, tokens: Tensor) -> Tensor:
        """``hidden`` where no gradient is asked for."""
        return kernels.hidden(self, tokens) if kernels.usable(self) else self.hidden(tokens)

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add ``weight`` times the gradient of the mean loss to ``grad``; returns ``weight`` times that loss, 0-d."""
        if kernels.usable(self):
            return kernels.backward(self, tokens, targets, weight)
        return super().backward(tokens, targets, weight)
