"""The objective at a law's points, with analytic derivatives, for a batch of parameters at once.

Arrays: B problems, n points, P parameters.
"""

from __future__ import annotations

import numpy as np

from scalinglaws.laws.forms import Array, Law, weighted_outer


class Problem:
    """A law at given points: objective, gradient, Hessian and metric of a batch of parameters.

    ``rough``: far from the answer, where the Hessian is often indefinite, steps use the metric in its place.
    """

    def __init__(self, law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool) -> None:
        self.law, self.y, self.delta, self.factor, self.rough = law, log_loss, delta, factor, rough
        self.design, self.places = law.design(z), [term.parameters for term in law.terms]
        # Products of features, shared by the batch: each block of a Hessian is one matrix product.
        self.products = {
            (j, k): np.einsum("na,nb->nab", self.design[j][0], self.design[k][0]).reshape(len(z), -1)
            for j in range(len(self.design))
            for k in range(j, len(self.design))
        }

    def evaluate(self, theta: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Value (B,), gradient (B, P), Hessian and metric (B, P, P) at theta (B, P); weights (B, n) or (n,)."""
        f, shares, scale = self._predict(theta)
        value, psi, curvature, irls = self._outer(f, weights)
        return value, *self._derivatives(f, shares, scale, psi, curvature, irls)

    def _outer(self, f: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Value (B,), its slope and curvature in f (B, n), and the weights of iteratively reweighted least squares (B, n)."""
        r = f - self.y
        psi = np.clip(r, -self.delta, self.delta)
        value = self.factor * (psi * (r - 0.5 * psi) * weights).sum(axis=1)
        weights = self.factor * weights
        irls = weights if np.isinf(self.delta) else weights * (self.delta / np.maximum(np.abs(r), self.delta))
        curvature = np.where(psi == r, weights, 0.0)
        return value, psi * weights, curvature, np.broadcast_to(irls, f.shape)

    def _predict(self, theta: Array) -> tuple[Array, list[Array], Array]:
        """log L (B, n), each term's share of the sum (B, n), and the scale s (B, 1)."""
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
        """Sums over points of psi·∇f, of curvature·∇f∇fᵀ + psi·∇²f, and of irls·∇f∇fᵀ.

        With f = s·log Σ exp(t_k) and p_k = exp(t_k)/Σ:  ∇²f = s [Σ p_k φ_kφ_kᵀ − (Σ p_kφ_k)(Σ p_kφ_k)ᵀ].
        """
        b, p = len(f), self.law.n_parameters
        gradient, hessian, metric = np.zeros((b, p)), np.zeros((b, p, p)), np.zeros((b, p, p))
        square = scale * scale
        h, m = curvature * square - psi * scale, irls * square
        psi_s = psi * scale
        for j, at_j in enumerate(self.places):
            pull = psi_s * shares[j]
            gradient[:, at_j] += pull @ self.design[j][0]
            for k in range(j, len(self.places)):
                at_k = self.places[k]
                both = shares[j] * shares[k]
                block = h * both + pull if j == k else h * both
                for matrix, values in ((hessian, block), (metric, m * both)):
                    sums = (values @ self.products[j, k]).reshape(b, len(at_j), len(at_k))
                    rows, columns = np.ix_(at_j, at_k)
                    matrix[:, rows, columns] += sums
                    if j != k:
                        matrix[:, columns, rows] += sums  # the mirrored places
        if self.law.scaled:
            self._scale_derivatives(f, shares, scale, psi, curvature, irls, gradient, hessian, metric)
        return gradient, hessian, metric

    def _scale_derivatives(
        self, f: Array, shares: list[Array], scale: Array, psi: Array, curvature: Array, irls: Array,
        gradient: Array, hessian: Array, metric: Array,
    ) -> None:  # fmt: skip
        """The row and column of log s: ∂f/∂log s = f, ∂²f/∂(log s)² = f, ∂²f/∂log s∂theta = ∂f/∂theta."""
        gradient[:, -1] = (psi * f).sum(axis=1)
        hessian[:, -1, -1] = ((curvature * f + psi) * f).sum(axis=1)
        metric[:, -1, -1] = (irls * f * f).sum(axis=1)
        for share, (features, _), where in zip(shares, self.design, self.places, strict=True):
            slope = scale * share
            for matrix, values in ((hessian, curvature * f + psi), (metric, irls * f)):
                sums = (values * slope) @ features
                matrix[:, -1, where] += sums
                matrix[:, where, -1] += sums


class _ReuseProblem(Problem):
    """A law whose terms saturate as tokens or parameters are used again: the features depend on the parameters."""

    def __init__(self, law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool) -> None:
        self.law, self.y, self.delta, self.factor, self.rough, self.z = law, log_loss, delta, factor, rough, z

    def evaluate(self, theta: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
        """As Problem.evaluate; ∇²f = Σ p_k (φ_kφ_kᵀ + ∇²t_k) − ∇f∇fᵀ with f = log Σ exp(t_k), φ_k = ∇t_k."""
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


def problem_of(law: Law, z: Array, log_loss: Array, delta: float, factor: float, rough: bool) -> Problem:
    """The problem of ``law`` at centred log variables z (n, V) and log losses (n,): see Problem."""
    kind = _ReuseProblem if law.reuses else Problem
    return kind(law, z, log_loss, delta, factor, rough)
