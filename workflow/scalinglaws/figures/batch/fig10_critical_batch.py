"""Figure 10: the critical batch size against the loss, from hyperbolas, from the gradient noise scale, and as a power law."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, misfit, scales, style
from scalinglaws.figures.shared.groups import budget_runs

TITLE = "Critical batch size against loss"
CAPTION = """
Figure 10 of the paper. Points are critical batch sizes from hyperbolas (5.1) through the steps of several batch sizes to one
loss; triangles are limits where it lies beyond these. Solid lines are the gradient noise scale, the dashed line is the fitted
power law. The paper found an exponent of 0.21, and no dependence on model size.
"""
BINS = 16  # bins of the loss, for the noise scale
FEWEST = 3  # fewest measurements in a bin
FARTHEST = 5.0  # the axis shows an interval whole if its ends are within this factor of the estimate


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw B_crit at each loss, or its limit where it lies beyond the batch sizes, measured noise scales, and the fitted law."""
    figure, (axis,) = style.panels()
    fit = fits.get("critical-batch")
    levels, noise = batch_laws.levels(fit), noise_scale(tables["runs"], tables["curves"])
    resolved = levels.filter(polars.col("b_crit").is_not_null())
    limits = levels.filter(polars.col("b_crit").is_null() & polars.col("why").str.starts_with("B_crit lies"))
    scale = scales.Scale([int(n) for n in [*levels["n_params"], *noise["n_params"]]], "N (non-embedding parameters)")
    _resolved(axis, resolved, scale)
    shown = [*resolved["b_crit"], *_limits(axis, limits, scale), *noise["tokens"], *_reach(resolved)]
    for (n_params,), rows in noise.group_by("n_params", maintain_order=True):
        axis.plot(rows["loss"], rows["tokens"], color=scale(float(n_params)), linewidth=0.9, zorder=3)
    if not noise.is_empty():
        axis.plot([], [], color="0.3", linewidth=0.9, label=r"gradient noise scale tr$(\Sigma)/|G|^2$, as measured")
    missed = _law(axis, fit, resolved)
    style.falling_loss_axis(axis, [*resolved["loss"], *limits["loss"], *noise["loss"]])
    style.upright_log_axis(axis, shown, "Critical batch size (tokens)")
    notes = batch_laws.doubts(fits, ["critical-batch"])
    if not levels.is_empty() and noise.is_empty():
        notes.append("no run measured the gradient noise scale (noise_every)")
    notes = [*missed, *notes]
    batch_laws.say(axis, notes, not shown, "no loss has a B_crit within the batch sizes")
    scale.bar(figure, [axis])
    return figure


def noise_scale(runs: polars.DataFrame, curves: polars.DataFrame) -> polars.DataFrame:
    """Return the noise scale tr(Σ)/|G|² in tokens by size and loss, with columns n_params, loss and tokens.

    It is the ratio of sums over bins of the loss in the stable phase. |G|² is estimated without bias and may be negative, so bins
    whose sum is negative are left out, and so are bins with few measurements.
    """
    empty = polars.DataFrame(schema=dict.fromkeys(("n_params", "loss", "tokens"), polars.Float64))
    if not {"noise_square", "noise_trace"} <= set(curves.columns):
        return empty
    kept = budget_runs(runs)["trunk"].unique().to_list()
    rows = curves.filter(polars.col("trunk").is_in(kept) & (polars.col("phase") == "stable"))
    rows = rows.drop_nulls(["noise_square", "noise_trace", "loss_test"]).sort("n_params", "trunk", "step")
    if rows.is_empty():
        return empty
    log = rows["loss_test"].log()
    edges = np.linspace(float(log.min()), float(log.max()), BINS + 1)  # type: ignore[arg-type]
    rows = rows.with_columns(bin=polars.Series(np.digitize(log.to_numpy(), edges[1:-1])))
    square, trace = polars.col("noise_square").sum(), polars.col("noise_trace").sum()
    found = rows.group_by("n_params", "bin").agg(
        loss=polars.col("loss_test").log().mean().exp(), tokens=trace / square, square=square, trace=trace, count=polars.len()
    )
    good = (polars.col("square") > 0) & (polars.col("trace") > 0) & (polars.col("count") >= FEWEST)
    found = found.filter(good).sort("n_params", "bin")
    return found.select(polars.col("n_params").cast(polars.Float64), "loss", "tokens")


def _reach(rows: polars.DataFrame) -> list[float]:
    """Return the ends of intervals that the axis shows: those within a factor FARTHEST of the estimate."""
    bars = [(row["b_crit"], row[side]) for row in rows.iter_rows(named=True) for side in ("b_crit_low", "b_crit_high")]
    return [end for best, end in bars if end is not None and 1 / FARTHEST < end / best < FARTHEST]


def _resolved(axis: Axes, rows: polars.DataFrame, scale: scales.Scale) -> None:
    options: dict[str, Any] = {"fmt": "o", "markersize": 3.2, "elinewidth": 0.6, "capsize": 0, "zorder": 5}
    for row in rows.iter_rows(named=True):
        crit, low, high = (row[name] for name in ("b_crit", "b_crit_low", "b_crit_high"))
        bar = None if low is None or high is None else style.sides(crit, low, high)
        axis.errorbar(row["loss"], crit, yerr=bar, color=scale(row["n_params"]), **options)
    if not rows.is_empty():
        axis.plot([], [], "o", color="0.3", markersize=3.2, label=f"hyperbolas (5.1) at {len(rows)} losses, 95 % intervals")


def _limits(axis: Axes, rows: polars.DataFrame, scale: scales.Scale) -> list[float]:
    """Draw triangles at the last batch size before an unresolved B_crit, pointing to it, and return their heights."""
    out = []
    hollow: dict[str, Any] = {"markersize": 3.2, "markeredgewidth": 0.6, "markerfacecolor": "white"}
    for row in rows.iter_rows(named=True):
        below = row["why"].startswith("B_crit lies below")
        limit = (min if below else max)(row["batch_tokens"])
        axis.plot(row["loss"], limit, "v" if below else "^", color=scale(row["n_params"]), zorder=4, **hollow)
        out.append(limit)
    if out:
        label = f"not resolved at {len(out)} losses: below ▽ or above △ the batch sizes"
        axis.plot([], [], "v", color="0.3", label=label, **hollow)
    return out


def _law(axis: Axes, fit: fit_json.Fit | None, rows: polars.DataFrame) -> list[str]:
    """Draw the fitted law with its band, and the published slope through the centre of the points.

    Return a note where the law misses the points.
    """
    critical = batch_laws.critical_batch(fit)
    if critical is None or fit is None or rows.is_empty():
        return []
    loss = rows["loss"].to_numpy()
    x = np.geomspace(loss.min() / 1.03, loss.max() * 1.03, 60)
    best = critical.tokens(x)
    draws = batch_laws.resamples({"critical-batch": fit}, ["critical-batch"])
    count = batch_laws.trunks({"critical-batch": fit}, ["critical-batch"])
    batch_laws.band(axis, x, best, draws, lambda draw: batch_laws.critical_of(draw).tokens(x), count, style.FIT)
    label = r"fit: $B_{crit} = B_*/L^{1/\alpha_B}$," + "\n" + r"$\alpha_B$ = " + fit_json.with_interval(fit, "alpha_B")
    axis.plot(x, best, "--", color=style.FIT, label=label, zorder=6)
    centre, slope = float(np.exp(np.log(loss).mean())), fit_json.published(fit, "alpha_B")
    if slope is not None:
        line = critical.tokens(centre) * (x / centre) ** (-1 / slope)
        axis.plot(
            x, line, color=style.GUIDE, linewidth=0.7, zorder=1.8, label=rf"slope published in 2020: $\alpha_B$ = {slope:g}"
        )
    low, high = (np.log(rows[name].fill_null(np.nan).to_numpy()) for name in ("b_crit_low", "b_crit_high"))
    return misfit.note("the fit", rows["b_crit"].to_numpy(), critical.tokens(loss), (high - low) / (2 * style.Z95))
