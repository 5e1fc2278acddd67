"""Figure 8: loss on other text by N, and against the loss on the text that was trained on."""

from __future__ import annotations

import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit
from scipy.stats import linregress

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.figures.shared.loss_by_text import beside_own, in_unit, measured, texts_over_seeds

TITLE = "Loss on other text"
CAPTION = """
Figure 8 of the paper. The final loss on the text trained on and on other text is shown against size (**a**), and that on other
text against that on the own text (**b**). Bars are 1.96 standard errors. The paper found that the loss on other text follows
that on the own text at a nearly constant distance.
"""
UNITS = (("loss", "nats per token"), ("nats_per_byte", "nats per byte"))
BYTE = 0.05  # nats per byte that differ from nats per token by less than this share are not drawn
NOTHING = "not resolved: no run that ended at a budget was measured on other text"


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw losses by size at the budget with most sizes, and losses on other text against those on the own text at all budgets.

    A second row shows nats per byte where a token is not about a byte. Dashed lines are straight lines in logarithms; the legend
    gives their exponents with 95 % intervals (Student's t). Thin lines on the right show the losses during training, where they
    were measured. The slope there is 1 where the distance is constant; its interval is too narrow, since the runs of one model
    are not independent.
    """
    points = transferred(tables["runs"], tables["evals"])
    units = UNITS if longer_tokens(points) else UNITS[:1]
    figure, axes = style.panels(2, len(units))
    styles = model_comparison.corpus_styles([*points["tested"]], points["own"][0] if len(points) else None)
    for (unit, words), left, right in zip(units, axes[::2], axes[1::2], strict=True):
        _by_size(left, in_unit(points, unit), styles, f"Test loss ({words})")
        _beside(right, beside_own(points, unit), styles, words)
        if points.is_empty():
            continue
        notes = model_comparison.misfits(by_size(in_unit(points, unit)), "n_params", "tested", tables["runs"])
        common = model_comparison.averaged(by_size(points), tables["runs"])
        style.legend_below(left, [*notes, common] if unit == "loss" else notes)
        style.legend_below(right)
    return figure


def transferred(runs: polars.DataFrame, evals: polars.DataFrame) -> polars.DataFrame:
    """Return rows of ``measured`` for the largest group of runs that differ in size, budget and seed alone."""
    known = measured(runs, evals)["run"].unique().to_list()
    table = one_rate(runs).filter(all_data() & polars.col("run").is_in(known))
    group = model_comparison.biggest(
        [model_comparison.usual(group) for group in run_groups(table, "d_model", (*model_comparison.SIZES, "tokens"), 1)]
    )
    return measured(runs.clear() if group is None else group, evals)


def longer_tokens(points: polars.DataFrame) -> bool:
    """Tell whether nats per byte are known and are not the nats per token."""
    ratio = (points["nats_per_byte"] / points["loss"]).drop_nulls()
    return bool(len(ratio)) and bool(((ratio - 1).abs() > BYTE).any())


def by_size(points: polars.DataFrame) -> polars.DataFrame:
    """Return final losses at the budget that most sizes have, averaged over seeds."""
    data = texts_over_seeds(points)
    count = polars.col("n_params").n_unique().over("tokens")
    most = data.filter(count == count.max())
    return most.filter(polars.col("tokens") == polars.col("tokens").max())


def _by_size(axis: Axes, points: polars.DataFrame, styles: dict[str, tuple[str, str]], label: str) -> None:
    data = by_size(points)
    for corpus, (colour, marker) in styles.items():
        mine = data.filter(polars.col("tested") == corpus)
        found = model_comparison.draw_power(axis, mine, "n_params", colour)
        own = " (trained on)" if corpus in data["own"] else ""
        text = f"{corpus}{own}: {model_comparison.exponent(found)}"
        law_lines.error_bars(axis, mine, "n_params", colour, style.plain(text, style.CHARACTERS[2]), fmt=marker)
    style.loss_axis(axis, law_lines.reach(data), label)
    style.log_axis(axis, data["n_params"].to_numpy(), "N (non-embedding parameters)")
    if data.is_empty():
        style.sentence(axis, NOTHING)


def _beside(axis: Axes, paired: polars.DataFrame, styles: dict[str, tuple[str, str]], words: str) -> None:
    axis.set_xlabel(f"Loss on the text trained on ({words})")
    axis.set_ylabel(f"Loss on other text ({words})")
    if paired.is_empty():
        return style.sentence(axis, NOTHING)
    for corpus, (colour, marker) in styles.items():
        mine = paired.filter(polars.col("tested") == corpus)
        for path in mine.filter(~polars.col("final")).partition_by("run", maintain_order=True):
            whole = mine.filter(polars.col("run") == path["run"][0]).sort("step")
            axis.plot(whole["inside"], whole["loss"], color=colour, linewidth=0.4, zorder=2)
        ends = mine.filter(polars.col("final"))
        if len(ends):
            axis.plot(ends["inside"], ends["loss"], marker, color=colour, label=f"{corpus}: {tie(ends)}", zorder=5)
    low, high = float(paired["inside"].min()), float(paired["inside"].max())  # type: ignore[arg-type]
    axis.plot([low, high], [low, high], ":", color=style.GUIDE, linewidth=0.9, zorder=1.8, label="the same loss on both texts")
    return None


def tie(ends: polars.DataFrame) -> str:
    """Return words on how far the loss on other text lies above that on the own text, and on its slope with a 95 % interval."""
    above = float((ends["loss"] - ends["inside"]).mean())  # type: ignore[arg-type]
    if ends["inside"].n_unique() < 3:
        return model_comparison.minus(f"{above:+.2f} nats, slope not resolved (under 3 losses)")
    found = linregress(ends["inside"].to_numpy(), ends["loss"].to_numpy())
    half = stdtrit(len(ends) - 2, 0.975) * found.stderr
    return model_comparison.minus(
        f"{above:+.2f} nats, slope {found.slope:.2f} [{found.slope - half:.2f}, {found.slope + half:.2f}]"
    )
