"""How sure a fit is: the bootstrap over trunks, intervals, and in words what the data do not determine.

A trunk is a stable phase that several budgets share. Shapes: B resamples, n points, P parameters, G trunks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from scalinglaws.common.numbers import round_float
from scalinglaws.laws.fit import MANY_POINTS, Fit, Solution, solve
from scalinglaws.laws.forms import Array
from scalinglaws.laws.select import Points

BOUND_HIT = "Bound hit: "  # how a flag begins that names a parameter at the edge of its range
FEW_TRUNKS = 20  # below this many, a flag says that intervals are rough
FEWEST_TRUNKS = 3  # below this many there are no intervals
CONDITION_LIMIT = 1e3  # condition number of the jacobian above which parameters trade off
NARROW_RANGE = 3.0  # ratio of the largest to the smallest value of a variable below which it hardly varies
STEEPEST = 3.0  # exponents above this run away
SMALLEST_SHARE = 1e-6  # share of the sum below which a term vanishes
# The objective of a resample of few points is a long flat valley, where steps are many and cheap.
ITERATIONS = 1000
# Number of resamples that fit.json keeps, from which quantities of several laws are derived.
KEPT = 200
# This many numbers (resamples x points) are drawn and solved at once, which bounds the memory.
BLOCK = 1 << 22
MANY_TRUNKS = 10_000  # above this many, sums over resampled trunks are normal


@dataclass(frozen=True)
class Resamples:
    """Internal and natural parameters (B, P) of the resamples that were fitted, and counts of those that went wrong.

    ``one_step`` is true where each is one step of Newton's method from the fit of all points.
    """

    theta: Array
    natural: Array
    degenerate: int
    unconverged: int
    n_trunks: int
    one_step: bool = False


def bootstrap(fit: Fit, trunk: list[str], n_resamples: int, seed: int) -> Resamples:
    """Resample trunks with replacement, all runs of a trunk together, and fit each resample, starting from the fit.

    A resample that leaves fewer distinct values of a variable than the law needs, or fewer distinct points than parameters, is
    counted as degenerate and not fitted. Where most are degenerate the others are no fair sample, and none is kept. Above
    MANY_POINTS points a resample is one step of Newton's method from the fit, which differs little from a fit there.

    Parameters
    ----------
    fit
        The fit of all points.
    trunk
        Names of the trunks of the points (n).
    n_resamples, seed
        Number of resamples, and the seed that they are drawn from.

    References
    ----------
    Besiroglu et al. 2024 (arXiv:2404.10102) bootstrap the same kind of fit, over runs.
    """
    law = fit.law
    names, member = np.unique(np.array(trunk), return_inverse=True)
    rng = np.random.default_rng(seed)
    if len(member) > MANY_POINTS:
        theta = _one_step(fit, member, len(names), n_resamples, rng)
        return Resamples(theta, law.natural(theta, fit.centre), n_resamples - len(theta), 0, len(names), one_step=True)
    even, size = np.full(len(names), 1 / len(names)), max(1, BLOCK // len(member))
    parts = []
    for at in range(0, n_resamples, size):
        counts = rng.multinomial(len(names), even, size=min(size, n_resamples - at))
        parts.append(_resample(fit, counts[:, member]))
    theta = np.concatenate([found.theta for found in parts])
    unconverged = sum(int((~found.converged).sum()) for found in parts)
    degenerate = n_resamples - len(theta)
    if degenerate > n_resamples / 2:
        theta = theta[:0]
    return Resamples(theta, law.natural(theta, fit.centre), degenerate, unconverged, len(names))


def _one_step(fit: Fit, member: np.ndarray, n_trunks: int, n_resamples: int, rng: np.random.Generator) -> Array:
    """Return theta (B, P) of resamples of trunks by one Newton step each; none where the Hessian is singular.

    ``member`` (n,) is the number of each point's trunk. Of many trunks the sums of scores are drawn from their normal limit.
    """
    scores, hessian = _scores(fit, member, n_trunks)
    if np.linalg.matrix_rank(hessian) < len(hessian):
        return np.empty((0, fit.law.n_parameters))
    if n_trunks > MANY_TRUNKS:
        values, vectors = np.linalg.eigh(scores.T @ scores)
        drawn = rng.standard_normal((n_resamples, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    else:
        drawn = (rng.multinomial(n_trunks, np.full(n_trunks, 1 / n_trunks), size=n_resamples) - 1.0) @ scores
    theta = np.repeat(fit.theta[None], n_resamples, axis=0)
    theta[:, fit.law.free] -= np.linalg.solve(hessian, drawn.T).T
    return np.asarray(np.clip(theta, *fit.law.bounds()), np.float64)


def _resample(fit: Fit, times: np.ndarray) -> Solution:
    """Fit the resamples in which points count so many ``times`` (B, n), leaving out those that do not identify the law."""
    law, present = fit.law, times > 0
    usable = present.sum(axis=1) >= len(law.free)
    for name, column in zip(law.variables, fit.z.T, strict=True):
        usable &= _distinct(column, present, law.needed(name)) >= min(law.needed(name), len(np.unique(column)))
    weights = times[usable] * fit.weights
    starts = np.repeat(fit.theta[None], len(weights), axis=0)
    return solve(law, fit.z, fit.log_loss, starts, fit.objective, weights, warm=True, iterations=ITERATIONS)


def _distinct(column: Array, present: np.ndarray, most: int) -> np.ndarray:
    """Return how many distinct values of ``column`` (n,) each row of ``present`` (B, n) has, counted up to ``most``."""
    found, above = np.zeros(len(present), int), np.full(len(present), -np.inf)
    for _ in range(most):
        above = np.where(present & (column > above[:, None]), column, np.inf).min(axis=1)
        found += np.isfinite(above)
    return found


def interval(estimate: float, resamples: Array, log: bool, n_trunks: int) -> dict[str, float]:
    """Return the estimate, stderr and 95 % interval of one parameter.

    It is the percentile interval, widened about the estimate by sqrt(G/(G − 1))·t/z with Student's t at G − 1 degrees of
    freedom, as resamples of few trunks vary less than new samples would: the factor is 1.35 at 7 trunks and 1.05 at 40.

    Parameters
    ----------
    estimate, resamples
        The parameter, and its values in the resamples (B,).
    log
        Whether it is a scale, whose interval is formed on its logarithm.
    n_trunks
        Number G of trunks that were resampled.

    Returns
    -------
    dict
        estimate, stderr, ci_low and ci_high; NaN but for the first where there are no resamples or fewer than 3 trunks.
    """
    freedom = n_trunks - 1
    values = np.log(resamples) if log else resamples
    values = values[np.isfinite(values)]
    if len(values) < 2 or n_trunks < FEWEST_TRUNKS or not np.isfinite(estimate):
        return {"estimate": estimate, "stderr": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    centre = np.log(estimate) if log else estimate
    small = np.sqrt(n_trunks / freedom)
    widen = small * stdtrit(freedom, 0.975) / ndtri(0.975)
    low, high = np.quantile(values, [0.025, 0.975])
    low, high = centre - widen * max(centre - low, 0.0), centre + widen * max(high - centre, 0.0)
    error = small * values.std(ddof=1)
    if log:
        with np.errstate(over="ignore"):
            low, high, error = np.exp(low), np.exp(high), estimate * error
    return {"estimate": float(estimate), "stderr": float(error), "ci_low": float(low), "ci_high": float(high)}


def kept(names: Iterable[str], natural: Array) -> dict[str, list[float]]:
    """Return the first KEPT rows of ``natural`` (B, P) as a list for each parameter: one place in all lists is one resample."""
    return {name: [round_float(value) for value in column] for name, column in zip(names, natural[:KEPT].T, strict=True)}


def r2(fit: Fit) -> float:
    """Return the share of the variance that the law explains, of log loss or, with raw residuals, of loss; NaN where it is 0."""
    measured = np.exp(fit.log_loss) if fit.objective.raw else fit.log_loss
    total = ((measured - measured.mean()) ** 2).sum()
    return float(1 - (fit.residuals**2).sum() / total) if total > 0 else float("nan")


def covariance_interval(fit: Fit, trunk: list[str]) -> list[dict[str, float]]:
    """Return stderr and 95 % interval of each natural parameter from the sandwich covariance, clustered by trunk.

    The covariance is H⁻¹ (Σ_g s_g s_gᵀ) H⁻¹ · G/(G − 1) with s_g the sum of the scores of trunk g, and intervals use Student's t
    at G − 1 degrees of freedom. The curvature of a Huber function lies within its delta: the share of such small residuals is
    estimated in a window as wide as the residuals scatter.

    Parameters
    ----------
    fit
        The fit.
    trunk
        Names of the trunks of the points (n).

    Returns
    -------
    list of dict
        stderr, ci_low and ci_high in the order of the law's parameters; NaN of a parameter that is held at a value, and of all
        below 3 trunks or where H is singular.

    References
    ----------
    Powell 1991, in Nonparametric and Semiparametric Methods in Econometrics and Statistics, for the window.
    """
    names, member = np.unique(np.array(trunk), return_inverse=True)
    law = fit.law
    scores, hessian = _scores(fit, member, len(names))
    empty = {"stderr": float("nan"), "ci_low": float("nan"), "ci_high": float("nan")}
    if len(names) < FEWEST_TRUNKS or np.linalg.matrix_rank(hessian) < len(hessian):
        return [dict(empty) for _ in law.parameters]
    inverse = np.linalg.inv(hessian)
    covariance = inverse @ scores.T @ scores @ inverse * len(names) / (len(names) - 1)
    out = []
    for k, (parameter, slope) in enumerate(zip(law.parameters, _natural_slopes(fit), strict=True)):
        if parameter.name in law.fixed:
            out.append(dict(empty))
            continue
        error = float(np.sqrt(slope @ covariance @ slope))
        half, value = stdtrit(len(names) - 1, 0.975) * error, fit.natural[k]
        with np.errstate(over="ignore"):
            low, high = (value * np.exp(-half), value * np.exp(half)) if parameter.log else (value - half, value + half)
        out.append({"stderr": error * value if parameter.log else error, "ci_low": float(low), "ci_high": float(high)})
    return out


def _scores(fit: Fit, member: np.ndarray, n_trunks: int) -> tuple[Array, Array]:
    """Return the sums of scores by trunk (G, F) and the Hessian (F, F) at a fit; ``member`` (n,) numbers the points' trunks.

    They are those of the F free parameters.
    """
    residuals, jacobian = fit.residuals, fit.jacobian[:, fit.law.free]
    spread = 1.06 * np.median(np.abs(residuals)) / 0.6745 * len(residuals) ** -0.2
    delta = {"huber": fit.objective.delta, "absolute": 1e-9, "squared": np.inf}[fit.objective.name]
    width = max(delta, spread)
    psi = np.clip(residuals, -delta, delta) * fit.weights
    curvature = np.where(np.abs(residuals) <= width, min(1.0, delta / width), 0.0) if np.isfinite(delta) else np.ones(len(psi))
    scores = np.zeros((n_trunks, jacobian.shape[1]))
    np.add.at(scores, member, psi[:, None] * jacobian)
    hessian = np.einsum("n,ni,nj->ij", curvature * fit.weights, jacobian, jacobian)
    return scores, hessian


def _natural_slopes(fit: Fit) -> Array:
    """Return d natural / d theta (natural, free) by central differences, of the logarithm where a parameter is a scale."""
    steps = 1e-6 * np.maximum(np.abs(fit.theta), 1.0)
    above, below = (fit.law.natural(fit.theta + sign * np.diag(steps), fit.centre) for sign in (1, -1))
    log = np.array([parameter.log for parameter in fit.law.parameters])
    with np.errstate(divide="ignore", invalid="ignore"):  # a scale beyond the range of a float has no slope
        above, below = (np.where(log, np.log(values), values) for values in (above, below))
        return np.asarray(((above - below) / (2 * steps[:, None])).T[:, fit.law.free], np.float64)


def condition(fit: Fit) -> float:
    """Return the condition number of the jacobian at the fit with columns of unit length; inf where a column vanishes."""
    jacobian = fit.law.jacobian(fit.theta[None], fit.z)[0][:, fit.law.free]
    length = np.linalg.norm(jacobian, axis=0)
    if not (length > 1e-12 * length.max()).all():
        return float("inf")
    singular = np.linalg.svd(jacobian / length, compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def flags(fit: Fit, points: Points, resamples: Resamples | None) -> list[str]:
    """Return sentences that say what in this fit is not to be believed; an empty list where nothing was found.

    Parameters
    ----------
    fit, points
        The fit and its points.
    resamples
        The resamples, or None where there are none.
    """
    out = [*points.notes, *_about_data(fit, points), *_about_parameters(fit)]
    if not fit.converged:
        out.append("The optimiser did not reach its tolerance.")
    n_trunks = len(set(points.trunk))
    if n_trunks < FEW_TRUNKS:
        out.append(f"Only {n_trunks} trunks: intervals are widened for it (Student's t), and are rough.")
    if resamples is not None:
        out += _about_resamples(fit, resamples)
    return out


def _about_data(fit: Fit, points: Points) -> list[str]:
    """Return sentences on variables that do not vary enough to identify the parameters."""
    out = []
    for name in fit.law.varied:
        values = points.columns[name]
        distinct, ratio = len(np.unique(values)), values.max() / values.min()
        if distinct < (needed := fit.law.needed(name)):
            out.append(f"Not identified: {name} has {distinct} distinct values and the law needs {needed}.")
        elif ratio < NARROW_RANGE:
            out.append(f"Not identified: {name} varies by a factor of {ratio:.3g} only.")
    for place in fit.law.reuses:
        if (np.abs(fit.law.jacobian(fit.theta[None], fit.z)[0, :, place]) > 1e-9).sum() < 2:
            name = fit.law.internal[place]
            out.append(f"Not identified: fewer than two runs repeat or exceed anything, so nothing tells {name}.")
    number = condition(fit)
    if number > CONDITION_LIMIT:
        out.append(f"Not identified: the condition number of the fit is {number:.2g}: parameters trade off.")
    return out


def _about_parameters(fit: Fit) -> list[str]:
    """Return sentences on parameters at a bound or out of range, and on terms that vanish."""
    out = []
    lower, upper = fit.law.bounds()
    for name, value, low, high in zip(fit.law.internal, fit.theta, lower, upper, strict=True):
        if min(value - low, high - value) < 1e-6 * (high - low):
            out.append(f"{BOUND_HIT}{name} lies at the edge of its range, so the data do not determine it.")
    for parameter, value in zip(fit.law.parameters, fit.natural, strict=True):
        if not np.isfinite(value) or value == 0:
            out.append(f"{parameter.name} is beyond the range of numbers: the exponent is too small or too large.")
        elif parameter.name in fit.law.compared and value > STEEPEST and parameter.name not in fit.law.fixed:
            out.append(f"Not identified: the exponent {parameter.name} runs away ({value:.3g}).")
    shares = fit.law.shares(fit.theta[None], fit.z)
    for share, term in zip(shares, fit.law.terms, strict=True):
        if share < SMALLEST_SHARE:
            out.append(f"The term of {fit.law.internal[term.scale]} vanishes: it is nowhere {SMALLEST_SHARE:g} of the sum.")
    return out


def _about_resamples(fit: Fit, resamples: Resamples) -> list[str]:
    """Return sentences on resamples that went wrong, and on parameters that they do not resolve."""
    out = []
    if resamples.one_step:
        out.append(f"Above {MANY_POINTS:,} points each resample is one step of Newton's method from the fit.")
    if resamples.degenerate:
        out.append(f"{resamples.degenerate} resamples had too few distinct points and were left out.")
    if resamples.unconverged:
        out.append(f"{resamples.unconverged} resamples did not reach the optimiser's tolerance.")
    if len(resamples.theta) < 2 or resamples.n_trunks < FEWEST_TRUNKS:
        return [
            *out,
            f"No intervals: {resamples.n_trunks} trunks and {len(resamples.theta)} usable resamples are too few.",
        ]
    lower, upper = fit.law.bounds()
    for k, name in enumerate(fit.law.internal):
        margin = 1e-6 * (upper[k] - lower[k])
        hit = ((resamples.theta[:, k] < lower[k] + margin) | (resamples.theta[:, k] > upper[k] - margin)).mean()
        if hit > 0.025:
            out.append(f"Not identified: {name} hits a bound in {100 * hit:.0f} % of the resamples.")
    for k, parameter in enumerate(fit.law.parameters):
        if parameter.name in fit.law.compared and resamples.natural[:, k].std() > 0.5 * abs(fit.natural[k]):
            out.append(f"Not resolved: the standard error of {parameter.name} is more than half of it.")
    return out
