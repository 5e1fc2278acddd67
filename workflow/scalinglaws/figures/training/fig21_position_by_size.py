"""Figure 21: loss at chosen positions of the context against model size, with models of a shorter context dashed."""

from __future__ import annotations

import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import groups, loss_by_position, scales, style
from scalinglaws.figures.shared.least_squares import power_law

TITLE = "Loss at chosen positions against size"
CAPTION = """
Figure 21 of the paper. The final test loss at chosen positions in the context is shown against size, for the longest context of
the study (solid) and the shortest (dashed, hollow). Bars are 1.96 standard errors. The paper found that the loss late in the
context falls faster, and that a short context serves the early positions better.
"""
FOLLOW = ("learning_rate", "micro_batch_tokens")
STYLES = ("-", (0, (4, 1.5)), ":")


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw final losses at positions 1, 2, 4, … against N: solid for the longest context, dashed for the shortest.

    The models agree in everything else but the learning rate. Exponents are those of the loss in N, with 95 % intervals from the
    scatter about the line.
    """
    figure, (axis,) = style.panels()
    runs = groups.family(tables["runs"], "n_ctx", FOLLOW)
    data = loss_by_position.final(tables["evals"], runs)
    lengths = sorted(data["n_ctx"].unique().to_list(), reverse=True)
    lengths = [*lengths[:1], *lengths[-1:]] if len(lengths) > 1 else lengths
    positions = chosen_positions(lengths)
    data = data.filter(polars.col("n_ctx").is_in(lengths) & polars.col("position").is_in(positions))
    scale = scales.Scale(positions, "Position in the context (from 1)", "warm")
    for n_ctx, linestyle in zip(lengths, STYLES, strict=False):
        for position in positions:
            rows = means(data.filter((polars.col("n_ctx") == n_ctx) & (polars.col("position") == position)))
            if rows.is_empty():
                continue
            half = style.Z95 * rows["stderr"].fill_null(0.0).to_numpy()
            axis.errorbar(
                rows["n_params"], rows["loss"], half, color=scale(position), linestyle=linestyle, marker="o", markersize=2.8,
                markerfacecolor=scale(position) if n_ctx == lengths[0] else "white", linewidth=0.9, elinewidth=0.6,
            )  # fmt: skip
            if n_ctx == lengths[0] and position in (positions[0], positions[-1]):
                line = power_law(rows["n_params"], rows["loss"])
                words = line.exponent(-1.0) if line else "one size"
                axis.plot([], [], color=scale(position), label=f"position {position}: {words}")
    style.loss_axis(
        axis,
        [
            *(data["loss"] + style.Z95 * data["stderr"].fill_null(0.0)),
            *(data["loss"] - style.Z95 * data["stderr"].fill_null(0.0)),
        ],
    )
    style.log_axis(axis, data["n_params"].to_numpy(), "N (non-embedding parameters)")
    if len(lengths) < 2:
        style.sentence(axis, "not resolved: no sizes were trained at two lengths of context and measured by position")
        return figure
    for n_ctx, linestyle in zip(lengths, STYLES, strict=False):
        fill = "0.3" if n_ctx == lengths[0] else "white"
        label = f"context of {n_ctx} tokens"
        axis.plot([], [], color="0.3", linestyle=linestyle, marker="o", markersize=2.8, markerfacecolor=fill, label=label)
    notes = [groups.described(runs), *groups.lost(tables["runs"], runs, ("n_ctx", *FOLLOW))]
    style.legend_below(axis, notes)
    scale.bar(figure, [axis])
    return figure


def chosen_positions(lengths: list[int]) -> list[int]:
    """Return powers of two up to the longest context, at most seven, with the last position of the shortest one."""
    if not lengths:
        return []
    powers = [2**k for k in range(40) if 2**k <= lengths[0]]
    return sorted({*loss_by_position.spread(powers, 7), lengths[-1]})


def means(rows: polars.DataFrame) -> polars.DataFrame:
    """Return the loss and standard error of each size, averaged over seeds, which share the test text and so its error."""
    return rows.group_by("n_params").agg(polars.col("loss").mean(), polars.col("stderr").mean()).sort("n_params")
