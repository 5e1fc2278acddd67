"""The solver: many starts and many resamples as one batch of damped Newton steps in float64, with analytic derivatives.

Residuals are differences of log losses, or of losses, and the objective is a **sum** over points. A step solves
(H + lambda·M) d = −g, where H is the exact Hessian and M the Gauss-Newton matrix with the weights of iteratively reweighted least
squares, which majorises the objective of log losses. So lambda leads from Newton's method, quadratic at the end, to a method that
always descends. On the first, rough way from a far start M takes the place of H.

References
----------
Besiroglu et al. 2024 (arXiv:2404.10102): the sum, not the mean, of the Huber terms and tight tolerances matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.problem import LARGEST_LOG_LOSS, Problem, problem_of

OBJECTIVES = ("huber", "squared", "absolute")
RESIDUALS = ("log", "raw")
# Number of elements (problems x points) worked on at once: they stay in the processor's cache, and memory is bounded.
CHUNK = 1 << 14
# The sum of absolute values is the limit of Huber/delta: at this delta it differs by under 1e-9 for each point that is hit.
ABSOLUTE_DELTA = 1e-9
# Kinks make the way from a far start slow, so it begins with a Huber function of this delta, which is smooth where residuals are
# small, and is solved to ROUGH. Starts that meet there go on as one, and of those that differ the KEEP best go on.
WIDEST_DELTA = 0.1
ROUGH = 1e-9
ROUGH_ITERATIONS = 100
KEEP = 16
# Above this many points the far starts see an even sample of THINNED points, and only where they lead to all the points.
MANY_POINTS = 50_000
THINNED = 5_000
KEPT_OF_THINNED = 2


@dataclass(frozen=True)
class Objective:
    """A function of the residuals r, summed over points.

    ``huber`` is ½r² up to |r| = delta and delta(|r| − delta/2) beyond, ``squared`` is r², and ``absolute`` is |r|. Residuals are
    ``log``, log prediction less log loss, or ``raw``, prediction less loss in nats per token; delta has their unit. Raises
    StudyError for another name, for other residuals, and for a delta that is not a positive number.
    """

    name: str = "huber"
    delta: float = 1e-3
    residuals: str = "log"

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise StudyError(f"objective '{self.name}' is unknown: {proposal(self.name, OBJECTIVES)}")
        if self.residuals not in RESIDUALS:
            raise StudyError(f"residuals '{self.residuals}' are unknown: {proposal(self.residuals, RESIDUALS)}")
        if not (np.isfinite(self.delta) and self.delta > 0):
            unit = "in log loss" if self.residuals == "log" else "in nats per token"
            raise StudyError(f"delta is {self.delta}: it must be a positive number (residuals are {unit})")

    @property
    def raw(self) -> bool:
        """Return whether residuals are those of the loss and not of its logarithm."""
        return self.residuals == "raw"

    def differences(self, log_prediction: Array, log_loss: Array) -> Array:
        """Return the residuals of log predictions and log losses (…, n)."""
        if self.raw:
            return np.asarray(np.exp(np.minimum(log_prediction, LARGEST_LOG_LOSS)) - np.exp(log_loss), np.float64)
        return log_prediction - log_loss

    def slope(self, log_prediction: Array) -> Array:
        """Return the derivatives of the residuals by the log prediction, at log predictions (…, n)."""
        return np.asarray(np.exp(log_prediction) if self.raw else np.ones_like(log_prediction), np.float64)

    def value(self, residuals: Array, weights: Array) -> Array:
        """Return the exact objective, summed over the last axis of residuals (…, n) and weights (…, n)."""
        if self.name == "absolute":
            rho = np.abs(residuals)
        elif self.name == "squared":
            rho = residuals**2
        else:
            psi = np.clip(residuals, -self.delta, self.delta)
            rho = psi * (residuals - 0.5 * psi)
        return (rho * weights).sum(axis=-1)

    def stages(self, warm: bool) -> list[tuple[float, float]]:
        """Return (delta, factor) of the Huber functions that are solved one after another; the last is the objective itself."""
        if self.name == "squared":
            return [(np.inf, 2.0)] if warm else [(np.inf, 2.0)] * 2
        last = self.delta if self.name == "huber" else ABSOLUTE_DELTA
        first = 1e-3 if self.name == "absolute" and warm else last if warm else max(WIDEST_DELTA, last)
        steps = max(int(np.ceil(np.log10(first / last) - 1e-9)), 0)
        deltas = [last * 10.0**k for k in range(steps, -1, -1)]
        return [(delta, 1.0 if self.name == "huber" else 1.0 / delta) for delta in deltas]


@dataclass
class Solution:
    """Internal parameters theta (B, P), the objective there (B,), and whether each problem converged (B,)."""

    theta: Array
    value: Array
    converged: np.ndarray


@dataclass
class _State:
    """Where each problem of a batch is, the value and the derivatives there, and its damping."""

    theta: Array
    value: Array
    gradient: Array
    hessian: Array
    metric: Array
    damping: Array
    active: np.ndarray
    converged: np.ndarray


def solve(
    law: Law, z: Array, log_loss: Array, starts: Array, objective: Objective,
    weights: Array | None = None, warm: bool = False, tolerance: float = 1e-14, iterations: int = 200,
) -> Solution:  # fmt: skip
    """Minimise the objective from every row of ``starts`` at once.

    Parameters
    ----------
    law, z, log_loss
        The law, centred log variables (n, V) and log losses (n,).
    starts
        Internal parameters (B, P).
    objective
        Function of the residuals.
    weights
        Weights (n,) that all problems share, or (B, n), a row for each: a bootstrap resample is a row of counts.
    warm
        Whether the starts are near the answer.
    tolerance, iterations
        A problem leaves the batch as the decrease that its next step promises falls below ``tolerance`` of the value, or after
        so many iterations.

    Returns
    -------
    Solution
        With shared weights only the KEEP best solutions that differ, so perhaps fewer rows than ``starts``.
    """
    lower, upper = law.bounds()
    theta = np.clip(starts, lower, upper)
    weights = np.ones(len(log_loss)) if weights is None else weights
    stages = objective.stages(warm)
    for stage, (delta, factor) in enumerate(stages):
        problem = problem_of(law, z, log_loss, delta, factor, rough=stage == 0 and not warm, raw=objective.raw)
        damping = 1.0 if problem.rough else 1e-2
        goal, most = (ROUGH, ROUGH_ITERATIONS) if problem.rough else (tolerance, iterations)
        state = _minimise(problem, theta, weights, (lower, upper), damping, goal, most)
        best = _best_distinct(state.theta, state.value) if weights.ndim == 1 else np.arange(len(theta))
        theta, converged = state.theta[best], state.converged[best]
    value = np.empty(len(theta))
    for part in _chunks(np.arange(len(theta)), len(log_loss)):
        residuals = objective.differences(law.log_prediction(theta[part], z), log_loss)
        value[part] = objective.value(residuals, weights if weights.ndim == 1 else weights[part])
    return Solution(theta, value, converged)


def _best_distinct(theta: Array, value: Array) -> np.ndarray:
    """Return the places of the KEEP best of the solutions that differ; theta (B, P), value (B,)."""
    order = np.argsort(value, kind="stable")
    _, first = np.unique(np.round(theta[order], 4), axis=0, return_index=True)
    return order[np.sort(first)[:KEEP]]


def _chunks(index: np.ndarray, n_points: int) -> list[np.ndarray]:
    """Cut the places of problems into parts of about CHUNK elements."""
    size = max(1, CHUNK // max(n_points, 1))
    return [index[i : i + size] for i in range(0, len(index), size)]


def _minimise(
    problem: Problem,
    theta: Array,
    weights: Array,
    bounds: tuple[Array, Array],
    damping: float,
    tolerance: float,
    iterations: int,
) -> _State:
    """Iterate all problems from theta (B, P) until each has converged, or no damping makes its objective fall."""
    b, p = theta.shape
    state = _State(
        theta.copy(), np.empty(b), np.empty((b, p)), np.empty((b, p, p)), np.empty((b, p, p)),
        np.full(b, damping), np.ones(b, bool), np.zeros(b, bool),
    )  # fmt: skip
    n = len(problem.y)
    for part in _chunks(np.arange(b), n):
        found = problem.evaluate(theta[part], weights if weights.ndim == 1 else weights[part])
        state.value[part], state.gradient[part], state.hessian[part], state.metric[part] = found
    for _ in range(iterations):
        active = np.flatnonzero(state.active)
        if not len(active):
            break
        for part in _chunks(active, n):
            _iterate(problem, state, part, weights if weights.ndim == 1 else weights[part], bounds, tolerance)
    return state


def _iterate(
    problem: Problem, state: _State, part: np.ndarray, weights: Array, bounds: tuple[Array, Array], tolerance: float
) -> None:
    """Try one damped step of the problems ``part``: it is accepted where the objective falls, else the damping grows."""
    theta, value, gradient = state.theta[part], state.value[part], state.gradient[part]
    metric, damping = state.metric[part], state.damping[part]
    hessian = metric if problem.rough else state.hessian[part]
    trial = np.clip(theta + _step(theta, gradient, hessian, metric, damping, bounds), *bounds)
    step = trial - theta
    slope = (gradient * step).sum(axis=1)
    promised = -slope - 0.5 * np.einsum("bi,bij,bj->b", step, hessian, step)
    done = (np.abs(slope) <= tolerance * value + 1e-28) & (damping <= 1.0)
    found = problem.evaluate(trial, weights)
    gain = value - found[0]
    better = gain > 0
    took = part[better]
    state.theta[took] = trial[better]
    state.value[took], state.gradient[took] = found[0][better], found[1][better]
    state.hessian[took], state.metric[took] = found[2][better], found[3][better]
    ratio = gain / np.where(promised > 0, promised, np.inf)
    change = np.select([~better, ratio > 0.75, ratio > 0.25], [8.0, 0.05, 0.5], 2.0)
    state.damping[part] = np.maximum(damping * change, 1e-12)
    state.converged[part] = done
    state.active[part] = ~done & (state.damping[part] < 1e10)


def _step(theta: Array, gradient: Array, hessian: Array, metric: Array, damping: Array, bounds: tuple[Array, Array]) -> Array:
    """Return the solutions d of (H + lambda·(M + diag M/100)) d = −g, with parameters that press against a bound kept there."""
    p = theta.shape[1]
    stuck = ((theta <= bounds[0]) & (gradient > 0)) | ((theta >= bounds[1]) & (gradient < 0))
    matrix = hessian + damping[:, None, None] * metric
    diagonal = np.einsum("bii->bi", metric)
    # A parameter that the data do not touch, whose column vanishes, must not make the system singular.
    ridge = 1e-13 * (1 + damping[:, None]) * (diagonal + diagonal.mean(axis=1, keepdims=True)) + 1e-300
    ridge += 1e-2 * damping[:, None] * diagonal
    matrix[:, np.arange(p), np.arange(p)] += ridge
    if stuck.any():
        matrix[stuck[:, :, None] | stuck[:, None, :]] = 0.0
        rows, columns = np.nonzero(stuck)
        matrix[rows, columns, columns] = 1.0
        gradient = np.where(stuck, 0.0, gradient)
    return -np.asarray(np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0], np.float64)


@dataclass(frozen=True)
class Fit:
    """The best solution: internal parameters theta (P,), natural ones (P,), and the points and weights it was found from.

    ``centre`` (V,) was subtracted from the log variables, which gave ``z`` (n, V); log_loss and weights are (n,).
    """

    law: Law
    objective: Objective
    theta: Array
    natural: Array
    value: float
    converged: bool
    n_starts: int
    centre: Array
    z: Array
    log_loss: Array
    weights: Array

    @property
    def log_prediction(self) -> Array:
        """Return the fitted log L (n,) at the points."""
        return self.law.log_prediction(self.theta[None], self.z)[0]

    @property
    def residuals(self) -> Array:
        """Return the residuals (n,) that the objective sums."""
        return self.objective.differences(self.log_prediction, self.log_loss)

    @property
    def jacobian(self) -> Array:
        """Return the derivatives (n, P) of the residuals by the internal parameters."""
        slope = self.objective.slope(self.log_prediction)
        return slope[:, None] * self.law.jacobian(self.theta[None], self.z)[0]


def thinned(n_points: int) -> np.ndarray:
    """Return the places of all points, or of an even sample of THINNED above MANY_POINTS points."""
    return np.arange(n_points) if n_points <= MANY_POINTS else np.linspace(0, n_points - 1, THINNED).astype(int)


def best_fit(
    law: Law, log_variables: Array, log_loss: Array, objective: Objective,
    starts: Array | None = None, weights: Array | None = None,
) -> Fit:  # fmt: skip
    """Fit a law to points, and polish the best solution to the last digit that the objective resolves.

    Parameters
    ----------
    law
        The law.
    log_variables, log_loss
        Natural logs of its variables (n, V) and of the losses (n,).
    objective
        Function of the residuals.
    starts
        Internal parameters (S, P) to start from; without them the law's own grid.
    weights
        Weights (n,) of the points; without them each counts once.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), approach 3: Huber loss of log L from a grid of starts.
    """
    centre = law.centre(log_variables)
    z = log_variables - centre
    grid = law.starts(log_loss, z) if starts is None else starts
    weights = np.ones(len(log_loss)) if weights is None else weights
    if len(log_loss) > MANY_POINTS:
        some = thinned(len(log_loss))
        near = solve(law, z[some], log_loss[some], grid, objective, weights[some])
        first = near.theta[np.argsort(near.value, kind="stable")[:KEPT_OF_THINNED]]
        found = solve(law, z, log_loss, first, objective, weights, warm=True)
    else:
        found = solve(law, z, log_loss, grid, objective, weights)
    best = int(np.argmin(found.value))
    theta, value, converged = found.theta[best], found.value[best], bool(found.converged[best])
    if objective.name != "absolute":  # the last steps of which are as fine as its kinks allow
        polished = solve(law, z, log_loss, theta[None], objective, weights, warm=True, tolerance=0.0, iterations=40)
        if polished.value[0] <= value:
            theta, value = polished.theta[0], polished.value[0]
    natural = law.natural(theta[None], centre)[0]
    return Fit(law, objective, theta, natural, float(value), converged, len(grid), centre, z, log_loss, weights)
