"""Figure 13: loss against C_min, the compute needed at small batches, beside that against C."""

from __future__ import annotations

from typing import Any

import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, law_lines, style
from scalinglaws.figures.shared.compute_efficient import trends

LAWS = ("power-c", "power-cmin", "critical-batch", "kaplan-ns")
TITLE = "Loss against compute at small batches"
CAPTION = """
Figure 13 of the paper. The test loss against the compute that a run would have needed at small batches, and against its compute
at one batch size, with a power law each. Grey lines have the published slopes. The paper found exponents of 0.050 and 0.057,
and predicted 0.054 for the former by equation 6.4.
"""
SQUARES: dict[str, Any] = {"fmt": "s", "markersize": 3.6, "markerfacecolor": "white", "markeredgewidth": 0.9, "zorder": 6}
# For each law: the column of its compute, its colour, its markers, its name in the legend, the style of the published slope.
SERIES: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "power-c": ("flops", style.SECOND, SQUARES, r"$C$, one batch size", "-."),
    "power-cmin": ("flops_min", style.FIT, {"markersize": 3.2}, r"$C_{min}$", "-"),
}


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the points and the lines of the fits of L(C) and L(C_min), in a colour for each."""
    figure, (axis,) = style.panels()
    shown, losses, missed = [], [], []
    for law, (column, colour, marker, name, guide) in SERIES.items():
        data = fit_json.points(fits.get(law), tables["runs"]).drop_nulls(column)
        law_lines.error_bars(axis, data, column, colour, **marker)
        law_lines.draw_power_law(axis, fits.get(law), law, colour, f"{len(data)} runs by {name}", guide=guide)
        missed += law_lines.missed(fits.get(law), tables["runs"], "the line by C" if law == "power-c" else "the line by C_min")
        shown += data[column].to_list()
        losses += law_lines.reach(data).tolist()
    style.loss_axis(axis, losses)
    style.log_axis(axis, shown, r"$C$ or $C_{min}$ (FLOP)", counts=False)
    notes = [*missed, *batch_laws.doubts(fits, LAWS)]
    predicted = trends(fits)
    value, low, high = (predicted.values["alpha_C_min"][key] for key in ("estimate", "ci_low", "ci_high"))
    if value is not None:
        interval = "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        notes.insert(0, f"(6.4) predicts {value:.3f} ({interval}) for the exponent of C_min")
    batch_laws.say(axis, notes, not shown, "no run has a compute to draw")
    return figure
