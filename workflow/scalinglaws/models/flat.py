"""What every language model here shares: flat buffers, tied embeddings, the loss and its gradient.

Every parameter is a view of one flat float32 buffer and every gradient a view of another, so that an optimizer step, the
gradient's norm, a checkpoint and clearing the gradients are one call each, however many layers there are.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scalinglaws.models.count import Shape

NORM_EPS = 1e-5
EMBEDDING_LENGTH = 0.02 * math.sqrt(768)  # of an embedding vector, about

Sizes = dict[str, tuple[int, ...]]


def views(flat: Tensor, sizes: Sizes) -> dict[str, Tensor]:
    """Cut a flat buffer into named views, in the order of ``sizes``."""
    out, start = {}, 0
    for name, size in sizes.items():
        stop = start + math.prod(size)
        out[name] = flat[start:stop].view(size)
        start = stop
    return out


def wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Model(ABC):
    """``flat`` holds the parameters, ``grad`` their gradients, ``params`` and ``grads`` name views of the two.

    The first ``n_matrix`` entries of ``flat`` are the matrices. Gradients accumulate: ``grad`` is cleared by the caller.
    A subclass gives ``sizes`` (name -> size, matrices first, token_embedding among them) and ``hidden``, and ``length``
    where its initial weights have another one.
    """

    def __init__(self, shape: Shape, sizes: Sizes, *, dropout: float, seed: int, precision: str, device: str):
        self.shape, self.sizes, self.dropout = shape, sizes, dropout
        self.autocast = precision == "bfloat16"
        self.compiled_loss: Callable[[Tensor, Tensor], Tensor] | None = None
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
        """Normal rows of about ``length``, norms one, biases zero."""
        flat = torch.zeros(sum(math.prod(size) for size in self.sizes.values()))
        for name, parameter in views(flat, self.sizes).items():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                parameter.normal_(0.0, self.length(name) / math.sqrt(parameter.shape[1]), generator=generator)
        return flat

    def length(self, name: str) -> float:
        """The initial length of a row of the matrix of a name: 1 is a variance of 1 / fan-in.

        Embeddings have GPT-2's 0.02 at its width of 768 and the same length at others: with 0.02 throughout, narrow models
        stay on the plateau of single-byte frequencies for hundreds of steps (docs/learning-rate.md).
        """
        return EMBEDDING_LENGTH if name.endswith("embedding") else 1.0

    @abstractmethod
    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer norm's output, (sequences, positions, d_model), of tokens (sequences, positions); differentiable."""

    def hidden_value(self, tokens: Tensor) -> Tensor:
        """``hidden`` where no gradient is asked for."""
        return self.hidden(tokens)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """The layer norm of a name."""
        return F.layer_norm(x, (self.shape.d_model,), self.params[f"{name}.weight"], self.params[f"{name}.bias"], NORM_EPS)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, in training alone."""
        return F.dropout(x, self.dropout) if self.dropout and torch.is_grad_enabled() else x

    def logits(self, tokens: Tensor) -> Tensor:
        """(sequences, positions, n_vocab) of tokens (sequences, positions); position i sees tokens 0 to i."""
        return F.linear(self.hidden(tokens), self.params["token_embedding"])

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token, differentiable."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.autocast):
            return F.cross_entropy(wide(self.logits(tokens).flatten(0, 1)), targets.flatten())

    def compile(self) -> None:
        """Use torch.compile in ``backward`` on a GPU; where it fails, a warning line and eager execution."""
        self.compiled_loss = torch.compile(self.loss)

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add ``weight`` times the gradient of the mean loss to ``grad``; returns ``weight`` times that loss, 0-d."""
        if self.compiled_loss is not None:
            try:
                loss = self.compiled_loss(tokens, targets) * weight
            except torch.OutOfMemoryError:
                raise
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
            hidden = self.hidden_value(tokens).flatten(0, 1)
            losses = [
                F.cross_entropy(wide(F.linear(h, self.params["token_embedding"])), y, reduction="none")
                for h, y in zip(hidden.split(rows), targets.flatten().split(rows), strict=True)
            ]
        return torch.cat(losses).view(targets.shape)
