"""Parameters and forward FLOPs of the decoder-only Transformer, as in Table 1 of Kaplan et al. 2020. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The numbers that Table 1 needs. Dimensions are counts; d_attn is that of all heads together."""

    n_layer: int
    d_model: int
    d_ff: int
    d_attn: int
    n_ctx: int
    n_vocab: int


def table1(shape: Shape) -> dict[str, tuple[int, int]]:
    """Each row of Table 1: operation -> (parameters, forward FLOPs per token). Biases and norms are left out."""
    s = shape
    qkv = 3 * s.n_layer * s.d_model * s.d_attn
    project = s.n_layer * s.d_attn * s.d_model
    feed_forward = 2 * s.n_layer * s.d_model * s.d_ff
    return {
        "embed": ((s.n_vocab + s.n_ctx) * s.d_model, 4 * s.d_model),
        "attention_qkv": (qkv, 2 * qkv),
        "attention_mask": (0, 2 * s.n_layer * s.n_ctx * s.d_attn),
        "attention_project": (project, 2 * project),
        "feed_forward": (feed_forward, 2 * feed_forward),
        "de_embed": (0, 2 * s.d_model * s.n_vocab),
    }


def n_params(n_layer: int, d_model: int, d_ff: int, d_attn: int) -> int:
    """N, parameters without embeddings, biases and norms: 2 d_model n_layer (2 d_attn + d_ff) (equation 2.1)."""
    return 2 * d_model * n_layer * (2 * d_attn + d_ff)


def n_params_total(shape: Shape) -> int:
    """Every trained number: N, both embeddings (the output is tied), biases and layer norms."""
    s = shape
    biases = s.n_layer * (3 * s.d_attn + s.d_model + s.d_ff + s.d_model)
    norms = (2 * s.n_layer + 1) * 2 * s.d_model
    return n_params(s.n_layer, s.d_model, s.d_ff, s.d_attn) + (s.n_vocab + s.n_ctx) * s.d_model + biases + norms


def flops_6nd(shape: Shape, tokens: int) -> int:
    """Training compute C = 6 N D in FLOP, embeddings and attention left out (section 2.1)."""
    return 6 * n_params(shape.n_layer, shape.d_model, shape.d_ff, shape.d_attn) * tokens


def flops_last_layer(shape: Shape, tokens: int) -> int:
    """6 N D with the last layer's (de-embedding) product: three times its forward cost is added (Porian et al. 2024)."""
    return flops_6nd(shape, tokens) + 3 * table1(shape)["de_embed"][1] * tokens


def flops_attention(shape: Shape, tokens: int) -> int:
    """6 N D with the last layer and with the context-dependent attention cost, each three times its forward cost."""
    return flops_last_layer(shape, tokens) + 3 * table1(shape)["attention_mask"][1] * tokens
