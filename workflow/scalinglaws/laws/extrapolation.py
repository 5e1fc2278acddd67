"""The loss of a run beyond the data: a law with an error of its own, and priors made from published fits.

A law is an approximation, so the runs beyond the data do not lie on it even if its parameters were known. Its error in log loss
is taken for a random field over the logs of the variables: 0 on average, it drifts as a Brownian motion does, so that the
variance of its difference between two places grows in proportion to their distance. Its size is relative to the reducible part
of the loss, L − E, since the part E is common to all runs. The law's parameters, the field and the noise are estimated
together. Near the data the forecast follows the residuals of the runs there, and far from them it goes over to the law; its
variance has a part for the field, one for the parameters and one for the noise. How well this did for the table's own larger
runs is measured in windows (``laws/windows.py``), which scale the interval.

Shapes: n points, m places, V variables, P parameters, S starts.

References
----------
Kennedy and O'Hagan 2001, Journal of the Royal Statistical Society B 63, 425: a model's inadequacy as a random field.
Chilès and Delfiner 2012, Geostatistics, chapter 3: kriging with a drift and a linear variogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from scalinglaws.laws.forms import Array, Law

# Of the exponents alpha and beta of published fits to decayed runs (refits.OF_LAW["chinchilla"]): their geometric mean, the
# spread of their logarithms, rounded up, and the correlation of the two exponents of a law.
EXPONENT, EXPONENT_SPREAD, EXPONENT_CORRELATION = 0.36, 0.25, 0.5
# The share of E in the loss at the middle of a table. It is less than the 0.66 to 0.74 that these fits have at 1e9 parameters and
# 2e10 tokens, with a wide spread, since small models end early on the curve.
SHARE, SHARE_SPREAD = 0.6, 0.3
TERM_SPREAD = 1.0  # of the log of the share of each other term, which have what E leaves in equal parts
# The error of a law on public tables of runs, as a share of the reducible loss for a distance of one e-fold: the value for
# which the squared errors of runs beyond windows of the table were as large as forecast, on average over its windows
# (docs/intervals.md).
MEASURED = {
    "Gadre et al. 2024 (github.com/mlfoundations/scaling), three texts": 0.018,
    "IsoFLOP profiles (github.com/Open-Athena/scaling-law-analysis), four studies": 0.028,
    "Step Law, Li et al. 2025 (github.com/step-law/steplaw), dense": 0.010,
}
LAW_ERROR = 0.025  # between their root mean square, 0.020, and the largest
REACH = 50.0  # distance in e-folds that no two places of runs exceed, for which the variogram becomes a covariance
REDUCIBLE = 1 - SHARE  # what is taken for the reducible share of the loss where a law has no E
LEAST_REDUCIBLE = 0.05
# The noise of a single loss, in log loss, as between seeds. It is not estimated: the likelihood takes a law's error for noise.
NOISE = 0.003
LARGEST_WEIGHT = 1e4  # which keeps the noise of a loss above a hundredth of NOISE, and the covariance of equal runs regular
STARTS = 3
ROUNDS = 2  # of finding the parameters and, from them, the reducible shares that the size of the error goes by
ITERATIONS = 60
TOLERANCE = 1e-7
EXPONENTS = (0.02, 5.0)  # bounds of the exponents that have a prior


@dataclass(frozen=True)
class Prior:
    """A normal prior of internal parameters, of the logarithm of those in ``logs`` (P,): mean (P,) and precision (P, P)."""

    logs: np.ndarray
    mean: Array
    precision: Array

    def offsets(self, theta: Array) -> tuple[Array, Array]:
        """Return the differences from the mean and their derivatives, each of the shape of theta (…, P)."""
        inside = np.where(self.logs, theta, 1.0)
        return np.where(self.logs, np.log(inside), theta) - self.mean, 1.0 / inside


def prior_of(law: Law, log_loss: Array) -> Prior:
    """Return the prior of a law's parameters for a table of log losses (n,): flat for a law without a constant term E.

    The exponent of a law of compute is half of that of size and tokens, by which it falls along the best allocation.
    """
    p, exponents, constant = law.n_parameters, law.exponents, constant_of(law)
    logs, mean, precision = np.zeros(p, bool), np.zeros(p), np.zeros((p, p))
    if constant is None:
        return Prior(logs, mean, precision)
    half = 0.5 if {"flops", "flops_min"} & set(law.variables) else 1.0
    k = len(exponents)
    spread = EXPONENT_SPREAD**2 * ((1 - EXPONENT_CORRELATION) * np.eye(k) + EXPONENT_CORRELATION)
    logs[exponents], mean[exponents] = True, np.log(half * EXPONENT)
    precision[np.ix_(exponents, exponents)] = np.linalg.inv(spread)
    for term in law.terms:
        of_constant = term.scale == constant
        share = SHARE if of_constant else (1 - SHARE) / (len(law.terms) - 1)
        mean[term.scale] = log_loss.mean() + np.log(share)
        precision[term.scale, term.scale] = (SHARE_SPREAD if of_constant else TERM_SPREAD) ** -2
    return Prior(logs, mean, precision)


def constant_of(law: Law) -> int | None:
    """Return the place of log E among a law's internal parameters, None where it has no constant term or is scaled as a whole."""
    found = [term.scale for term in law.terms if term.variable is None]
    return found[0] if found and not law.scaled and not law.bent else None


@dataclass(frozen=True)
class Field:
    """A law with its error, estimated from points: what ``forecast`` needs.

    theta (P,) are internal parameters at the log variables z (n, V) less ``centre`` (V,); ``covariance`` (P, P) is theirs,
    ``root`` (n, n) the Cholesky factor of the covariance of the log losses (n,), ``reducible`` (n,) their reducible shares, and
    ``scatter`` the standard deviation of a new run's log loss about the law with its error.
    """

    law: Law
    theta: Array
    covariance: Array
    centre: Array
    z: Array
    log_loss: Array
    reducible: Array
    root: Array
    scatter: float

    def forecast(self, log_variables: Array) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of the log loss of a new run at log variables (m, V), each (m,)."""
        z, theta = log_variables - self.centre, self.theta[None]
        reducible = _reducible(self.law, self.theta, z)
        weights = self._whiten(_covariance(self.z, z) * self.reducible[:, None] * reducible)
        residuals = self._whiten(self.log_loss - self.law.log_prediction(theta, self.z)[0])
        mean = self.law.log_prediction(theta, z)[0] + weights.T @ residuals
        slopes = self.law.jacobian(theta, z)[0] - weights.T @ self._whiten(self.law.jacobian(theta, self.z)[0])
        of_field = np.maximum(LAW_ERROR**2 * REACH * reducible**2 - (weights**2).sum(axis=0), 0.0)
        of_parameters = np.einsum("mi,ij,mj->m", slopes, self.covariance, slopes)
        return mean, np.sqrt(of_field + of_parameters + self.scatter**2)

    def joint(self, log_variables: Array) -> tuple[Array, Array]:
        """Return how the log losses of new runs at log variables (m, V) go together, but for their scatter.

        Returns
        -------
        tuple
            Their slopes (m, P) by the parameters, and the covariance (m, m) that the law's error gives them at known parameters.
            With the ``covariance`` Σ of these and slopes J, the covariance of the log losses is J Σ Jᵀ and that matrix.
        """
        z, theta = log_variables - self.centre, self.theta[None]
        reducible = _reducible(self.law, self.theta, z)
        weights = self._whiten(_covariance(self.z, z) * self.reducible[:, None] * reducible)
        slopes = self.law.jacobian(theta, z)[0] - weights.T @ self._whiten(self.law.jacobian(theta, self.z)[0])
        return slopes, _covariance(z, z) * np.outer(reducible, reducible) - weights.T @ weights

    def _whiten(self, values: Array) -> Array:
        return np.asarray(solve_triangular(self.root, values, lower=True), np.float64)


def estimate(
    law: Law, log_variables: Array, log_loss: Array, weights: Array, starts: Array | None = None,
    scatter: float = NOISE,
) -> Field:  # fmt: skip
    """Estimate a law's parameters together with its error, as the mode of their distribution given the losses.

    Parameters
    ----------
    law
        The law.
    log_variables, log_loss, weights
        Natural logs of its variables (n, V) and of the losses (n,), and their weights (n,), 1 for the noise of a usual loss.
    starts
        Internal parameters (S, P), at the centre of these points, to start from beside the best of the law's own grid.
    scatter
        Standard deviation of a new run's log loss, where it is more than that of the noise.
    """
    centre = law.centre(log_variables)
    z, prior = log_variables - centre, prior_of(law, log_loss)
    between, own = _covariance(z, z), np.diag(NOISE**2 / np.minimum(weights, LARGEST_WEIGHT))
    reducible, near = np.full(len(z), REDUCIBLE), np.empty((0, law.n_parameters))
    for _ in range(ROUNDS):
        root = np.linalg.cholesky(between * np.outer(reducible, reducible) + own)
        whiten = np.linalg.inv(root)
        if not len(near):
            grid = law.starts(log_loss, z)
            best = np.argsort(_values(law, prior, z, log_loss, whiten, grid), kind="stable")
            near = grid[best[:STARTS]] if starts is None else np.vstack([starts, grid[best[:1]]])
        found = [_mode(law, prior, z, log_loss, whiten, start) for start in near]
        _, theta, curvature = min(found, key=lambda item: item[0])
        shares, reducible, near = reducible, _reducible(law, theta, z), theta[None]
    covariance = np.asarray(np.linalg.pinv(curvature), np.float64)
    return Field(law, theta, covariance, centre, z, log_loss, shares, np.asarray(root, np.float64), scatter)


def _covariance(a: Array, b: Array) -> Array:
    """Return the covariance of the error at places (n, V) and (m, V), as (n, m): a constant less the distance, to a scale."""
    return np.asarray(LAW_ERROR**2 * (REACH - np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))), np.float64)


def _reducible(law: Law, theta: Array, z: Array) -> Array:
    """Return the reducible share (L − E)/L of the loss by the law at theta (P,) and z (n, V), as (n,)."""
    constant = constant_of(law)
    if constant is None:
        return np.full(len(z), REDUCIBLE)
    return np.maximum(1 - np.exp(theta[constant] - law.log_prediction(theta[None], z)[0]), LEAST_REDUCIBLE)


def _clipped(law: Law, prior: Prior, theta: Array) -> Array:
    """Return theta (…, P) within the bounds of the law, and within EXPONENTS where exponents have a prior."""
    lower, upper = law.bounds()
    narrowed = prior.logs & np.isin(np.arange(law.n_parameters), law.free)
    return np.clip(theta, np.where(narrowed, EXPONENTS[0], lower), np.where(narrowed, EXPONENTS[1], upper))


def _values(law: Law, prior: Prior, z: Array, log_loss: Array, whiten: Array, theta: Array) -> Array:
    """Return minus the log of the posterior density, but for a constant, (S,) at theta (S, P)."""
    theta = _clipped(law, prior, theta)
    residuals = (law.log_prediction(theta, z) - log_loss) @ whiten.T
    offsets = prior.offsets(theta)[0]
    return 0.5 * (residuals**2).sum(axis=1) + 0.5 * np.einsum("si,ij,sj->s", offsets, prior.precision, offsets)


def _mode(law: Law, prior: Prior, z: Array, log_loss: Array, whiten: Array, start: Array) -> tuple[float, Array, Array]:
    """Return the least value, theta (P,) there and its curvature (P, P), by damped Gauss-Newton steps from a start (P,)."""
    theta, damping, free = _clipped(law, prior, start), 1e-2, np.isin(np.arange(law.n_parameters), law.free)
    value = float(_values(law, prior, z, log_loss, whiten, theta[None])[0])
    for _ in range(ITERATIONS):
        jacobian = whiten @ law.jacobian(theta[None], z)[0]
        residuals = whiten @ (law.log_prediction(theta[None], z)[0] - log_loss)
        offsets, slopes = prior.offsets(theta)
        # Parameters that are held take no part: their rows and columns vanish.
        curvature = (jacobian.T @ jacobian + slopes[:, None] * prior.precision * slopes) * np.outer(free, free)
        gradient = (jacobian.T @ residuals + slopes * (prior.precision @ offsets)) * free
        gain = 0.0
        while damping < 1e8:
            matrix = curvature + np.diag(damping * np.diag(curvature) + 1e-9)
            trial = _clipped(law, prior, theta - np.linalg.solve(matrix, gradient))
            trial = np.where(prior.logs & free, np.clip(trial, 0.5 * theta, 2.0 * theta), trial)
            gain = value - float(_values(law, prior, z, log_loss, whiten, trial[None])[0])
            if gain > 0:
                break
            damping *= 8
        if not gain > 0:
            break
        theta, value, damping = trial, value - gain, max(damping / 5, 1e-6)
        if gain < TOLERANCE:
            break
    return value, theta, curvature
