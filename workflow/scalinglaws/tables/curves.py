"""The table of learning curves: one row for each step at which the losses of a run, or of the trunk of several, were measured.

The rows of a stable phase belong to the trunk, whatever run they come from. A run starts from a rung of its trunk and carries the
trunk's rows up to there, then measures the rest of its stable phase itself. On other hardware the same losses may differ by
rounding. Of several runs' rows of one step those of the run with the largest budget are taken: it starts from the furthest rung,
so its rows are the trunk's own wherever a rung reaches. Between runs of equal budgets the first id decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import flops_6nd
from scalinglaws.study.ladder import has_ladder
from scalinglaws.study.spec import RunSpec
from scalinglaws.tables.schema import POINT
from scalinglaws.train.metrics import AGAIN, CurveRow

Row = dict[str, Any]
# Columns that runs lack if they were trained before these were measured: they are taken from another run of the trunk.
LATER = ("loss_by_position", "noise_square", "noise_trace")
LOSSES = ("loss_train", "loss_test", "loss_validation")
# Rounding on other hardware moves a loss less than this; other code or other data moves it more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Curve:
    """The curve of one run. ``n_params_total`` counts all parameters, which the spec alone does not tell."""

    spec: RunSpec
    n_params_total: int
    rows: list[CurveRow]


@dataclass(frozen=True)
class Disagreement:
    """The largest relative difference between the losses that two runs have at one step of their trunk."""

    difference: float
    step: int
    kept: str
    other: str


def curve_rows(curve: Curve) -> list[Row]:
    """Return rows of ``curves`` from one run; ``run`` is null where a row belongs to the trunk."""
    spec = curve.spec
    fixed = {"trunk": spec.trunk.id, "n_layer": spec.n_layer, "n_params": spec.n_params}
    fixed |= {"n_params_total": curve.n_params_total, "batch_tokens": spec.batch_tokens}
    shared = has_ladder(spec)
    return [
        {"run": None if shared and row.phase != "decay" else spec.id}
        | fixed
        | {name: getattr(row, name) for name, _ in POINT}
        | {"flops_6nd": float(flops_6nd(spec.shape(0), row.tokens))}
        for row in curve.rows
    ]


def curve_table(curves: Iterable[Curve]) -> tuple[list[Row], list[str]]:
    """Return the rows of the table ``curves``, one for each trunk, run and step, in this order, and warnings.

    A warning is a sentence about a trunk whose losses differ between runs by more than TOLERANCE, as a share of the loss. Raises
    StudyError where two runs have losses by position of other lengths.
    """
    found: dict[tuple[str, str, int], Row] = {}
    measured_by: dict[tuple[str, str, int], str] = {}
    worst: dict[str, Disagreement] = {}
    for curve in sorted(curves, key=lambda curve: (-curve.spec.tokens, curve.spec.id)):
        for row in curve_rows(curve):
            trunk = row["trunk"]
            key = (trunk, row["run"] or "", row["step"])
            kept = found.get(key)
            if kept is None:
                found[key], measured_by[key] = row, curve.spec.id
                continue
            if len({len(each) for each in (kept["loss_by_position"], row["loss_by_position"]) if each is not None}) > 1:
                raise StudyError(
                    f"runs {measured_by[key]} and {curve.spec.id} have losses by position of other lengths at step {row['step']}"
                    f", so one of their curve.jsonl is damaged: {AGAIN}"
                )
            found[key] = kept | {name: row[name] for name in LATER if kept[name] is None}
            apart = difference(kept, row)
            if apart > TOLERANCE and (trunk not in worst or apart > worst[trunk].difference):
                worst[trunk] = Disagreement(apart, row["step"], measured_by[key], curve.spec.id)
    return [found[key] for key in sorted(found)], [warning(trunk, worst[trunk]) for trunk in sorted(worst)]


def difference(kept: Row, other: Row) -> float:
    """Return the largest relative difference of a loss between two rows of one step; infinite where one of them lacks it."""
    pairs = [(kept[name], other[name]) for name in LOSSES]
    if kept["loss_by_position"] is not None and other["loss_by_position"] is not None:
        pairs += zip(kept["loss_by_position"], other["loss_by_position"], strict=True)
    apart = [0.0]
    for one, two in pairs:
        if one is None or two is None:
            apart.append(0.0 if one is two else math.inf)
        elif one != two:
            apart.append(abs(one - two) / max(abs(one), abs(two)))
    return max(apart)


def warning(trunk: str, found: Disagreement) -> str:
    """Return what the report says of a trunk whose runs disagree."""
    how = f"by up to {100 * found.difference:.2g} %" if math.isfinite(found.difference) else "and one of them has diverged"
    return (
        f"Stable phase of trunk {trunk}: its losses differ between runs, {how} "
        f"(step {found.step}, {found.kept} and {found.other}). "
        "The run with the larger budget is used. They were trained by different code, or on machines that differ by more than "
        "rounding: to have them agree, delete the folders of the trunk and of its runs and train them again."
    )
