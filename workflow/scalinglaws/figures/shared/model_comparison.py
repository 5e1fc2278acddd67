"""What figures that compare models share: averages over seeds, the usual models, lines through sizes, words and colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import law_lines, least_squares, misfit, style
from scalinglaws.figures.shared.groups import columns_but, sized
from scalinglaws.study.questions import SAME_SIZE, SHAPE

CATEGORIES = tuple(zip(style.COLOURS, "os^DvPX", strict=True))  # a colour and a marker for each of the things compared
SIZES = (*SHAPE, "learning_rate", "seed")  # fields that may differ between the sizes of one comparison


def minus(text: str) -> str:
    """Replace the hyphens before numbers by minus signs; a hyphen in a name is kept."""
    return re.sub(r"(?<![\w-])-(?=[\d.])", "−", text)


def power(data: polars.DataFrame, x: str) -> least_squares.Line | None:
    """Return the straight line through the logarithms of ``x`` and the loss; None below three different ``x``."""
    return least_squares.power_law(data[x].to_numpy(), data["loss"].to_numpy()) if data[x].n_unique() > 2 else None


def draw_power(axis: Axes, data: polars.DataFrame, x: str, colour: Any) -> least_squares.Line | None:
    """Draw the line of ``power`` over the range of ``x``, dashed, and return it."""
    found = power(data, x)
    if found is not None:
        grid = np.geomspace(float(data[x].min()), float(data[x].max()), 50)  # type: ignore[arg-type]
        axis.plot(grid, found(grid), "--", color=colour, linewidth=0.8, zorder=3)
    return found


def misfits(data: polars.DataFrame, x: str, by: str, runs: polars.DataFrame) -> list[str]:
    """Return a note where the lines of ``power``, one for each value of the column ``by``, miss their points together."""
    parts = [(part, line) for part in data.partition_by(by, maintain_order=True) if (line := power(part, x)) is not None]
    if not parts:
        return []
    drawn = np.concatenate([line(part[x].to_numpy()) for part, line in parts])
    points = polars.concat([part for part, _ in parts])
    return misfit.note("the set of dashed lines", points["loss"], drawn, misfit.of_losses(points, runs))


def exponent(found: least_squares.Line | None) -> str:
    """Return the exponent of ``power`` in words, "α_N = 0.062 [0.055, 0.069]", or why there is none or it is not resolved."""
    if found is None:
        return "not resolved (under 3 sizes)"
    if found.bent:
        return "no exponent: the points bend"
    return f"α_N = {found.words(-1)}" + ("" if found.resolved else ", not resolved")


def excess(reference: polars.DataFrame, x: str, data: polars.DataFrame) -> np.ndarray:
    """Return by how many percent the losses of ``data`` lie above the reference at the same ``x``; NaN outside its range.

    The reference is interpolated in logarithms between its points.
    """
    table = reference.group_by(x).agg(polars.col("loss").log().mean()).sort(x)
    at, known = np.log(data[x].to_numpy()), np.log(table[x].to_numpy())
    if not len(known):
        return np.full(len(at), np.nan)
    expected = np.interp(at, known, table["loss"].to_numpy(), left=np.nan, right=np.nan)
    return 100 * np.expm1(np.log(data["loss"].to_numpy()) - expected)


def biggest(groups: Sequence[polars.DataFrame]) -> polars.DataFrame | None:
    """Return the group with most runs; of several such groups the one with most tokens."""
    return max(groups, key=lambda group: (len(group), group["tokens"].max(), group["run"].min()), default=None)


def over_seeds(data: polars.DataFrame) -> polars.DataFrame:
    """Return a row for each set of runs that differ in their seed alone.

    It holds the mean loss, the number of ``seeds``, and the error of the test text, which the seeds share.
    """
    same = columns_but(["seed"])
    averages = (
        polars.col("loss").mean(),
        (polars.col("loss_stderr") ** 2).mean().sqrt(),
        polars.col("seed").n_unique().alias("seeds"),
    )
    others = polars.all().exclude(*same, "loss", "loss_stderr", "seeds").first()
    return data.sort("n_params", "seed", "run").group_by(same, maintain_order=True).agg(others, *averages)


def proportions(data: polars.DataFrame) -> polars.DataFrame:
    """Add the columns feed_forward (d_ff/d_model), attention (d_attn/d_model), aspect (d_model/n_layer) and head_width."""
    width, heads = polars.col("d_model"), polars.col("n_heads").replace(0, None)
    return data.with_columns(
        feed_forward=(polars.col("d_ff") / width).round_sig_figs(2),
        attention=(polars.col("d_attn") / width).round_sig_figs(2),
        aspect=width / polars.col("n_layer"),
        head_width=polars.col("d_attn") / heads,
    )


def usual(data: polars.DataFrame) -> polars.DataFrame:
    """Return models of ``usual_shares`` and of the depth that most sizes have.

    For sizes below and above those of that depth, the nearest depth is taken.
    """
    table = usual_shares(data)
    if table.is_empty():
        return table
    table = sized(table)
    depths = table.group_by("n_layer").agg(count=polars.col("size").n_unique())
    common = float(depths.sort("count", "n_layer", descending=[True, False])["n_layer"][0])
    mine = table.filter(polars.col("n_layer") == common)["size"]
    away = (polars.col("n_layer") / common).log().abs().round(6) + polars.col("n_layer") * 1e-9
    outside = (polars.col("size") < mine.min()) | (polars.col("size") > mine.max())
    return table.filter(polars.when(outside).then(away == away.min().over("size")).otherwise(away < 1e-6)).drop("size")


def usual_shares(data: polars.DataFrame) -> polars.DataFrame:
    """Return models of the commonest d_ff/d_model and d_attn/d_model.

    Of those of one depth and width the one of usual head width is taken.
    """
    table = proportions(data)
    shares = ["feed_forward", "attention"]
    common = table.group_by(shares).agg(count=polars.len()).sort("count", *shares, descending=[True, False, False]).head(1)
    return usual_heads(table.join(common.drop("count"), on=shares, how="inner", maintain_order="left"), ["n_layer", "d_model"])


def usual_heads(data: polars.DataFrame, by: list[str]) -> polars.DataFrame:
    """Return, of the models that agree in ``by``, the one with most runs in the study (``groups.one_rate``).

    Of several such models the one whose head width is nearest to the commonest of all is taken.
    """
    if data.is_empty() or data["head_width"].is_null().all():
        return data
    common = float(data["head_width"].drop_nulls().mode().sort()[0])
    away = (polars.col("head_width") / common).log().abs().fill_null(0.0).round(6)
    most = data.filter(polars.col("times") == polars.col("times").max().over(by))
    return most.filter(away == away.min().over(by))


def aspects(data: polars.DataFrame) -> list[polars.DataFrame]:
    """Return models of one size in series in which depth is traded for width, with one model for each depth and seed.

    A series has one d_attn/d_model. Its d_ff/d_model are nearest to one power of two, since few depths allow the same ratio.
    """
    octave = (polars.col("d_ff") / polars.col("d_model")).log(2)
    table = proportions(data).with_columns(octave=octave.round(), off=(octave - octave.round()).abs().round(6))
    out = []
    for part in table.partition_by("octave", "attention", maintain_order=True):
        nearest = part.filter(polars.col("off") == polars.col("off").min().over("n_layer"))
        nearest = usual_heads(nearest, ["n_layer"]).unique(["n_layer", "seed"], keep="first", maintain_order=True)
        out.append(nearest.drop("octave", "off").sort("aspect"))
    return out


def count(value: float) -> str:
    """Write a count for words, as 24.6k or 2M."""
    return short(round(value)).replace(".0", "")


def span(data: polars.DataFrame, column: str) -> str:
    """Return the range of a column, as "1.5k to 55k", or as "2M" where all values are within 2 % of each other."""
    low, high = float(data[column].min()), float(data[column].max())  # type: ignore[arg-type]
    return count(low) if high <= SAME_SIZE * low else f"{count(low)} to {count(high)}"


def averaged(data: polars.DataFrame, runs: polars.DataFrame) -> str:
    """Say what models that were averaged by ``over_seeds`` have in common: "N 1.5k to 55k, 2M tokens, 3 seeds; 1 run diverged".

    ``data`` are the models. The runs that diverged, if any did, are counted among all ``runs`` of the study.
    """
    most = int(data["seeds"].max())  # type: ignore[arg-type]
    fewest = int(data["seeds"].min())  # type: ignore[arg-type]
    seeds = f"{fewest} to {most} seeds" if fewest < most else "one seed" if most == 1 else f"{most} seeds"
    return f"N {span(data, 'n_params')}, {span(data, 'tokens')} tokens, {seeds}{diverged(runs)}"


def diverged(runs: polars.DataFrame) -> str:
    """Return the end of a note, "; 1 run diverged", which counts those of the whole study; it is empty where none did."""
    count = len(runs) - len(runs.filter((polars.col("status") == "ok") & polars.col("loss").is_not_null()))
    return f"; {count} run{'s' * (count > 1)} diverged" if count else ""


def alike(data: polars.DataFrame) -> list[polars.DataFrame]:
    """Return the models in groups that agree in depth, d_ff/d_model and d_attn/d_model, and so differ in size alone."""
    same = ["architecture", "n_layer", "n_repeats", "sharing", "feed_forward", "attention"]
    return proportions(data).partition_by(same, maintain_order=True)


def loss_points(
    axis: Axes, data: polars.DataFrame, x: str, colour: Any, marker: str, label: str | None, linestyle: str = "-"
) -> None:
    """Draw losses of one series with their error bars, joined by a thin line."""
    data = data.sort(x)
    axis.plot(data[x], data["loss"], color=colour, linewidth=0.7, linestyle=linestyle, zorder=3)
    law_lines.error_bars(axis, data, x, colour, label, fmt=marker)


def loss_by_size(
    axis: Axes, data: polars.DataFrame, x: str, colour: Any, marker: str, label: str | None, linestyle: str = "-"
) -> None:
    """Draw losses with their error bars, and join those of models that are ``alike`` by a thin line.

    A line through models of unlike shapes would zigzag with the shape, so such models are drawn as points alone.
    """
    for line in alike(data.sort(x)):
        axis.plot(line[x], line["loss"], color=colour, linewidth=0.7, linestyle=linestyle, zorder=3)
    law_lines.error_bars(axis, data.sort(x), x, colour, label, fmt=marker)


def corpus_styles(names: Sequence[str], own: str | None = None) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for each corpus by name; black is for the one that the others are compared with."""
    others = sorted(set(names) - {own})
    found = {name: CATEGORIES[i % len(CATEGORIES)] for i, name in enumerate(others)}
    return {own: ("0.15", "o")} | found if own is not None else found


def log2_axis(axis: Axes, values: np.ndarray, label: str) -> None:
    """Make x a logarithmic axis with ticks at powers of two that shows ``values`` with a margin."""
    axis.set_xscale("log", base=2)
    axis.set_xlabel(label)
    finite = np.asarray(values, dtype=float)
    if not len(finite):
        return
    axis.set_xlim(float(finite.min()) / 1.25, float(finite.max()) * 1.25)
    low, high = np.log2(finite.min()), np.log2(finite.max())
    step = max(1, int(np.ceil((high - low) / 6)))
    ticks = 2.0 ** np.arange(np.floor(low), np.ceil(high) + 1, step)
    axis.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
