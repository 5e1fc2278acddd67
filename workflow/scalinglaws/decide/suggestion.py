"""What ``scalinglaws suggest`` answers, as typed records; the JSON schema of ``suggest --json`` follows from them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(_Part):
    """A 95 % interval of the target. An end is null beyond the range of floats."""

    low: float | None = Field(description="Low end.")
    high: float | None = Field(description="High end.")
    share: float = Field(ge=0, le=1, description="Its width over that of the interval without any new run; logs for scales.")


class Target(_Part):
    """What is to be known better."""

    name: str = Field(description="As it was asked for.")
    kind: Literal["parameter", "forecast"] = Field(description="A parameter of the law, or the loss of a new run.")
    unit: str = Field(description="Its unit; empty for an exponent.")
    estimate: float = Field(description="What the fit says.")
    at: dict[str, float] = Field(description="n_params, tokens or flops of the run that is forecast; empty for a parameter.")


class Suggested(_Part):
    """A run to add."""

    run: str | None = Field(description="Id of the run in the study; null where no config is known.")
    model: str | None = Field(description="n_layer x d_model; null where no shape has the size.")
    n_params: float = Field(gt=0, description="Parameters without embeddings.")
    tokens: float = Field(gt=0, description="Tokens of its training.")
    seed: int = Field(ge=0, description="Its seed; in a table the number of runs of the same size and tokens before it.")
    flops: float = Field(gt=0, description="FLOP that it takes beside the runs before it.")
    budget_share: float = Field(gt=0, description="The same as a share of the budget.")
    interval: Interval = Field(description="The interval that is expected with this run and those before it.")


class Everything(_Part):
    """What all candidates together would give, each of which fits the budget alone."""

    runs: int = Field(ge=0, description="Their number.")
    flops: float = Field(ge=0, description="The FLOP that they take together.")
    interval: Interval = Field(description="The interval that is expected with all of them.")


class Suggestion(_Part):
    """What to train next for a target within a budget."""

    source: str = Field(description="The study or the table whose fit it rests on.")
    law: str = Field(description="The law.")
    formula: str = Field(description="Its equation.")
    n_points: int = Field(ge=1, description="Runs that it was fitted to.")
    target: Target
    budget: float = Field(gt=0, description="FLOP that may be spent.")
    spent: float = Field(ge=0, description="FLOP that the suggested runs take.")
    before: Interval = Field(description="The interval of the target as it is.")
    after: Interval = Field(description="The interval that is expected with the suggested runs.")
    runs: list[Suggested] = Field(description="The runs, those that narrow the interval most for their FLOP first.")
    everything: Everything
    minutes: float | None = Field(description="Minutes that one core of this machine is expected to take; null without a config.")
    block: str | None = Field(description="An entry for experiments in config.yaml; null where there is none.")
    refused: str | None = Field(description="Why the study does not take the entry as it stands; null where it does.")
    doubts: list[str] = Field(description="Reasons to doubt it, as sentences.")
