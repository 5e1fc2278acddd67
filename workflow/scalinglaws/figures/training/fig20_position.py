"""Figure 20: loss by position in the context, by model size (left) and during training (right)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import groups, loss_by_position, scales, style
from scalinglaws.figures.shared.groups import budget_runs
from scalinglaws.figures.shared.least_squares import BENT, Line, power_law
from scalinglaws.study.questions import SHAPE

TITLE = "Loss by position in the context"
CAPTION = """
Figure 20 of the paper. The test loss by position in the context, where the first predicted token has position 1. **a** The loss
after training, for up to five sizes at one budget: at every position (faint lines), as means over bins that grow by √2 with
1.96 times the mean of their standard errors (points), and as a power law in the position that was fitted to the points in
logarithms (dashed). **b** The loss of the largest model at up to five steps, in bins that double. Brackets hold 95 % intervals
from the scatter about the line. A line is said to bend where a quadratic term exceeds three standard errors.
"""
LABEL = "Position in the context (tokens, from 1)"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw final losses by position for up to five sizes, and those of the largest model at up to five steps of its training.

    Dashed lines are power laws in the position, by least squares in logarithms over the whole context.
    """
    figure, (left, right) = style.panels(2)
    runs = chosen_runs(tables["runs"])
    _by_size(figure, left, loss_by_position.final(tables["evals"], runs), runs)
    _by_step(figure, right, tables["curves"], runs)
    return figure


def chosen_runs(runs: polars.DataFrame) -> polars.DataFrame:
    """Return a run for each size: models that agree in all but shape, rate and seed, at the largest budget of most sizes."""
    table = groups.transformers_first(budget_runs(runs).filter(polars.col("fitted").fill_null(True)))
    fixed = groups.columns_but((*SHAPE, "learning_rate", "seed"))
    sets = table.partition_by(fixed, maintain_order=True)
    if not sets:
        return table
    best = max(sets, key=lambda group: (group["n_params"].n_unique(), group["tokens"][0]))
    return best.sort("n_params", "loss", "run").unique("n_params", keep="first", maintain_order=True)


def _by_size(figure: Figure, axis: Axes, data: polars.DataFrame, runs: polars.DataFrame) -> None:
    scale = scales.Scale([int(n) for n in data["n_params"]], "N (non-embedding parameters)")
    shown: list[float] = []
    bent = 0
    for n_params in loss_by_position.spread(data["n_params"].to_list()):
        rows = data.filter(polars.col("n_params") == n_params)
        position, loss, stderr = loss_by_position.binned(rows)
        colour = scale(n_params)
        axis.plot(rows["position"], rows["loss"], color=colour, linewidth=0.4, alpha=0.35, zorder=2)
        known = np.nan_to_num(stderr)
        axis.errorbar(position, loss, style.Z95 * known, fmt="o", color=colour, markersize=2.8, elinewidth=0.6, zorder=5)
        line = power_law(position, loss)
        bent += _fit(axis, line, position, colour, f"N = {short(n_params)}")
        shown += [*(loss - style.Z95 * known), *(loss + style.Z95 * known)]
    _finish(axis, shown, [1, data["position"].max() or 2])  # type: ignore[list-item]
    if not shown:
        style.sentence(axis, "not resolved: no run has losses by position on text of its own corpus (table evals)")
        return
    notes = [f"not a power law: {bent} of {len(loss_by_position.spread(data['n_params'].to_list()))} lines bend"] if bent else []
    style.legend_below(axis, [*notes, f"Transformers, {groups.described(runs)}"])
    scale.bar(figure, [axis])


def _by_step(figure: Figure, axis: Axes, curves: polars.DataFrame, runs: polars.DataFrame) -> None:
    rows, run = training(curves, runs)
    scale = scales.Scale([int(step) for step in rows["step"]], "S (steps)", "warm")
    shown: list[float] = []
    bent = 0
    for row in rows.iter_rows(named=True):
        loss = np.array(row["loss_by_position"], np.float64)
        position = loss_by_position.octaves(len(loss), int(run["n_ctx"]))
        axis.plot(position, loss, "o", color=scale(row["step"]), markersize=2.8, zorder=5)
        bent += _fit(axis, power_law(position, loss), position, scale(row["step"]), f"S = {short(row['step'])}")
        shown += [*loss]
    _finish(axis, shown, [1, run.get("n_ctx") or 2])
    if not shown:
        style.sentence(axis, "not resolved: no learning curve of these runs has losses by position")
        return
    notes = [f"not a power law: {bent} of {len(rows)} lines bend"] if bent else []
    style.legend_below(axis, [*notes, f"N = {short(run['n_params'])}, {short(run['tokens'])} tokens in the end"])
    scale.bar(figure, [axis])


def training(curves: polars.DataFrame, runs: polars.DataFrame) -> tuple[polars.DataFrame, dict]:
    """Return the largest run whose curve has losses by position, and up to five points of it.

    The points are evenly spaced in the log of the step.
    """
    seen = curves.filter(polars.col("loss_by_position").list.len() > 1)
    for run in runs.sort("n_params", descending=True).iter_rows(named=True):
        shared = polars.col("run").is_null() & (polars.col("trunk") == run["trunk"]) & (polars.col("step") <= run["steps"])
        rows = seen.filter(shared | (polars.col("run") == run["run"])).unique("step", keep="first").sort("step")
        if not rows.is_empty():
            wanted = np.geomspace(rows["step"][0], rows["step"][-1], loss_by_position.SHOWN)
            steps = {min(rows["step"].to_list(), key=lambda step: abs(np.log(step / value))) for value in wanted}
            return rows.filter(polars.col("step").is_in(sorted(steps))), run
    return seen.clear(), {}


def _fit(axis: Axes, line: Line | None, position: NDArray[np.float64], colour: Any, name: str) -> bool:
    """Draw a power law with its exponent in the legend, and return whether the points bend away from it."""
    if line is None:
        return False
    label = f"{name}: exponent {line.words(-1.0)}"
    axis.plot(position, line(position), "--", color=colour, linewidth=0.9, zorder=4, label=label)
    return abs(line.bend) > BENT


def _finish(axis: Axes, losses: list[float], positions: list[float]) -> None:
    style.loss_axis(axis, losses)
    style.log_axis(axis, positions, LABEL)
