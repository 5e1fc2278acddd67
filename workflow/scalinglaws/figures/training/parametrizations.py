"""Loss against the learning rate by width, under each of two parametrizations, and the best rate against the width."""

from __future__ import annotations

import json

import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import groups, scales, style
from scalinglaws.figures.shared.least_squares import Minimum
from scalinglaws.figures.shared.rate_sweeps import KEY as RATE
from scalinglaws.figures.shared.rate_sweeps import draw_sweep, optima
from scalinglaws.study.questions import COMPARISONS, SHAPE

TITLE = "Parametrizations"
CAPTION = """
The final test loss is shown against the learning rate in a colour for each width, under the standard parametrization (**a**) and
another one (**b**), and the rate at the lowest point of a parabola against the width, with 95 % intervals (**c**). Best rates at
the end of those tried are hollow.
"""
KEY, _, FEWEST = COMPARISONS["parametrization"]
FEWEST_RATES = COMPARISONS["rate"][2]
WIDTH = "d_model"
LOOKS = (("o", style.COLOURS[0]), ("s", style.COLOURS[1]))


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw the sweeps of the rate of models that two parametrizations have in common, and their best rates.

    Of a width, the shape with most runs is taken. Parabolas are those of ``rate_sweeps``.
    """
    figure, (left, middle, right) = style.panels(3)
    found = sweeps(tables["runs"])
    if len(found) < FEWEST:
        for axis in (left, middle, right):
            style.sentence(axis, f"not resolved: no model was trained at {FEWEST_RATES} rates under two parametrizations")
        return figure
    both = polars.concat([runs for _, runs in found])
    scale = scales.Scale([int(width) for width in both[WIDTH]], "Width (d_model)")
    best = [(name, optima(runs, WIDTH)) for name, runs in found]
    for axis, (name, runs), (_, minima) in zip((left, middle), found, best, strict=True):
        draw_sweep(axis, runs, minima, scale, WIDTH, both["loss"].to_numpy())
        style.plain_ticks(axis, (1, 3))
        first = [groups.described(both)] if axis is left else []
        style.legend_below(axis, [name, *first, *groups.lost(tables["runs"], runs, (RATE,))])
    _best_rates(right, best)
    scale.bar(figure, [left, middle])
    return figure


def called(value: str | None) -> str:
    """Return the name of a parametrization with its base, from the text in the table: "muP, base width 32"."""
    if value is None:
        return "standard"
    given = json.loads(value)
    shown = {"base_width": "base width", "base_depth": "base depth"}
    return ", ".join(["muP", *(f"{words} {given[key]}" for key, words in shown.items() if key in given)])


def sweeps(runs: polars.DataFrame) -> list[tuple[str, polars.DataFrame]]:
    """Return two parametrizations, the standard one first, with their runs of the shapes that both were swept at.

    Of several, those with most runs are taken. The list is empty where there are no such shapes.
    """
    family = groups.family(runs, KEY, (RATE,), FEWEST)
    counts = family.group_by(KEY, *SHAPE).agg(rates=polars.col(RATE).n_unique()).filter(polars.col("rates") >= FEWEST_RATES)
    swept = family.join(counts, on=[KEY, *SHAPE], how="semi", nulls_equal=True, maintain_order="left")
    named = [(called(group[KEY][0]), group) for group in swept.partition_by(KEY, maintain_order=True)]
    most = sorted(named, key=lambda item: (-len(item[1]), item[0]))[:2]
    chosen = sorted(most, key=lambda item: (item[0] != "standard", item[0]))
    if len(chosen) < FEWEST:
        return []
    (_, one), (_, other) = chosen
    shared = [name for name in SHAPE if name != WIDTH]
    alike = one.select(SHAPE).join(other.select(SHAPE).unique(), on=SHAPE, how="semi", nulls_equal=True)
    common = alike.group_by(SHAPE).agg(runs=polars.len())
    kept = common.sort(WIDTH, "runs", *shared, descending=[False, True, *[False] * len(shared)]).unique(WIDTH, keep="first")
    both = [(name, group.join(kept, on=SHAPE, how="semi", nulls_equal=True, maintain_order="left")) for name, group in chosen]
    return [] if kept.is_empty() else both


def _best_rates(axis: Axes, best: list[tuple[str, list[tuple[int, Minimum]]]]) -> None:
    """Draw the best rate of each width under each parametrization, and say by what factor it moves over the widths."""
    style.log_axis(axis, [width for _, minima in best for width, _ in minima], "Width (d_model)")
    values, notes = [], []
    for (name, minima), (marker, colour) in zip(best, LOOKS, strict=True):
        inside = [(width, least) for width, least in minima if not least.edge]
        axis.plot([width for width, _ in minima], [least.x for _, least in minima], color=colour, linewidth=0.8, zorder=3)
        for width, least in minima:
            if least.edge:
                axis.plot(width, least.x, marker, color=colour, markerfacecolor="white", markersize=4.5, zorder=6)
            else:
                sides = style.sides(least.x, least.low, least.high)
                axis.errorbar(width, least.x, sides, fmt=marker, color=colour, markersize=4.5, elinewidth=0.8, zorder=6)
            values += [value for value in (least.x, least.low, least.high) if value == value]
        axis.plot([], [], f"{marker}-", color=colour, markersize=4.5, linewidth=0.8, label=name)
        if len(inside) > 1:
            (first, low), (last, high) = inside[0], inside[-1]
            notes.append(f"{name}: best rate × {high.x / low.x:.2f} from width {first} to {last}")
    style.positive_axis(axis, values)
    axis.set_ylabel("Learning rate of least loss")
    style.legend_below(axis, notes)
