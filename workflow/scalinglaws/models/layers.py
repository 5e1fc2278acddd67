"""Layers whose weights are drawn all at once when a model is complete, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.models.module import named_parameters

# GPT-2's 0.02 at its width of 768 gives an embedding vector about this length. It is kept at other widths: with 0.02
# throughout, narrow models stay on the plateau of single-byte frequencies for hundreds of steps (docs/learning-rate.md).
EMBEDDING_LENGTH = 0.02 * math.sqrt(768)


class Linear(nn.Linear):
    """A linear map that draws no weights: nn.Linear would draw some that are then replaced."""

    def reset_parameters(self) -> None:
        """Leave the weights to ``draw_weights``."""


class Embedding(nn.Embedding):
    """An embedding that draws no weights."""

    def reset_parameters(self) -> None:
        """Leave the weights to ``draw_weights``."""


class OutputEmbedding(nn.Module):
    """The ``head`` of a model whose output is not tied. Its table is an embedding by name, for initial weights and optimizers."""

    def __init__(self, n_vocab: int, d_model: int):
        super().__init__()
        self.embedding = Embedding(n_vocab, d_model)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits (…, n_vocab) of hidden states (…, C)."""
        return F.linear(hidden, self.embedding.weight)


def scaled(x: Tensor, factor: float) -> Tensor:
    """Return x times a factor of the parametrization; where that is 1, as in the standard one, x itself."""
    return x if factor == 1 else x * factor


@torch.no_grad()
def draw_weights(module: nn.Module, lengths: Mapping[str, float] | None = None, embedding: float = 1.0) -> None:
    """Draw every matrix from a normal distribution, in the order of the flat buffer; set norms to one and biases to zero.

    Parameters
    ----------
    module
        The complete model.
    lengths
        End of a matrix's name -> the expected length of its rows. Other embeddings have ``EMBEDDING_LENGTH``, and other
        matrices have 1, which is a variance of 1 / fan-in. Tensors of three dimensions are matrices side by side.
    embedding
        A factor on the length of those other embeddings.
    """
    known = {**(lengths or {}), "embedding": EMBEDDING_LENGTH * embedding, "": 1.0}
    for name, parameter in named_parameters(module).items():
        if parameter.dim() > 1:
            length = next(length for end, length in known.items() if name.endswith(end))
            parameter.normal_(0.0, length / math.sqrt(parameter.shape[-1]))
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
