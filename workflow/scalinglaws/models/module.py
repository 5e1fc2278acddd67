"""What every language model here is: the contract of a module, built-in or of a plug-in, and what follows from it.

A module is a ``torch.nn.Module`` in float32 with

- ``token_embedding``, an ``nn.Embedding`` of n_vocab rows;
- ``forward(tokens)``, the hidden state (B, T, C) at each of the tokens (B, T), from which the next token is predicted; it
  may depend on no later token;
- ``head``, a module that maps hidden states to logits (B, T, n_vocab), where the output is not tied to the token embedding;
- initial weights, drawn from PyTorch's default generator while the module is made, which ``build`` seeds with the run's seed;
- dropout that follows ``training``, as that of ``nn.Dropout`` does;
- buffers, if any, that follow from its ``ModelConfig`` alone: only parameters are saved.

It may have ``extra_loss()``, which returns what training adds to the mean loss of the tokens of the last forward pass (0-d,
differentiable), such as the loss that balances experts; the losses that are reported are without it. It may have ``compiles =
False`` where torch.compile is of no use to it, and a training step of its own: ``own_step()`` returns a function of (tokens,
targets, weight), which adds to the ``grad`` of each parameter and returns ``weight`` times the mean loss.
"""

from __future__ import annotations

import re
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def named_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters by name in the order of the flat buffer and of files: matrices first, then vectors.

    Each of the two groups is in the order of registration. The table of an embedding has the embedding's name, as in
    ``token_embedding``, by which optimizers know it.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        found[re.sub(r"embedding\.weight$", "embedding", name)] = parameter
    matrices = {name: parameter for name, parameter in found.items() if parameter.dim() > 1}
    return matrices | {name: parameter for name, parameter in found.items() if name not in matrices}


def token_table(module: nn.Module) -> Tensor:
    """Return the weights of the token embedding, (n_vocab, C)."""
    return cast(nn.Embedding, module.token_embedding).weight


def logits(module: nn.Module, hidden: Tensor) -> Tensor:
    """Return the logits (…, n_vocab) of hidden states (…, C), by the module's head or by its token embedding."""
    head = getattr(module, "head", None)
    return head(hidden) if head is not None else F.linear(hidden, token_table(module))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a forward pass runs: products in bfloat16 where the precision is bfloat16.

    Casts of weights are not kept, so that the gradients of a weight that is used several times are summed in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


def wide(x: Tensor) -> Tensor:
    """Return a tensor in float32 at least: losses are computed so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
