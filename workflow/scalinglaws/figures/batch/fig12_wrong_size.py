"""Figure 12: excess compute and excess steps of a model that is not of the best size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scalinglaws.figures.shared import batch_laws, fit_json, scales, style
from scalinglaws.laws.allocation import LossNS, excess_compute, excess_steps
from scalinglaws.laws.forms import Array

TITLE = "The cost of a model of the wrong size"
CAPTION = """
Figure 12 of the paper. How much more compute (**a**) and how many more steps (**b**) a model that is not of the best size takes
to a loss: equations B.16 and B.17 with this study's exponents (dashed), with the published ones (grey), and as measured. The
paper found little cost between 0.6 and 2.2 times the best size.
"""
LOSSES = 5  # number of losses at which sizes are compared
ABOVE = 1.1  # points are taken up to this factor above the loss at which the smallest model is the best one
RANGE = (0.3, 3.0)  # the least range of N/N_eff that the axis shows
HIGHEST = 3.0  # the least excess that the axis shows; models that are too small never reach the loss

Excess = Callable[[ArrayLike, ArrayLike, ArrayLike], Array]


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw B.16 and B.17 with the fitted and the published exponents, and the sizes that reach each of several losses."""
    figure, (compute, steps) = style.panels(2)
    law = batch_laws.loss_ns(fits.get("kaplan-ns"))
    points = fit_json.points(fits.get("kaplan-ns")).drop_nulls("steps_min")
    found = measured(points, law) if law else measured(points.clear(), None)
    scale = scales.LossScale(found["loss"].to_list())
    ratio = np.geomspace(min([RANGE[0], *found["ratio"]]), max([RANGE[1], *found["ratio"]]) * 1.2, 400)
    notes = [*batch_laws.missed(found, law, tables["runs"]), *batch_laws.doubts(fits, ("kaplan-ns",))]
    panels: tuple[tuple[Axes, Excess, str, str], ...] = (
        (compute, excess_compute, "compute", r"Excess compute $C(N)/C(N_{eff})$"),
        (steps, excess_steps, "steps", r"Excess steps $S(N)/S(N_{eff})$"),
    )
    for axis, excess, column, label in panels:
        axis.set_xlabel(r"$N/N_{eff}$")
        axis.set_ylabel(label)
        if law is not None:
            _lines(axis, fits, law, excess, ratio)
            _points(axis, found, column, scale)
            shown = [min([0.9, *found[f"{column}_low"]]), max([HIGHEST, *found[f"{column}_high"]])]
            style.positive_axis(axis, shown)
            style.log_axis(axis, ratio, r"$N/N_{eff}$", counts=False)
            style.plain_ticks(axis)
        batch_laws.say(axis, notes if axis is compute else [], law is None, _missing(fits))
    scale.bar(figure, [compute, steps])
    return figure


def _missing(fits: dict[str, fit_json.Fit]) -> str:
    return "the fit of L(N, S_min) has no parameters" if fits.get("kaplan-ns") else "this study has no fit of kaplan-ns"


def measured(points: polars.DataFrame, law: LossNS | None) -> polars.DataFrame:
    """Return N/N_eff for each size and loss, and compute and steps over what ``law`` expects of N_eff, with _low and _high."""
    names = (
        "n_params",
        "loss",
        "steps_min",
        "ratio",
        "steps",
        "steps_low",
        "steps_high",
        "compute",
        "compute_low",
        "compute_high",
    )
    if law is None or points.is_empty():
        return polars.DataFrame(schema=dict.fromkeys(names, polars.Float64))
    smallest = law.loss(points["n_params"].min(), np.inf)  # type: ignore[arg-type]
    highest = float(smallest * (1 + law.alpha_n / law.alpha_s))  # where it is the best size (B.5)
    found = batch_laws.reached(points, batch_laws.shared_losses(points, LOSSES, ABOVE * highest))
    best, least = law.efficient(found["loss"].to_numpy())
    found = found.with_columns(ratio=found["n_params"].to_numpy() / best, least=least)
    sides = {"steps": "steps_min", "steps_low": "low", "steps_high": "high"}
    found = found.with_columns(**{name: polars.col(side) / polars.col("least") for name, side in sides.items()})
    compute = {name.replace("steps", "compute"): polars.col(name) * polars.col("ratio") for name in sides}
    return found.with_columns(**compute).select(names)


def _lines(axis: Axes, fits: dict[str, fit_json.Fit], law: LossNS, excess: Excess, ratio: Array) -> None:
    fit = fits["kaplan-ns"]
    best = excess(ratio, law.alpha_n, law.alpha_s)
    ahead = np.isfinite(best) & (best < 50)
    draws = batch_laws.resamples({"kaplan-ns": fit}, ["kaplan-ns"])
    x, count = ratio[ahead], batch_laws.trunks({"kaplan-ns": fit}, ["kaplan-ns"])
    batch_laws.band(axis, x, best[ahead], draws, lambda draw: excess(x, draw["alpha_N"], draw["alpha_S"]), count, style.FIT)
    exponents = [rf"$\alpha_{name[-1]}$ = {fit_json.with_interval(fit, name)}" for name in ("alpha_N", "alpha_S")]
    number = "B.16" if excess is excess_compute else "B.17"
    axis.plot(x, best[ahead], "--", color=style.FIT, label=f"({number}) with {exponents[0]},\n{exponents[1]}", zorder=4)
    alphas = batch_laws.PUBLISHED["alpha_N"], batch_laws.PUBLISHED["alpha_S"]
    published = excess(ratio, *alphas)
    kept = np.isfinite(published)
    label = rf"with the published $\alpha_N$ = {alphas[0]:g}, $\alpha_S$ = {alphas[1]:g}"
    axis.plot(ratio[kept], published[kept], color=style.GUIDE, linewidth=0.7, label=label, zorder=1.8)
    axis.axvline(1, color=style.GUIDE, linewidth=0.5, linestyle=":", zorder=1)


def _points(axis: Axes, found: polars.DataFrame, column: str, scale: scales.LossScale) -> None:
    options: dict[str, Any] = {"fmt": "o", "markersize": 3.4, "elinewidth": 0.6, "capsize": 0, "zorder": 5}
    for row in found.iter_rows(named=True):
        value, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
        axis.errorbar(row["ratio"], value, yerr=style.sides(value, low, high), color=scale(row["loss"]), **options)
    if found.is_empty():
        axis.plot([], [], linestyle="none", label="no loss is reached by two sizes: no points")
    else:
        count = found["loss"].n_unique()
        axis.plot([], [], "o", color="0.3", markersize=3.4, label=f"measured at {count} losses, range over batch sizes")
