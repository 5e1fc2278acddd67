"""The decoder-only Transformer of Kaplan et al. 2020 as an entry of the registry: its options and its counts."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER, WIDEST
from scalinglaws.models.architecture import Architecture, Options, Rows
from scalinglaws.models.config import ModelConfig

HEAD_WIDTH = 16  # where neither n_heads nor head_width is given, heads are at least this wide


class AttentionOptions(Options):
    """Widths of attention and feed-forward; by default d_attn = d_model and d_ff = 4 d_model.

    ``head_width`` only gives n_heads a value where that is not given. It is no option of the resolved model.
    """

    n_heads: Annotated[int, Field(gt=0, le=WIDEST), NUMBER] | None = None
    head_width: Annotated[int, Field(gt=0, le=WIDEST), NUMBER] | None = None
    d_ff: Annotated[int, Field(gt=0, le=16 * WIDEST), NUMBER] | None = None
    d_attn: Annotated[int, Field(gt=0, le=WIDEST), NUMBER] | None = None

    def resolved(self, n_layer: int, d_model: int) -> dict[str, Any]:
        """Return every option; where n_heads is not given, as many heads of at least ``head_width`` (16) as divide d_attn.

        Raises
        ------
        StudyError
            The heads do not divide d_attn, or n_heads and head_width are both given.
        """
        d_attn, n_heads = self.d_attn or d_model, self.n_heads
        self.check_heads()
        if n_heads is None:
            n_heads = _most_heads(d_attn, self.head_width or HEAD_WIDTH)
        elif d_attn % n_heads:
            raise StudyError(f"model.n_heads: {n_heads} heads do not divide d_attn {d_attn} (d_model by default)")
        others = self.model_dump(exclude={"head_width"})
        return {**others, "n_heads": n_heads, "d_ff": self.d_ff or 4 * d_model, "d_attn": d_attn}

    def check_heads(self) -> None:
        """Refuse a number of heads together with their width. Raises StudyError."""
        if self.n_heads and self.head_width:
            raise StudyError("model.head_width: n_heads is given too, and the width follows from it: leave one of them out")


@cache
def _most_heads(d_attn: int, width: int) -> int:
    """Return the largest number of heads of at least a width that divides d_attn; 1 where d_attn is less than that width."""
    return next(h for h in range(max(1, d_attn // width), 0, -1) if d_attn % h == 0)


def rows(c: ModelConfig) -> Rows:
    """Return the rows of Table 1; each layer is used ``n_repeats`` times, which is once in a plain Transformer."""
    uses = 2 * c.n_repeats
    qkv = 3 * c.n_layer * c.d_model * c.d_attn
    project = c.n_layer * c.d_attn * c.d_model
    feed_forward = 2 * c.n_layer * c.d_model * c.d_ff
    return {
        "embed": ((c.n_vocab + c.n_ctx) * c.d_model, 4 * c.d_model),
        "attention_qkv": (qkv, uses * qkv),
        "attention_mask": (0, uses * c.n_layer * c.n_ctx * c.d_attn),
        "attention_project": (project, uses * project),
        "feed_forward": (feed_forward, uses * feed_forward),
        "de_embed": (0, 2 * c.d_model * c.n_vocab),  # tied: its parameters are those of the token embedding
    }


def vectors(c: ModelConfig) -> int:
    """Return the number of biases and of weights of layer norms."""
    biases = c.n_layer * (3 * c.d_attn + c.d_model + c.d_ff + c.d_model)
    return biases + (2 * c.n_layer + 1) * 2 * c.d_model


def kept(c: ModelConfig, wide: int) -> int:
    """Return the bytes that a token keeps: inputs of norms in float32, and factors of products. No row of attention is kept."""
    norms = 2 * (4 + wide) * c.d_model  # the input of each of two norms, and its output
    attention = 4 * wide * c.d_attn + 4 * c.n_heads  # queries, keys, values and what they give; a sum of exponentials
    masks = 2 * c.d_model if c.dropout else 0
    return c.n_layer * c.n_repeats * (norms + attention + 2 * wide * c.d_ff + masks)


FORMULAS = {
    "embed": ("(n_vocab + n_ctx) d_model", "4 d_model"),
    "attention_qkv": ("n_layer d_model 3 d_attn", "2 n_layer d_model 3 d_attn"),
    "attention_mask": ("0", "2 n_layer n_ctx d_attn"),
    "attention_project": ("n_layer d_attn d_model", "2 n_layer d_attn d_model"),
    "feed_forward": ("n_layer 2 d_model d_ff", "2 n_layer 2 d_model d_ff"),
    "de_embed": ("0, shared with embed", "2 d_model n_vocab"),
    "all": ("N = 2 d_model n_layer (2 d_attn + d_ff)", "C_forward = 2N + 2 n_layer n_ctx d_attn"),
}

TRANSFORMER = Architecture(
    name="transformer",
    rows=rows,
    vectors=vectors,
    module="scalinglaws.models.transformer:Transformer",
    cpu_module="scalinglaws.models.transformer_cpu:fastest",
    options=AttentionOptions,
    prefix="gpt",
    formulas=FORMULAS,
    kept=kept,
    parametrizations=("standard", "mup"),
    stacks=True,
)
