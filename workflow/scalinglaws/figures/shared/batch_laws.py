"""The fitted B_crit(L) (1.4) and L(N, S_min) (1.6), their resamples, and what is drawn from them.

S_min (5.4) and C_min (5.5) follow from the study's own B_crit(L).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes

from scalinglaws.figures.shared import fit_json, misfit, style
from scalinglaws.laws.allocation import CriticalBatch, LossNS
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.critical import steps_to_reach
from scalinglaws.laws.forms import Array
from scalinglaws.laws.uncertainty import interval

PUBLISHED = LAWS["kaplan-ns"].published
UNRESOLVED = "B_crit(L) is not resolved"
SHIFTS = 5  # how many times the resamples of several laws are paired anew
LEVEL_SCHEMA: dict[str, Any] = dict.fromkeys(
    ("n_params", "loss", "steps_min", "tokens_min", "b_crit", "b_crit_low", "b_crit_high"), polars.Float64
)
LEVEL_SCHEMA |= {"why": polars.String, "batch_tokens": polars.List(polars.Float64), "steps": polars.List(polars.Float64)}

Draw = dict[str, float]


def values(fit: fit_json.Fit | None, names: Sequence[str]) -> list[float] | None:
    """Return the estimates of the parameters named; None where one of them is missing or not positive."""
    found = [fit_json.parameter(fit, name)["estimate"] for name in names]
    kept = [value for value in found if value is not None and value > 0]
    return kept if len(kept) == len(found) else None


def loss_ns(fit: fit_json.Fit | None) -> LossNS | None:
    """Return the fitted L(N, S_min) (1.6); None where it has no positive parameters."""
    found = values(fit, ("alpha_N", "alpha_S", "N_c", "S_c"))
    return LossNS(*found) if found else None


def critical_batch(fit: fit_json.Fit | None) -> CriticalBatch | None:
    """Return the fitted B_crit(L) (1.4); None where it has no positive parameters."""
    found = values(fit, ("B_star", "alpha_B"))
    return CriticalBatch(*found) if found else None


def doubts(fits: dict[str, fit_json.Fit], laws: Sequence[str]) -> list[str]:
    """Return, for each law that is not resolved, a sentence that names it and says why."""
    found = {law: _without(fits.get(law)) or fit_json.unresolved(fits.get(law), law) for law in laws}
    return [doubt if law in doubt else f"{law}: {doubt}" for law, doubt in found.items() if doubt]


def _without(fit: fit_json.Fit | None) -> str | None:
    """Return a short sentence for a law without points, since B_crit(L) is not resolved; its own flag would count every run."""
    reasons = {item.get("reason", "") for item in (fit or {}).get("excluded") or []}
    none = fit is not None and not fit.get("parameters") and any(reason.startswith(UNRESOLVED) for reason in reasons)
    return f"not resolved: {UNRESOLVED}, so there are no S_min and no C_min" if none else None


def levels(fit: fit_json.Fit | None) -> polars.DataFrame:
    """Return the losses at which B_crit was sought, for each size; laws/critical.py (Level) describes the columns."""
    rows = [{name: row.get(name) for name in LEVEL_SCHEMA} for row in (fit or {}).get("levels") or []]
    return polars.DataFrame(rows, schema=LEVEL_SCHEMA, strict=False).sort("n_params", "loss", descending=[False, True])


def resamples(fits: dict[str, fit_json.Fit], laws: Sequence[str]) -> list[Draw]:
    """Return resampled parameters of all ``laws`` together (fit_json.paired).

    Draws in which one is not a positive number are left out.
    """
    drawn = fit_json.paired(fits, laws, SHIFTS if len(laws) > 1 else 1)
    return [draw for draw in drawn if all(math.isfinite(value) and value > 0 for value in draw.values())]


def trunks(fits: dict[str, fit_json.Fit], laws: Sequence[str]) -> int:
    """Return the number of trunks of the law that has fewest: intervals are widened where it is small."""
    return min(int((fits.get(law) or {}).get("n_trunks") or 0) for law in laws)


def law_of(draw: Draw) -> LossNS:
    """Return L(N, S_min) of one resample."""
    return LossNS(*(draw[name] for name in ("alpha_N", "alpha_S", "N_c", "S_c")))


def critical_of(draw: Draw) -> CriticalBatch:
    """Return B_crit(L) of one resample."""
    return CriticalBatch(draw["B_star"], draw["alpha_B"])


def band(
    axis: Axes, x: Array, best: Array, draws: Sequence[Draw], curve: Callable[[Draw], Array], n_trunks: int, colour: Any
) -> None:
    """Shade, at each x, the 95 % interval of ``curve`` over the draws about ``best`` (see uncertainty.interval)."""
    if not draws:
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        drawn = np.array([curve(draw) for draw in draws])
        found = [interval(float(one), column, True, n_trunks) for one, column in zip(best, drawn.T, strict=True)]
    low, high = (np.array([row[side] for row in found]) for side in ("ci_low", "ci_high"))
    axis.fill_between(x, low, high, where=np.isfinite(high), color=colour, alpha=0.15, linewidth=0, zorder=1.5)


def compute_of(points: polars.DataFrame, critical: CriticalBatch) -> Array:
    """Return C_min = 6 N B_crit(L) S_min in FLOP, for points of the fit of L(N, S_min)."""
    n_params, steps, loss = (points[name].to_numpy() for name in ("n_params", "steps_min", "loss"))
    return np.asarray(6 * n_params * steps * critical.tokens(loss), np.float64)


def shared_losses(points: polars.DataFrame, count: int, highest: float = math.inf) -> Array:
    """Return ``count`` losses, evenly spaced in the logarithm, that at least two sizes reach; empty where there are none.

    They lie between the lowest loss with which the curves of a size begin, or ``highest`` where that is lower, and the lowest
    loss that the second-best size reaches. Both ends are left out.
    """
    sizes = points.group_by("n_params").agg(
        low=polars.col("loss").min(), high=polars.col("loss").sort_by("steps_min").head(3).max()
    )
    if len(sizes) < 2:
        return np.empty(0)
    low, high = np.sort(sizes["low"].to_numpy())[1], min(highest, sizes["high"].to_numpy().min())
    return np.geomspace(high, low, count + 2)[1:-1] if high > low else np.empty(0)


def reached(points: polars.DataFrame, losses: Array) -> polars.DataFrame:
    """Return S_min at which each size reaches each loss, a row for each pair.

    The columns are n_params, loss, steps_min, low, high and curves.

    ``steps_min`` is the geometric mean over the curves of one size (its batch sizes and seeds); ``low`` and ``high`` are their
    range.
    """
    rows = []
    for (n_params, _), curve in points.sort("steps_min").group_by("n_params", "trunk", maintain_order=True):
        found = steps_to_reach(curve["steps_min"].to_numpy(), curve["loss"].to_numpy(), losses)
        rows += [(n_params, loss, step) for loss, step in zip(losses.tolist(), found.tolist(), strict=True) if step > 0]
    frame = polars.DataFrame(rows, schema=dict.fromkeys(("n_params", "loss", "step"), polars.Float64), orient="row")
    log = polars.col("step").log()
    return (
        frame.group_by("n_params", "loss")
        .agg(steps_min=log.mean().exp(), low=polars.col("step").min(), high=polars.col("step").max(), curves=polars.len())
        .sort("loss", "n_params")
    )


def missed(points: polars.DataFrame, law: LossNS | None, runs: polars.DataFrame) -> list[str]:
    """Return the note of ``misfit.note`` on L(N, S_min) and points with n_params, steps_min and loss; none without a law."""
    if law is None or points.is_empty():
        return []
    drawn = law.loss(points["n_params"].to_numpy(), points["steps_min"].to_numpy())
    noise = misfit.of_losses(points, runs)
    return misfit.note("the fit of L(N, S_min)", points["loss"].to_numpy(), drawn, noise)


def say(axis: Axes, notes: Sequence[str], empty: bool, reason: str) -> None:
    """Put the legend and ``notes`` below a panel with data; write the first note, or ``reason``, into an empty one."""
    if empty:
        style.sentence(axis, notes[0] if notes else f"not resolved: {reason}")
    style.legend_below(axis, [] if empty else notes)


def quantity(value: float) -> str:
    """Return an amount for a sentence, with two digits: "2.3e12"."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
