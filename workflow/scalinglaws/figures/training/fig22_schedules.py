"""Figure 22: learning-rate schedules, the final losses they reach, and these losses against the summed rate."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import groups, style
from scalinglaws.figures.shared.least_squares import power_law
from scalinglaws.optim import schedule
from scalinglaws.study.questions import COMPARISONS, SHAPE
from scalinglaws.study.spec import RunSpec

TITLE = "Learning-rate schedules"
CAPTION = """
Figure 22 of the paper. The learning-rate schedules of one model (**a**), the final losses that they reach (**b**), and these
losses against the sum of all rates (**c**) are shown in the same colours. Bars are 1.96 standard errors of the test loss. The
paper found that schedules move the loss by about 0.05 and seeds by 0.02.
"""
KEY, FOLLOW, FEWEST = COMPARISONS["schedule"]
VARIANT = ("schedule", "decay", "warmup_tokens", "learning_rate")
COLOURS = dict(zip(("cosine", "wsd", "linear", "constant"), style.COLOURS, strict=False))
DASHES = ("-", "--", "-.", ":")
SAMPLES = 2000


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, object]) -> Figure:
    """Draw, for one model, the rates by step, the final losses by schedule, and the losses against the sums of the rates.

    Each schedule has the peak rate that most of them have. The schedules are numbered from the best to the worst. In the middle,
    points are runs and ticks are means over seeds. All runs share the test text, so their differences are known better than the
    standard errors of the test loss say.
    """
    figure, (rates, losses, sums) = style.panels(3)
    family = groups.family(tables["runs"], KEY, FOLLOW, FEWEST)
    if family.is_empty():
        for axis in (rates, losses, sums):
            style.sentence(axis, f"not resolved: no model was trained under {FEWEST} schedules that differ in nothing else")
        return figure
    chosen = one_size(family)
    summary = variants(chosen)
    looks = _looks(summary)
    _rates(rates, summary, looks)
    noise = groups.scatter(chosen, VARIANT)
    _losses(losses, chosen, summary, looks, noise)
    _sums(sums, summary, looks)
    style.legend_below(rates)
    notes = _spreads(family, summary)
    style.legend_below(losses, notes if noise is not None else [*notes, "not resolved: no schedule has two seeds"])
    style.legend_below(sums, [groups.described(chosen), *groups.lost(tables["runs"], chosen, (KEY, *FOLLOW))])
    return figure


def one_size(family: polars.DataFrame) -> polars.DataFrame:
    """Return the runs of the shape with most schedules; of several such shapes the largest."""
    shapes = family.partition_by(SHAPE, maintain_order=True)
    return max((one_rate(runs) for runs in shapes), key=lambda runs: (len(runs.unique(VARIANT)), runs["n_params"][0]))


def one_rate(runs: polars.DataFrame) -> polars.DataFrame:
    """Return the runs of each schedule at the peak rate that most schedules have, or at its best rate where it lacks that one.

    A sweep of the rate under one schedule is another question.
    """
    cell = list(VARIANT[:3])
    rates = runs.unique(VARIANT).group_by("learning_rate").len().sort("len", "learning_rate", descending=[True, False])
    table = runs.with_columns(
        shared=polars.col("learning_rate") == rates["learning_rate"][0], mean=polars.col("loss").mean().over(VARIANT)
    )
    best = polars.col("mean") == polars.col("mean").min().over(cell)
    return table.filter(polars.col("shared") | (~polars.col("shared").any().over(cell) & best)).drop("shared", "mean")


def variants(chosen: polars.DataFrame) -> polars.DataFrame:
    """Return a row for each schedule, best first: the columns VARIANT, loss (mean over seeds), loss_stderr and summed.

    ``summed`` is the sum of the rates of all updates.
    """
    rows = []
    for group in chosen.partition_by(VARIANT, maintain_order=True):
        first = group.row(0, named=True)
        step, rate = by_step(first)
        steps = step[-1] + 1
        row = {name: first[name] for name in VARIANT} | {"loss": group["loss"].mean(), "loss_stderr": group["loss_stderr"].mean()}
        rows.append(row | {"summed": float(rate.mean() * steps), "step": step.tolist(), "rate": rate.tolist()})
    return polars.DataFrame(rows).sort("loss", *VARIANT)


def by_step(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of a run, all or 2000 evenly spaced ones, and the rates of their updates, from a row of the runs."""
    spec = RunSpec(**{field.name: run[field.name] for field in dataclasses.fields(RunSpec)})
    steps = np.unique(np.linspace(0, spec.steps - 1, min(SAMPLES, spec.steps)).round().astype(int))
    return steps, np.array([schedule.learning_rate(spec, int(step)) for step in steps])


def _looks(summary: polars.DataFrame) -> list[dict[str, Any]]:
    """Return a look for each row: the colour tells the schedule, and dashes tell variants of one schedule apart."""
    seen: dict[str, int] = {}
    out = []
    for name in summary["schedule"]:
        seen[name] = seen.get(name, -1) + 1
        out.append({"color": COLOURS.get(name, "0.4"), "linestyle": DASHES[seen[name] % len(DASHES)]})
    return out


def _rates(axis: Axes, summary: polars.DataFrame, looks: list[dict[str, Any]]) -> None:
    for place, (row, look, name) in enumerate(zip(summary.iter_rows(named=True), looks, names(summary), strict=True), 1):
        axis.plot(row["step"], np.array(row["rate"]) * 1e3, linewidth=1.1, label=f"{place}: {name}", **look)
    axis.set_xlabel("S (steps)")
    axis.set_ylabel("Learning rate (10⁻³)")
    axis.set_ylim(bottom=0)


def names(summary: polars.DataFrame) -> list[str]:
    """Return names that tell each schedule of ``summary`` from the others, as "wsd, decay 0.2" or "cosine, peak 4e-03"."""
    forms = {"decay": "decay {:g}", "warmup_tokens": "warm-up {}", "learning_rate": "peak {:.2g}"}
    out = []
    for row in summary.iter_rows(named=True):
        twins = summary.filter(polars.col("schedule") == row["schedule"])
        parts = [row["schedule"]]
        for name, form in forms.items():
            differs = summary[name].n_unique() > 1 if name == "learning_rate" else twins[name].n_unique() > 1
            if differs and row[name] is not None:
                parts.append(form.format(short(row[name]) if name == "warmup_tokens" else row[name]))
        out.append(", ".join(parts))
    return out


def _losses(
    axis: Axes, chosen: polars.DataFrame, summary: polars.DataFrame, looks: list[dict[str, Any]], noise: float | None
) -> None:
    for place, (row, look) in enumerate(zip(summary.iter_rows(named=True), looks, strict=True)):
        same = chosen.join(
            polars.DataFrame([{name: row[name] for name in VARIANT}], schema={name: chosen.schema[name] for name in VARIANT}),
            on=VARIANT,
            how="semi",
        )
        axis.plot(same["loss"], [place] * len(same), "o", color=look["color"], markersize=3.6, zorder=5)
        axis.plot([row["loss"]], [place], "|", color=look["color"], markersize=9, markeredgewidth=1.2, zorder=6)
        half = style.Z95 * (row["loss_stderr"] or 0.0)
        axis.plot([row["loss"] - half, row["loss"] + half], [place, place], color=look["color"], linewidth=0.7, zorder=4)
    if noise is not None:
        best = float(summary["loss"][0])
        name = f"±1 sd of seeds: {noise:.3f} nats"
        axis.axvspan(best - noise, best + noise, color="0.5", alpha=0.15, linewidth=0, label=name)
    axis.set_yticks(range(len(summary)), [str(place) for place in range(1, len(summary) + 1)])
    axis.set_ylabel("Schedule (number, best first)")
    axis.set_ylim(len(summary) - 0.5, -0.5)
    axis.set_xlabel("Test loss (nats per token)")


def _sums(axis: Axes, summary: polars.DataFrame, looks: list[dict[str, Any]]) -> None:
    x, y = summary["summed"].to_numpy(), summary["loss"].to_numpy()
    half = style.Z95 * summary["loss_stderr"].fill_null(0.0).to_numpy()
    for place, look in enumerate(looks):
        axis.errorbar(x[place], y[place], half[place], fmt="o", color=look["color"], markersize=3.6, elinewidth=0.7)
        # Numbers of schedules that follow each other stand on different sides of their points, which may lie on each other.
        beside: dict[str, Any] = {"xytext": (3, 3 - 10 * (place % 2)), "textcoords": "offset points"}
        axis.annotate(str(place + 1), (x[place], y[place]), fontsize=style.LEAST_FONT, **beside)
    line = power_law(x, y)
    if line is not None:
        grid = np.geomspace(x.min(), x.max(), 50)
        axis.plot(grid, line(grid), "--", color=style.GUIDE, linewidth=0.8, label=f"power law, {line.exponent()}")
    else:
        axis.plot([], [], " ", label="not resolved: all sums are the same")
    axis.set_xlabel("Sum of the rates of all updates")
    axis.set_ylabel("Test loss (nats per token)")


def _spreads(family: polars.DataFrame, summary: polars.DataFrame) -> list[str]:
    """Return notes on how far schedules move the loss, at this size and at the others."""
    own = np.ptp(summary["loss"].to_numpy())
    out = [f"worst less best: {own:.3f} nats"]
    sizes = [variants(one_rate(runs)) for runs in family.partition_by(SHAPE, maintain_order=True)]
    others = [np.ptp(rows["loss"].to_numpy()) for rows in sizes]
    return out if len(sizes) < 2 else [*out, f"at {len(sizes)} sizes: {min(others):.3f} to {max(others):.3f} nats"]
