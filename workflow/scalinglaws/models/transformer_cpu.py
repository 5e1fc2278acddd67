"""The Transformer on a CPU in float32: its training step written out by hand, equal to autograd's (kernels.py says why).

The step works on rows: x (R, C) is the residual stream of all positions of all sequences, R = B · T. A layer is a ``Block`` of
transformer.py, or what ``plain`` makes of one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scalinglaws.models.config import ModelConfig
from scalinglaws.models.kernels import (
    Norm,
    add_linear_weight,
    attention,
    attention_backward,
    dropout_mask,
    gelu,
    gelu_backward,
    gradient,
    linear,
    linear_backward,
    linear_input,
    masked,
    norm,
    norm_backward,
)
from scalinglaws.models.layers import scaled
from scalinglaws.models.recurrent import layer_order
from scalinglaws.models.transformer import Transformer

# The probabilities of a longer context are too many to keep: PyTorch's attention computes them twice instead.
LONGEST_CONTEXT = 512


class Kept(NamedTuple):
    """What the gradient of one layer needs from its forward pass."""

    norm1: Norm
    normed1: Tensor
    split: Tensor
    probabilities: list[Tensor]
    mixed: Tensor
    mask1: Tensor | None
    norm2: Norm
    normed2: Tensor
    up: Tensor
    square: Tensor
    sigmoid: Tensor
    active: Tensor
    mask2: Tensor | None


def forward(layer: Any, x: Tensor, n_seq: int, dropout: float = 0.0) -> tuple[Tensor, Kept]:
    """Return the residual stream (R, C) after a layer, and what its gradient needs; ``dropout`` is that of training."""
    normed1, norm1 = norm(layer.norm1, x)
    qkv = linear(normed1, layer.qkv.weight, layer.qkv.bias)  # (R, 3 A)
    mixed, split, probabilities = attention(qkv, n_seq, layer.n_heads, layer.scale)  # (R, A)
    mask1 = dropout_mask(x.shape, dropout)
    x = scaled(masked(linear(mixed, layer.project.weight, layer.project.bias), mask1), layer.residual).add_(x)
    normed2, norm2 = norm(layer.norm2, x)
    up = linear(normed2, layer.up.weight, layer.up.bias)  # (R, d_ff)
    active, square, sigmoid = gelu(up)
    mask2 = dropout_mask(x.shape, dropout)
    x = scaled(masked(linear(active, layer.down.weight, layer.down.bias), mask2), layer.residual).add_(x)
    return x, Kept(norm1, normed1, split, probabilities, mixed, mask1, norm2, normed2, up, square, sigmoid, active, mask2)


def backward(layer: Any, dx: Tensor, kept: Kept, n_seq: int) -> Tensor:
    """Return the gradient in the input of a layer, and add the gradients in its parameters to their ``grad``.

    ``dx`` is the gradient in its output, and ``kept`` is what ``forward`` kept; both gradients are (R, C).
    """
    dactive = linear_backward(layer.down, scaled(masked(dx, kept.mask2), layer.residual), kept.active)
    dup = gelu_backward(dactive, kept.up, kept.square, kept.sigmoid)
    dnormed = linear_backward(layer.up, dup, kept.normed2)
    dx = norm_backward(layer.norm2, dnormed, kept.norm2).add_(dx)
    dmixed = linear_backward(layer.project, scaled(masked(dx, kept.mask1), layer.residual), kept.mixed)
    dqkv = attention_backward(dmixed, n_seq, layer.n_heads, layer.scale, kept.split, kept.probabilities)
    dnormed = linear_backward(layer.qkv, dqkv, kept.normed1)
    return norm_backward(layer.norm1, dnormed, kept.norm1).add_(dx)


def plain(module: nn.Module) -> Any:
    """Return an object with the attributes of a module that this file asks for, its parameters as plain tensors.

    They share the memory of the parameters and of their gradients. Looking parameters up in modules, which each step does some
    fifty times a layer, and passing them as such takes 2 % of the step of a small model.
    """
    found = SimpleNamespace(
        **{name: getattr(module, name) for name in ("eps", "n_heads", "scale", "residual") if hasattr(module, name)}
    )
    for name, parameter in module.named_parameters(recurse=False):
        tensor = parameter.detach()
        tensor.grad = parameter.grad
        setattr(found, name, tensor)
    for name, child in module.named_children():
        setattr(found, name, plain(child))
    return found


class TransformerCPU(Transformer):
    """The Transformer whose training step is ``own_step``, and whose ``forward`` is fast where it measures losses."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden state (B, T, C) at each of the tokens (B, T)."""
        if torch.is_grad_enabled() or (self.training and self.config.dropout):
            return super().forward(tokens)
        x = embed(self, tokens)
        for layer in self.layers:
            x, _ = forward(layer, x, len(tokens))
        return scaled(norm(self.norm, x)[0], self.config.multipliers.output).view(*tokens.shape, -1)

    def own_step(self) -> Step:
        """Return the training step, for parameters and gradients that stay where they are."""
        return Step(self)


def embed(model: Any, tokens: Tensor) -> Tensor:
    """Return the embeddings (R, C) of tokens (B, T) and of their positions, added."""
    x = torch.index_select(model.token_embedding.weight, 0, tokens.reshape(-1))
    x.view(*tokens.shape, -1).add_(model.position_embedding.weight[: tokens.shape[1]])
    return x


class Step:
    """The training step of a ``TransformerCPU``."""

    def __init__(self, module: TransformerCPU):
        self.model, self.dropout, self.output = plain(module), module.config.dropout, module.config.multipliers.output
        self.layers = [getattr(self.model, f"layer{i}") for i in layer_order(module.config)]

    @torch.no_grad()
    def __call__(self, tokens: Tensor, targets: Tensor, weight: float) -> Tensor:
        """Add ``weight`` times the gradient of the mean loss to each parameter's ``grad``; return ``weight`` times the loss.

        Dropout draws its masks from PyTorch's default generator.

        Parameters
        ----------
        tokens, targets
            Token ids, (B, T) each.
        weight
            Share of these tokens in the batch.

        Returns
        -------
        Tensor
            0-d: ``weight`` times the mean cross-entropy in nats per token.
        """
        (n_seq, n_pos), index, embedding = tokens.shape, tokens.reshape(-1), self.model.token_embedding.weight
        x = embed(self.model, tokens)
        mask = dropout_mask(x.shape, self.dropout)
        x = masked(x, mask)
        layers = []
        for layer in self.layers:
            x, kept = forward(layer, x, n_seq, self.dropout)
            layers.append(kept)
        out, final = norm(self.model.norm, x)
        out = scaled(out, self.output)

        # Softmax and its gradient overwrite the logits (R, n_vocab); weight / R is applied to what is smaller than they are.
        scale, target = weight / index.numel(), targets.reshape(-1, 1)
        p = linear(out, embedding)
        torch.softmax(p, 1, out=p)
        # Below the smallest float32 a probability is zero, and its loss stands at 87 nats instead of infinity.
        loss = p.gather(1, target).clamp_(min=torch.finfo(torch.float32).tiny).log_().sum() * -scale
        p.scatter_add_(1, target, torch.full_like(target, -1.0, dtype=torch.float32))
        add_linear_weight(gradient(embedding), p, out, scale)
        dx = norm_backward(self.model.norm, linear_input(p, embedding).mul_(scale * self.output), final)

        for layer in reversed(self.layers):
            dx = backward(layer, dx, layers.pop(), n_seq)
        dx = masked(dx, mask)
        gradient(embedding).index_add_(0, index, dx)
        gradient(self.model.position_embedding.weight)[:n_pos].add_(dx.view(n_seq, n_pos, -1).sum(0))
        return loss


def fastest(config: ModelConfig) -> nn.Module:
    """Return the model with the hand-written step, or the plain one where the context is long."""
    return Transformer(config) if config.n_ctx > LONGEST_CONTEXT else TransformerCPU(config)
