"""The llama decoder with a mixture of experts in each layer as an entry of the registry: its options and its counts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER, Rate
from scalinglaws.models.architecture import Architecture, Rows
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.entries.llama import FORMULAS as DENSE
from scalinglaws.models.entries.llama import LlamaOptions, attention_rows, embedding_rows, kept_by_attention, vectors

MOST_EXPERTS = 65536


class MoeOptions(LlamaOptions):
    """The options of ``llama``, with d_ff for the width of one expert, and those of the routing."""

    n_experts: Annotated[int, Field(gt=1, le=MOST_EXPERTS, description="routed experts of a layer"), NUMBER] = 8
    n_experts_per_token: Annotated[int, Field(gt=0, le=MOST_EXPERTS, description="of them, those that a token meets"), NUMBER] = 2
    n_shared_experts: Annotated[int, Field(ge=0, le=MOST_EXPERTS, description="experts that every token meets"), NUMBER] = 0
    renormalize: bool = True
    balance: Annotated[Rate, Field(ge=0, le=1e3, description="weight of the loss that balances the experts")] = 0.01

    def resolved(self, n_layer: int, d_model: int) -> dict[str, Any]:
        """Return every option; by default the experts that a token meets are as wide together as the dense model is.

        Raises
        ------
        StudyError
            A token is to meet more experts than there are, or the options of ``llama`` do not fit each other.
        """
        if self.n_experts_per_token > self.n_experts:
            raise StudyError(
                f"model.n_experts_per_token: a token cannot meet {self.n_experts_per_token} experts of {self.n_experts} "
                "(n_experts): lower it, or raise n_experts"
            )
        names = ("n_experts", "n_experts_per_token", "n_shared_experts", "renormalize", "balance")
        return super().resolved(n_layer, d_model) | {name: getattr(self, name) for name in names}

    def feed_forward_width(self, d_model: int) -> int:
        """Return the width of an expert: that of the dense model, shared among those that a token meets, rounded up."""
        met = self.n_experts_per_token + self.n_shared_experts
        return -(-8 * d_model // (3 * met * self.d_ff_multiple)) * self.d_ff_multiple


def rows(c: ModelConfig) -> Rows:
    """Return the rows of Table 1. Parameters count every expert, and FLOP those that a token meets."""
    router, expert = c.n_layer * c.d_model * c.options["n_experts"], 3 * c.n_layer * c.d_model * c.d_ff
    shared = c.options["n_shared_experts"] * expert
    inner = {
        **attention_rows(c),
        "router": (router, 2 * router),
        "experts": (c.options["n_experts"] * expert, 2 * c.options["n_experts_per_token"] * expert),
        **({"shared_experts": (shared, 2 * shared)} if shared else {}),
    }
    return embedding_rows(c, inner)


def active(c: ModelConfig) -> int:
    """Return the parameters without embeddings that a token meets: attention, the router, its experts and the shared ones."""
    found = rows(c)
    met = found["experts"][0] // c.options["n_experts"] * c.options["n_experts_per_token"]
    others = ("attention_qkv", "attention_project", "router", "shared_experts")
    return met + sum(found[name][0] for name in others if name in found)


def kept(c: ModelConfig, wide: int) -> int:
    """Return the bytes that a token keeps; each expert that it meets has a copy of its input and of its output."""
    met, shared = c.options["n_experts_per_token"], c.options["n_shared_experts"]
    experts = met * (2 * wide * c.d_model + 4 * wide * c.d_ff) + 4 * wide * shared * c.d_ff + 12 * c.options["n_experts"]
    return c.n_layer * (kept_by_attention(c, wide) + experts)


EXPERT = "n_layer 3 d_model d_ff"
FORMULAS = {name: formulas for name, formulas in DENSE.items() if name != "feed_forward"} | {
    "router": ("n_layer d_model n_experts", "2 n_layer d_model n_experts"),
    "experts": (f"n_experts {EXPERT}", f"2 n_experts_per_token {EXPERT}"),
    "shared_experts": (f"n_shared_experts {EXPERT}", f"2 n_shared_experts {EXPERT}"),
    "all": ("N, every expert counted", "C_forward = 2 N_active + 2 n_layer n_ctx d_attn"),
}

MOE = Architecture(
    name="moe",
    rows=rows,
    vectors=vectors,
    module="scalinglaws.models.moe:Moe",
    options=MoeOptions,
    formulas=FORMULAS,
    active=active,
    kept=kept,
)
