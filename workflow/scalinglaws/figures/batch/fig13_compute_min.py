"""Figure 13: loss against C_min, the compute needed at small batches, beside that against C."""

from __future__ import annotations

from typing import Any

import polars
from matplotlib.figure import Figure

from scalinglaws.figures.registry import FIGURES
from scalinglaws.figures.shared import batches, fitted, style
from scalinglaws.figures.shared.compute_efficient import trends

REQUIRES = FIGURES["fig13_compute_min"].requires
SQUARES: dict[str, Any] = {"fmt": "s", "markersize": 3.6, "markerfacecolor": "white", "markeredgewidth": 0.9, "zorder": 6}
# law: column of its compute, colour, markers, name in the legend
SERIES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "power-c": ("flops", style.SECOND, SQUARES, r"$C$, one batch size"),
    "power-cmin": ("flops_min", style.FIT, {"markersize": 3.2}, r"$C_{min}$"),
}


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fitted.Fit]) -> Figure:
    """Points and lines of the fits of L(C) and L(C_min), a colour each."""
    figure, (axis,) = style.panels(style.COLUMN * 1.2, 4.3)
    shown, losses = [], []
    for law, (column, colour, marker, name) in SERIES.items():
        data = fitted.points(fits.get(law), tables["runs"]).drop_nulls(column)
        fitted.error_bars(axis, data, column, colour, **marker)
        fitted.draw_power_law(axis, fits.get(law), law, colour, f"{len(data)} runs by {name}")
        shown += data[column].to_list()
        losses += fitted.reach(data).tolist()
    style.loss_axis(axis, losses)
    style.log_axis(axis, shown, r"$C$ or $C_{min}$ (FLOP)", counts=False)
    notes = batches.doubts(fits, REQUIRES["fits"])
    predicted = trends(fits)
    value, low, high = (predicted.values["alpha_C_min"][key] for key in ("estimate", "ci_low", "ci_high"))
    if value is not None:
        interval = "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        notes.insert(0, f"(6.4) predicts {value:.3f} ({interval}) for the exponent of C_min from the fits of α_N, α_S and α_B")
    batches.say(axis, notes, not shown, "no run has a compute to draw", width=64)
    return figure
