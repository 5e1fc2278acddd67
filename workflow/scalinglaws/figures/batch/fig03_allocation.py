"""Figure 3: how a growing compute budget divides into model size, batch size and steps."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, style
from scalinglaws.figures.shared.compute_efficient import PUBLISHED_TRENDS, trends

LAWS = ("critical-batch", "kaplan-ns")
TITLE = "How a growing compute budget divides"
CAPTION = """
Figure 3 of the paper. How compute that grows from the least of the learning curves on is best divided into a larger model, a
larger batch and more steps, by this study's fits; the heights of the areas are the factors. Black lines have the paper's
exponents: nearly all of a larger budget goes to larger models.
"""
AHEAD = 10.0  # the factor in compute by which the axis goes beyond the curves
# The factors, from the lowest area up: name, label, colour.
PARTS = (
    ("N_opt", "model size N", style.COLOURS[0]),
    ("B", "batch size B", style.COLOURS[2]),
    ("S_min", r"steps $S_{min}$", style.SECOND),
)


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw stacked areas of the three factors whose product is C_min over the least compute of the fitted curves."""
    figure, (axis,) = style.panels()
    critical = batch_laws.critical_batch(fits.get("critical-batch"))
    points = fit_json.points(fits.get("kaplan-ns")).drop_nulls("steps_min")
    shares = trends(fits).values
    notes = batch_laws.doubts(fits, LAWS)
    empty = critical is None or points.is_empty() or shares["N_opt"]["estimate"] is None
    axis.set_xlabel(r"$C_{min}$ (FLOP)")
    axis.set_ylabel("Factor over the least compute")
    if critical is not None and not empty:
        seen = batch_laws.compute_of(points, critical)
        _areas(axis, shares, float(seen.min()), float(seen.max()))
        notes.append(f"the curves end at the dotted line, {batch_laws.quantity(seen.max())} FLOP")
    batch_laws.say(axis, notes, empty, "the fits of L(N, S_min) and B_crit(L) have no parameters")
    return figure


def _areas(axis: Axes, shares: dict[str, dict[str, float | None]], least: float, most: float) -> None:
    """Draw each factor C^share as an area, which is a wedge on logarithmic axes."""
    x = np.geomspace(least, most * AHEAD, 100)
    below = published = 0.0
    for name, label, colour in PARTS:
        found, (_, table6) = shares[name], PUBLISHED_TRENDS[name]
        above = below + (found["estimate"] or 0.0)
        low, high = found["ci_low"], found["ci_high"]
        words = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
        text = f"{label} ∝ $C_{{min}}^{{{found['estimate']:.3f}}}${words};\npublished {table6:g}"
        for start, end, alpha, key in ((least, most, 0.8, text), (most, most * AHEAD, 0.35, None)):
            part = np.geomspace(start, end, 50)
            sides = (part / least) ** below, (part / least) ** above
            axis.fill_between(part, *sides, color=colour, alpha=alpha, linewidth=0, label=key, zorder=2)
        below, published = above, published + table6
        if published < 0.99:
            axis.plot(x, (x / least) ** published, color="black", linewidth=0.7, zorder=3)
    axis.plot([], [], color="black", linewidth=0.7, label="areas with the published exponents")
    axis.axvline(most, color="black", linewidth=0.9, linestyle=":", zorder=4)
    style.log_axis(axis, x, r"$C_{min}$ (FLOP)", counts=False)
    style.upright_log_axis(axis, [1.0, x[-1] / x[0]], "Factor over the least compute", counts=False)
    axis.set_xlim(x[0], x[-1])
    axis.set_ylim(1, x[-1] / x[0])
