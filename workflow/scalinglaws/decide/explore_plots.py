"""The plots and the table of the page ``explore.html``, as models of Bokeh that share one source of runs.

``explore.js`` finds by their names those that it changes: the filter ``visible`` and the plots N, D and C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from bokeh.document import Document
from bokeh.models import BooleanFilter, CDSView, ColumnDataSource, CustomJSTickFormatter, HoverTool, Range1d
from bokeh.models.widgets.tables import DataTable, NumberFormatter, ScientificFormatter, StringFormatter, TableColumn
from bokeh.plotting import figure

from scalinglaws.decide.explore_forecast import Step
from scalinglaws.decide.explore_laws import Curve
from scalinglaws.decide.explore_runs import PANELS, Panel, experiments
from scalinglaws.figures.shared import style

HEIGHT, TABLE_HEIGHT = 430, 420  # pixels
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle")
# How the laws of a panel are drawn: colour, dashes, and the name of the dashes for a legend.
LINES = (
    (style.FIT, "solid"), (style.SECOND, "dashed"), ("#4d4d4d", "dotted"), ("#332288", "dotdash"),
)  # fmt: skip
FORECAST = "#000000"
COUNTS = """
const sizes = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]
for (const [size, unit] of sizes) {
  if (Math.abs(tick) >= size) { return String(Number((tick / size).toPrecision(3))) + unit }
}
return String(Number(tick.toPrecision(3)))
"""
POWERS = """
if (tick <= 0) { return "0" }
const power = Math.floor(Math.log10(tick) + 1e-9)
const above = String(power).split("").map((digit) => digit == "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("")
const factor = Number((tick / Math.pow(10, power)).toPrecision(2))
return (factor == 1 ? "" : String(factor) + "·") + "10" + above
"""
TOOLTIP = """
<div style="font: 13px/1.4 system-ui, sans-serif; max-width: 22rem; overflow-wrap: anywhere">
<b>@run</b><br>experiments: @names<br>N = @n_text parameters<br>@tokens_text tokens processed, dataset of @dataset_text<br>
C = @flops_text FLOP<br>loss @loss_text nats per token<br>@status, @{note}
</div>
"""


def marks(table: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the colour and the marker of each experiment; neighbours in the list differ in both."""
    return {name: (style.COLOURS[k % len(style.COLOURS)], MARKERS[k % len(MARKERS)]) for k, name in enumerate(experiments(table))}


def limits(values: Sequence[float] | np.ndarray, logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis that shows values with a margin; (1, 10) where there are none."""
    known = np.asarray([value for value in values if np.isfinite(value) and value > 0], np.float64)
    if not len(known):
        return 1.0, 10.0
    low, high = float(known.min()), float(known.max())
    if logarithmic:
        margin = max((high / low) ** 0.06, 1.02)
        return low / margin, high * margin
    margin = max(0.06 * (high - low), 0.02 * high)
    return max(low - margin, 0.0), high + margin


def source_of(table: pl.DataFrame) -> ColumnDataSource:
    """Return the runs as the one source of all plots and of the table."""
    of = marks(table)
    first = [names[0] for names in table["experiments"]]
    numbers = ("n_params", "tokens", "dataset_tokens", "data", "flops", "loss", "loss_stderr", "low", "high")
    columns: dict[str, Any] = {name: table[name].fill_null(np.nan).to_numpy() for name in numbers}
    texts = ("run", "names", "status", "fits", "n_text", "tokens_text", "dataset_text", "flops_text", "loss_text")
    columns |= {name: table[name].to_list() for name in (*texts, *(f"note_{panel.letter}" for panel in PANELS))}
    columns |= {"colour": [of[name][0] for name in first], "marker": [of[name][1] for name in first]}
    return ColumnDataSource(columns, name="runs")


def plot(
    panel: Panel,
    source: ColumnDataSource,
    table: pl.DataFrame,
    visible: BooleanFilter,
    drawn: Sequence[Curve],
    steps: Sequence[Step],
    log: tuple[tuple[float, float], tuple[float, float]],
) -> Any:
    """Return the plot of a panel with logarithmic axes.

    Parameters
    ----------
    panel, source, table
        The panel, the source of the runs and the frame behind it.
    visible
        The filter by experiment.
    drawn, steps
        The curves of the panel's laws, and the forecasts of the slider.
    log
        The ends of the axes, x and y, on logarithmic scales.
    """
    (left, right), (bottom, top) = log
    picture = figure(
        name=panel.letter, height=HEIGHT, sizing_mode="stretch_width", x_axis_type="log", y_axis_type="log",
        x_range=Range1d(start=left, end=right, reset_start=left, reset_end=right),
        y_range=Range1d(start=bottom, end=top, reset_start=bottom, reset_end=top),
        tools="pan,box_zoom,wheel_zoom,tap,reset,save", active_drag="box_zoom", toolbar_location="above", min_width=280,
    )  # fmt: skip
    picture.toolbar.logo = None
    picture.xaxis.axis_label, picture.yaxis.axis_label = panel.label, "test loss (nats per token)"
    picture.xaxis.formatter = CustomJSTickFormatter(code=POWERS if panel.letter == "C" else COUNTS)
    picture.yaxis.formatter = CustomJSTickFormatter(code="return String(Number(tick.toPrecision(4)))")
    picture.axis.axis_label_text_font_style = "normal"
    picture.grid.grid_line_color = "#ebebeb"
    picture.outline_line_color = None
    for curve, (colour, dash) in zip(drawn, LINES, strict=False):
        _draw_curve(picture, curve, colour, dash)
    _draw_forecast(picture, panel, steps)
    _draw_runs(picture, panel, source, table, visible)
    return picture


def _draw_curve(picture: Any, curve: Curve, colour: str, dash: str) -> None:
    """Draw a law with its band; beyond its data the line is thin."""
    known = np.isfinite(curve.low)
    if known.any():
        band = ColumnDataSource({"x": curve.x[known], "low": curve.low[known], "high": curve.high[known]})
        picture.varea("x", "low", "high", source=band, fill_color=colour, fill_alpha=0.13, name=f"law {curve.law}")
    for part, width in ((curve.x <= curve.last, 2.2), (curve.x >= curve.last, 1.0)):
        line = ColumnDataSource({"x": curve.x[part], "loss": curve.loss[part]})
        picture.line("x", "loss", source=line, line_color=colour, line_dash=dash, line_width=width, name=f"law {curve.law}")


def _draw_forecast(picture: Any, panel: Panel, steps: Sequence[Step]) -> None:
    """Draw the forecast that the slider stands at; over compute also the whole line of forecasts with its interval."""
    if not steps:
        return
    column = {"N": "n_params", "D": "tokens", "C": "flops"}[panel.letter]
    x = np.array([getattr(step, column) for step in steps])
    loss, low, high = (np.array([getattr(step, name) for step in steps]) for name in ("loss", "low", "high"))
    if panel.letter == "C":
        line = ColumnDataSource({"x": x, "loss": loss, "low": low, "high": high})
        if np.isfinite(low).all():
            picture.varea("x", "low", "high", source=line, fill_color=FORECAST, fill_alpha=0.08, name="law forecast")
        picture.line("x", "loss", source=line, line_color=FORECAST, line_dash="dashed", line_width=1.2, name="law forecast")
    at = ColumnDataSource({"x": x[:1], "loss": loss[:1], "low": low[:1], "high": high[:1]}, name=f"at {panel.letter}")
    picture.segment("x", "low", "x", "high", source=at, line_color=FORECAST, line_width=2.5)
    picture.scatter("x", "loss", source=at, marker="star", size=19, fill_color="#f0e442", line_color=FORECAST, line_width=1.4)


def _draw_runs(picture: Any, panel: Panel, source: ColumnDataSource, table: pl.DataFrame, visible: BooleanFilter) -> None:
    """Draw the runs that enter a fit of the panel as full marks, and the others as hollow ones."""
    inside = table[f"in_{panel.letter}"] & table["ok"]
    known = table["ok"] & table[panel.column].is_finite().fill_null(False)
    parts = {"hollow": (known & ~inside).to_list(), "full": (known & inside).to_list()}
    tooltip = TOOLTIP.replace("@{note}", f"@note_{panel.letter}")
    for name, part in parts.items():
        view = CDSView(filter=BooleanFilter(booleans=part) & visible)
        picture.segment(panel.column, "low", panel.column, "high", source=source, view=view, line_color="colour", line_alpha=0.6)
        drawn = picture.scatter(
            panel.column, "loss", source=source, view=view, marker="marker", size=8, line_color="colour", line_width=1.3,
            fill_color="colour" if name == "full" else "white", fill_alpha=0.9 if name == "full" else 0.6,
            nonselection_alpha=0.15, selection_line_color=FORECAST, selection_line_width=2.5,
        )  # fmt: skip
        # A full and a hollow mark in one place have their words above and below it.
        attached: Literal["above", "below"] = "above" if name == "full" else "below"
        hover = HoverTool(renderers=[drawn], tooltips=tooltip, point_policy="snap_to_data", attachment=attached, visible=False)
        picture.add_tools(hover)


def data_table(source: ColumnDataSource) -> DataTable:
    """Return the table of all runs, which its headers sort; runs that are chosen in it are marked in the plots."""
    shared: dict[str, Any] = {"nan_format": "–", "text_align": "right"}
    whole, loss = NumberFormatter(format="0,0", **shared), NumberFormatter(format="0.0000", **shared)
    flops = ScientificFormatter(precision=2, **shared)
    columns: list[tuple[str, str, Any, int]] = [
        ("run", "run", StringFormatter(), 330),
        ("names", "experiments", StringFormatter(), 150),
        ("n_params", "N", whole, 90),
        ("tokens", "tokens", whole, 110),
        ("dataset_tokens", "dataset tokens", whole, 120),
        ("flops", "C in FLOP", flops, 90),
        ("loss", "loss", loss, 75),
        ("loss_stderr", "± stderr", loss, 75),
        ("status", "status", StringFormatter(), 80),
        ("fits", "in the fits of", StringFormatter(), 340),
    ]
    return DataTable(
        name="table", source=source, height=TABLE_HEIGHT, sizing_mode="stretch_width", index_position=None, reorderable=False,
        columns=[TableColumn(field=field, title=title, formatter=how, width=width) for field, title, how, width in columns],
        autosize_mode="none",
    )  # fmt: skip


def document(pictures: Sequence[Any], table: DataTable) -> Document:
    """Return the document that holds the plots and the table."""
    found = Document()
    for root in (*pictures, table):
        found.add_root(root)
    return found
