"""Optimizers, each at its best learning rate: final loss by size, and the tokens that each needs for one loss."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import groups, style
from scalinglaws.figures.shared.least_squares import interpolate
from scalinglaws.study.questions import COMPARISONS, SHAPE

TITLE = "Optimizers"
CAPTION = """
The final test loss is shown against size, with each optimizer at the best of the learning rates tried with it (**a**), and the
tokens that each needs for the loss that all reach, over those of AdamW (**b**). A point is hollow where the best rate is the
least or the largest tried. Bars are 1.96 standard errors.
"""
KEY, FOLLOW, FEWEST = COMPARISONS["optimizer"]
# A colour and a marker for each optimizer, and further ones for those of plug-ins.
LOOKS = dict(zip(("adamw", "adafactor", "muon", "sgd"), zip(style.COLOURS, "osD^", strict=False), strict=True))
OTHERS = tuple(zip(style.COLOURS[len(LOOKS) :], "vPX", strict=True))
REFERENCE = "adamw"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw losses at the best rate of each optimizer and size, and the tokens to a loss that all reach, over those of AdamW.

    The loss is the worst of the final losses of a size, and the tokens are read off the learning curves. The worst optimizer
    reaches it with its rate decayed to the end and the others earlier, so that the gain is rather understated. The work of the
    optimizer itself is not counted.
    """
    figure, (left, right) = style.panels(2)
    family = groups.family(tables["runs"], KEY, FOLLOW, FEWEST)
    if family.is_empty():
        for axis in (left, right):
            style.sentence(axis, "not resolved: no model was trained with two optimizers and nothing else that differs")
        return figure
    best = best_rates(family)
    looks = looks_of(best[KEY].to_list())
    for name, group in _by_name(best):
        colour, marker = looks[name]
        means = (
            group.group_by("n_params")
            .agg(polars.col("loss").mean(), polars.col("loss_stderr").mean(), polars.col("edge").any())
            .sort("n_params")
        )
        half = style.Z95 * means["loss_stderr"].fill_null(0.0).to_numpy()
        left.errorbar(means["n_params"], means["loss"], half, color=colour, linewidth=0.9, elinewidth=0.7, zorder=4)
        left.plot([], [], marker=marker, color=colour, markersize=4.5, linewidth=0.9, label=name)
        for row in means.iter_rows(named=True):
            fill = "white" if row["edge"] else colour
            left.plot(row["n_params"], row["loss"], marker, color=colour, markerfacecolor=fill, markersize=4.5, zorder=5)
    style.loss_axis(left, best["loss"].to_numpy())
    style.log_axis(left, best["n_params"].to_numpy(), "N (non-embedding parameters)")
    notes = [groups.described(best), *groups.lost(tables["runs"], family, (KEY, *FOLLOW))]
    if best["edge"].any():
        name = "best rate at the edge of those tried, or alone"
        left.plot([], [], "o", color="0.3", markerfacecolor="white", markersize=4.5, label=name)
    style.legend_below(left, notes)
    _ratios(right, tokens_needed(best, tables["curves"]), best)
    return figure


def best_rates(family: polars.DataFrame) -> polars.DataFrame:
    """Return, for each optimizer and shape, the runs of all seeds of the settings with the least mean loss.

    The column ``edge`` says whether their rate is the least or the largest of those tried, so that a better one may lie beyond.
    """
    cell, setting = (KEY, *SHAPE), ("learning_rate", "beta1", "beta2", "weight_decay")
    table = family.with_columns(mean=polars.col("loss").mean().over((*cell, *setting)))
    at_end = (polars.col("learning_rate") == polars.col("learning_rate").min().over(cell)) | (
        polars.col("learning_rate") == polars.col("learning_rate").max().over(cell)
    )
    table = table.with_columns(edge=at_end).filter(polars.col("mean") == polars.col("mean").min().over(cell))
    return table.drop("mean").sort(KEY, "n_params", "run")


def tokens_needed(best: polars.DataFrame, curves: polars.DataFrame) -> polars.DataFrame:
    """Return the tokens processed until the test loss last came down to a target.

    The columns are n_params, optimizer, target and tokens. The target is the highest loss at which an optimizer of a size ends,
    so that each of them reaches it. The tokens are geometric means over seeds.
    """
    rows = []
    for group in best.partition_by(SHAPE, maintain_order=True):
        paths = {run["run"]: path(run, curves) for run in group.iter_rows(named=True)}
        if any(rows.is_empty() for rows in paths.values()) or group[KEY].n_unique() < FEWEST:
            continue
        target = max(rows["loss_test"][-1] for rows in paths.values())
        for run in group.iter_rows(named=True):
            tokens = reached(paths[run["run"]], target)
            rows.append({"n_params": run["n_params"], KEY: run[KEY], "target": target, "tokens": tokens})
    schema = {"n_params": polars.Int64, KEY: polars.String, "target": polars.Float64, "tokens": polars.Float64}
    means = polars.DataFrame(rows, schema=schema).group_by("n_params", KEY, "target").agg(polars.col("tokens").log().mean().exp())
    return means.sort("n_params", KEY)


def path(run: dict, curves: polars.DataFrame) -> polars.DataFrame:
    """Return the learning curve of a run: its trunk's rows up to the point where it left the trunk, then its own."""
    own = curves.filter((polars.col("run") == run["run"]) & polars.col("loss_test").is_not_null())
    first = own["step"].min() if len(own) else run["steps"] + 1
    mine = (polars.col("trunk") == run["trunk"]) & polars.col("run").is_null() & (polars.col("step") < first)
    shared = curves.filter(mine & polars.col("loss_test").is_not_null())
    return polars.concat([shared, own]).filter(polars.col("tokens") > 0).sort("step")


def reached(rows: polars.DataFrame, target: float) -> float:
    """Return the tokens at which a curve, linear between the logarithms of its points, came down to ``target`` for good."""
    above = np.flatnonzero(rows["loss_test"].to_numpy() > target)
    if not len(above):
        return float(rows["tokens"][0])
    if above[-1] == len(rows) - 1:
        return float("nan")
    piece = rows[int(above[-1]) : int(above[-1]) + 2]
    return float(interpolate(piece["loss_test"], piece["tokens"], [target])[0])


def _ratios(axis: Axes, needed: polars.DataFrame, best: polars.DataFrame) -> None:
    names = best[KEY].unique().sort().to_list()
    reference = REFERENCE if REFERENCE in names else names[0]
    base = needed.filter(polars.col(KEY) == reference).select("n_params", base="tokens")
    table = needed.join(base, on="n_params", how="inner", maintain_order="left").with_columns(
        ratio=polars.col("tokens") / polars.col("base")
    )
    style.log_axis(axis, table["n_params"].to_numpy(), "N (non-embedding parameters)")
    if table.is_empty():
        return style.sentence(axis, "not resolved: no size has learning curves of two optimizers")
    axis.axhline(1, color=style.GUIDE, linewidth=0.7)
    looks = looks_of(names)
    for name, group in _by_name(table):
        colour, marker = looks[name]
        axis.plot(group["n_params"], group["ratio"], marker=marker, color=colour, markersize=4.5, linewidth=0.9, label=name)
    style.positive_axis(axis, [*table["ratio"], 1.0])
    axis.set_ylabel(f"Tokens to a loss, relative to {reference}")
    targets = table["target"].to_numpy()
    return style.legend_below(axis, [f"the loss: the worst end of a size, {targets.min():.3g} to {targets.max():.3g} nats"])


def _by_name(table: polars.DataFrame) -> list[tuple[str, polars.DataFrame]]:
    return [(str(group[KEY][0]), group) for group in table.sort(KEY, "n_params").partition_by(KEY, maintain_order=True)]


def looks_of(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for each optimizer: its own, or the next of ``OTHERS`` for a plug-in's."""
    spare = cycle(OTHERS)
    return {name: LOOKS.get(name) or next(spare) for name in sorted(set(names))}
