"""Noise between seeds: the spread of the final loss of one model trained with several seeds, by size."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, model_comparison, scales, seed_noise, style
from scalinglaws.figures.shared.groups import comparison

TITLE = "Noise between seeds"
CAPTION = """
The final losses of runs that differ in their seed alone, which sets the weights and the order of the data, are shown less the
mean of their group (**a**), and their standard deviation with its 95 % interval beside the standard error of the test loss
(**b**). The paper found that seeds move the final loss by about 0.02.
"""
PUBLISHED = 0.02  # nats, Kaplan et al. 2020, section 4.4
NATS = "Standard deviation (nats)"
NOTHING = "not resolved: no model was trained with two seeds"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw each run's distance from the mean of its group, and standard deviations by size beside the error of the test text.

    A standard deviation is that within all groups of one N (within 2 %) and budget, with its 95 % interval (chi squared). Runs
    share the test text, so the noise between seeds is that of a comparison of two runs, and the standard error of the test loss
    is that of a comparison with other text.
    """
    figure, (left, right) = style.panels(2)
    groups, spread = comparison(tables["runs"], "seed"), seed_noise.seed_spread(tables["runs"])
    scale = scales.Scale([*spread["tokens"]], "Tokens processed", "warm")
    for group in groups:
        away = (group["loss"] - group["loss"].mean()).to_numpy()
        left.plot(group["n_params"], away, "o", color=scale(group["tokens"][0]), markeredgewidth=0)
    left.axhline(0, color="0.5", linewidth=0.6)
    left.set_ylabel("Loss less the mean of its seeds (nats)")
    _spread(right, spread, scale)
    for axis in (left, right):
        style.log_axis(axis, spread["n_params"].to_numpy(), "N (non-embedding parameters)")
        if spread.is_empty():
            style.sentence(axis, NOTHING)
    if len(spread):
        runs = f"{int(spread['runs'].sum())} runs in {int(spread['groups'].sum())} groups that differ in the seed alone"
        style.legend_below(left, [runs + model_comparison.diverged(tables["runs"])])
        style.legend_below(right, [summary(spread)])
    scale.bar(figure, [left, right])
    return figure


def _spread(axis: Axes, spread: polars.DataFrame, scale: scales.Scale) -> None:
    if spread.is_empty():
        axis.set_ylabel(NATS)
        return
    for row in spread.iter_rows(named=True):
        sides = style.sides(row["sd"], row["low"], row["high"])
        colour = scale(row["tokens"])
        axis.errorbar([row["n_params"]], [row["sd"]], yerr=sides, fmt="o", color=colour, elinewidth=0.8, markersize=4, zorder=5)
    known = spread.drop_nulls("loss_stderr")
    axis.errorbar([], [], yerr=[], fmt="o", color="0.3", elinewidth=0.8, label="between seeds, with its 95 % interval")
    axis.plot(known["n_params"], known["loss_stderr"], "_", color="0.3", markersize=9, label="standard error of the test loss")
    axis.axhline(PUBLISHED, color=style.GUIDE, linewidth=0.7, label="between seeds, published in 2020: about 0.02")
    style.loss_axis(axis, [*spread["low"], *spread["high"], *known["loss_stderr"], PUBLISHED], NATS)


def summary(spread: polars.DataFrame) -> str:
    """Return a note on the noise of all groups as a share of the loss, and on how far two runs must differ to tell anything."""
    found = seed_noise.pooled(spread)
    if found is None:
        return NOTHING
    share, freedom = found
    low, high = seed_noise.sd_interval(share, freedom)
    differ = 100 * style.Z95 * np.sqrt(2) * share
    return (
        f"together {100 * share:.2g} % of the loss [{100 * low:.2g}, {100 * high:.2g}]: two runs less than "
        f"{differ:.2g} % apart may differ by chance"
    )
