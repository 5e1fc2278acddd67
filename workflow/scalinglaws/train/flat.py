"""What training does to any model from outside: flat buffers, the loss and its gradient.

Every parameter of a module is made a view of one flat float32 buffer and every gradient a view of another, so that an optimizer
step, the gradient's norm, a sum over processes and a checkpoint are one call each, however many layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.models.module import autocast, logits, named_parameters, wide
from scalinglaws.train.compilation import compiled, with_compiled_layers
from scalinglaws.train.distributed import ALONE, Processes
from scalinglaws.train.head_loss import SoftmaxLoss, head_loss, output_table, softmax_loss

Sizes = dict[str, tuple[int, ...]]


def views(flat: Tensor, sizes: Sizes) -> dict[str, Tensor]:
    """Return named views of a flat buffer, in the order of ``sizes``."""
    out, start = {}, 0
    for name, size in sizes.items():
        stop = start + math.prod(size)
        out[name] = flat[start:stop].view(size)
        start = stop
    return out


class FlatModel:
    """A module whose parameters and gradients lie in two flat buffers.

    Parameters
    ----------
    module
        The model, whose parameters are re-pointed to the buffer; their values stay. models/module.py says what it must have.
    precision
        float32, or bfloat16 for products by autocast.
    processes
        Those that train the model together: behind the end of both buffers lies what makes their shares equally long.

    Attributes
    ----------
    flat, grad
        (n_params_total,): all parameters and all gradients. Gradients accumulate: whoever asks for one clears it first.
    params, grads
        Name -> the parameter, name -> the view of its gradient, in the order of the buffers.
    sizes
        Name -> the size of the parameter.
    n_matrix
        The number of entries at the start of the buffers that belong to matrices; biases and norms follow.
    """

    def __init__(self, module: nn.Module, precision: str = "float32", processes: Processes = ALONE):
        self.module, self.precision = module, precision
        self.params = named_parameters(module)
        self.sizes: Sizes = {name: tuple(p.shape) for name, p in self.params.items()}
        self.n_matrix = sum(math.prod(size) for size in self.sizes.values() if len(size) > 1)
        values = [p.detach().reshape(-1) for p in self.params.values()]
        length = sum(map(len, values))
        padding = values[0].new_zeros(processes.padding(length))
        whole = torch.cat([*values, padding] if len(padding) else values)
        self.flat, self.grad = whole[:length], torch.zeros_like(whole)[:length]
        self.grads = views(self.grad, self.sizes)
        for name, value in views(self.flat, self.sizes).items():
            self.params[name].data = value
            self.params[name].grad = self.grads[name]
        # It is asked for here, where parameters and gradients have reached their places.
        own_step = getattr(module, "own_step", None)
        self.own_step: Callable[[Tensor, Tensor, float], Tensor] | None = own_step() if own_step else None
        self.extra_loss: Callable[[], Tensor] | None = getattr(module, "extra_loss", None)
        # On a GPU, the table of the output and the function that makes losses of logits, for ``head_loss``.
        self.head: tuple[Tensor, SoftmaxLoss] | None = None
        self.compiled: Callable[..., Tensor] | None = None  # ``loss``, or ``hidden`` where there is a ``head``

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats per token (0-d, differentiable) of tokens and targets (B, T)."""
        with autocast(tokens.device, self.precision):
            predicted = logits(self.module, self.module(tokens))  # (B, T, n_vocab)
            return F.cross_entropy(wide(predicted.flatten(0, 1)), targets.flatten())

    def hidden(self, tokens: Tensor, module: nn.Module | None = None) -> Tensor:
        """Return the hidden states (B, T, C) of tokens (B, T), by the model or by another module that shares its weights."""
        with autocast(tokens.device, self.precision):
            states: Tensor = (module or self.module)(tokens)
            return states

    def loss_in_parts(self) -> None:
        """Make losses and their gradients part by part from here on, as pays on a GPU, where the module's head allows it."""
        table = output_table(self.module)
        self.head = None if table is None else (table, softmax_loss)

    def compile(self) -> None:
        """Use torch.compile in ``backward`` from here on: for one layer, or for the whole where the layers differ."""
        if not self.head:
            self.compiled = compiled(self.loss)
            return
        self.head = self.head[0], compiled(softmax_loss)
        layered = with_compiled_layers(self.module)
        self.compiled = partial(self.hidden, module=layered) if layered else compiled(self.hidden)

    def stop_compiled(self) -> None:
        """Use no compiled code any more."""
        self.compiled = None
        self.head = self.head and (self.head[0], softmax_loss)

    def mean_loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return what ``loss`` does, as fast as this device can."""
        if not self.head:
            return (self.compiled or self.loss)(tokens, targets)
        table, loss = self.head
        products = torch.bfloat16 if self.precision == "bfloat16" else table.dtype
        return head_loss((self.compiled or self.hidden)(tokens).flatten(0, 1), table, targets.flatten(), products, loss)

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add ``weight`` times the gradient of the mean loss, and of the module's extra loss where it has one, to ``grad``.

        Parameters
        ----------
        tokens, targets
            Token ids, (B, T) each.
        weight
            Share of these tokens in the batch.

        Returns
        -------
        Tensor
            ``weight`` times the mean loss in nats per token, 0-d, without the extra loss.

        Raises
        ------
        RuntimeError
            If the GPU's memory is too small for these tokens (compilation.py), or if torch.compile fails, whose errors have no
            class in common. What is then in ``grad`` is of no use.
        """
        if self.own_step is not None:
            return self.own_step(tokens, targets, weight)
        loss = self.mean_loss(tokens, targets) * weight
        (loss if self.extra_loss is None else loss + self.extra_loss() * weight).backward()
        return loss.detach()
