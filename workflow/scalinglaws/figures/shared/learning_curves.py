"""Learning curves for figures: each piece once, however many budgets share it."""

from __future__ import annotations

from dataclasses import dataclass

import polars

from scalinglaws.figures.shared.groups import budget_runs


@dataclass(frozen=True)
class Segment:
    """A piece of a learning curve of one model: rows of the curves table by step. ``branch``: a decay that left a trunk."""

    n_params: int
    rows: polars.DataFrame
    branch: bool


def segments(curves: polars.DataFrame, runs: polars.DataFrame) -> list[Segment]:
    """The curves of ``budget_runs(runs)`` as pieces to draw, sorted by size: under wsd the warm-up and stable phase of a
    trunk once and each budget's decay from the point where it left; under other schedules each run whole.
    """
    kept = budget_runs(runs)
    seen = curves.filter((polars.col("tokens") > 0) & polars.col("loss_test").is_not_null())
    out: list[Segment] = []
    for trunk in kept["trunk"].unique(maintain_order=True):
        family = kept.filter(polars.col("trunk") == trunk)
        n_params = int(family["n_params"][0])
        # What budgets share belongs to the trunk: there run is null.
        mine = seen.filter(
            (polars.col("trunk") == trunk) & (polars.col("run").is_null() | polars.col("run").is_in(family["run"].to_list()))
        )
        if (family["schedule"] != "wsd").fill_null(True).any():
            out += [Segment(n_params, rows.sort("step"), False) for rows in mine.partition_by("run", maintain_order=True)]
            continue
        stable = mine.filter(polars.col("phase") != "decay").sort("step")
        if not stable.is_empty():
            out.append(Segment(n_params, stable, False))
        for rows in mine.filter(polars.col("phase") == "decay").partition_by("run", maintain_order=True):
            decay = rows.sort("step")
            left = stable.filter(polars.col("step") < decay["step"][0]).tail(1)
            out.append(Segment(n_params, polars.concat([left, decay]), True))
    return out
