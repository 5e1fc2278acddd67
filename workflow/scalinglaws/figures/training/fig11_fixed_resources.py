"""Figure 11: loss against model size at fixed compute (left) and at a fixed number of steps (right)."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import batch_laws, fit_json, loss_by_steps, misfit, scales, style
from scalinglaws.figures.shared.least_squares import Minimum, interpolate, minimum

TITLE = "Loss against size at fixed compute and at fixed steps"
CAPTION = """
Figure 11 of the paper. The test loss, read off the learning curves, is shown against size at fixed compute (**a**) and at a
fixed number of steps (**b**), with the fitted law of size and steps (dashed). The best size lies beyond a hollow diamond. The
paper found exponents of 0.077 in size and 0.76 in steps.
"""
LEVELS, FEWEST = 6, 3  # levels in a panel; fewest sizes at a level


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the learning curves of all sizes, read off at six values of compute and of steps, with the fitted L(N, S) (dashed).

    The curves, after warm-up and before the decay where the schedule has a stable phase, are read off between the logarithms of
    their points. Several runs of a size enter by their mean; of several shapes the one with most runs is taken. The law is that
    of equation 1.6 at S_min = S/(1 + B_crit/B), where the study has its fit and that of B_crit(L).
    """
    figure, axes = style.panels(2)
    curves = loss_by_steps.sized_curves(tables["curves"], tables["runs"])
    runs = tables["runs"].filter(polars.col("trunk").is_in(curves["trunk"].unique().to_list()))
    batch = float(runs["batch_tokens"][0]) if len(runs) else np.nan
    doubt = fit_json.unresolved(fits.get("kaplan-ns"), "kaplan-ns")
    law, b_crit = batch_laws.loss_ns(fits.get("kaplan-ns")), batch_laws.critical_batch(fits.get("critical-batch"))
    if law and not b_crit:
        doubt = "not resolved: L(N, S) is not drawn, since this study has no B_crit(L) to turn S into S_min"
    panels = (("flops_6nd", "C = 6NBS (FLOP)", "warm"), ("step", "S (steps)", "cool"))
    for axis, (column, label, ramp) in zip(axes, panels, strict=True):
        points = at_levels(curves, column)
        scale = scales.Scale([round(value) for value in points["level"]], label, ramp)
        for (level,), group in points.group_by("level", maintain_order=True):
            n, colour = group["n_params"].to_numpy(), scale(float(level))
            axis.plot(n, group["loss"], "o-", color=colour, markersize=3, linewidth=0.8, zorder=4)
            if law and b_crit:
                x = np.geomspace(n.min(), n.max(), 60)
                steps = steps_at(polars.DataFrame({"n_params": x, "level": np.full(60, float(level))}), column, batch)
                axis.plot(x, loss_by_steps.loss_at(law, b_crit, x, steps, batch), "--", color=colour, linewidth=0.8, zorder=3)
        style.loss_axis(axis, points["loss"].to_numpy())
        style.log_axis(axis, points["n_params"].to_numpy(), "N (non-embedding parameters)")
        if points.is_empty():
            style.sentence(axis, f"not resolved: fewer than {FEWEST} sizes have learning curves that share a value of {label}")
            continue
        name = f"learning curves, batches of {short(int(batch))} tokens"
        axis.plot([], [], "o-", color="0.3", markersize=3, linewidth=0.8, label=name)
        if law and b_crit:
            equation = r"fit: $(N_c/N)^{\alpha_N} + (S_c/S_\mathrm{min})^{\alpha_S}$"
            axis.plot([], [], "--", color="0.3", linewidth=0.8, label=equation)
        notes = [*_minima(axis, points), *fit_json.brief(doubt, 1)] if column == "flops_6nd" else []
        if law and b_crit:
            drawn = loss_by_steps.loss_at(law, b_crit, points["n_params"], steps_at(points, column, batch), batch)
            notes += misfit.note("the fit", points["loss"], drawn, misfit.of_losses(points, tables["runs"]))
        style.legend_below(axis, notes)
        scale.bar(figure, [axis], counts=column == "step")
    return figure


def at_levels(curves: polars.DataFrame, column: str) -> polars.DataFrame:
    """Return the loss of every size at up to six values of ``column``, with columns level, n_params and loss.

    It is the mean over the trunks of a size and is read off the curves between the logarithms of their points. The levels are
    evenly spaced in the logarithm, where at least three sizes have been.
    """
    trunks = [rows for rows in curves.partition_by("trunk", maintain_order=True) if len(rows) > 1]
    reach = [(int(rows["n_params"][0]), float(rows[column].min()), float(rows[column].max())) for rows in trunks]  # type: ignore[arg-type]
    grid = np.geomspace(min(low for _, low, _ in reach), max(high for *_, high in reach), 400) if reach else np.array([])
    sizes = np.array([len({n for n, low, high in reach if low <= value <= high}) for value in grid])
    inside = grid[sizes >= FEWEST]
    schema = {"level": polars.Float64, "n_params": polars.Int64, "loss": polars.Float64}
    if not len(inside):
        return polars.DataFrame(schema=schema)
    levels = inside[np.linspace(0, len(inside) - 1, LEVELS).round().astype(int)] * np.linspace(1 + 1e-9, 1 - 1e-9, LEVELS)
    rows = [
        {"level": float(level), "n_params": int(piece["n_params"][0]), "loss": float(loss)}
        for piece in trunks
        for level, loss in zip(levels, interpolate(piece[column], piece["loss_test"], levels), strict=True)
        if np.isfinite(loss)
    ]
    means = polars.DataFrame(rows, schema=schema).group_by("level", "n_params").agg(polars.col("loss").log().mean().exp())
    enough = polars.col("n_params").len().over("level") >= FEWEST
    return means.filter(enough).sort("level", "n_params")


def steps_at(points: polars.DataFrame, column: str, batch_tokens: float) -> NDArray[np.float64]:
    """Return the number of steps of batches of ``batch_tokens`` at the level of each point, in FLOP (6NBS) or in steps."""
    level = points["level"].to_numpy()
    return level / (6 * points["n_params"].to_numpy() * batch_tokens) if column == "flops_6nd" else level


def minima(points: polars.DataFrame) -> list[tuple[float, Minimum]]:
    """Return, for each level, the lowest point of a parabola in log N through the least log loss and its neighbours."""
    found = []
    for (level,), group in points.group_by("level", maintain_order=True):
        least = minimum(group["n_params"].to_numpy(), np.log(group["loss"].to_numpy()), width=1)
        if least:
            found.append((float(level), least))
    return found


def _minima(axis: Axes, points: polars.DataFrame) -> list[str]:
    """Mark the minima, hollow where they are at the smallest or the largest size, and return notes on them."""
    found = minima(points)
    for _, least in found:
        fill = "white" if least.edge else "black"
        axis.plot(least.x, np.exp(least.y), "D", color="black", markersize=4, markerfacecolor=fill, zorder=6)
    inside, edge = [least for _, least in found if not least.edge], [least for _, least in found if least.edge]
    if inside:
        axis.plot([], [], "D", color="black", markersize=4, label="lowest point of a parabola through three sizes")
    if edge:
        name = "least loss at the smallest or largest size"
        axis.plot([], [], "D", color="black", markersize=4, markerfacecolor="white", label=name)
    if not inside:
        return ["not resolved: the best size lies beyond those trained"]
    return []
