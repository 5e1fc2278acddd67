"""Sweeps of the learning rate: the losses of each shape over the rates, with a parabola and its lowest point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes

from scalinglaws.figures.shared import groups, style
from scalinglaws.figures.shared.least_squares import Minimum, minimum
from scalinglaws.study.questions import COMPARISONS, SHAPE

KEY = COMPARISONS["rate"][0]


def optima(runs: polars.DataFrame, size: str = "n_params") -> list[tuple[int, Minimum]]:
    """Return the size and the lowest point of a parabola through up to five points, for each shape of a sweep.

    The size is a column of the table: N, or the width. Where there are several seeds, they give the scatter.
    """
    scatter = groups.scatter(runs, (*SHAPE, KEY))
    found = []
    for group in runs.partition_by(SHAPE, maintain_order=True):
        least = minimum(group[KEY].to_numpy(), group["loss"].to_numpy(), scatter=scatter)
        if least:
            found.append((int(group[size][0]), least))
    return sorted(found, key=lambda item: item[0])


def draw_sweep(
    axis: Axes,
    runs: polars.DataFrame,
    best: list[tuple[int, Minimum]],
    colour_of: Callable[[int], Any],
    size: str = "n_params",
    losses: np.ndarray | None = None,
) -> None:
    """Draw losses against rates, a colour for each size, with the parabolas of ``best``.

    Parameters
    ----------
    axis
        The panel.
    runs
        The runs of one sweep.
    best
        What ``optima`` found in them.
    colour_of
        The colour of a size.
    size
        The column of the sizes.
    losses
        The losses that the axis makes room for: those of the sweep where none are given.
    """
    for group in runs.partition_by(SHAPE, maintain_order=True):
        colour = colour_of(int(group[size][0]))
        means = group.group_by(KEY).agg(polars.col("loss").mean()).sort(KEY)
        axis.plot(group[KEY], group["loss"], "o", color=colour, markersize=3.2, zorder=5)
        axis.plot(means[KEY], means["loss"], color=colour, linewidth=0.5, zorder=3)
    for each, least in best:
        colour = colour_of(each)
        if least.edge:
            axis.plot(least.x, least.y, "o", color=colour, markersize=8, markerfacecolor="none", zorder=6)
            continue
        x = np.geomspace(*least.span, 60)
        axis.plot(x, np.polyval(least.parabola, np.log(x) - least.centre), "--", color=colour, linewidth=1.0, zorder=4)
        axis.plot(least.x, least.y, "D", color=colour, markersize=4.5, markeredgecolor="black", markeredgewidth=0.6, zorder=7)
    style.loss_axis(axis, runs["loss"].to_numpy() if losses is None else losses)
    style.log_axis(axis, runs[KEY].to_numpy(), "Learning rate", counts=False)
    style.plain_ticks(axis)
    if any(not least.edge for _, least in best):
        axis.plot([], [], "D--", color="0.3", linewidth=1.0, label="parabola in the log rate, with its lowest point")
    if any(least.edge for _, least in best):
        name = "least loss at the least or the largest rate"
        axis.plot([], [], "o", color="0.3", markersize=8, markerfacecolor="none", label=name)
