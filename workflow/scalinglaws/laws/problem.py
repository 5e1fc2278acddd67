"""The objective of a fit with its analytic derivatives, for a batch of parameter vectors at once.

Shapes: B parameter vectors, n points, P parameters.

There are two ways to the same derivatives. The terms of most laws have features that do not depend on the parameters, and
``Problem`` turns sums over points into matrix products that it prepares once; it is what makes thousands of fits take a second.
``_BentProblem`` evaluates the features anew at each step, as terms need that are no power laws. It could serve every law, but it
sums in another order, which moves resamples by up to 3e-8 of their values, and takes twice the time (docs/laws.md).
"""

from __future__ import annotations

import numpy as np

from scalinglaws.laws.forms import Array, Law, weighted_outer

LARGEST_LOG_LOSS = 100.0  # log predictions are cut here before they become losses: steps that far are never taken


class Problem:
    """A law at given points: the objective, gradient, Hessian and metric of a batch of parameter vectors.

    Parameters
    ----------
    law, z, log_loss
        The law, centred log variables (n, V) and log losses (n,).
    delta, factor
        The objective is ``factor`` times a Huber function of this delta, infinite for squares.
    rough
        Whether steps start far from the answer, where the Hessian is often indefinite: they use the metric in its place.
    raw
        Whether residuals are differences of losses and not of log losses.
    """

    def __init__(self, law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool, raw: bool = False) -> None:
        self.law, self.y, self.delta, self.factor, self.rough, self.raw = law, log_loss, delta, factor, rough, raw
        self.design, self.places = [term.features(z) for term in law.terms], [term.parameters for term in law.terms]
        # Products of a term's features, shared by the batch: a sum over points is one matrix product.
        self.squares = [np.einsum("na,nb->nab", features, features).reshape(len(z), -1) for features, _ in self.design]
        self.blocks = [np.ix_(where, where) for where in self.places]
        self.scratch = np.empty((2, 0, law.n_parameters, len(z)))

    def evaluate(self, theta: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Return value (B,), gradient (B, P), Hessian and metric (B, P, P) at theta (B, P) with weights (B, n) or (n,)."""
        f, shares, scale = self._predict(theta)
        value, psi, curvature, irls = self._outer(f, weights)
        return value, *self._derivatives(f, shares, scale, psi, curvature, irls)

    def _outer(self, f: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Return the value (B,), its slope and curvature in f (B, n), and the weights of reweighted least squares (B, n).

        Raw residuals r = exp f − L have ∂r = ∂²r = exp f.
        """
        predicted = np.exp(np.minimum(f, LARGEST_LOG_LOSS)) if self.raw else None
        r = f - self.y if predicted is None else predicted - np.exp(self.y)
        psi = np.clip(r, -self.delta, self.delta)
        value = self.factor * (psi * (r - 0.5 * psi) * weights).sum(axis=1)
        weights = self.factor * weights
        irls = weights if np.isinf(self.delta) else weights * (self.delta / np.maximum(np.abs(r), self.delta))
        curvature, slope = np.where(psi == r, weights, 0.0), psi * weights
        if predicted is None:
            return value, slope, curvature, np.broadcast_to(irls, f.shape)
        slope *= predicted
        return value, slope, curvature * predicted**2 + slope, irls * predicted**2

    def _predict(self, theta: Array) -> tuple[Array, list[Array], Array]:
        """Return log L (B, n), each term's share of the sum (B, n), and the scale s (B, 1)."""
        terms = []
        for (features, offset), where in zip(self.design, self.places, strict=True):
            t = theta[:, where] @ features.T if features.shape[1] > 1 or offset is not None else theta[:, where]
            terms.append(t if offset is None else t + offset)
        scale = np.exp(theta[:, -1:]) if self.law.scaled else np.ones((len(theta), 1))
        if len(terms) == 1:
            return scale * terms[0], [np.ones_like(terms[0])], scale
        top = np.max([t.max(axis=1) for t in terms], axis=0)[:, None]
        powers = [np.exp(t - top) for t in terms]
        total = powers[0] + powers[1]
        for power in powers[2:]:
            total += power
        inverse = 1.0 / total
        return scale * (np.log(total) + top), [power * inverse for power in powers], scale

    def _derivatives(
        self, f: Array, shares: list[Array], scale: Array, psi: Array, curvature: Array, irls: Array
    ) -> tuple[Array, Array, Array]:
        """Return the sums over points of psi·∇f, of curvature·∇f∇fᵀ + psi·∇²f, and of irls·∇f∇fᵀ.

        With f = s·log Σ exp(t_k), p_k = exp(t_k)/Σ and φ_k = ∇t_k: ∇f = s Σ p_kφ_k and ∇²f = s Σ p_kφ_kφ_kᵀ − ∇f∇fᵀ/s.
        By log s: ∂f = f, ∂²f = f, ∂²f/∂log s∂theta = ∂f/∂theta.
        """
        (b, n), p = f.shape, self.law.n_parameters
        # The buffer is kept, since fresh pages of memory for each step cost as much as the arithmetic.
        if self.scratch.shape[1] < b:
            self.scratch = np.empty((2, b, p, n))
        slopes, weighted = self.scratch[:, :b]
        slopes[:] = 0.0
        hessian, psi_s = np.zeros((b, p, p)), psi * scale
        for share, (features, _), where in zip(shares, self.design, self.places, strict=True):
            slope = scale * share
            for place, feature in zip(where, features.T, strict=True):
                slopes[:, place] += slope * feature
        if self.law.scaled:
            slopes[:, -1] = f
        across = slopes.transpose(0, 2, 1)
        gradient, metric = (slopes @ psi[:, :, None])[:, :, 0], np.multiply(slopes, irls[:, None], out=weighted) @ across
        if self.rough:  # its steps use the metric alone
            return gradient, hessian, metric
        bent = p - 1 if self.law.scaled else p
        np.multiply(slopes[:, :bent], (curvature - psi / scale)[:, None], out=weighted[:, :bent])
        np.multiply(slopes[:, bent:], curvature[:, None], out=weighted[:, bent:])
        hessian = weighted @ across
        for share, square, block in zip(shares, self.squares, self.blocks, strict=True):
            hessian[:, *block] += ((psi_s * share) @ square).reshape(b, len(block[0]), len(block[0]))
        if self.law.scaled:
            hessian[:, -1] += gradient
            hessian[:, :-1, -1] = hessian[:, -1, :-1]
        return gradient, hessian, metric


class _BentProblem(Problem):
    """A law with terms whose features depend on the parameters."""

    def __init__(self, law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool, raw: bool = False) -> None:
        self.law, self.y, self.delta, self.factor, self.rough, self.raw = law, log_loss, delta, factor, rough, raw
        self.z = z

    def evaluate(self, theta: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Return what ``Problem.evaluate`` does: ∇²f = Σ p_k (φ_kφ_kᵀ + ∇²t_k) − ∇f∇fᵀ with f = log Σ exp(t_k), φ_k = ∇t_k."""
        f, shares, slopes, second = self.law.expand(theta, self.z)
        b, p = theta.shape
        value, psi, curvature, irls = self._outer(f, weights)
        gradient = np.zeros((len(f), f.shape[1], p))
        hessian = np.zeros((b, p, p))
        for term, share, slope, bend in zip(self.law.terms, shares, slopes, second, strict=True):
            rows, columns = np.ix_(term.parameters, term.parameters)
            gradient[:, :, term.parameters] += share[:, :, None] * slope
            if self.rough:  # its steps use the metric alone
                continue
            pull = psi * share
            hessian[:, rows, columns] += weighted_outer(pull, slope, slope)
            if bend is not None:
                hessian[:, rows, columns] += bend(pull)
        if not self.rough:
            hessian += weighted_outer(curvature - psi, gradient, gradient)
        metric = weighted_outer(irls, gradient, gradient)
        return value, (psi[:, :, None] * gradient).sum(axis=1), hessian, metric


def problem_of(law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool, raw: bool = False) -> Problem:
    """Return the problem of a law, of the kind that its terms need; for the parameters see ``Problem``."""
    kind = _BentProblem if law.bent else Problem
    return kind(law, z, log_loss, delta, factor, rough, raw)
