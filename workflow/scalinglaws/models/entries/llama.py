"""The decoder of Llama, Qwen3 and OLMo-2 as an entry of the registry: its options, the published blocks and its counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER, WIDEST, Rate
from scalinglaws.models.architecture import Architecture, Rows
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.entries.transformer import HEAD_WIDTH, AttentionOptions

# What the published blocks differ in, besides their numbers of heads. docs/models.md has the sources.
BLOCKS: dict[str, dict[str, Any]] = {
    "llama-2": {"rope_base": 10_000.0, "norm": "pre", "norm_eps": 1e-5, "qk_norm": "none"},
    "llama-3": {"rope_base": 500_000.0, "norm": "pre", "norm_eps": 1e-5, "qk_norm": "none"},
    "qwen3": {"rope_base": 1_000_000.0, "norm": "pre", "norm_eps": 1e-6, "qk_norm": "head"},
    "olmo-2": {"rope_base": 500_000.0, "norm": "post", "norm_eps": 1e-6, "qk_norm": "all"},
}
Block = Literal["llama-2", "llama-3", "qwen3", "olmo-2"]


class LlamaOptions(AttentionOptions):
    """Widths, heads and what the published blocks differ in: ``block`` sets the defaults of the latter, each may be given too."""

    block: Block = "llama-2"
    n_kv_heads: (
        Annotated[int, Field(gt=0, le=WIDEST, description="heads of keys and values, which divide n_heads"), NUMBER] | None
    ) = None
    d_ff_multiple: Annotated[
        int, Field(gt=0, le=WIDEST, description="d_ff is 8/3 d_model rounded up to a multiple of this"), NUMBER
    ] = 8
    rope_base: Annotated[Rate, Field(gt=1, le=1e12, description="base of the angles of rotary positions")] | None = None
    norm: Literal["pre", "post"] | None = None
    norm_eps: Annotated[Rate, Field(gt=0, lt=1)] | None = None
    qk_norm: Literal["none", "head", "all"] | None = None
    tied: bool = True

    def resolved(self, n_layer: int, d_model: int) -> dict[str, Any]:
        """Return every option but ``block`` and ``d_ff_multiple``, whose effect is in the others.

        By default heads are at least ``head_width`` (16) wide and of an even width, and there are as many heads of keys as of
        queries.

        Raises
        ------
        StudyError
            The heads do not divide d_attn, are of an odd width, are no multiple of n_kv_heads, or are given with their width.
        """
        d_attn = self.d_attn or d_model
        self.check_heads()
        n_heads = self.n_heads or _most_heads(d_attn, self.head_width or HEAD_WIDTH)
        n_kv_heads = self.n_kv_heads or n_heads
        if d_attn % n_heads:
            raise StudyError(f"model.n_heads: {n_heads} heads do not divide d_attn {d_attn} (d_model by default)")
        if d_attn // n_heads % 2:
            raise StudyError(
                f"model.n_heads: {n_heads} heads of d_attn {d_attn} (d_model by default) are {d_attn // n_heads} wide, and "
                "rotary positions turn pairs of numbers: choose a d_attn and n_heads that give an even width"
            )
        if n_heads % n_kv_heads:
            raise StudyError(f"model.n_kv_heads: {n_kv_heads} heads of keys and values do not divide {n_heads} heads (n_heads)")
        given = {name: getattr(self, name) for name in BLOCKS[self.block]}
        block = BLOCKS[self.block] | {name: value for name, value in given.items() if value is not None}
        widths = {"n_heads": n_heads, "d_attn": d_attn, "d_ff": self.d_ff or self.feed_forward_width(d_model)}
        return {**widths, "n_kv_heads": n_kv_heads, "tied": self.tied, **block}

    def feed_forward_width(self, d_model: int) -> int:
        """Return d_ff by the rule of 8/3: three matrices then have as many numbers as two of 4 d_model (Shazeer 2020)."""
        return -(-8 * d_model // (3 * self.d_ff_multiple)) * self.d_ff_multiple


def _most_heads(d_attn: int, width: int) -> int:
    """Return the largest number of heads that are of an even width and at least so wide; 1 where there is none."""
    return next((h for h in range(d_attn // width, 0, -1) if d_attn % (2 * h) == 0), 1)


def attention_rows(c: ModelConfig) -> Rows:
    """Return the rows of Table 1 of attention with grouped queries and of the embeddings, in their order; norms are left out."""
    d_kv = c.d_attn // c.n_heads * c.n_kv_heads
    qkv = c.n_layer * c.d_model * (c.d_attn + 2 * d_kv)
    project = c.n_layer * c.d_attn * c.d_model
    return {
        "attention_qkv": (qkv, 2 * qkv),
        "attention_mask": (0, 2 * c.n_layer * c.n_ctx * c.d_attn),
        "attention_project": (project, 2 * project),
    }


def embedding_rows(c: ModelConfig, inner: Rows) -> Rows:
    """Return the rows of a whole model: those of its layers, ``inner``, between those of the input and of the output."""
    table = c.n_vocab * c.d_model
    return {
        "embed": (table, 2 * c.d_model),
        **inner,
        "de_embed": (0 if c.options["tied"] else table, 2 * table),
    }


def rows(c: ModelConfig) -> Rows:
    """Return the rows of Table 1; the feed-forward part has three matrices, and positions have no parameters."""
    feed_forward = 3 * c.n_layer * c.d_model * c.d_ff
    return embedding_rows(c, {**attention_rows(c), "feed_forward": (feed_forward, 2 * feed_forward)})


def vectors(c: ModelConfig) -> int:
    """Return the number of weights of norms; there are no biases."""
    head = c.d_attn // c.n_heads
    of_heads = {"none": 0, "head": 2 * head, "all": c.d_attn + head * c.n_kv_heads}[c.options["qk_norm"]]
    return c.n_layer * (2 * c.d_model + of_heads) + c.d_model


def kept_by_attention(c: ModelConfig, wide: int) -> int:
    """Return the bytes that a token keeps in the norms and the attention of one layer."""
    d_kv = c.d_attn // c.n_heads * c.n_kv_heads
    heads = (2 * c.d_attn + 2 * d_kv) * wide + 4 * c.n_heads
    normed = 0 if c.options["qk_norm"] == "none" else 4 * (c.d_attn + d_kv)  # queries and keys before their norms
    masks = 2 * c.d_model if c.dropout else 0
    return 2 * (4 + wide) * c.d_model + heads + normed + masks


def kept(c: ModelConfig, wide: int) -> int:
    """Return the bytes that a token keeps; of the feed-forward part the gate, SiLU of it, the other factor and the product."""
    return c.n_layer * (kept_by_attention(c, wide) + 4 * wide * c.d_ff)


FORMULAS = {
    "embed": ("n_vocab d_model", "2 d_model"),
    "attention_qkv": ("n_layer d_model (d_attn + 2 d_kv)", "2 n_layer d_model (d_attn + 2 d_kv)"),
    "attention_mask": ("0", "2 n_layer n_ctx d_attn"),
    "attention_project": ("n_layer d_attn d_model", "2 n_layer d_attn d_model"),
    "feed_forward": ("n_layer 3 d_model d_ff", "2 n_layer 3 d_model d_ff"),
    "de_embed": ("n_vocab d_model, or 0 where tied", "2 d_model n_vocab"),
    "all": ("N = d_model n_layer (2 d_attn + 2 d_kv + 3 d_ff)", "C_forward = 2N + 2 n_layer n_ctx d_attn"),
}

LLAMA = Architecture(
    name="llama",
    rows=rows,
    vectors=vectors,
    module="scalinglaws.models.llama:Llama",
    options=LlamaOptions,
    formulas=FORMULAS,
    kept=kept,
    stacks=True,
)
