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
from scalinglaws.figures.shared.least_squares import power_law
from scalinglaws.study.questions import SHAPE

TITLE = "Loss by position in the context"
CAPTION = """
Figure 20 of the paper. The test loss is shown by position in the context for up to five sizes after training (**a**), with 1.96
standard errors, and for the largest model during training (**b**). Power laws (dashed) and their exponents are left out where
the points bend. The paper found power laws in the position, steeper in larger models.
"""
Array = NDArray[np.float64]
MARKERS = "osD^v"
LABEL = "Position in the context (tokens, from 1)"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw final losses by position for up to five sizes, and those of the largest model at up to five steps of its training.

    Final losses are means over bins of positions that grow by √2, with 1.96 times the mean of the standard errors of the
    positions. Those during training are in bins that double. Dashed lines are power laws in the position, by least squares in
    logarithms over the whole context, with 95 % intervals of their exponents from the scatter about the line. A line is drawn,
    and its exponent given, only where the points do not bend away from it.
    """
    figure, (left, right) = style.panels(2)
    runs = chosen_runs(tables["runs"])
    _by_size(left, loss_by_position.final(tables["evals"], runs), runs)
    _by_step(right, tables["curves"], runs)
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


def _by_size(axis: Axes, data: polars.DataFrame, runs: polars.DataFrame) -> None:
    sizes = loss_by_position.spread(data["n_params"].to_list())
    scale = scales.Scale(sizes, "N (non-embedding parameters)")
    shown: list[float] = []
    for place, n_params in enumerate(sizes):
        position, loss, stderr = loss_by_position.binned(data.filter(polars.col("n_params") == n_params))
        half = style.Z95 * np.nan_to_num(stderr)
        _series(axis, position, loss, half, scale(n_params), place, f"N {short(n_params)}")
        shown += [*(loss - half), *(loss + half)]
    _finish(axis, shown, [1, data["position"].max() or 2])  # type: ignore[list-item]
    if not shown:
        return style.sentence(axis, "not resolved: no run has losses by position on text of its own corpus (table evals)")
    return style.legend_below(axis, [groups.described(runs)])


def _by_step(axis: Axes, curves: polars.DataFrame, runs: polars.DataFrame) -> None:
    rows, run = training(curves, runs)
    scale = scales.Scale([int(step) for step in rows["step"]], "S (steps)", "warm")
    shown: list[float] = []
    for place, row in enumerate(rows.iter_rows(named=True)):
        loss = np.array(row["loss_by_position"], np.float64)
        position = loss_by_position.octaves(len(loss), int(run["n_ctx"]))
        _series(axis, position, loss, np.zeros(len(loss)), scale(row["step"]), place, f"S {short(row['step'])}")
        shown += [*loss]
    _finish(axis, shown, [1, run.get("n_ctx") or 2])
    if not shown:
        return style.sentence(axis, "not resolved: no learning curve of these runs has losses by position")
    return style.legend_below(axis, [f"the run of N {short(run['n_params'])} after S steps of {run['steps']}"])


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


def _series(axis: Axes, position: Array, loss: Array, half: Array, colour: Any, place: int, name: str) -> None:
    """Draw losses by position with half their error bars, and their power law where they do not bend away from it."""
    line = power_law(position, loss)
    if line is not None and not line.bent:
        axis.plot(position, line(position), "--", color=colour, linewidth=0.9, zorder=4)
    label = name if line is None else f"{name}: {line.exponent(-1.0)}"
    options: dict[str, Any] = {"fmt": MARKERS[place % len(MARKERS)], "markersize": 3, "elinewidth": 0.6, "zorder": 5}
    axis.errorbar(position, loss, half, color=colour, label=label, **options)


def _finish(axis: Axes, losses: list[float], positions: list[float]) -> None:
    style.loss_axis(axis, losses)
    style.log_axis(axis, positions, LABEL)
