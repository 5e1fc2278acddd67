"""How well a law predicts: losses held out of the fit, in windows that grow, and the interval of a new run's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from scalinglaws.laws.fit import Fit, Objective, best_fit, thinned
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import FEWEST_TRUNKS, Resamples

MOST_WINDOWS = 8  # largest number of windows in which losses are held out


@dataclass(frozen=True)
class Window:
    """Mean relative error of the next ``n`` losses by a fit of the ``n_fitted`` points below the value ``at`` of the variable."""

    at: float
    n_fitted: int
    n: int
    error: float


@dataclass(frozen=True)
class HeldOut:
    """The ``error`` of the losses at the largest value of the variable, NaN where too few points were left, and all windows."""

    rule: str
    error: float
    n: int
    windows: list[Window]


def held_out(points: Points, law: Law, objective: Objective, weights: Array) -> HeldOut:
    """Fit what lies below each of growing values of the law's variable, and predict the losses from there to the next value.

    There are at most MOST_WINDOWS values, evenly spaced in rank; the last window holds out the largest value alone. Values below
    which too few points lie are left out. Of very many points a window is fitted to an even sample (``fit.thinned``).

    Parameters
    ----------
    points, law
        The points, and the law whose ``held_out`` names the variable.
    objective, weights
        How it is fitted, with weights (n,) of the points.

    References
    ----------
    Choshen et al. 2024 (arXiv:2410.11840): report the relative error of what was held out.
    """
    values = points.columns[law.held_out]
    x, y = points.log_variables(law.variables), np.log(points.loss)
    distinct = np.unique(values)
    edges = distinct[np.unique(np.linspace(0, len(distinct) - 1, MOST_WINDOWS + 1).round().astype(int))]
    windows = []
    for at, end in zip(edges, [*edges[1:], np.inf], strict=True):
        rest, there = values < at, (values >= at) & (values < end)
        if rest.sum() <= law.n_parameters or any(
            len(np.unique(points.columns[name][rest])) < law.distinct for name in law.varied
        ):
            continue
        some = np.flatnonzero(rest)
        some = some[thinned(len(some))]
        fit = best_fit(law, x[some], y[some], objective, weights=weights[some])
        predicted = law.log_prediction(fit.theta[None], x[there] - fit.centre)[0]
        error = float(np.abs(np.expm1(predicted - y[there])).mean())
        windows.append(Window(float(at), int(rest.sum()), int(there.sum()), error))
    rule = f"fitted without {law.held_out} = {values.max():.6g}, which is predicted"
    last = windows[-1].error if windows and windows[-1].at == values.max() else float("nan")
    return HeldOut(rule, last, int((values == values.max()).sum()), windows)


def predict(fit: Fit, resamples: Resamples | None, log_variables: Array, seed: int) -> dict[str, Array]:
    """Predict losses, with the 95 % interval of the law and that of a new run's loss.

    The law varies as its resamples do. A new run scatters about it as the fitted runs do, their residuals enlarged by
    sqrt(n/(n − P)) for what the fit took up. Few trunks widen both as they widen the intervals of parameters
    (``uncertainty.interval``).

    Parameters
    ----------
    fit, resamples
        The fit and its resamples, or None.
    log_variables
        Natural logs of the law's variables at m places (m, V).
    seed
        Seed of the scatter.

    Returns
    -------
    dict
        loss, ci_low, ci_high (the law) and run_low, run_high (a new run), each (m,) in nats per token. The intervals are NaN
        where there are no resamples or fewer than 3 trunks.
    """
    law, z = fit.law, log_variables - fit.centre
    centre = law.log_prediction(fit.theta[None], z)[0]
    out = {"loss": np.exp(centre)} | {name: np.full(len(z), np.nan) for name in ("ci_low", "ci_high", "run_low", "run_high")}
    if resamples is None or len(resamples.theta) < 2 or resamples.n_trunks < FEWEST_TRUNKS:
        return out
    freedom, n = resamples.n_trunks - 1, len(fit.log_loss)
    widen = np.sqrt(resamples.n_trunks / freedom) * stdtrit(freedom, 0.975) / ndtri(0.975)
    drawn = law.log_prediction(resamples.theta, z) - centre
    residuals = (fit.log_loss - fit.log_prediction) * np.sqrt(n / max(n - law.n_parameters, 1))
    scatter = np.random.default_rng(seed).choice(residuals, size=drawn.shape)
    for low, high, values in (("ci_low", "ci_high", drawn), ("run_low", "run_high", drawn + scatter)):
        below, above = np.quantile(values, [0.025, 0.975], axis=0)
        out[low] = np.exp(centre + widen * np.minimum(below, 0.0))
        out[high] = np.exp(centre + widen * np.maximum(above, 0.0))
    # With few resamples the quantiles of the sum may lie inside those of the law alone.
    out["run_low"], out["run_high"] = np.minimum(out["run_low"], out["ci_low"]), np.maximum(out["run_high"], out["ci_high"])
    return out
