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


RECURRENT = dataclasses.replace(TRANSFORMER, name="recurrent", options=RecurrentOptions, prefix="")
