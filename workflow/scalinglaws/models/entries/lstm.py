"""The LSTM that Kaplan et al. 2020 compare with the Transformer as an entry of the registry, with its counts."""

from __future__ import annotations

from scalinglaws.models.architecture import Architecture, Rows
from scalinglaws.models.config import ModelConfig


def rows(c: ModelConfig) -> Rows:
    """Return the rows of Table 1, with gates in place of attention and feed-forward; there are no positions."""
    gates = 8 * c.n_layer * c.d_model**2  # four gates a layer, each d_model by d_model for the input and for the state
    return {
        "embed": (c.n_vocab * c.d_model, 4 * c.d_model),
        "gates": (gates, 2 * gates),
        "de_embed": (0, 2 * c.d_model * c.n_vocab),
    }


def vectors(c: ModelConfig) -> int:
    """Return the number of biases, one a gate, and of weights of layer norms."""
    return 4 * c.n_layer * c.d_model + (c.n_layer + 1) * 2 * c.d_model


def kept(c: ModelConfig, wide: int) -> int:
    """Return the bytes that a token keeps, always in float32: a norm's input and output, and what oneDNN's fused kernel keeps."""
    return c.n_layer * 4 * c.d_model * (2 + 17) + (2 * c.d_model * c.n_layer if c.dropout else 0)


FORMULAS = {
    "embed": ("n_vocab d_model", "4 d_model"),
    "gates": ("n_layer 8 d_model^2", "2 n_layer 8 d_model^2"),
    "de_embed": ("0, shared with embed", "2 d_model n_vocab"),
    "all": ("N = 8 n_layer d_model^2", "C_forward = 2N"),
}

LSTM = Architecture(name="lstm", rows=rows, vectors=vectors, module="scalinglaws.models.lstm:LSTM", formulas=FORMULAS, kept=kept)
