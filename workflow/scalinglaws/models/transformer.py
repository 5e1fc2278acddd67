"""The decoder-only Transformer of Kaplan et al. 2020 (section 2.1) and GPT-2: pre-norm, learned positions, tied embeddings.

Every parameter is a view of one flat float32 buffer and every gradient a view of another, so that an optimizer step, the
gradient's norm, a checkpoint and clearing the gradients are one call each, however many layers there are.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalinglaws.errors import StudyError
from scalinglaws.models import kernels
from scalinglaws.models.count import Shape

if TYPE_CHECKING:
    from scalinglaws.spec import RunSpec

NORM_EPS = 1e-5
EMBEDDING_LENGTH = 0.02 * math.sqrt(768)  # of an embedding vector, about


def layout(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name -> size of every parameter, matrices (which weight decay applies to) first, then biases and norms."""
    s = shape
    matrices: dict[str, tuple[int, ...]] = {
        "token_embedding": (s.n_vocab, s.d_model),
        "position_embedding": (s.n_ctx, s.d_model),
    }
    vectors: dict[str, tuple[int, ...]] = {}
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


def views(flat: Tensor, sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Cut a flat buffer into named views, in the order of ``sizes``."""
    out, start = {}, 0
    for name, size in sizes.items():
        stop = start + math.prod(size)
        out[name] = flat[start:stop].view(size)
        start = stop
    return out


class Transformer:
    """``flat`` holds the parameters, ``grad`` their gradients, ``params`` and ``grads`` name views of the two.

    The first ``n_matrix`` entries of ``flat`` are the matrices. Gradients accumulate: ``grad`` is cleared by the caller.
    """

    def __init__(
        self,
        shape: Shape,
        n_heads: int,
        *,
        dropout: float = 0.0,
        seed: int = 0,
        precision: str = "float32",
        device: str = "cpu",
    ):
        if shape.d_attn % n_heads:
            raise StudyError(f"d_attn = {shape.d_attn} is not a multiple of n_heads = {n_heads}: change one of them")
        self.shape, self.n_heads, self.dropout = shape, n_heads, dropout
        self.autocast = precision == "bfloat16"
        self.compiled_loss: Callable[[Tensor, Tensor], Tensor] | None = None
        self.sizes = layout(shape)
        self.n_matrix = sum(math.prod(size) for size in self.sizes.values() if len(size) > 1)
        # Drawn on the CPU, so that a seed gives the same weights on every device.
        self.flat = self._initial(torch.Generator().manual_seed(seed)).to(device)
        self.grad = torch.zeros_like(self.flat)
        # Of the same memory: values are plain tensors, params are autograd's leaves.
        self.params, self.values = views(self.flat, self.sizes), views(self.flat, self.sizes)
        self.grads = views(self.grad, self.sizes)
        for name, parameter in self.params.items():
            parameter.requires_grad_(True)
            parameter.grad = self.grads[name]

    def _initial(self, generator: torch.Generator) -> Tensor:
        """Normal weights of variance 1 / fan-in, less where a product adds to the residual stream; biases zero.

        Embeddings have GPT-2's 0.02 at its width of 768 and the same length at others: with 0.02 throughout, narrow models
        stay on the plateau of single-byte frequencies for hundreds of steps (docs/learning-rate.md).
        """
        flat = torch.zeros(sum(math.prod(size) for size in self.sizes.values()))
        for name, parameter in views(flat, self.sizes).items():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            std = EMBEDDING_LENGTH if name.endswith("embedding") else 1.0
            if name.endswith(("project.weight", "down.weight")):
                std /= math.sqrt(2 * self.shape.n_layer)
            parameter.normal_(0.0, std / math.sqrt(parameter.shape[1]), generator=generator)
        return flat

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer norm's output, (sequences, positions, d_model), of tokens (sequences, positions)."""
        p, width = self.params, (self.shape.d_model,)
        x = F.embedding(tokens, p["token_embedding"]) + p["position_embedding"][: tokens.shape[1]]
        x = self._drop(x)
        for i in range(self.shape.n_layer):
            at = f"layer{i}."
            normed = F.layer_norm(x, width, p[at + "norm1.weight"], p[at + "norm1.bias"], NORM_EPS)
            x = x + self._drop(self._attention(normed, at))
            normed = F.layer_norm(x, width, p[at + "norm2.weight"], p[at + "norm2.bias"], NORM_EPS)
            up = F.gelu(F.linear(normed, p[at + "up.weight"], p[at + "up.bias"]), approximate="tanh")
            x = x + self._drop(F.linear(up, p[at + "down.weight"], p[at + "down.bias"]))
        return F.layer_norm(x, width, p["norm.weight"], p["norm.bias"], NORM_EPS)

    def _attention(self, x: Tensor, at: str) -> Tensor:
        n_seq, n_pos, _ = x.shape
        qkv = F.linear(x, self.params[at + "qkv.weight"], self.params[at + "qkv.bias"])
        q, k, v = qkv.view(n_seq, n_pos, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        project = self.params[at + "project.weight"], self.params[at + "project.bias"]
        return F.linear(mixed.reshape(n_seq, n_pos, self.shape.d_attn), *project)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and torch.is_grad_enabled() else x

    def logits(self, tokens: Tensor) -> Tensor:
        """(sequences, positions, n_vocab) of tokens (sequences, positions); position i sees tokens 0 to i."""
        return F.linear(self.hidden(tokens), self.params["token_embedding"])

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token, differentiable."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.autocast):
            return F.cross_entropy(self.logits(tokens).flatten(0, 1).float(), targets.flatten())

    def compile(self) -> None:
        """Use torch.compile in ``backward`` on a GPU; where it fails, a warning line and eager execution."""
        self.compiled_loss = torch.compile(self.loss)

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add ``weight`` times the gradient of the mean loss to ``grad``; returns ``weight`` times that loss, 0-d."""
        if kernels.usable(self):
            return kernels.backward(self, tokens, targets, weight)
        if self.compiled_loss is not None:
            try:
                loss = self.compiled_loss(tokens, targets) * weight
            except Exception as error:  # the compiler's errors share no class
                print(f"warning: torch.compile failed, training goes on without it: {error!r:.200}", file=sys.stderr)
                self.compiled_loss = None
        if self.compiled_loss is None:
            loss = self.loss(tokens, targets) * weight
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def token_losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each target in nats, (sequences, positions) float32, without dropout or gradients."""
        rows = max(1, (2**24 if tokens.is_cuda else 2**17) // self.shape.n_vocab)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.autocast):
            hidden = (kernels.hidden(self, tokens) if kernels.usable(self) else self.hidden(tokens)).flatten(0, 1)
            losses = [
                F.cross_entropy(F.linear(h, self.params["token_embedding"]).float(), y, reduction="none")
                for h, y in zip(hidden.split(rows), targets.flatten().split(rows), strict=True)
            ]
        return torch.cat(losses).view(targets.shape)


def build(spec: RunSpec, n_vocab: int, device: str = "cpu") -> Transformer:
    """The model of a spec with its initial weights. Raises StudyError for an unknown architecture or precision."""
    if spec.architecture != "transformer":
        raise StudyError(f"architecture: {spec.architecture!r} of run {spec.id} is unknown: use transformer")
    if spec.precision not in ("float32", "bfloat16"):
        raise StudyError(f"precision: {spec.precision!r} of run {spec.id} is unknown: use float32 or bfloat16")
    options: dict[str, Any] = {"dropout": spec.dropout, "seed": spec.seed, "precision": spec.precision, "device": device}
    return Transformer(spec.shape(n_vocab), spec.n_heads, **options)
