"""How well a law predicts: losses held out of the fit, in windows that grow, and the interval of a new run's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from scalinglaws.laws.fit import Fit, Objective, best_fit, thinned
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import FEWEST_TRUNKS, Resamples
from scalinglaws.laws.windows import forecaster

NEAR = 1.25  # factor of size beyond the data over which an interval within the data becomes one beyond
EDGE = 1e-9  # e-folds that rounding may take a place beyond the data
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
        if rest.sum() <= len(law.free) or any(
            len(np.unique(points.columns[name][rest])) < law.needed(name) for name in law.varied
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

    Within the data a new run scatters about the law as the fitted runs do, their residuals enlarged by sqrt(n/(n − P)) for what
    the fit took up, while the law varies as its resamples do. Few trunks widen both as they widen the intervals of parameters
    (``uncertainty.interval``). Beyond the data the law's own error is forecast with the law (``extrapolation``), and the
    interval is scaled by what windows of the table found (``windows``). From the edge of the data to NEAR times its size, or
    its value of a variable, the one goes over into the other.

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
        Arrays (m,), those of losses in nats per token. ``loss`` is the forecast, and run_low to run_high its 95 % interval.
        ``law_loss`` is what the fitted law says, and ci_low to ci_high the interval of the law alone. ``factor`` is the size of
        the run, the product of the law's variables, over that of the largest fitted run, and ``reach`` the largest such factor
        that windows of the table could check: 1 where there was none. The intervals are NaN where there are no resamples or
        fewer than 3 trunks.
    """
    x, out = fit.z + fit.centre, within(fit, resamples, log_variables, seed)
    beyond = np.clip(_excess(x, log_variables) / np.log(NEAR), 0.0, 1.0)
    if not beyond.any():
        return out
    checked = forecaster(fit)
    for name, values in zip(("loss", "run_low", "run_high"), checked.interval(log_variables), strict=True):
        out[name] = np.exp((1 - beyond) * np.log(out[name]) + beyond * values)
    out["reach"] = np.full(len(beyond), checked.reach)
    return out


def _excess(x: Array, places: Array) -> Array:
    """Return how far places (m, V) lie beyond the fitted log variables (n, V), in e-folds of the size or of a variable."""
    beyond = [places.sum(axis=1) - x.sum(axis=1).max(), *(places - x.max(axis=0)).T, *(x.min(axis=0) - places).T]
    return np.maximum(np.max(beyond, axis=0) - EDGE, 0.0)


def within(fit: Fit, resamples: Resamples | None, log_variables: Array, seed: int) -> dict[str, Array]:
    """Predict losses as ``predict`` does within the data, wherever the places lie; its parameters are those of ``predict``."""
    law, z = fit.law, log_variables - fit.centre
    centre = law.log_prediction(fit.theta[None], z)[0]
    size = log_variables.sum(axis=1) - (fit.z + fit.centre).sum(axis=1).max()
    out = {"loss": np.exp(centre), "law_loss": np.exp(centre), "factor": np.exp(size), "reach": np.ones(len(z))}
    out |= {name: np.full(len(z), np.nan) for name in ("ci_low", "ci_high", "run_low", "run_high")}
    if resamples is None or len(resamples.theta) < 2 or resamples.n_trunks < FEWEST_TRUNKS:
        return out
    freedom, n = resamples.n_trunks - 1, len(fit.log_loss)
    widen = np.sqrt(resamples.n_trunks / freedom) * stdtrit(freedom, 0.975) / ndtri(0.975)
    drawn = law.log_prediction(resamples.theta, z) - centre
    residuals = -fit.residuals * np.sqrt(n / max(n - len(law.free), 1))
    # A residual of the loss in nats is turned into one of its logarithm at the place of the new run.
    scatter = np.random.default_rng(seed).choice(residuals, size=drawn.shape) / fit.objective.slope(centre)
    for low, high, values in (("ci_low", "ci_high", drawn), ("run_low", "run_high", drawn + scatter)):
        below, above = np.quantile(values, [0.025, 0.975], axis=0)
        out[low] = np.exp(centre + widen * np.minimum(below, 0.0))
        out[high] = np.exp(centre + widen * np.maximum(above, 0.0))
    # With few resamples the quantiles of the sum may lie inside those of the law alone.
    out["run_low"], out["run_high"] = np.minimum(out["run_low"], out["ci_low"]), np.maximum(out["run_high"], out["ci_high"])
    return out
