"""Figure 15: L(C_min) and L(D(C_min)), extrapolated to where they cross."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, law_lines, style
from scalinglaws.figures.shared.compute_efficient import PUBLISHED_CROSSING, Derived, crossing
from scalinglaws.laws.allocation import CriticalBatch, LossNS, frontier
from scalinglaws.laws.catalogue import PF_DAY
from scalinglaws.laws.forms import Array

TITLE = "Where the laws of compute and data contradict each other"
CAPTION = """
Figure 15 of the paper. The fitted loss for the least compute, and that for the data which a compute-efficient run processes
(equation 6.6), beyond the runs (filled) and early-stopped runs (hollow). Where the second lies above the first, the laws break
down before. The paper found the crossing near 1e4 PF-days, 1e12 parameters and 1.7 nats.
"""
LAWS = ("power-cmin", "power-d", "critical-batch", "kaplan-ns")
PUBLISHED_FLOPS, PUBLISHED_LOSS = PUBLISHED_CROSSING["C*"] * PF_DAY, PUBLISHED_CROSSING["L*"]
AHEAD, FARTHEST = 10.0, 1e4  # factors by which the axis goes beyond the data: at least, and at most to show a crossing
COMPUTE, DATA = style.FIT, style.COLOURS[0]


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw both lines with their bands, the runs behind them, and the crossing with its interval where there is one."""
    figure, (axis,) = style.panels()
    runs = fit_json.points(fits.get("power-cmin"), tables["runs"]).drop_nulls("flops_min")
    early = fit_json.points(fits.get("power-d"), tables["runs"]).drop_nulls("dataset_tokens")
    compute = batch_laws.values(fits.get("power-cmin"), ("alpha_C", "C_c"))
    data = batch_laws.values(fits.get("power-d"), ("alpha_D", "D_c"))
    law, critical = batch_laws.loss_ns(fits.get("kaplan-ns")), batch_laws.critical_batch(fits.get("critical-batch"))
    notes = batch_laws.doubts(fits, LAWS)
    axis.set_xlabel(r"$C_{min}$ (FLOP)")
    axis.set_ylabel("Test loss (nats per token)")
    if compute is None or runs.is_empty():
        batch_laws.say(axis, notes, True, "the fit of L(C_min) has no parameters")
        return figure
    at = _at_datasets(law, critical, early)
    first, last = _span([*runs["flops_min"], *at])
    found = crossing(fits)
    inside, said = verdict(found, last)
    end = min(last * FARTHEST, max([last * AHEAD, *(3 * c for c in inside)]))
    x = np.geomspace(first / 2, end, 80)
    losses = [*_compute_line(axis, fits, x, compute), *runs["loss"]]
    law_lines.error_bars(axis, runs, "flops_min", COMPUTE, markersize=3.2)
    if data is not None and law is not None and critical is not None:
        losses += [*_data_line(axis, fits, x, data, law, critical), *early["loss"]]
        hollow = early.with_columns(at=at)
        law_lines.error_bars(axis, hollow, "at", DATA, markersize=3.4, markerfacecolor="white", markeredgewidth=0.7)
    _mark(axis, found, inside, first / 2, end)
    style.loss_axis(axis, losses)
    style.log_axis(axis, x, r"$C_{min}$ (FLOP)", counts=False)
    axis.set_xlim(x[0], x[-1])
    laws = (("power-cmin", "L(C_min)"), ("power-d", "L(D)"))
    missed = [note for name, words in laws for note in law_lines.missed(fits.get(name), tables["runs"], words)]
    batch_laws.say(axis, [said, *missed, *notes], False, "")
    return figure


def _span(flops: list[float]) -> tuple[float, float]:
    return min(flops), max(flops)


def _at_datasets(law: LossNS | None, critical: CriticalBatch | None, early: polars.DataFrame) -> Array:
    """Return the C_min at which a compute-efficient run at B_crit processes each dataset: D(C_min) (6.6) solved for it."""
    if law is None or critical is None or early.is_empty():
        return np.empty(0)
    low, high = (float(frontier(law, critical, c).tokens) for c in (1.0, PF_DAY))
    power = np.log(high / low) / np.log(PF_DAY)
    return np.asarray((early["dataset_tokens"].to_numpy() / low) ** (1 / power), np.float64)


def verdict(found: Derived, last: float) -> tuple[list[float], str]:
    """Return the computes of the crossing that the axis should show, and a sentence on it.

    ``last`` is the largest compute of a run.
    """
    at, low, high = (found.values["C*"][key] for key in ("estimate", "ci_low", "ci_high"))
    if at is None:
        return [], f"no crossing; {found.doubt or 'not resolved'}"
    where = f"the lines cross at C* = {batch_laws.quantity(at)} FLOP"
    if low is not None and high is not None:
        where += f" [{batch_laws.quantity(low)}, {batch_laws.quantity(high)}]"
    numbers = [f"{name} = {batch_laws.quantity(value)}" for name in ("N*", "D*") if (value := found.values[name]["estimate"])]
    loss = found.values["L*"]["estimate"]
    where += f", {', '.join(numbers)}, L* = {loss:.3g}"
    if found.doubt:
        return [at], f"{where}; {found.doubt.removesuffix('.')}"
    if found.coefficients.get("gap", 1.0) < 0:
        return [at], f"{where}; they disagree below it, not beyond: no contradiction as in the paper"
    if at < last:
        return [at], f"{where}, within the computes of the runs: the laws disagree already there"
    return [value for value in (at, high) if value is not None], where


def _compute_line(axis: Axes, fits: dict[str, fit_json.Fit], x: Array, values: list[float]) -> Array:
    alpha, scale = values
    best = np.asarray((scale / x) ** alpha, np.float64)
    draws = batch_laws.resamples(fits, ["power-cmin"])
    batch_laws.band(
        axis, x, best, draws, lambda d: (d["C_c"] / x) ** d["alpha_C"], batch_laws.trunks(fits, ["power-cmin"]), COMPUTE
    )
    label = r"$L(C_{min})$, $\alpha_C$ = " + fit_json.with_interval(fits["power-cmin"], "alpha_C")
    axis.plot(x, best, "--", color=COMPUTE, label=label, zorder=4)
    return best


def _data_line(
    axis: Axes, fits: dict[str, fit_json.Fit], x: Array, values: list[float], law: LossNS, critical: CriticalBatch
) -> Array:
    alpha, scale = values
    best = (scale / frontier(law, critical, x).tokens) ** alpha
    three = LAWS[1:]

    def curve(draw: batch_laws.Draw) -> Array:
        tokens = frontier(batch_laws.law_of(draw), batch_laws.critical_of(draw), x).tokens
        return np.asarray((draw["D_c"] / tokens) ** draw["alpha_D"], np.float64)

    batch_laws.band(axis, x, best, batch_laws.resamples(fits, three), curve, batch_laws.trunks(fits, three), DATA)
    label = r"$L(D(C_{min}))$, $\alpha_D$ = " + fit_json.with_interval(fits["power-d"], "alpha_D")
    axis.plot(x, best, "--", color=DATA, label=label, zorder=4)
    return best


def _mark(axis: Axes, found: Derived, inside: list[float], start: float, end: float) -> None:
    at, loss = found.values["C*"], found.values["L*"]
    if inside and at["estimate"] is not None and loss["estimate"] is not None and start < at["estimate"] < end:
        options = {"fmt": "D", "color": "black", "markersize": 4, "elinewidth": 0.9, "zorder": 6, "label": "crossing"}
        bars = {}
        if not found.doubt and all(v is not None for v in (*at.values(), *loss.values())):
            bars["xerr"] = style.sides(at["estimate"], at["ci_low"], at["ci_high"])
            bars["yerr"] = style.sides(loss["estimate"], loss["ci_low"], loss["ci_high"])
            options["label"] = "crossing, 95 % intervals of C* and L*"
        axis.errorbar(at["estimate"], loss["estimate"], **bars, **options)  # type: ignore[arg-type]
    if end > PUBLISHED_FLOPS:
        axis.plot(
            PUBLISHED_FLOPS, PUBLISHED_LOSS, "D", color=style.GUIDE, markersize=4, zorder=2,
            label="crossing published in 2020 (nats per BPE token)",
        )  # fmt: skip
