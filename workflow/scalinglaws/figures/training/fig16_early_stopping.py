"""Figure 16: the step of early stopping against its lower bound (left); curves of one size on growing datasets (right)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import batch_laws, fit_json, groups, scales, style
from scalinglaws.figures.shared.groups import finished
from scalinglaws.laws.allocation import LossNS, earliest_stop

TITLE = "Early stopping against its lower bound"
CAPTION = """
Figure 16 of the paper. **a** The step of the least validation loss of runs that were stopped early, against the lower bound of
equation 5.7, S_c/[L(N, D) − L(N, ∞)]^(1/α_S). The bound excludes the shaded side. L(N, ∞) is the measured loss of the same size
stopped early on the whole split; S_c and α_S are those of the fit of L(N, S). Without such a fit the bound is known up to a
factor and has the paper's α_S of 0.76. S_c is counted in steps at large batches, of which a run at a smaller batch takes more,
so the bound holds for it too. Standard errors take the two losses as independent. **b** The train and test losses of the size
with most datasets.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the best step of early-stopped runs against (5.7), and the train and test curves of the size with most datasets.

    L(N, ∞) is the loss of the same size stopped early on the whole split.
    """
    figure, (left, right) = style.panels(2)
    runs = finished(tables["runs"]).filter(polars.col("stop") == "early")
    scale = scales.Scale([int(d) for d in runs["dataset_tokens"].drop_nulls()], "D (tokens in the training set)", "warm")
    _bound(left, bounds(tables["runs"], fits.get("kaplan-ns")), fits.get("kaplan-ns"), scale)
    _curves(right, tables["curves"], runs, scale)
    scale.bar(figure, [left, right])
    return figure


def bounds(runs: polars.DataFrame, fit: fit_json.Fit | None) -> polars.DataFrame:
    """Return early-stopped runs on part of the data, with the columns excess, excess_stderr, bound and ended.

    The excess is L(N, D) − L(N, ∞) in nats. The bound (5.7) is in steps and null where the excess is not positive; without a fit
    of L(N, S) it has the published α_S and S_c = 1, and is then known up to a factor. A run has ``ended`` by its budget, and
    would have gone on, where its best step is its last.
    """
    early = finished(runs).filter((polars.col("stop") == "early") & polars.col("best_step").is_not_null())
    data = early.select("run", **{name: polars.col(name) for name in ("n_params", "dataset_tokens", "loss", "loss_stderr")})
    part = groups.overfitting(data, runs).join(
        early.select("best_step", "steps", "run"), on="run", how="left", maintain_order="left"
    )
    law = batch_laws.loss_ns(fit)
    s_c, alpha_s = (law.s_c, law.alpha_s) if law else (1.0, batch_laws.PUBLISHED["alpha_S"])
    found = earliest_stop(part["loss"].to_numpy(), part["loss_whole"].to_numpy(), s_c, alpha_s)
    stderr = (polars.col("loss_stderr") ** 2 + polars.col("stderr_whole") ** 2).sqrt()
    return part.with_columns(
        excess=polars.col("loss") - polars.col("loss_whole"),
        excess_stderr=stderr,
        bound=polars.Series(np.where(np.isfinite(found), found, np.nan), dtype=polars.Float64).fill_nan(None),
        ended=polars.col("best_step") >= polars.col("steps"),
    )


def _bound(axis: Axes, data: polars.DataFrame, fit: fit_json.Fit | None, scale: scales.Scale) -> None:
    law = batch_laws.loss_ns(fit)
    label = r"$S_c\,[L(N,D) - L(N,\infty)]^{-1/\alpha_S}$ (steps)" if law else r"$[L(N,D) - L(N,\infty)]^{-1/\alpha_S}$"
    shown = data.drop_nulls("bound")
    doubt = fit_json.unresolved(fit, "kaplan-ns")
    axis.set_yscale("log")
    axis.set_ylabel("Step of the least validation loss")
    if shown.is_empty():
        missing = "no size was stopped early both on part of the data and, at a lower loss, on all of it"
        style.log_axis(axis, [], label, counts=False)
        return style.sentence(axis, f"not resolved: {missing}. {' '.join(fit_json.brief(doubt, 1))}")
    _markers(axis, data, shown, scale)
    x, y = shown["bound"].to_numpy(), shown["best_step"].to_numpy().astype(float)
    stopped = ~shown["ended"].to_numpy()
    factor = 1.0 if law else float((y / x)[stopped if stopped.any() else slice(None)].min())
    line = np.geomspace(x.min() / 1.5, x.max() * 1.5, 50)
    axis.fill_between(line, line * factor * 1e-30, line * factor, color="0.5", alpha=0.12, linewidth=0, zorder=1)
    axis.plot(line, line * factor, "--", color=style.FIT if law else style.GUIDE, zorder=3, label=_label(fit, law))
    style.log_axis(axis, x, label, counts=law is not None)
    style.positive_axis(axis, np.concatenate([y, x * factor]) if law else y, counts=True)
    notes = [f"{int((y < x)[stopped].sum())} of {int(stopped.sum())} runs that stopped lie below the bound"] if law else []
    return style.legend_below(axis, [*notes, *fit_json.brief(doubt)])


def _label(fit: fit_json.Fit | None, law: LossNS | None) -> str:
    if law:
        return rf"bound (5.7): $\alpha_S$ = {fit_json.with_interval(fit, 'alpha_S')}, $S_c$ = {law.s_c:.3g}"
    slope = rf"slope of the bound (5.7), published $\alpha_S$ = {batch_laws.PUBLISHED['alpha_S']};"
    return slope + "\nlevel set to touch the lowest run: $S_c$ has other units"


def _markers(axis: Axes, data: polars.DataFrame, shown: polars.DataFrame, scale: scales.Scale) -> None:
    """Draw the runs, hollow where their excess is not told from 0, with legend entries for what occurs and what is left out."""
    told = (shown["excess"] > style.Z95 * shown["excess_stderr"].fill_null(0.0)).to_list()
    for row, sure in zip(shown.iter_rows(named=True), told, strict=True):
        colour, marker = scale(row["dataset_tokens"]), "^" if row["ended"] else "o"
        fill = colour if sure else "white"
        axis.plot(row["bound"], row["best_step"], marker, color=colour, markerfacecolor=fill, markersize=4.2, zorder=5)
    plain: dict[str, Any] = {"color": "0.3", "markersize": 4.2, "linestyle": "none"}
    axis.plot([], [], marker="o", label=f"{len(shown)} runs on part of the data", **plain)
    if not all(told):
        axis.plot([], [], marker="o", markerfacecolor="white", label="excess within 1.96 standard errors of 0", **plain)
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
    chosen = runs.filter(polars.col("n_params") == n_params).unique("dataset_tokens", keep="first", maintain_order=True)
    losses: list[float] = []
    ends: list[float] = []
    for run in chosen.sort("dataset_tokens").iter_rows(named=True):
        rows = curves.filter((polars.col("run") == run["run"]) & (polars.col("step") >= 8)).sort("step")
        if rows.is_empty():
            continue
        colour = scale(run["dataset_tokens"])
        axis.plot(rows["step"], rows["loss_test"], color=colour, linewidth=1.0, zorder=4)
        axis.plot(rows["step"], rows["loss_train"], color=colour, linewidth=0.8, linestyle=(0, (3, 1.5)), zorder=3)
        best = rows.filter(polars.col("step") == run["best_step"])
        axis.plot(best["step"], best["loss_test"], "o", color=colour, markersize=3.8, zorder=6)
        shown = [*rows["loss_test"].drop_nulls(), *rows["loss_train"].drop_nulls()]
        losses += [value for value in shown if value > 0]
        ends += rows["step"].to_list()
    style.loss_axis(axis, losses, "Loss (nats per token)")
    style.log_axis(axis, ends, "S (steps)")
    if not ends:
        return style.sentence(axis, "not resolved: no early-stopped run has a learning curve")
    keys = [
        Line2D([], [], color="0.3", linewidth=1.0, label="test"),
        Line2D([], [], color="0.3", linewidth=0.8, linestyle=(0, (3, 1.5)), label="train"),
        Line2D([], [], color="0.3", linewidth=0, marker="o", markersize=3.8, label="least validation loss"),
    ]
    title = f"N = {short(n_params)}"
    with style.style():
        axis.legend(
            handles=keys, title=title, title_fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), borderaxespad=0
        )
    return None
