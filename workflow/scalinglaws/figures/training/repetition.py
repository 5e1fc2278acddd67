"""Repeated data: loss against epochs of one dataset, and what is lost against fresh data."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import fit_json, groups, law_lines, misfit, scales, style
from scalinglaws.figures.shared.groups import finished
from scalinglaws.laws.repetition import REPETITION, loss
from scalinglaws.study.questions import SHAPE

TITLE = "Repeated data"
CAPTION = """
The final test loss is shown against the epochs of each dataset, for the size with most such runs and with the law of repeated
data (**a**), and its excess over fresh data of the same budget, for all sizes (**b**). Bars are 1.96 standard errors.
Muennighoff et al. (2023) found that up to four epochs cost little.
"""
TINY = 1e-300
MARKERS = "osD^vP"
FREE = ("tokens", "dataset_tokens", "decay", "learning_rate")


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the size with most runs on limited data, with a line for each dataset and the law, and all sizes over fresh data.

    The law is that of Muennighoff et al. 2023, where the study fits it. On the right, the two losses are taken as independent
    although they share the test text, so that these bars are too long.
    """
    figure, (left, right) = style.panels(2)
    runs = family(tables["runs"])
    repeated = runs.filter(polars.col("dataset_limited"))
    scale = scales.Scale([int(d) for d in repeated["dataset_tokens"]], "D (tokens in the training set)", "warm")
    sizes = repeated["n_params"].unique().sort().to_list()
    _epochs(left, repeated, tables["runs"], fits.get("repetition"), scale)
    _against_fresh(right, over_fresh(runs), scale, sizes)
    scale.bar(figure, [left, right])
    return figure


def family(runs: polars.DataFrame) -> polars.DataFrame:
    """Return the largest set of finished runs to a budget that agree in all but dataset, budget, shape, rate and seed.

    Some of its runs are on limited data. The column ``epochs`` is tokens/dataset_tokens.
    """
    table = finished(runs).filter(polars.col("stop").fill_null("budget") == "budget")
    table = table.with_columns(epochs=polars.col("tokens") / polars.col("dataset_tokens"))
    fixed = groups.columns_but((*FREE, *SHAPE, "seed"))
    sets = [group for group in table.partition_by(fixed, maintain_order=True) if group["dataset_limited"].fill_null(False).any()]
    limited = [int(group["dataset_limited"].sum()) for group in sets]
    return sets[int(np.argmax(limited))] if sets else table.clear()


def law(
    fit: fit_json.Fit | None, n_params: ArrayLike, tokens: ArrayLike, dataset_tokens: ArrayLike
) -> NDArray[np.float64] | None:
    """Return the fitted L(N, D, U_D) in nats per token (laws/repetition.py); None where a parameter is missing."""
    found = [fit_json.parameter(fit, item.name)["estimate"] for item in REPETITION.parameters]
    values = [value for value in found if value is not None]
    if len(values) < len(found) or min(values[1:]) <= 0:
        return None
    # A floor of 0 has no logarithm.
    return loss([max(values[0], TINY), *values[1:]], n_params, tokens, dataset_tokens)


def over_fresh(runs: polars.DataFrame) -> polars.DataFrame:
    """Return runs of more than one epoch with their excess over fresh data: columns excess and excess_stderr.

    The excess is loss/fresh − 1, where fresh is the loss of the same shape and budget on the whole split, averaged over seeds, if
    that run saw no token twice. Its standard error takes the two losses as independent.
    """
    fresh = runs.filter(~polars.col("dataset_limited").fill_null(False) & (polars.col("epochs") <= 1))
    fresh = fresh.group_by(*SHAPE, "tokens").agg(fresh=polars.col("loss").mean(), fresh_stderr=polars.col("loss_stderr").mean())
    part = runs.filter(polars.col("dataset_limited").fill_null(False) & (polars.col("epochs") > 1))
    part = part.join(fresh, on=[*SHAPE, "tokens"], how="inner", nulls_equal=True, maintain_order="left")
    ratio = polars.col("loss") / polars.col("fresh")
    relative = (
        (polars.col("loss_stderr") / polars.col("loss")) ** 2 + (polars.col("fresh_stderr") / polars.col("fresh")) ** 2
    ).sqrt()
    return part.with_columns(excess=ratio - 1, excess_stderr=ratio * relative).sort("n_params", "dataset_tokens", "tokens", "run")


def _epochs(
    axis: Axes, repeated: polars.DataFrame, runs: polars.DataFrame, fit: fit_json.Fit | None, scale: scales.Scale
) -> None:
    doubt = fit_json.unresolved(fit, "repetition")
    counts = repeated.group_by("n_params").len().sort("len", "n_params", descending=True)
    data = repeated.filter(polars.col("n_params") == (counts["n_params"][0] if len(counts) else 0)).sort(
        "dataset_tokens", "epochs", "run"
    )
    for (tokens,), group in data.group_by("dataset_tokens", maintain_order=True):
        colour = scale(float(tokens))
        law_lines.error_bars(axis, group, "epochs", colour)
        seen = group["epochs"].to_numpy()
        epochs = np.geomspace(seen.min() / 1.1, seen.max() * 1.1, 80)
        curve = law(fit, float(data["n_params"][0]), epochs * float(tokens), float(tokens))
        if curve is None:
            means = group.group_by("epochs").agg(polars.col("loss").mean()).sort("epochs")
            axis.plot(means["epochs"], means["loss"], color=colour, linewidth=0.7, zorder=3)
        else:
            axis.plot(epochs, curve, "--", color=colour, linewidth=0.9, zorder=3)
    style.loss_axis(axis, law_lines.reach(data))
    style.log_axis(axis, data["epochs"].to_numpy(), "Epochs (tokens processed / D)", counts=False)
    style.plain_ticks(axis)
    if data.is_empty():
        return style.sentence(axis, f"not resolved: no budget was trained on limited data. {' '.join(fit_json.brief(doubt, 1))}")
    axis.plot([], [], "o", color="0.3", markersize=3.6, label=f"runs, N = {short(int(data['n_params'][0]))}")
    if law(fit, 1.0, 1.0, 1.0) is not None:
        axis.plot([], [], "--", color="0.3", linewidth=0.9, label=rf"law of repeated data: $R_D^*$ = {_epochs_of_use(fit)}")
    notes = [*fit_json.brief(doubt, 1), *_misfit(data, runs, fit)]
    return style.legend_below(axis, [*notes, groups.described(data), *groups.lost(runs, data, FREE)])


def _misfit(data: polars.DataFrame, runs: polars.DataFrame, fit: fit_json.Fit | None) -> list[str]:
    """Return a note where the law misses the runs that are drawn."""
    drawn = law(fit, *(data[name].to_numpy() for name in ("n_params", "tokens", "dataset_tokens")))
    return [] if drawn is None else misfit.note("the law", data["loss"], drawn, misfit.of_losses(data, runs))


def _epochs_of_use(fit: fit_json.Fit | None) -> str:
    """Return R_D*, the epochs after which repeated data are worth little, with its 95 % interval in words."""
    best, low, high = (fit_json.parameter(fit, "R_D*")[key] for key in ("estimate", "ci_low", "ci_high"))
    if low is None or high is None:
        return f"{best:.3g} epochs"
    return f"{best:.3g} [{low:.3g}, {high:.3g}] epochs"


def _against_fresh(axis: Axes, data: polars.DataFrame, scale: scales.Scale, sizes: list[int]) -> None:
    axis.set_ylabel("Loss above that of fresh data (%)")
    style.log_axis(axis, data["epochs"].to_numpy(), "Epochs (tokens processed / D)", counts=False)
    style.plain_ticks(axis)
    if data.is_empty():
        return style.sentence(axis, "not resolved: no run of several epochs has a companion of the same budget on fresh data")
    for row in data.iter_rows(named=True):
        marker = MARKERS[sizes.index(row["n_params"]) % len(MARKERS)]
        half = 100 * style.Z95 * (row["excess_stderr"] or 0.0)
        axis.errorbar(
            row["epochs"],
            100 * row["excess"],
            half,
            fmt=marker,
            color=scale(row["dataset_tokens"]),
            markersize=3.6,
            elinewidth=0.7,
        )
    for (_, _), group in data.group_by("n_params", "dataset_tokens", maintain_order=True):
        means = group.group_by("epochs").agg(polars.col("excess").mean()).sort("epochs")
        axis.plot(means["epochs"], 100 * means["excess"], color=scale(group["dataset_tokens"][0]), linewidth=0.6, zorder=2)
    axis.axhline(0, color="0.5", linewidth=0.6)
    for place, n_params in enumerate(sizes):
        axis.plot([], [], MARKERS[place % len(MARKERS)], color="0.3", markersize=3.6, label=f"N = {short(n_params)}")
    told = data.filter(polars.col("excess") > style.Z95 * polars.col("excess_stderr").fill_null(0.0))
    note = (
        f"a loss is told from fresh data from {told['epochs'].to_numpy().min():.2g} epochs on"
        if len(told)
        else "not resolved: no excess exceeds 1.96 standard errors"
    )
    return style.legend_below(axis, [note])
