"""Registered forecasts: what the fits of smaller runs said of larger ones before these were trained, and how they came out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.numbers import counted, short
from scalinglaws.figures.shared import fit_json, style
from scalinglaws.figures.shared.groups import budget_runs

TITLE = "Registered forecasts"
CAPTION = """
**a** Grey points are the decayed runs that laws are fitted to. Coloured marks are the losses that these laws stated of larger
runs before their training, with the 95 % interval of a new run; stars are the losses that came out. **b** Each forecast
relative to its outcome. Hollow marks are late: written after the run.
"""
# Laws, as they come, take the colours of categories and these marks.
MARKS = "osD^v"
APART = 1.12  # factor in compute by which the marks of one run are drawn beside each other
MOST_ROWS = 12  # forecasts that the right panel has room for


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the ladder of fitted runs with the forecasts and the outcomes, and the forecasts relative to the outcomes.

    ``fits`` is not used: a forecast holds what the fits said when it was written.
    """
    figure, (ladder, relative) = style.panels(2)
    stated = tables["forecasts"].drop_nulls("loss_forecast")
    laws = stated["law"].unique(maintain_order=True).to_list()
    looks = {law: (style.COLOURS[k % len(style.COLOURS)], MARKS[k % len(MARKS)]) for k, law in enumerate(laws)}
    _ladder(ladder, tables["runs"], stated, looks)
    _relative(relative, stated, looks)
    return figure


def _mark(row: dict[str, Any], looks: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return how a forecast is drawn: in the colour and with the mark of its law, hollow where it is late."""
    colour, mark = looks[row["law"]]
    fill = {"markerfacecolor": "white" if row["late"] else colour}
    return {"color": colour, "marker": mark, "markersize": 4, "elinewidth": 0.9, "capsize": 1.5} | fill


def _bar(row: dict[str, Any]) -> np.ndarray:
    """Return the lengths (2, 1) of the bar of a forecast below and above it, NaN where it has no interval."""
    stated, low, high = (math.nan if row[name] is None else row[name] for name in ("loss_forecast", "low", "high"))
    return style.sides(stated, low, high)


def _ladder(axis: Axes, runs: polars.DataFrame, stated: polars.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    points = budget_runs(runs).filter(polars.col("fitted").fill_null(True) & ~polars.col("run").is_in(stated["run"].to_list()))
    if points.is_empty() and stated.is_empty():
        style.sentence(axis, "not resolved: there are no runs to draw")
        return
    label = f"{len(points)} runs that laws are fitted to"
    axis.plot(points["flops_6nd"], points["loss"], "o", color=style.GUIDE, markersize=3, label=label)
    for of_run in stated.partition_by("run", maintain_order=True):
        for place, row in enumerate(of_run.iter_rows(named=True)):
            aside = APART ** (place - (len(of_run) - 1) / 2)
            axis.errorbar([row["flops"] * aside], [row["loss_forecast"]], yerr=_bar(row), zorder=4, **_mark(row, looks))
    outcomes = stated.unique("run", maintain_order=True).drop_nulls("loss")
    axis.plot(outcomes["flops"], outcomes["loss"], "*", color="black", markersize=8, zorder=5, label="came out")
    for law, (colour, mark) in looks.items():
        axis.plot([], [], marker=mark, color=colour, linestyle="none", label=f"forecast by {law}")
    if stated["late"].any():
        axis.plot([], [], "o", color="0.3", markerfacecolor="white", label="late: written after the run")
    losses = [*points["loss"], *stated["low"].drop_nulls(), *stated["high"].drop_nulls(), *stated["loss_forecast"]]
    style.loss_axis(axis, [*losses, *outcomes["loss"]])
    style.log_axis(axis, [*points["flops_6nd"], *stated["flops"]], "C = 6ND (FLOP)", counts=False)
    style.legend_below(axis)


def _relative(axis: Axes, stated: polars.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    scored = stated.drop_nulls("loss")
    if scored.is_empty():
        style.sentence(axis, "not resolved: no run that was forecast has a loss yet")
        return
    shown = scored.head(MOST_ROWS)
    for place, row in enumerate(shown.iter_rows(named=True)):
        error, bar = 100 * row["error"], 100 * _bar(row) / row["loss"]
        axis.errorbar([error], [-place], xerr=bar, **_mark(row, looks))
    axis.axvline(0, color="black", linewidth=0.8)
    left, right = axis.get_xlim()
    axis.set_xlim(left - 0.04 * (right - left), right + 0.04 * (right - left))
    axis.set_yticks([-place for place in range(len(shown))], [_name(row) for row in shown.iter_rows(named=True)])
    axis.set_ylim(-len(shown) + 0.4, 0.6)
    axis.set_xlabel("Forecast/outcome − 1 (%)")
    notes = [_verdict(scored.filter(~polars.col("late")))]
    if len(scored) > len(shown):
        notes.append(f"{counted(len(scored) - len(shown), 'forecast')} more in the report")
    style.legend_below(axis, notes)


def _name(row: dict[str, Any]) -> str:
    """Name a forecast by its law, and by the size and the compute factor of its run."""
    times = "" if row["compute_factor"] is None else f", {row['compute_factor']:.3g}× C"
    return f"{row['law']}\nN = {short(round(row['n_params']))}{times}"


def _verdict(registered: polars.DataFrame) -> str:
    """Tell how many forecasts that were written before their runs held the outcome."""
    judged = registered.drop_nulls("inside")
    if judged.is_empty():
        return "no forecast with an interval was written before its run"
    return f"{judged['inside'].sum()} of {counted(len(judged), 'interval')} hold the loss that came out"
