"""The recurrent Transformer, which uses each of its layers several times, as an entry of the registry."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from scalinglaws.common.fields import NUMBER
from scalinglaws.models.entries.transformer import TRANSFORMER, AttentionOptions


class RecurrentOptions(AttentionOptions):
    """The options of a Transformer, and how its layers are repeated."""

    n_repeats: Annotated[int, Field(gt=1, le=100_000, description="how often each of its layers is used"), NUMBER]
    sharing: Literal["cycle", "sequence"] = "cycle"


ONCE = ("embed", "de_embed", "all")  # rows whose formulas do not count the uses of a layer
FORMULAS = {
    name: (parameters, flops if name in ONCE else f"n_repeats {flops}")
    for name, (parameters, flops) in TRANSFORMER.formulas.items()
} | {"all": (TRANSFORMER.formulas["all"][0], "C_forward = n_repeats (2N + 2 n_layer n_ctx d_attn)")}

RECURRENT = dataclasses.replace(TRANSFORMER, name="recurrent", options=RecurrentOptions, prefix="", formulas=FORMULAS)
