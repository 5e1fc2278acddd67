"""The critical batch size from learning curves at several batch sizes.

Training to one loss at several batch sizes B takes S updates and E = B S tokens with (S/S_min − 1)(E/E_min − 1) = 1 (5.1), that
is S = S_min + E_min/B, and B_crit = E_min/S_min (5.2). Least squares of log S gives one B_crit for each of several losses, and a
straight line through their logarithms gives B_crit = B_*/L^(1/alpha_B) (1.4). A loss that some batch sizes do not reach is fitted
through those that do. All this takes each point of a curve for the best that its updates can do at its batch size, with a rate
that is tuned at each and does not decay with the length of the run.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), section 5.1, Figures 10 and 18; McCandlish et al. 2018 (arXiv:1812.06162).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.laws.uncertainty import FEW_TRUNKS, interval
from scalinglaws.study.questions import FEWEST_BATCHES

FEWEST_LEVELS, HONEST_SPAN, LARGEST_MISFIT = 2, 32.0, 0.15
# B_crit is searched up to MARGIN beyond the batch sizes, in log, on a grid of this step.
MARGIN, GRID = np.log(100.0), 0.25
# B_crit that falls with the loss is an alpha_B beyond infinity: where more than this share of resamples have it, there is none.
MANY_RISING = 0.025
WHY = (
    "",
    f"fewer than {FEWEST_BATCHES} batch sizes reach it",
    "B_crit lies below the batch sizes that reach it",
    "B_crit lies above the batch sizes that reach it",
)


@dataclass(frozen=True)
class Level:
    """The hyperbola at a ``loss`` in nats: S_min in updates, E_min and B_crit in tokens, all NaN where ``why`` says why not.

    ``n_reached`` and ``n_censored`` count the batch sizes of this model size that reach the loss and those that do not.
    ``misfit`` is the root mean square of log S about the hyperbola, for the degrees of freedom that are left, NaN where none is.
    ``b_crit_low`` and ``b_crit_high`` are the 95 % interval of B_crit, NaN where it has none. ``batch_tokens`` and ``steps`` are
    B and S of the curves that reach the loss, by batch size.
    """

    n_params: float
    loss: float
    steps_min: float
    tokens_min: float
    b_crit: float
    n_reached: int
    n_censored: int
    misfit: float
    why: str
    b_crit_low: float
    b_crit_high: float
    batch_tokens: list[float]
    steps: list[float]


@dataclass(frozen=True)
class CriticalFit:
    """The law B_crit(L) = b_star/L^(1/alpha_b): b_star in tokens and alpha_b, each as ``uncertainty.interval`` returns it.

    Both are NaN where there is no law. ``resamples`` (B, 2) are log b_star and 1/alpha_b of the resamples that have a line.
    ``counts`` are those of points, runs, sizes, levels, levels resolved, batch sizes censored at them in all, degenerate
    resamples, and rising ones, whose 1/alpha_b <= 0.
    """

    b_star: dict[str, float]
    alpha_b: dict[str, float]
    levels: list[Level]
    resamples: Array
    flags: list[str]
    counts: dict[str, int]


class _Curve(NamedTuple):
    """One learning curve: N, B in tokens, and at each evaluation the step and the loss (n,)."""

    n_params: float
    batch: float
    steps: Array
    loss: Array


def _smooth(steps: Array, loss: Array) -> tuple[Array, Array]:
    """Return ascending log losses and the log steps at which a curve has them, by centred isotonic regression.

    Isotonic regression makes of each rise a pool of one mean loss. Read as a staircase it would place that loss at the pool's
    first step; here it stands at the pool's mean log step (Oron and Flournoy 2017), and the curve falls strictly.
    """
    fitted = isotonic_regression(np.log(loss), increasing=False).x
    values, pool = np.unique(fitted, return_inverse=True)
    return values, np.bincount(pool, np.log(steps)) / np.bincount(pool)


def steps_to_reach(steps: ArrayLike, loss: ArrayLike, levels: ArrayLike) -> Array:
    """Return the steps (m,) at which one curve, made never to rise, reaches each of m losses, by straight lines in log-log.

    ``steps`` (n,) are ascending, with the ``loss`` (n,) there. A value is NaN where the curve does not get to the loss, and where
    it is below from its first point on.
    """
    values, at = _smooth(np.asarray(steps, np.float64), np.asarray(loss, np.float64))
    return np.exp(np.interp(np.log(np.asarray(levels, np.float64)), values, at, left=np.nan, right=np.nan))


def _mean(share: Array, values: Array) -> Array:
    """Return weighted means (P,) of values (P, K)."""
    return np.einsum("pk,pk->p", share, values)


def _hyperbolas(log_b: Array, log_s: Array, weights: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return log B_crit (P,), log S_min (P,) and place in WHY (P,) by least squares of log S = log(S_min + E_min/B) in one batch.

    log_b (K,) and log_s (P, K) are logs of B and S, NaN where censored, with weights (P, K). At u = log B_crit the best log S_min
    is the mean of log S − log(1 + exp(u − log B)), so u alone is searched: on a grid, then by Newton's method between the
    neighbours of the best node, halving where a step leaves them.
    """
    present = np.isfinite(log_s) & (weights > 0)
    member = np.eye(len(log_b))[np.unique(log_b, return_inverse=True)[1]]
    few = (present @ member > 0).sum(axis=1) < FEWEST_BATCHES
    share = np.where(present, weights, 0.0)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    y = np.where(present, log_s, 0.0)
    level = _mean(share, y)
    y -= level[:, None]
    grid = np.arange(log_b.min() - MARGIN, log_b.max() + MARGIN, GRID)
    shape = np.logaddexp(0, grid[:, None] - log_b)
    best = (share @ (shape**2).T - 2 * (share * y) @ shape.T - (share @ shape.T) ** 2).argmin(axis=1)
    u, low, high = grid[best], grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    for _ in range(60):
        ratio = np.exp(u)[:, None] / np.exp(log_b)
        part = ratio / (1 + ratio)
        residual = y - np.log1p(ratio)
        residual -= _mean(share, residual)[:, None]
        off = part - _mean(share, part)[:, None]
        slope, bend = -_mean(share, residual * off), _mean(share, off * off - residual * part * (1 - part))
        low, high = np.where(slope < 0, u, low), np.where(slope > 0, u, high)
        newton = u - slope / np.where(bend > 0, bend, np.inf)
        inside = (bend > 0) & (newton >= low) & (newton <= high)
        last, u = u, np.where(inside, newton, (low + high) / 2)
        if np.abs(u - last).max(initial=0.0) < 1e-9:
            break
    log_s_min = level - _mean(share, np.log1p(np.exp(u)[:, None] / np.exp(log_b)))
    least, most = np.where(present, log_b, np.inf).min(axis=1), np.where(present, log_b, -np.inf).max(axis=1)
    return u, log_s_min, np.select([few, u < least, u > most], [1, 2, 3], 0)


def _heights(curves: list[_Curve], n_levels: int) -> Array:
    """Return loss levels of one size, the centres of ``n_levels`` equal parts, in log, of the range that can be compared.

    The range goes from the lowest first loss of the batch sizes to the third lowest last one. A curve begins where its warm-up
    ends: where some batch sizes were below a loss by then, the others have it soon after, at about the same tokens, and their
    hyperbola would tell of the warm-up. Levels are centres of parts because the ends of the range are the noisiest.
    """
    low, high = np.array([_smooth(curve.steps, curve.loss)[0][[0, -1]] for curve in curves]).T
    batch = np.array([curve.batch for curve in curves])
    sizes = np.unique(batch)
    bottom = np.sort([low[batch == b].min() for b in sizes])[FEWEST_BATCHES - 1]
    top = min(high[batch == b].max() for b in sizes)
    return np.exp(top - (top - bottom) * (np.arange(n_levels) + 0.5) / n_levels) if top > bottom else np.empty(0)


def _lines(x: Array, y: Array, ok: NDArray[np.bool_]) -> Array:
    """Return level at x = 0 and slope (B, 2) by least squares of y (B, J) on x (J,) where ``ok``; NaN below two levels."""
    count = ok.sum(axis=1, keepdims=True)
    share = ok / np.maximum(count, 1)
    off = x - (share @ x)[:, None]
    spread = _mean(share, off**2)
    slope = _mean(share, off * y) / np.where((count[:, 0] >= FEWEST_LEVELS) & (spread > 0), spread, np.nan)
    return np.column_stack([_mean(share, y) - slope * (share @ x), slope])


def _curves(run: Sequence[str], columns: dict[str, Array]) -> list[_Curve]:
    """Return the curves in the order of their names, steps ascending. Raises StudyError as ``fit_critical`` does."""
    for name, values in columns.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise StudyError(f"{name} has a value that is not a positive finite number")
    runs, out = np.array(run, dtype=str), []
    for one in np.unique(runs):
        n, b, steps, loss = (values[runs == one] for values in columns.values())
        if (n != n[0]).any() or (b != b[0]).any():
            raise StudyError(f"run {one} has several n_params or batch_tokens: give each curve a name of its own")
        order = np.lexsort((loss, steps))
        out.append(_Curve(float(n[0]), float(b[0]), steps[order], loss[order]))
    return out


def _swept(curves: list[_Curve]) -> list[_Curve]:
    """Return the curves of sizes that were trained at enough batch sizes."""
    batches: dict[float, set[float]] = {}
    for curve in curves:
        batches.setdefault(curve.n_params, set()).add(curve.batch)
    return [curve for curve in curves if len(batches[curve.n_params]) >= FEWEST_BATCHES]


def _levels(curves: list[_Curve], heights: Array, weights: Array) -> tuple[list[Level], Array, NDArray[np.bool_]]:
    """Return, for one size at losses (J,), records of the first problem, log B_crit (B, J) and whether it is resolved (B, J).

    ``weights`` (B, K) are those of the curves of the size in each problem.
    """
    b = np.array([curve.batch for curve in curves])
    log_s = np.log([steps_to_reach(curve.steps, curve.loss, heights) for curve in curves]).T
    shape = (len(weights), len(heights), len(curves))
    problems = [np.broadcast_to(a, shape).reshape(-1, len(curves)) for a in (log_s, weights[:, None])]
    log_crit, log_s_min, why = (a.reshape(shape[:2]) for a in _hyperbolas(np.log(b), *problems))
    crit, s_min = np.where(why[0] == 0, np.exp([log_crit[0], log_s_min[0]]), np.nan)
    reached, swept = [len(np.unique(b[np.isfinite(row)])) for row in log_s], len(np.unique(b))
    off = log_s - np.log(s_min[:, None] * (1 + crit[:, None] / b))
    freedom = np.isfinite(log_s).sum(axis=1) - 2
    misfit = np.sqrt(np.where(freedom > 0, np.nansum(off**2, axis=1) / np.maximum(freedom, 1), np.nan))
    misfit = np.where(why[0] == 0, misfit, np.nan)
    bounds = [_bounds(log_crit[:, j], why[:, j], len(curves)) for j in range(len(heights))]
    numbers = zip(*(a.tolist() for a in (heights, s_min, s_min * crit, crit, misfit)), reached, why[0], strict=True)
    levels = [
        Level(curves[0].n_params, loss, s, e, c, k, swept - k, m, WHY[w], *bounds[j], *_reached(b, log_s[j]))
        for j, (loss, s, e, c, m, k, w) in enumerate(numbers)
    ]
    return levels, log_crit, why == 0


def _bounds(log_crit: Array, why: NDArray[np.int64], n_curves: int) -> tuple[float, float]:
    """Return the 95 % interval of B_crit at one level, from the problems (B,) of which the first is the fit itself.

    Resamples whose B_crit lies beyond their batch sizes count with the value found there: without them it is too narrow.
    """
    if why[0] != 0:
        return np.nan, np.nan
    found = interval(float(np.exp(log_crit[0])), np.exp(log_crit[1:][why[1:] != 1]), True, n_curves)
    return found["ci_low"], found["ci_high"]


def _reached(batch: Array, log_s: Array) -> tuple[list[float], list[float]]:
    """Return B and S of the curves that reach a level, by batch size."""
    order = [k for k in np.argsort(batch, kind="stable") if np.isfinite(log_s[k])]
    return batch[order].tolist(), np.exp(log_s[order]).tolist()


def fit_critical(
    run: Sequence[str], n_params: ArrayLike, batch_tokens: ArrayLike, steps: ArrayLike, loss: ArrayLike,
    n_levels: int = 20, n_bootstrap: int = 1000, seed: int = 0,
) -> CriticalFit:  # fmt: skip
    """Find B_crit at several losses of each size, and the line through those that are resolved.

    A level is resolved where B_crit lies within the batch sizes that reach it. Resamples draw runs with replacement, all points
    of a run together, and go the same way at the same levels.

    Parameters
    ----------
    run, n_params, batch_tokens, steps, loss
        For each evaluation, in any order: its run, N, B in tokens, S and the loss in nats.
    n_levels
        Number of losses of each size.
    n_bootstrap, seed
        Number of resamples, and their seed.

    Raises
    ------
    StudyError
        If a value is not a positive finite number, or a run has two sizes or batch sizes.
    """
    columns = {"n_params": n_params, "batch_tokens": batch_tokens, "steps": steps, "loss": loss}
    every = _curves(run, {name: np.asarray(values, np.float64) for name, values in columns.items()})
    curves = _swept(every)
    weights = np.ones((1 + n_bootstrap, len(curves)))
    if curves:
        share = np.full(len(curves), 1 / len(curves))
        weights[1:] = np.random.default_rng(seed).multinomial(len(curves), share, size=n_bootstrap)
    sizes = np.array([curve.n_params for curve in curves])
    levels: list[Level] = []
    y, ok, flags = np.empty((len(weights), 0)), np.empty((len(weights), 0), bool), []
    if left := len({curve.n_params for curve in every}) - len(set(sizes.tolist())):
        flags.append(f"{left} sizes are left out: they have fewer than {FEWEST_BATCHES} batch sizes.")
    for n in np.unique(sizes):
        of_size = [curve for curve in curves if curve.n_params == n]
        heights, batch = _heights(of_size, n_levels), [curve.batch for curve in of_size]
        if (span := max(batch) / min(batch)) < HONEST_SPAN:
            flags.append(f"The batch sizes at {n:.3g} parameters span {span:.3g} times, less than {HONEST_SPAN:g}.")
        if len(heights) == 0:
            flags.append(f"No levels at {n:.3g} parameters: no loss that {FEWEST_BATCHES} batch sizes can reach.")
            continue
        records, log_crit, resolved = _levels(of_size, heights, weights[:, sizes == n])
        levels, y, ok = levels + records, np.hstack([y, log_crit]), np.hstack([ok, resolved])
    lines = _lines(-np.log([level.loss for level in levels]), y, ok)
    (log_star, inverse), rest = lines[0], lines[1:][np.isfinite(lines[1:, 0])]
    law, rising = bool(inverse > 0), int((rest[:, 1] <= 0).sum())
    believed = rest[rest[:, 1] > 0] if law and rising <= MANY_RISING * len(rest) else rest[:0]
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        b_star = interval(float(np.exp(log_star)) if law else np.nan, np.exp(believed[:, 0]), True, len(curves))
        alpha_b = interval(float(1 / inverse) if law else np.nan, 1 / believed[:, 1], True, len(curves))
    counts = {"points": sum(len(curve.steps) for curve in curves), "runs": len(curves)}
    counts |= {"sizes": len(np.unique(sizes)), "levels": len(levels)}
    counts |= {"resolved": int(ok[0].sum()), "censored": sum(level.n_censored for level in levels)}
    counts |= {"degenerate": n_bootstrap - len(rest), "rising": rising}
    return CriticalFit(b_star, alpha_b, levels, rest, flags + _flags(levels, counts, law, len(rest), alpha_b), counts)


def _flags(levels: list[Level], counts: dict[str, int], law: bool, n_drawn: int, alpha_b: dict[str, float]) -> list[str]:
    """Return sentences on what is not to be believed."""
    left = {why: sum(level.why == why for level in levels) for why in WHY[1:]}
    out = [f"{count} of {len(levels)} levels are left out: {why}." for why, count in left.items() if count]
    if counts["censored"]:
        out.append(f"Censored: {counts['censored']} times a batch size never reaches a level; left out.")
    if counts["sizes"] == 1:
        out.append("Only one size: nothing tests that B_crit depends on the loss alone.")
    misfits = [level.misfit for level in levels if np.isfinite(level.misfit)]
    if misfits and np.median(misfits) > LARGEST_MISFIT:
        out.append(
            f"The steps scatter about the hyperbola (5.1) by {100 * np.median(misfits):.0f} % (median over levels): either noise "
            "or a rate that is not tuned to each batch size; B_crit is not to be believed."
        )
    if counts["resolved"] < FEWEST_LEVELS:
        has = f"{counts['resolved']} of {len(levels)} levels have a B_crit within the batch sizes"
        return [*out, f"No law: {has}, and a line takes {FEWEST_LEVELS}."]
    if not law:
        return [*out, "No law: B_crit does not grow as the loss falls."]
    if counts["degenerate"]:
        out.append(f"{counts['degenerate']} resamples had fewer than {FEWEST_LEVELS} levels resolved and were left out.")
    if n_drawn and counts["runs"] < FEW_TRUNKS:
        out.append(f"Only {counts['runs']} runs: intervals are widened for it (Student's t), and are rough.")
    if counts["rising"] > MANY_RISING * n_drawn:
        share = 100 * counts["rising"] / n_drawn
        out.append(f"alpha_B is not resolved: in {share:.0f} % of the resamples B_crit does not grow as the loss falls.")
    elif alpha_b["stderr"] > 0.5 * alpha_b["estimate"]:
        out.append("alpha_B is not resolved: its standard error is more than half of it.")
    return out
