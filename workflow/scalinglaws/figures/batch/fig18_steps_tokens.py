"""Figure 18: steps against tokens processed to reach each of many losses, for two sizes, with the hyperbola (5.1)."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.numbers import counted, short
from scalinglaws.figures.shared import batch_laws, fit_json, misfit, scales, style
from scalinglaws.figures.shared.least_squares import interpolate
from scalinglaws.study.questions import FEWEST_BATCHES

TITLE = "Steps against tokens to reach a loss"
CAPTION = """
Figure 18 of the paper. The steps and tokens that each batch size takes to each of many losses (colours), for the smallest and
the largest model trained at enough batch sizes, with the hyperbola of equation 5.1 fitted to each loss. From such fits the
paper finds the critical batch size; losses without a line have none.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw a panel for the smallest and one for the largest size of the fit of B_crit(L), in a colour for each loss."""
    figure, axes = style.panels(2)
    levels = batch_laws.levels(fits.get("critical-batch")).filter(polars.col("steps").list.len() >= FEWEST_BATCHES)
    sizes = levels["n_params"].unique().sort().to_list()
    scale = scales.LossScale(levels.filter(polars.col("n_params").is_in(sizes[:1] + sizes[1:][-1:]))["loss"].to_list())
    notes = batch_laws.doubts(fits, ["critical-batch"])
    for axis, n_params in zip(axes, [*sizes[:1], *sizes[1:][-1:], None, None], strict=False):
        rows = levels.filter(polars.col("n_params") == n_params) if n_params else levels.clear()
        _panel(axis, rows, scale)
        own = _notes(rows)
        more = [*notes, f"not drawn: {counted(len(sizes) - 2, 'size')} between these"] if len(sizes) > 2 else notes
        own += more if axis is axes[0] else []
        second = "one size only was trained at three batch sizes" if sizes else "no size was trained at three batch sizes"
        batch_laws.say(axis, own if axis is axes[0] or n_params else notes * (not sizes), rows.is_empty(), second)
    scale.bar(figure, axes)
    return figure


def _panel(axis: Axes, rows: polars.DataFrame, scale: scales.LossScale) -> None:
    axis.set_xlabel("Tokens processed E = BS")
    axis.set_ylabel("Steps S")
    if rows.is_empty():
        return
    tokens, steps = [], []
    for row in rows.iter_rows(named=True):
        s, b = np.array(row["steps"]), np.array(row["batch_tokens"])
        tokens += (s * b).tolist()
        steps += s.tolist()
        axis.plot(s * b, s, "o", color=scale(row["loss"]), markersize=2.8, markeredgewidth=0, zorder=5)
        if row["b_crit"] is not None:
            batch = np.geomspace(b.min(), b.max(), 80)
            curve = row["steps_min"] + row["tokens_min"] / batch
            axis.plot(batch * curve, curve, color=scale(row["loss"]), linewidth=0.8, zorder=3)
    style.log_axis(axis, tokens, "Tokens processed E = BS")
    style.upright_log_axis(axis, steps, "Steps S")
    drawn = int(rows["b_crit"].is_not_null().sum())
    size, batch_sizes = short(round(rows["n_params"][0])), {batch for row in rows["batch_tokens"] for batch in row}
    label = f"N = {size}: {len(rows)} losses, {len(batch_sizes)} batch sizes"
    axis.plot([], [], "o", color="0.3", markersize=2.8, label=label)
    axis.plot([], [], color="0.3", linewidth=0.8, label=f"$(S/S_{{min}}-1)(E/E_{{min}}-1)=1$, at {drawn} losses")


def _notes(rows: polars.DataFrame) -> list[str]:
    """Return notes on the losses without a line, and on lines that miss their points.

    A line gives each batch size a number of steps. What the batch size had reached by then, between its own points, is compared
    with the loss that the line stands for: the rule of ``misfit`` is one of losses.
    """
    if rows.is_empty():
        return []
    with_line = rows.filter(polars.col("b_crit").is_not_null())
    left = len(rows) - len(with_line)
    seen = rows.select("loss", "steps", "batch_tokens", "steps_min", "tokens_min", "b_crit").explode("steps", "batch_tokens")
    losses: list[tuple[float, float]] = []  # reached, drawn
    for curve in seen.partition_by("batch_tokens", maintain_order=True):
        drawn = curve.filter(polars.col("b_crit").is_not_null())
        at = drawn["steps_min"] + drawn["tokens_min"] / drawn["batch_tokens"]
        losses += zip(interpolate(curve["steps"], curve["loss"], at), drawn["loss"], strict=True)
    missed = misfit.note("the loss of the hyperbolas", *np.array(losses).reshape(-1, 2).T)
    return [*missed, *([f"not resolved at {left} losses: no line"] if left else [])]
