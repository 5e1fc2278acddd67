"""Figure 14: the best model size for a compute budget (left), and its steps (right)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import batch_laws, fit_json, misfit, style
from scalinglaws.figures.shared.compute_efficient import PUBLISHED_TRENDS, trends
from scalinglaws.figures.shared.groups import budget_runs
from scalinglaws.figures.shared.least_squares import BENT, power_law
from scalinglaws.laws.allocation import CriticalBatch, Frontier, frontier
from scalinglaws.laws.forms import Array

LAWS = ("critical-batch", "kaplan-ns")
TITLE = "Best model size and steps for a compute budget"
CAPTION = """
Figure 14 of the paper. **a** Points lie where two neighbouring sizes reach one loss with the same least compute, at the mean of
the two. **b** The least steps there, and the steps of runs at one batch size (hollow). Dashed lines follow from the other fits
(B.8 to B.10). The paper found exponents of 0.73 and 0.03.
"""
GRID = np.log(10) / 20  # spacing of log C_min
FEWEST = 3  # fewest points of a line with an interval
# For each panel: the column that is drawn, and what the closed form gives for it.
SIDES: dict[str, tuple[str, Callable[[Frontier], Array]]] = {
    "N_opt": ("n_params", lambda found: found.n_opt),
    "S_min": ("steps_min", lambda found: found.steps_min),
}
SCHEMA = dict.fromkeys(("flops_min", "smaller", "larger", "n_params", "loss", "steps_min"), polars.Float64)


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw N and S_min where neighbouring sizes are equally good, a line through these points, and the closed form."""
    figure, axes = style.panels(2)
    critical = batch_laws.critical_batch(fits.get("critical-batch"))
    points = fit_json.points(fits.get("kaplan-ns")).drop_nulls("steps_min")
    empty = critical is None or points.is_empty()
    notes, derived = batch_laws.doubts(fits, LAWS), trends(fits)
    for axis, name, label in zip(axes, SIDES, ("N (non-embedding parameters)", "Steps"), strict=True):
        if critical is not None and not empty:
            found = crossovers(points, critical)
            seen = batch_laws.compute_of(points, critical)
            reach = [*(found["flops_min"] / 10), *(found["flops_min"] * 10)] or [seen.min(), seen.max()]
            said = _points(axis, name, found, points) + _line(axis, name, found) + _missed(fits, name, found)
            shown = found[SIDES[name][0]].to_list() + found["smaller"].to_list() * (name == "N_opt")
            shown += found["larger"].to_list() * (name == "N_opt")
            if name == "S_min":
                shown += _as_trained(axis, found, critical, tables["runs"])
            x, best = _closed_form(axis, fits, name, derived.values[name], reach)
            style.log_axis(axis, [*found["flops_min"], *x], r"$C_{min}$ (FLOP)", counts=False)
            style.upright_log_axis(axis, [*shown, *best], label)
            batch_laws.say(axis, [*said, *notes] if name == "N_opt" else said, False, "")
        else:
            axis.set_xlabel(r"$C_{min}$ (FLOP)")
            axis.set_ylabel(label)
            batch_laws.say(axis, notes, True, "the fits of L(N, S_min) and B_crit(L) have no parameters")
    return figure


def crossovers(points: polars.DataFrame, critical: CriticalBatch) -> polars.DataFrame:
    """Return the points where neighbouring sizes reach one loss with one C_min and the larger one is better beyond, as SCHEMA.

    The log loss of a size at each C_min is the mean over its curves that have one there. ``n_params`` is the geometric mean of
    the two sizes, and ``steps_min`` is S_min = C_min/(6 N B_crit(L)) for it.
    """
    points = points.with_columns(compute=batch_laws.compute_of(points, critical)).sort("compute")
    log_c = points["compute"].log()
    grid = np.arange(float(log_c.min()), float(log_c.max()), GRID)  # type: ignore[arg-type]
    by_size = {}
    for (n_params,), size in points.group_by("n_params", maintain_order=True):
        curves = [
            np.interp(grid, c["compute"].log().to_numpy(), c["loss"].log().to_numpy(), left=np.nan, right=np.nan)
            for c in size.partition_by("trunk", maintain_order=True)
        ]
        count = np.isfinite(curves).sum(axis=0)
        by_size[float(n_params)] = np.where(count > 0, np.nansum(curves, axis=0) / np.maximum(count, 1), np.nan)
    rows = []
    sizes = sorted(by_size)
    for smaller, larger in itertools.pairwise(sizes):
        gap = by_size[smaller] - by_size[larger]
        ahead = np.flatnonzero((gap[:-1] < 0) & (gap[1:] >= 0))
        if not len(ahead):
            continue
        k = int(ahead[-1])
        part = -gap[k] / (gap[k + 1] - gap[k])
        compute = float(np.exp(grid[k] + part * GRID))
        loss = float(np.exp(by_size[larger][k] * (1 - part) + by_size[larger][k + 1] * part))
        middle = float(np.sqrt(smaller * larger))
        rows.append((compute, smaller, larger, middle, loss, compute / float(6 * middle * critical.tokens(loss))))
    return polars.DataFrame(rows, schema=SCHEMA, orient="row")


def _points(axis: Axes, name: str, found: polars.DataFrame, points: polars.DataFrame) -> list[str]:
    """Draw the crossovers, and return a note on pairs of sizes that have none."""
    y = found[SIDES[name][0]].to_numpy()
    bars = style.sides(y, found["smaller"], found["larger"]) if name == "N_opt" else None
    label = "two neighbouring sizes equally good" if name == "N_opt" else r"$S_{min}$ there"
    options: dict[str, Any] = {"fmt": "o", "color": "0.2", "markersize": 3.8, "elinewidth": 0.7, "zorder": 5}
    if len(found):
        axis.errorbar(found["flops_min"], y, yerr=bars, label=label, **options)
    missing = points["n_params"].n_unique() - 1 - len(found)
    return [f"not resolved: {missing} of the pairs of neighbouring sizes do not cross"] if missing else []


def _as_trained(axis: Axes, found: polars.DataFrame, critical: CriticalBatch, runs: polars.DataFrame) -> list[float]:
    """Draw S = S_min (1 + B_crit/B) (5.4) at the batch size B that most runs have, and return these steps."""
    sizes = (
        budget_runs(runs)["batch_tokens"].drop_nulls()
        if "batch_tokens" in runs.columns
        else polars.Series([], dtype=polars.Int64)
    )
    if sizes.is_empty() or found.is_empty():
        return []
    batch = int(sizes.mode().min())  # type: ignore[arg-type]
    steps = found["steps_min"].to_numpy() * (1 + critical.tokens(found["loss"].to_numpy()) / batch)
    options: dict[str, Any] = {"color": "0.4", "markersize": 3.8, "markerfacecolor": "white", "markeredgewidth": 0.7}
    axis.plot(found["flops_min"], steps, "o", label=f"S at batches of {short(batch)} tokens", zorder=4, **options)
    return list(steps.tolist())


def _line(axis: Axes, name: str, found: polars.DataFrame) -> list[str]:
    """Draw the line through the crossovers with its band, and the published slope; return a note where there are too few."""
    column, (_, published) = SIDES[name][0], PUBLISHED_TRENDS[name]
    line = power_law(found["flops_min"], found[column]) if len(found) >= FEWEST else None
    if line is None:
        return [f"not resolved: a line takes {FEWEST} crossings, there are {len(found)}"] if name == "N_opt" else []
    seen = found["flops_min"].to_numpy()
    x = np.geomspace(seen.min() / 1.3, seen.max() * 1.3, 60)
    at = [dataclasses.replace(line, slope=slope)(x) for slope in (line.low, line.high, published)]
    axis.fill_between(x, np.minimum(*at[:2]), np.maximum(*at[:2]), color="0.2", alpha=0.1, linewidth=0, zorder=1.4)
    words = f"exponent {line.words()}" + ("" if line.resolved else ", not resolved")
    words = "they bend, so it has no exponent" if abs(line.bend) > BENT else words
    axis.plot(x, line(x), ":", color="0.2", label=f"line through the points: {words}", zorder=4)
    axis.plot(x, at[2], color=style.GUIDE, linewidth=0.7, label=f"published slope {published:g}", zorder=1.8)
    return []


def _closed_form(
    axis: Axes, fits: dict[str, fit_json.Fit], name: str, found: dict[str, float | None], seen: list[float]
) -> tuple[Array, Array]:
    """Draw N_opt or S_min on the frontier with its interval over the range of the computes ``seen``; return x and y."""
    law, critical = batch_laws.loss_ns(fits.get("kaplan-ns")), batch_laws.critical_batch(fits.get("critical-batch"))
    if law is None or critical is None:
        return np.empty(0), np.empty(0)
    x = np.geomspace(min(seen), max(seen), 40)
    of, laws = SIDES[name][1], LAWS
    best = of(frontier(law, critical, x))

    def curve(draw: batch_laws.Draw) -> Array:
        return of(frontier(batch_laws.law_of(draw), batch_laws.critical_of(draw), x))

    batch_laws.band(axis, x, best, batch_laws.resamples(fits, laws), curve, batch_laws.trunks(fits, laws), style.FIT)
    value, low, high = (found[key] for key in ("estimate", "ci_low", "ci_high"))
    words = "not fitted" if value is None else f"{value:.3f}"
    words += "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    axis.plot(x, best, "--", color=style.FIT, label=f"(B.8–B.10): exponent {words}", zorder=3.5)
    return x, best


def _missed(fits: dict[str, fit_json.Fit], name: str, found: polars.DataFrame) -> list[str]:
    """Return a note where the closed form misses the crossovers by more than the distance of the sizes that cross there."""
    law, critical = batch_laws.loss_ns(fits.get("kaplan-ns")), batch_laws.critical_batch(fits.get("critical-batch"))
    if law is None or critical is None or found.is_empty():
        return []
    column, of = SIDES[name]
    half = np.log((found["larger"] / found["smaller"]).to_numpy()) / 2
    drawn = of(frontier(law, critical, found["flops_min"].to_numpy()))
    return misfit.note("the closed form", found[column].to_numpy(), drawn, half / style.Z95)
