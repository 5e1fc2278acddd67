"""The law ``isoflop``: the size of least loss at each of several computes, and lines N_opt ∝ C^a and D_opt ∝ C^b through these.

A profile is the runs of nearly equal compute, and ``laws/profiles.py`` finds its minimum: by a parabola in the widest window that
is one, else by interpolation. The lowest point of the interpolation is reported beside it for every profile, and so are the lines
through these points.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), approach 2 in section 3.2, with the published a and b.
Porian et al. 2024 (arXiv:2406.19146); Czech et al. 2026 (arXiv:2603.22339).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.laws.methods import Method, fields
from scalinglaws.laws.profiles import (
    FEWEST_SIZES,
    FEWEST_TESTED,
    INTERPOLATION,
    PARABOLA,
    WHY,
    akima_minimum,
    groups,
    means,
    minima,
    noise,
    tolerated,
)
from scalinglaws.laws.rules import decayed, single_epoch
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import FEW_TRUNKS, FEWEST_TRUNKS, interval

FEWEST_PROFILES = 2
# With fewer sizes than this, resamples either lose a profile or give it the same minimum; two profiles test no line.
HONEST_SIZES, HONEST_PROFILES = 5, 3
MANY_LEFT_OUT = 0.05


@dataclass(frozen=True)
class Profile:
    """The minimum at a compute in FLOP: parameters, tokens and nats, which are NaN where ``edge`` says why there is none.

    ``method`` is PARABOLA or INTERPOLATION. The window has ``window_sizes`` sizes from ``window_low`` to ``window_high``
    parameters. ``misfit`` is the root mean square residual of the parabola in it, as a share of the loss, and ``misfit_whole``
    that of the parabola through all sizes. ``shape_free_…`` is the lowest point of the interpolation.
    """

    flops: float
    n_points: int
    n_sizes: int
    edge: str
    n_opt: float = np.nan
    tokens_opt: float = np.nan
    loss: float = np.nan
    method: str = ""
    window_sizes: int = 0
    window_low: float = np.nan
    window_high: float = np.nan
    misfit: float = np.nan
    misfit_whole: float = np.nan
    shape_free_n_opt: float = np.nan
    shape_free_tokens_opt: float = np.nan
    shape_free_loss: float = np.nan


@dataclass(frozen=True)
class IsoflopFit:
    """The lines N_opt = n_coefficient · C^a and D_opt = d_coefficient · C^b, C in FLOP, as ``uncertainty.interval`` returns them.

    ``shape_free`` has the four values by interpolation alone. ``noise`` is that of the losses, as a share of them, and NaN where
    nothing tells it. ``resamples`` (B, 4) are a, b and the logs of both coefficients in the resamples that have a line.
    ``counts`` are those of points, runs, profiles, used profiles, their trunks, degenerate resamples.
    """

    a: dict[str, float]
    b: dict[str, float]
    n_coefficient: dict[str, float]
    d_coefficient: dict[str, float]
    shape_free: dict[str, float]
    noise: float
    profiles: list[Profile]
    resamples: Array
    flags: list[str]
    counts: dict[str, int]


def fit_isoflop(
    run: Sequence[str], trunk: Sequence[str], n_params: ArrayLike, tokens: ArrayLike, flops: ArrayLike, loss: ArrayLike,
    n_bootstrap: int = 1000, seed: int = 0, tolerance: float = 0.1,
) -> IsoflopFit:  # fmt: skip
    """Find profiles, their minima, and the lines through them. A minimum at an edge is left out, with a flag.

    Resamples find each minimum by the same rule, at the noise of the whole table.

    Parameters
    ----------
    run, trunk, n_params, tokens, flops, loss
        For each run, in any order: its name and trunk, N, D, C in FLOP and the loss in nats. NaN tokens become C/(6N).
    n_bootstrap, seed
        Number of resamples of trunks, and their seed.
    tolerance
        Share by which computes of one profile may differ.

    Raises
    ------
    StudyError
        If a value of N, C or the loss is not a positive finite number.
    """
    columns = [np.asarray(values, np.float64) for values in (n_params, flops, loss, tokens)]
    for name, values in zip(("n_params", "flops", "loss"), columns, strict=False):
        if not (np.isfinite(values) & (values > 0)).all():
            raise StudyError(f"{name} has a value that is not a positive finite number")
    trunks = np.array(trunk, dtype=str)
    order = np.lexsort((*columns, np.array(run, dtype=str), trunks))
    n, c, y, d = (values[order] for values in columns)
    points = np.column_stack([np.log(n), np.log(np.where(np.isfinite(d), d, c / (6 * n))), y, np.log(c)])
    number = groups(c, tolerance)
    parts = [points[number == k] for k in range(number.max(initial=-1) + 1)]
    scatter = noise([(part[:, 0], part[:, 2]) for part in parts])
    allowed = tolerated(scatter)
    profiles = [_profile(part, allowed) for part in parts]
    used = [p for p in profiles if not p.edge]
    x = np.log([p.flops for p in used])
    optima = [[(p.n_opt, p.tokens_opt) for p in used], [(p.shape_free_n_opt, p.shape_free_tokens_opt) for p in used]]
    best, other = _lines(x, np.log(optima).reshape(2, -1, 2), np.ones((2, len(used)), bool))
    kept = [k for k, p in enumerate(profiles) if not p.edge]
    of_kept = [(parts[k], trunks[order][number == k]) for k in kept]
    n_trunks, ok, drawn = _resample(x, of_kept, allowed, n_bootstrap, seed)
    found = {name: interval(float(best[k]), drawn[:, k], False, n_trunks) for k, name in enumerate("ab")}
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        for k, name in ((2, "n_coefficient"), (3, "d_coefficient")):
            found[name] = interval(float(np.exp(best[k])), np.exp(drawn[:, k]), True, n_trunks)
        shape_free = dict(zip(found, [*other[:2].tolist(), *np.exp(other[2:]).tolist()], strict=True))
    counts = {"points": len(y), "runs": len(set(run)), "profiles": len(profiles), "used": len(used)}
    counts |= {"trunks": n_trunks, "degenerate": len(ok) - len(drawn)}
    flags = _flags(profiles, ok, len(drawn), n_trunks, found, shape_free)
    return IsoflopFit(
        **found, shape_free=shape_free, noise=scatter, profiles=profiles, resamples=drawn, flags=flags, counts=counts
    )


def _profile(points: Array, tolerance: float) -> Profile:
    """Return the profile of the points (n, 4) of one compute: log N, log D, loss, log C."""
    log_n, log_d, loss, log_c = points.T
    flops, (_, nodes, mean) = float(np.exp(log_c.mean())), means(log_n, loss)
    if len(nodes) < FEWEST_SIZES:
        return Profile(flops, len(loss), len(nodes), WHY[1])
    best = minima(log_n, loss, np.ones((1, len(loss))), tolerance)
    if best.why[0]:
        return Profile(flops, len(loss), len(nodes), WHY[best.why[0]])
    (free,), (free_loss,) = akima_minimum(nodes, mean[None])
    where = np.array([best.log_n[0], free])
    (n, free_n), (d, free_d) = np.exp(where).tolist(), np.exp(np.interp(where, nodes, means(log_n, log_d)[2])).tolist()
    return Profile(
        flops, len(loss), len(nodes), "", n, d, float(best.loss[0]),
        method=INTERPOLATION if best.interpolated[0] else PARABOLA, window_sizes=int(best.n_window[0]),
        window_low=float(np.exp(best.low[0])), window_high=float(np.exp(best.high[0])),
        misfit=float(best.misfit[0]), misfit_whole=float(best.misfit_whole[0]),
        shape_free_n_opt=free_n, shape_free_tokens_opt=free_d, shape_free_loss=float(free_loss),
    )  # fmt: skip


def _lines(x: Array, minima: Array, ok: NDArray[np.bool_]) -> Array:
    """Return two slopes and two levels (B, 4): least squares of minima (B, K, 2), logs of N and D, on log C (K,) where ``ok``."""
    count = ok.sum(axis=1, keepdims=True)
    share = ok / np.maximum(count, 1)
    centre = share @ x[:, None]
    off, y = np.where(ok, x - centre, 0.0), np.where(ok[:, :, None], minima, 0.0)
    spread = np.where(count < FEWEST_PROFILES, np.nan, (off * off).sum(axis=1, keepdims=True))
    slope = np.einsum("bk,bkv->bv", off, y) / spread
    return np.hstack([slope, np.einsum("bk,bkv->bv", share, y) - slope * centre])


def _resample(
    x: Array, parts: list[tuple[Array, np.ndarray]], tolerance: float, n_bootstrap: int, seed: int
) -> tuple[int, NDArray[np.bool_], Array]:
    """Draw the trunks of these profiles, points and trunks of each, with replacement, all rows of a trunk together.

    Return the number of trunks; which resampled minima (B, K) are used, as some are at an edge; and the lines of the resamples
    that have enough of them. Tokens at a size are chosen, not measured, so each profile keeps their curve.
    """
    names, member = np.unique(np.concatenate([*(trunks for _, trunks in parts), np.empty(0, str)]), return_inverse=True)
    if len(parts) < FEWEST_PROFILES:
        return len(names), np.zeros((0, len(parts)), bool), np.empty((0, 4))
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=n_bootstrap).astype(np.float64)
    ok, best = np.zeros((n_bootstrap, len(parts)), bool), np.empty((n_bootstrap, len(parts), 2))
    for k, ((part, _), at) in enumerate(zip(parts, np.split(member, np.cumsum([len(p) for p, _ in parts])), strict=False)):
        found = minima(part[:, 0], part[:, 2], counts[:, at], tolerance)
        best[:, k, 0] = found.log_n
        best[:, k, 1] = np.interp(found.log_n, *means(part[:, 0], part[:, 1])[1:])
        ok[:, k] = found.why == 0
    return len(names), ok, _lines(x, best, ok)[ok.sum(axis=1) >= FEWEST_PROFILES]


def _flags(
    profiles: list[Profile], ok: NDArray[np.bool_], n_drawn: int, n_trunks: int,
    found: dict[str, dict[str, float]], shape_free: dict[str, float],
) -> list[str]:  # fmt: skip
    """Return sentences on what is not to be believed; ``ok`` (B, K) says which resampled minima were used."""
    used = [p for p in profiles if not p.edge]
    out = [f"The profile at {p.flops:.3g} FLOP is left out: {p.edge}." for p in profiles if p.edge]
    has = f"{len(used)} of {len(profiles)} profiles have a minimum between their sizes"
    if len(used) < FEWEST_PROFILES:
        return [*out, f"No exponents: {has}, and a line takes {FEWEST_PROFILES}."]
    if len(used) < HONEST_PROFILES:
        out.append(f"Only {has}: nothing tests that the minima lie on a line.")
    if few := sum(p.n_sizes < HONEST_SIZES for p in used):
        out.append(f"{few} profiles have fewer than {HONEST_SIZES} sizes: many resamples lose them, intervals are unreliable.")
    if len(ok) and n_trunks < FEW_TRUNKS:
        out.append(f"Only {n_trunks} trunks: intervals are widened for it (Student's t), and are rough.")
    if len(ok) and (~ok).mean() > MANY_LEFT_OUT:
        out.append(f"{100 * (~ok).mean():.0f} % of the resampled minima are at an edge or have too few sizes: left out.")
    if n_drawn < len(ok):
        out.append(f"{len(ok) - n_drawn} resamples had fewer than {FEWEST_PROFILES} minima and were left out.")
    if len(ok) and (n_drawn < 2 or n_trunks < FEWEST_TRUNKS):
        out.append(f"No intervals: {n_trunks} trunks and {n_drawn} usable resamples are too few.")
    if count := sum(p.method == INTERPOLATION for p in used):
        out.append(f"{count} of {len(used)} minima are interpolated: near them no {FEWEST_TESTED} sizes lie on a parabola.")
    for name in ("a", "b"):
        one, other, half = found[name]["estimate"], shape_free[name], (found[name]["ci_high"] - found[name]["ci_low"]) / 2
        if abs(other - one) > half:
            out.append(
                f"{name} is {one:.4g} by the minima as chosen and {other:.4g} by interpolation of every profile: they differ by "
                f"more than the half-width of the interval ({half:.2g}): the profiles are not parabolas, or noise hides "
                "their minima."
            )
    return out


def _held_out(fit: IsoflopFit) -> dict[str, Any]:
    """Return the relative error of N_opt at the largest compute, as the line through the other minima predicts it."""
    used = [profile for profile in fit.profiles if not profile.edge]
    rule, error = "fitted without the profile of largest compute, whose N_opt is predicted", float("nan")
    if len(used) > 2:
        x, y = np.log([profile.flops for profile in used]), np.log([profile.n_opt for profile in used])
        slope, level = np.polyfit(x[:-1], y[:-1], 1)
        error = float(abs(np.expm1(slope * x[-1] + level - y[-1])))
    return {"rule": rule, "error": error, "n": int(len(used) > 2), "windows": []}


def _result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """Return fit.json; its parameters are the coefficients of N_opt and D_opt, its exponents a and b."""
    n, tokens, flops = (points.columns[name] for name in ("n_params", "tokens", "flops"))
    fit = fit_isoflop(points.run, points.trunk, n, tokens, flops, points.loss, n_bootstrap, seed)
    found = fit.counts["used"] >= FEWEST_PROFILES
    if not found and not allow_empty:
        raise StudyError(f"law isoflop: {' '.join(fit.flags)}")
    parameters = {"k_N": fit.n_coefficient | {"unit": "parameters"}, "k_D": fit.d_coefficient | {"unit": "tokens"}}
    own = {
        "exponents": {"a": fit.a | {"unit": ""}, "b": fit.b | {"unit": ""}} if found else {},
        "shape_free": fit.shape_free if found else {},
        "noise": fit.noise,
        "tolerance": tolerated(fit.noise),
        "profiles": [dataclasses.asdict(profile) for profile in fit.profiles],
        "held_out": _held_out(fit),
    }
    return fields(ISOFLOP, points, fit.counts, parameters if found else {}, own, fit.flags)


ISOFLOP = Method(
    name="isoflop",
    title="Best model size at each compute",
    formula="N_opt = k_N·C^a, D_opt = k_D·C^b",
    source="Hoffmann et al. 2022, approach 2",
    rule="decayed budgets, one epoch, in profiles of several sizes at nearly equal compute",
    selection=(decayed, single_epoch),
    variables=("n_params", "flops"),
    published={"a": 0.49, "b": 0.51},
    derived=("a", "b"),
    result=_result,
)
LAWS = (ISOFLOP,)
