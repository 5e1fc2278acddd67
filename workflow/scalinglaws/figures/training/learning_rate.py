"""Loss against the learning rate by model size, and the best rate against size."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import groups, scales, style
from scalinglaws.figures.shared.least_squares import Line, Minimum, power_law
from scalinglaws.figures.shared.rate_sweeps import draw_sweep, optima
from scalinglaws.optim.rates import kaplan_rate
from scalinglaws.study.questions import COMPARISONS

TITLE = "Loss against the learning rate"
CAPTION = """
The final test loss is shown against the learning rate in a colour for each size (**a**), and the rate at the lowest point of a
parabola against size (**b**), with 95 % intervals. Sizes whose least loss is at the end of the rates are hollow and not fitted.
The paper's rule for its own tokens is grey.
"""
KEY, _, FEWEST = COMPARISONS["rate"]
EXACT = 1e-3  # relative distance within which rates lie on a rule, which allows for rounding
OWN = "rule of the other runs: "


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw the final losses of the largest sweep with parabolas in the log rate, and the rates of least loss against size.

    A parabola goes through the least loss and up to two rates on either side, or one rate where five points do not lie on a
    parabola. The rates of least loss are drawn with 95 % intervals, from the scatter of seeds or else from the scatter about the
    parabola; where nothing tells the scatter, they end at the neighbouring rates. With them go their power law, the rule on which
    the rates of the study's other runs lie, if they do, and LR(N) = 0.003239 − 0.0001395 ln N of the paper, for its tokens and
    batch.
    """
    figure, (left, right) = style.panels(2)
    runs = groups.family(tables["runs"], KEY, (), FEWEST)
    scale = scales.Scale([int(n) for n in runs["n_params"]], "N (non-embedding parameters)")
    best = optima(runs)
    draw_sweep(left, runs, best, scale)
    _optimum(right, best, rule(tables["runs"], runs), scale)
    if runs.is_empty():
        style.sentence(left, f"not resolved: no model was trained at {FEWEST} rates that differ in nothing else")
    else:
        notes = [groups.described(runs), *groups.lost(tables["runs"], runs, (KEY,))]
        style.legend_below(left, notes)
        scale.bar(figure, [left, right])
    return figure


def rule(runs: polars.DataFrame, sweep: polars.DataFrame) -> Line | None:
    """Return the power law in N on which all rates of an experiment outside the ``sweep`` lie; None where there is none.

    Rates that are cut off at a largest rate do not count. Of several such laws the one with most runs is taken.
    """
    swept = set(sweep["run"].to_list())
    rows = runs.explode("experiments").drop_nulls(["experiments", KEY, "n_params"])
    candidates: list[tuple[int, Line]] = []
    for group in rows.sort("experiments", "run").partition_by("experiments", maintain_order=True):
        rates = group.select("n_params", KEY).unique().sort("n_params")
        if swept & set(group["run"].to_list()) or rates["n_params"].is_duplicated().any():
            continue
        for free in (rates, rates.filter(polars.col(KEY) < polars.col(KEY).max())):
            line = power_law(free["n_params"], free[KEY]) if len(free) > 2 else None
            if line is not None and np.allclose(line(free["n_params"]), free[KEY].to_numpy(), rtol=EXACT):
                candidates.append((len(group), line))
                break
    return max(candidates, key=lambda item: item[0])[1] if candidates else None


def _optimum(axis: Axes, best: list[tuple[int, Minimum]], own: Line | None, scale: scales.Scale) -> None:
    inside = [(n, least) for n, least in best if not least.edge]
    axis.set_yscale("log")
    axis.set_ylabel("Learning rate of least loss")
    style.log_axis(axis, [n for n, _ in best], "N (non-embedding parameters)")
    if not best:
        return style.sentence(axis, "not resolved: no sweep of the learning rate has three rates of one size")
    values: list[float] = []
    for n, least in best:
        colour = scale(n)
        if least.edge:
            axis.plot(n, least.x, "^" if least.edge > 0 else "v", color=colour, markerfacecolor="white", markersize=5, zorder=6)
        else:
            axis.errorbar(
                n,
                least.x,
                [[least.x - least.low], [least.high - least.x]],
                fmt="D",
                color=colour,
                markersize=4,
                elinewidth=0.8,
                zorder=6,
            )
        values += [value for value in (least.x, least.low, least.high) if np.isfinite(value)]
    sizes = [n for n, _ in best]
    x = np.geomspace(min(sizes) / 1.2, max(sizes) * 1.2, 60)
    line = power_law([n for n, _ in inside], [least.x for _, least in inside]) if inside else None
    if line is not None:
        axis.plot(x, line(x), "--", color=style.FIT, zorder=4, label=f"power law, {line.exponent()}")
    if own is not None:
        axis.plot(x, own(x), color=style.SECOND, linewidth=1.0, zorder=3, label=rf"{OWN}${own(1.0):.3g}\,N^{{{own.slope:.3f}}}$")
        values += [*own(np.array([min(sizes), max(sizes)]))]
    axis.plot(
        x,
        [kaplan_rate(n) for n in x],
        color=style.GUIDE,
        linewidth=0.8,
        zorder=2,
        label="the paper's rule (BPE, batches of 2¹⁹ tokens)",
    )
    style.positive_axis(axis, [*values, *map(kaplan_rate, sizes)])
    if any(least.edge for _, least in best):
        name = "at the edge of the rates: the best lies beyond"
        axis.plot([], [], "^", color="0.3", markerfacecolor="white", label=name)
    notes = []
    if line is None or np.isnan(line.low):
        notes.append(f"not resolved: how the best rate depends on N, with {len(inside)} minima inside the sweep")
    return style.legend_below(axis, notes)
