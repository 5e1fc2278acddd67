"""Architectures beside the Transformer of 2020: loss by compute at one budget, and the compute-equivalent gain of each."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import model_comparison, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.laws.gain import FEWEST, Gains, compute_equivalent
from scalinglaws.study.questions import COMPARISONS

TITLE = "Architectures"
CAPTION = """
The final test loss of architectures that were trained alike on one budget is shown against compute (**a**), with a power law
through each, and how many times that compute the Transformer of 2020 needs for the same loss (**b**), with 95 % intervals. Of
experts, those that a token meets count. A hollow gain lies beyond the Transformer's sizes.
"""
KEY, FOLLOW, _ = COMPARISONS["architecture"]
REFERENCE = "transformer"
COMPUTE = "flops_6nd"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw final losses of each architecture against C = 6ND, and gains over the Transformer by ``laws.gain``.

    Of models that differ in their rate alone the one of ``groups.one_rate`` is taken, and seeds are averaged. Models that use
    a layer several times are left to Figure 17.
    """
    figure, (left, right) = style.panels(2)
    data = compared(tables["runs"])
    if data.is_empty():
        for axis in (left, right):
            style.sentence(axis, f"not resolved: no other architecture was trained like {FEWEST} sizes of the Transformer")
        return figure
    looks = dict(zip(names(data), [("0.15", "o"), *model_comparison.CATEGORIES], strict=False))
    for name, line in _by_name(data):
        colour, marker = looks[name]
        model_comparison.loss_points(left, line, COMPUTE, colour, marker, None, linestyle="none")
        law = model_comparison.draw_power(left, line, COMPUTE, colour)
        words = law.exponent(-1) if law is not None else "under 3 sizes"
        left.plot([], [], f"{marker}--", color=colour, markersize=3.6, linewidth=0.8, label=f"{name}: {words}")
    style.loss_axis(left, data["loss"].to_numpy())
    style.log_axis(left, data[COMPUTE].to_numpy(), "C = 6ND (FLOP)", counts=False)
    style.legend_below(left, [model_comparison.averaged(data, tables["runs"])])
    _gains(right, data, looks)
    return figure


def compared(runs: polars.DataFrame) -> polars.DataFrame:
    """Return the models of all architectures that were trained like the usual Transformers of at least three sizes.

    Seeds are averaged. The column ``name`` is the architecture, with its options where it was trained with several. Of several
    groups the one with most models is taken. The table is empty where there is no such group.
    """
    table = one_rate(runs).filter(all_data() & (polars.col("n_repeats").fill_null(1) == 1))
    found = []
    for group in run_groups(table, KEY, (*FOLLOW, "seed")):
        means = model_comparison.over_seeds(group)
        deep = (polars.col(KEY) == REFERENCE) & (polars.col("n_layer") > 1)  # one layer lies off the law of the others
        standard = model_comparison.usual(means.filter(deep))
        others = means.filter(polars.col(KEY) != REFERENCE)
        if standard["n_params"].n_unique() >= FEWEST and len(others):
            found.append(polars.concat([standard.select(others.columns), others]))
    chosen = model_comparison.biggest(found)
    if chosen is None:
        return model_comparison.over_seeds(runs.clear()).with_columns(name=polars.lit(None, polars.String))
    several = polars.col("options").n_unique().over(KEY) > 1
    options = polars.col("options").fill_null("{}").str.replace_all('[{}"]', "").str.replace_all(",", ", ")
    name = polars.when(several).then(polars.format("{} ({})", KEY, options)).otherwise(polars.col(KEY))
    return chosen.with_columns(name=name).sort("name", "n_params", "run")


def names(data: polars.DataFrame) -> list[str]:
    """Return the names of the series, the reference first."""
    found = data["name"].unique().to_list()
    return sorted(found, key=lambda name: (name.split(" ")[0] != REFERENCE, name))


def gains(data: polars.DataFrame, name: str) -> Gains:
    """Return the compute-equivalent gains of a series of ``compared`` over the Transformer."""
    standard, own = data.filter(polars.col(KEY) == REFERENCE), data.filter(polars.col("name") == name)
    return compute_equivalent(*(part[column].to_numpy() for part in (standard, own) for column in (COMPUTE, "loss")))


def _gains(axis: Axes, data: polars.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    """Draw the gain of each model of the other architectures against its compute, and say the mean of each architecture."""
    axis.axhline(1, color=looks[names(data)[0]][0], linewidth=0.8)
    values = [1.0]
    for name in names(data)[1:]:
        own, found, (colour, marker) = data.filter(polars.col("name") == name), gains(data, name), looks[name]
        for flops, gain, low, high, beyond in zip(own[COMPUTE], found.each, found.low, found.high, found.beyond, strict=True):
            fill = "white" if beyond else colour
            axis.errorbar(flops, gain, style.sides(gain, low, high), fmt="none", color=colour, elinewidth=0.8, zorder=4)
            axis.plot(flops, gain, marker, color=colour, markerfacecolor=fill, markersize=4.5, zorder=5)
            values += [value for value in (gain, low, high) if np.isfinite(value)]
        known = np.isfinite(found.mean_low) and np.isfinite(found.mean_high)
        words = f"× {found.mean:.2f} [{found.mean_low:.2f}, {found.mean_high:.2f}]" if known else "not resolved"
        axis.plot([], [], marker, color=colour, markersize=4.5, label=f"{name}: {words} on average")
    style.log_axis(axis, data[COMPUTE].to_numpy(), "C = 6ND (FLOP)", counts=False)
    style.positive_axis(axis, values)
    axis.set_ylabel("Compute-equivalent gain (ratio of FLOP)")
    style.legend_below(axis)


def _by_name(data: polars.DataFrame) -> list[tuple[str, polars.DataFrame]]:
    return [(name, data.filter(polars.col("name") == name)) for name in names(data)]
