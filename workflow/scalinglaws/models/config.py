"""What a model is made of, in numbers: the argument of every count and of every module. It imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Multipliers:
    """The factors of a parametrization in a module: all are 1 in the standard one (optim/parametrization.py)."""

    embedding: float = 1.0  # on the initial size of embeddings
    branch: float = 1.0  # on the initial size of matrices whose products are added to the residual stream
    residual: float = 1.0  # on what a layer adds to the residual stream
    attention: float = 1.0  # on the products of queries and keys, which are divided by the root of a head's width
    output: float = 1.0  # on the last hidden state, from which logits are made


@dataclass(frozen=True)
class ModelConfig:
    """The numbers that fix a model's tensors and its arithmetic; an architecture ignores those that it does not have."""

    n_layer: int  # layers with weights of their own
    d_model: int  # width of the residual stream
    d_ff: int = 0  # width of the feed-forward part of a layer
    d_attn: int = 0  # width of the queries, the keys and the values of all heads together
    n_ctx: int = 0  # tokens of context
    n_vocab: int = 0  # different tokens
    architecture: str = "transformer"  # name of an entry of models/registry.py
    n_heads: int = 0  # attention heads, which divide d_attn
    n_kv_heads: int = 0  # heads of keys and values, which divide n_heads
    n_repeats: int = 1  # times that each layer is used
    sharing: str = "cycle"  # order in which repeated layers A and B are used: ABAB, or AABB for "sequence"
    dropout: float = 0.0  # probability with which an activation is zeroed in training
    options: Mapping[str, Any] = field(default_factory=dict)  # resolved options that no field above holds, by name
    multipliers: Multipliers = Multipliers()  # factors of the parametrization, for modules that follow them
