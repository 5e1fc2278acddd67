"""Parameters and forward FLOPs of the models, as in Table 1 of Kaplan et al. 2020. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The numbers that Table 1 needs. Dimensions are counts; d_attn is that of all heads together.

    ``architecture``: transformer; recurrent, whose layers are each used ``n_repeats`` times; or lstm, without d_ff and d_attn.
    """

    n_layer: int
    d_model: int
    d_ff: int
    d_attn: int
    n_ctx: int
    n_vocab: int
    architecture: str = "transformer"
    n_repeats: int = 1


def table1(shape: Shape) -> dict[str, tuple[int, int]]:
    """Each row of Table 1: operation -> (parameters, forward FLOPs per token). Biases and norms are left out.

    An LSTM has gates in place of attention and feed-forward: 4 d_model (d_model + d_model) parameters a layer.
    """
    s = shape
    uses = 2 * s.n_repeats
    out = {"embed": ((s.n_vocab + _positions(s)) * s.d_model, 4 * s.d_model)}
    if s.architecture == "lstm":
        gates = 8 * s.n_layer * s.d_model**2
        out |= {"gates": (gates, uses * gates)}
    else:
        qkv = 3 * s.n_layer * s.d_model * s.d_attn
        project = s.n_layer * s.d_attn * s.d_model
        feed_forward = 2 * s.n_layer * s.d_model * s.d_ff
        out |= {
            "attention_qkv": (qkv, uses * qkv),
            "attention_mask": (0, uses * s.n_layer * s.n_ctx * s.d_attn),
            "attention_project": (project, uses * project),
            "feed_forward": (feed_forward, uses * feed_forward),
        }
    return out | {"de_embed": (0, 2 * s.d_model * s.n_vocab)}


def _positions(shape: Shape) -> int:
    """Rows of the position embedding: an LSTM has none."""
    return 0 if shape.architecture == "lstm" else shape.n_ctx


def n_params(shape: Shape) -> int:
    """N, parameters without embeddings, biases and norms: 2 d_model n_layer (2 d_attn + d_ff) (2.1).

    Of an LSTM 8 n_layer d_model².
    """
    s = shape
    return 8 * s.n_layer * s.d_model**2 if s.architecture == "lstm" else 2 * s.d_model * s.n_layer * (2 * s.d_attn + s.d_ff)


def n_params_total(shape: Shape) -> int:
    """Every trained number: N, the embeddings (the output is tied), biases and layer norms."""
    s = shape
    embeddings = (s.n_vocab + _positions(s)) * s.d_model
    if s.architecture == "lstm":
        return n_params(s) + embeddings + 4 * s.n_layer * s.d_model + (s.n_layer + 1) * 2 * s.d_model
    biases = s.n_layer * (3 * s.d_attn + s.d_model + s.d_ff + s.d_model)
    norms = (2 * s.n_layer + 1) * 2 * s.d_model
    return n_params(s) + embeddings + biases + norms


def flops_6nd(shape: Shape, tokens: int) -> int:
    """Training compute C = 6 N D in FLOP, embeddings and attention left out (section 2.1); a parameter counts at each use."""
    return 6 * n_params(shape) * shape.n_repeats * tokens


def flops_last_layer(shape: Shape, tokens: int) -> int:
    """6 N D with the last layer's (de-embedding) product: three times its forward cost is added (Porian et al. 2024)."""
    return flops_6nd(shape, tokens) + 3 * table1(shape)["de_embed"][1] * tokens


def flops_attention(shape: Shape, tokens: int) -> int:
    """6 N D with the last layer and with the context-dependent attention cost, each three times its forward cost."""
    mask = table1(shape).get("attention_mask", (0, 0))[1]
    return flops_last_layer(shape, tokens) + 3 * mask * tokens
