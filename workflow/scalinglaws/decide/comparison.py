"""What a comparison of two sides holds, as ``scalinglaws compare --json`` prints it; its JSON schema follows from these types."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Number = float | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Part):
    """An estimate with its 95 % interval. An end is null where nothing bounds it or there is no interval."""

    estimate: Number = Field(description="The estimate; null where there is none.")
    ci_low: Number = Field(description="Low end of the 95 % interval.")
    ci_high: Number = Field(description="High end of the 95 % interval.")


class Place(Estimate):
    """An estimate at a compute."""

    extrapolated: bool = Field(description="Whether it rests on a compute, a size or tokens beyond those of the runs.")


class SideOf(_Part):
    """One of the two sides."""

    name: str = Field(description="What was named on the command line, with its condition.")
    n_points: int = Field(ge=1, description="Runs that were used.")
    n_trunks: int = Field(ge=1, description="Trunks of these runs, which are resampled.")
    flops_low: float = Field(gt=0, description="Least compute of these runs in FLOP.")
    flops_high: float = Field(gt=0, description="Largest compute of these runs in FLOP.")


class Exponent(_Part):
    """A parameter of both sides."""

    name: str = Field(description="E in nats per token, or an exponent of the law.")
    a: Estimate = Field(description="That of A.")
    b: Estimate = Field(description="That of B.")
    difference: Estimate = Field(description="That of A less that of B.")


class AtCompute(_Part):
    """Both sides at one compute."""

    flops: float = Field(gt=0, description="Compute in FLOP.")
    loss_a: Place = Field(description="Loss of A in nats per token; at one budget it was measured and has no interval.")
    loss_b: Place = Field(description="Loss of B in nats per token.")
    difference: Place = Field(description="Loss of A less that of B.")
    gain: Place = Field(description="How many times this compute B needs to have the loss of A; null where it never has it.")


class Comparison(_Part):
    """What ``scalinglaws compare`` found."""

    a: SideOf
    b: SideOf
    method: Literal["law", "one budget"] = Field(
        description="By a law fitted to each side, or by models at one budget of tokens."
    )
    law: str | None = Field(description="The law; null at one budget.")
    formula: str = Field(description="The equation that is fitted to each side.")
    tokens: Number = Field(description="The budget in tokens; null where a law is fitted.")
    exponents: list[Exponent]
    at: list[AtCompute] = Field(min_length=1)
    mean_gain: Estimate | None = Field(description="Geometric mean of the gains at one budget; null where a law is fitted.")
    doubts: list[str] = Field(description="Reasons to doubt it, as sentences.")
