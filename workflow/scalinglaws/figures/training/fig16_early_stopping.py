"""Figure 16: the step of early stopping against its lower bound (left); curves of one size on growing datasets (right)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import batch_laws, fit_json, groups, scales, style
from scalinglaws.figures.shared.groups import finished
from scalinglaws.laws.allocation import LossNS, earliest_stop
from scalinglaws.laws.rules import still_falling

TITLE = "Early stopping against its lower bound"
CAPTION = """
Figure 16 of the paper. The step at which early-stopped runs have their least validation loss is shown against their excess over
the same size on all data, with the lower bound of equation 5.7, which excludes the shaded side (**a**), beside losses of one
size by dataset (**b**). The paper's runs stop close above the bound.
"""
EXCESS = r"Excess $L(N, D) - L(N, \infty)$ (nats per token)"
FARTHEST = 10.0  # the axis of steps reaches at most this factor beyond the runs
ARROW = 0.3  # length of the arrow of an upper limit, as a share of the limit
LEAST_SHARE = 3.0  # the axis of the excess shows error bars down to the excess over this factor
TRAIN = (0, (3, 1.5))  # dashes of training losses


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the best step of early-stopped runs against their excess and (5.7), and curves of the size with most datasets.

    The excess is L(N, D) − L(N, ∞), where L(N, ∞) is the loss of the same size stopped early on the whole split. The bound is
    S_c/excess^(1/α_S) with S_c and α_S of the fit of L(N, S). Without such a fit it is known up to a factor and has the paper's
    α_S. S_c is counted in steps at large batches, of which a run at a smaller batch takes more, so the bound holds for it too.
    The axes reach at most a factor of ten beyond the runs, wherever the bound lies. The curves stand alone where no size
    has runs on all the data.
    """
    runs = finished(tables["runs"]).filter(polars.col("stop") == "early")
    scale = scales.Scale([int(d) for d in runs["dataset_tokens"].drop_nulls()], "D (tokens in the training set)", "warm")
    with_excess = bounds(tables["runs"], fits.get("kaplan-ns"))
    alone = with_excess.is_empty() and bool(set(runs["run"]) & set(tables["curves"]["run"]))
    figure, axes = style.panels(1 if alone else 2)
    if not alone:
        _bound(axes[0], with_excess, fits.get("kaplan-ns"), scale)
    _curves(axes[-1], tables["curves"], runs, scale)
    scale.bar(figure, axes)
    return figure


def bounds(runs: polars.DataFrame, fit: fit_json.Fit | None) -> polars.DataFrame:
    """Return early-stopped runs on part of the data, with the columns excess, excess_stderr, bound and ended.

    The excess is L(N, D) − L(N, ∞) in nats. The bound (5.7) is in steps and null where the excess is not positive; without a fit
    of L(N, S) it has the published α_S and S_c = 1, and is then known up to a factor. The standard error of the excess takes the
    two losses as independent. A run has ``ended`` by its budget, and would have gone on, where its best step is its last or the
    fits leave it out for that reason (``rules.still_falling``).
    """
    early = finished(runs).filter((polars.col("stop") == "early") & polars.col("best_step").is_not_null())
    early = early.with_columns(ended=ended(early))
    data = early.select("run", **{name: polars.col(name) for name in ("n_params", "dataset_tokens", "loss", "loss_stderr")})
    part = groups.overfitting(data, runs).join(
        early.select("best_step", "ended", "run"), on="run", how="left", maintain_order="left"
    )
    law = batch_laws.loss_ns(fit)
    s_c, alpha_s = (law.s_c, law.alpha_s) if law else (1.0, batch_laws.PUBLISHED["alpha_S"])
    found = earliest_stop(part["loss"].to_numpy(), part["loss_whole"].to_numpy(), s_c, alpha_s)
    stderr = (polars.col("loss_stderr") ** 2 + polars.col("stderr_whole") ** 2).sqrt()
    return part.with_columns(
        excess=polars.col("loss") - polars.col("loss_whole"),
        excess_stderr=stderr,
        bound=polars.Series(np.where(np.isfinite(found), found, np.nan), dtype=polars.Float64).fill_nan(None),
    )


def ended(runs: polars.DataFrame) -> polars.Expr:
    """Return whether its budget ended an early-stopped run while its validation loss still fell."""
    return (polars.col("best_step") >= polars.col("steps")).fill_null(False) | still_falling(runs).fill_null(False)


def _bound(axis: Axes, data: polars.DataFrame, fit: fit_json.Fit | None, scale: scales.Scale) -> None:
    """Draw the best steps of the runs against their excess, and the bound where it lies within a factor of ten of them."""
    law, doubt = batch_laws.loss_ns(fit), fit_json.unresolved(fit, "kaplan-ns")
    half = style.Z95 * polars.col("excess_stderr").fill_null(0.0)
    data = data.with_columns(half=half, most=polars.col("excess") + half, told=polars.col("excess") > half)
    shown = data.filter(polars.col("most") > 0)
    axis.set_yscale("log")
    axis.set_ylabel("Step of the least validation loss")
    if shown.is_empty():
        missing = "no size was stopped early both on part of the data and, at a lower loss, on all of it"
        style.log_axis(axis, [], EXCESS, counts=False)
        return style.sentence(axis, f"not resolved: {missing}. {' '.join(fit_json.brief(doubt, 1))}")
    _markers(axis, data, shown, scale)
    known = shown.filter("told")
    y = shown["best_step"].to_numpy().astype(float)
    limits, sure = shown.filter(~polars.col("told"))["most"], known["excess"]
    ends = [*shown["most"], *(limits * (1 - ARROW)), *(sure - known["half"]).clip(lower_bound=sure / LEAST_SHARE)]
    style.log_axis(axis, ends, EXCESS, counts=False)
    style.plain_ticks(axis)
    x = np.geomspace(*axis.get_xlim(), 80)
    stopped = known.filter(~polars.col("ended"))
    s_c, alpha_s = (law.s_c, law.alpha_s) if law else (1.0, batch_laws.PUBLISHED["alpha_S"])
    if law is None:
        touching = stopped if len(stopped) else shown.drop_nulls("bound")
        s_c = float((touching["best_step"] / touching["bound"]).to_numpy().min()) if len(touching) else np.nan
    line = s_c * x ** (-1 / alpha_s)
    low, high = y.min() / FARTHEST, y.max() * FARTHEST
    inside = line[(line > low) & (line < high)]
    style.positive_axis(axis, [*y, *inside], counts=True)
    notes = [f"{int((stopped['best_step'] < stopped['bound']).sum())} of {len(stopped)} runs that stopped lie below the bound"]
    if len(inside):
        axis.fill_between(x, axis.get_ylim()[0], np.clip(line, *axis.get_ylim()), color="0.5", alpha=0.12, linewidth=0, zorder=1)
        kept = (line >= axis.get_ylim()[0]) & (line <= axis.get_ylim()[1])
        axis.plot(x[kept], line[kept], "--", color=style.FIT if law else style.GUIDE, zorder=3, label=_label(fit, law))
    elif law:
        notes.append(f"the bound lies outside the axes: {_steps(line[-1])} to {_steps(line[0])} steps ({_label(fit, law)})")
    return style.legend_below(axis, [*(notes if law else []), *fit_json.brief(doubt, 1)])


def _label(fit: fit_json.Fit | None, law: LossNS | None) -> str:
    if law:
        return f"bound (5.7): α_S = {fit_json.with_interval(fit, 'alpha_S')}, S_c = {_steps(law.s_c)}"
    return f"bound (5.7) with the paper's α_S = {batch_laws.PUBLISHED['alpha_S']}, set to touch the lowest run"


def _steps(value: float) -> str:
    """Write a number of steps in a few characters, as 1200 or 3.1·10⁴."""
    return style.scientific(value) if value >= 1e4 else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _markers(axis: Axes, data: polars.DataFrame, shown: polars.DataFrame, scale: scales.Scale) -> None:
    """Draw the runs with their excess, or with its 95 % upper limit where it is not told from 0, and their legend entries."""
    options: dict[str, Any] = {"markersize": 4.2, "elinewidth": 0.7, "zorder": 5}
    for row in shown.iter_rows(named=True):
        colour, marker = scale(row["dataset_tokens"]), "^" if row["ended"] else "o"
        if row["told"]:
            axis.errorbar(row["excess"], row["best_step"], xerr=row["half"], fmt=marker, color=colour, **options)
        else:
            arrow = {"xerr": row["most"] * ARROW, "xuplims": True, "markerfacecolor": "white"}
            axis.errorbar(row["most"], row["best_step"], fmt=marker, color=colour, **arrow, **options)
    plain: dict[str, Any] = {"color": "0.3", "markersize": 4.2, "linestyle": "none"}
    axis.plot([], [], marker="o", label=f"{len(shown)} runs on part of the data", **plain)
    if not shown["told"].all():
        axis.plot([], [], marker="o", markerfacecolor="white", label="upper limit: the excess is not told from 0", **plain)
    if shown["ended"].any():
        axis.plot([], [], marker="^", label="ended by its budget: would stop later", **plain)
    if len(shown) < len(data):
        axis.plot([], [], " ", label=f"{len(data) - len(shown)} runs without excess over the whole split left out")


def _curves(axis: Axes, curves: polars.DataFrame, runs: polars.DataFrame, scale: scales.Scale) -> None:
    """Draw train (dashed) and test (solid) losses of the largest size with most datasets, and a point where each run stopped."""
    sizes = (
        runs.group_by("n_params").agg(count=polars.col("dataset_tokens").n_unique()).sort("count", "n_params", descending=True)
    )
    n_params = sizes["n_params"][0] if len(sizes) else 0
    chosen = runs.with_columns(ended=ended(runs)).filter(polars.col("n_params") == n_params)
    chosen = chosen.unique("dataset_tokens", keep="first", maintain_order=True)
    losses: list[float] = []
    ends: list[float] = []
    any_ended = False
    for run in chosen.sort("dataset_tokens").iter_rows(named=True):
        rows = curves.filter((polars.col("run") == run["run"]) & (polars.col("step") >= 8)).sort("step")
        if rows.is_empty():
            continue
        colour = scale(run["dataset_tokens"])
        axis.plot(rows["step"], rows["loss_test"], color=colour, linewidth=1.0, zorder=4)
        axis.plot(rows["step"], rows["loss_train"], color=colour, linewidth=0.8, linestyle=TRAIN, zorder=3)
        best = rows.filter(polars.col("step") == run["best_step"])
        axis.plot(best["step"], best["loss_test"], "^" if run["ended"] else "o", color=colour, markersize=3.8, zorder=6)
        any_ended |= run["ended"]
        shown = [*rows["loss_test"].drop_nulls(), *rows["loss_train"].drop_nulls()]
        losses += [value for value in shown if value > 0]
        ends += rows["step"].to_list()
    style.loss_axis(axis, losses, "Loss (nats per token)")
    style.log_axis(axis, ends, "S (steps)")
    if not ends:
        return style.sentence(axis, "not resolved: no early-stopped run has a learning curve")
    axis.plot([], [], color="0.3", linewidth=1.0, label="test")
    axis.plot([], [], color="0.3", linewidth=0.8, linestyle=TRAIN, label="train")
    axis.plot([], [], "o", color="0.3", markersize=3.8, label="least validation loss")
    if any_ended:
        axis.plot([], [], "^", color="0.3", markersize=3.8, label="the same, of a run that its budget ended")
    return style.legend_below(axis, [f"N = {short(n_params)}"])
