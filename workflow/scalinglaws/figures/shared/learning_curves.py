"""Learning curves cut into pieces, so that a piece which several budgets share is drawn once."""

from __future__ import annotations

from dataclasses import dataclass

import polars

from scalinglaws.figures.shared.groups import budget_runs


@dataclass(frozen=True)
class Segment:
    """A piece of the learning curve of one model."""

    n_params: int
    rows: polars.DataFrame  # rows of the table of curves, sorted by step
    branch: bool  # whether it is the decay of one budget, which begins where it left the trunk


def segments(curves: polars.DataFrame, runs: polars.DataFrame) -> list[Segment]:
    """Return the curves of ``budget_runs(runs)`` as pieces to draw, sorted by size.

    Under the schedule wsd these are the warm-up and stable phase of each trunk, and the decay of each budget from the point where
    it left the trunk. Under other schedules each run is one piece.
    """
    kept = budget_runs(runs)
    seen = curves.filter((polars.col("tokens") > 0) & polars.col("loss_test").is_not_null())
    out: list[Segment] = []
    for trunk in kept["trunk"].unique(maintain_order=True):
        family = kept.filter(polars.col("trunk") == trunk)
        n_params = int(family["n_params"][0])
        # Rows that several budgets share belong to the trunk and have no run.
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
