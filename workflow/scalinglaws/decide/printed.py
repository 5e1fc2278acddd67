"""What ``--json`` of the smaller commands prints, as typed records; decide/schemas.py names those of all commands.

The records describe values and do not make them: a test validates what each command prints.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from scalinglaws.decide.answer import Record


class Interval(Record):
    """An estimate with its standard error and 95 % interval; null where it has none."""

    estimate: float | None
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    unit: str | None = Field(description="Unit of the estimate; empty or null where it is a pure number.")


class Objective(Record):
    """The function of the residuals that a fit makes least."""

    name: str
    delta: float | None = Field(description="Where the Huber function turns from squares to absolute values; null for others.")
    residuals: str | None = Field(
        default=None, description="log: differences of log losses; raw: differences of losses in nats per token."
    )
    value: float | None = Field(description="Its value at the fit; null where nothing was fitted.")


class Left(Record):
    """A run that was left out of a fit."""

    run: str
    reason: str


class FitResult(BaseModel):
    """A fit of a law to a table of runs, which is also the content of fits/LAW.json. A law may have further keys of its own."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    law: str
    formula: str
    parameters: dict[str, Interval] = Field(description="Parameters of the law by name; empty where nothing was fitted.")
    objective: Objective
    n_points: int = Field(ge=0, description="Points that were fitted.")
    n_runs: int = Field(ge=0, description="Runs that these points are of.")
    n_trunks: int = Field(ge=0, description="Trunks of these runs, which are resampled.")
    excluded: list[Left] = Field(description="Runs of the table that were left out.")
    r2: float | None = Field(description="Share of the variance of log losses that the law explains; null for other methods.")
    flags: list[str] = Field(description="Reasons to doubt the fit, as sentences.")
    starts: int = Field(ge=0, description="Starting points of the search; 0 for methods that search by no descent.")
    published: dict[str, float] = Field(description="Values of the law's source.")
    refits: list[dict[str, Any]] = Field(description="Values that later papers fitted.")
    exponents: dict[str, Any] = Field(default={}, description="Exponents that follow from the parameters, with intervals.")
    resamples: Any = Field(default=None, description="Parameters of each resample of trunks, by name.")


class LawEntry(Record):
    """A law in the list of ``fit --list``."""

    name: str
    formula: str
    source: str
    rule: str = Field(description="The runs that it is fitted to.")


class FigureEntry(Record):
    """A figure in the list of ``figure --list``."""

    name: str
    title: str
    needs: list[str] = Field(description="Questions that a study's runs must be able to answer.")
    tables: list[str] = Field(description="Tables that it reads.")
    laws: list[str] = Field(description="Laws that it draws where the study fits them.")


class LawList(RootModel[list[LawEntry]]):
    """The laws and the other methods by which a table is fitted."""


class FigureList(RootModel[list[FigureEntry]]):
    """The figures, in the order of the report."""


class CurvePoint(Record):
    """The predicted loss after a step; an interval is null where nothing tells it."""

    step: float
    learning_rate: float
    loss: float = Field(description="Predicted loss in nats per token.")
    run_low: float | None = Field(description="Low end of the 95 % interval of a run.")
    run_high: float | None
    ci_low: float | None = Field(description="Low end of the 95 % interval of the law alone.")
    ci_high: float | None


class Curve(Record):
    """The loss curve that the multi-power law predicts for a schedule."""

    curve: list[CurvePoint]
    errors: dict[str, float | None] = Field(description="Errors by name where the schedule has losses; else empty.")


class Exported(Record):
    """A run that was written as a folder for the library transformers."""

    run: str
    to: str
    files: list[str]


class Rung(Record):
    """A checkpoint that no unfinished run needs."""

    path: str
    bytes: int = Field(ge=0)


class Pruned(Record):
    """The rungs that could be deleted, and whether they were."""

    rungs: list[Rung]
    deleted: bool


class Fault(Record):
    """A file that is not as it was written."""

    path: str
    what: str


class Verified(Record):
    """The state of all files in results/."""

    damaged: list[Fault]
    missing: list[Fault]
    without_sums: list[str] = Field(description="Files of earlier versions, which have no sums.")
    removed: list[str] = Field(description="Files that --repair removed.")
    parts: int = Field(ge=0, description="Results that were checked.")
    bytes: int = Field(ge=0)
