"""The equations. Every law here has the form  log L = s · log Σ_k exp(t_k),  t_k = c_k − e_k · log(variable_k).

The solver works on *internal* parameters: the c_k, the exponents e_k that are free (two terms may share one), log s
where the law has a scale, and log R* of terms that saturate. Logarithms of the variables are centred first, so c_k is
the log of a term at the middle of the data and the problem is well conditioned. ``Law.natural`` turns them into the
parameters of the literature. Arrays: B problems, n points, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXPONENT_RANGE = (1e-3, 10.0)
REUSE_RANGE = (1e-2, 1e4)


@dataclass(frozen=True)
class Parameter:
    """A natural parameter. ``log``: a scale, whose interval is formed on its logarithm."""

    name: str
    unit: str
    log: bool


# Of a term: its exponent t (B, n); its features, the slopes of t in its k parameters (B or 1, n, k); and what sums its second
# derivatives over the points with weights (B, n) to (B, k, k), None where all vanish.
Bend = Callable[[Array], Array]
Expansion = tuple[Array, Array, Bend | None]


@dataclass(frozen=True)
class Term:
    """exp(c − e·log variable). ``scale``, ``exponent``: places of c and e in Law.internal; ``variable``: in Law.variables.

    Without a variable it is a constant; without an exponent, e = 1.
    """

    scale: int
    variable: int | None = None
    exponent: int | None = None

    @property
    def parameters(self) -> list[int]:
        """Places of its internal parameters, in the order of its features."""
        return [self.scale] if self.exponent is None else [self.scale, self.exponent]

    def expand(self, theta: Array, z: Array) -> Expansion:
        """See Expansion; theta (B, P), z (n, V)."""
        ones, c = np.ones((1, len(z))), theta[:, self.scale, None]
        if self.variable is None:
            return c + np.zeros_like(ones), ones[:, :, None], None
        x = z[None, :, self.variable]
        if self.exponent is None:
            return c - x, ones[:, :, None], None
        return c - theta[:, self.exponent, None] * x, np.stack([ones, -x], axis=2), None


@dataclass(frozen=True)
class Law:
    """One law. ``variables`` are columns of the points; ``distinct``: values of each needed to identify the parameters.

    ``internal`` names the internal parameters (for flags), log s last where there is one. ``held_out`` is the variable
    whose largest value is predicted from the rest. ``rule`` says in words which losses enter. ``reuses``: places of the
    logs of R*, the constants of terms that saturate (laws/repetition.py).
    """

    name: str
    title: str
    formula: str
    source: str
    rule: str
    variables: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    internal: tuple[str, ...]
    terms: tuple[Term, ...]
    distinct: int
    held_out: str
    published: dict[str, float]
    to_natural: Callable[[Array, Array], Array]
    grid: tuple[tuple[float, ...], ...]  # exponents (one tuple each), then shares of each term but the last, then s or R*
    scaled: bool = False
    reuses: tuple[int, ...] = ()

    @property
    def n_parameters(self) -> int:
        return len(self.internal)

    def design(self, z: Array) -> list[tuple[Array, Array | None]]:
        """Features of each term at centred log variables z (n, V): t_k = theta[parameters of k] @ features.T + offset."""
        out: list[tuple[Array, Array | None]] = []
        for term in self.terms:
            ones = np.ones((len(z), 1))
            if term.variable is None:
                out.append((ones, None))
            elif term.exponent is None:
                out.append((ones, -z[:, term.variable]))
            else:
                out.append((np.column_stack([ones, -z[:, term.variable]]), None))
        return out

    @property
    def exponents(self) -> list[int]:
        """Places of the free exponents."""
        return sorted({term.exponent for term in self.terms if term.exponent is not None})

    @property
    def varied(self) -> tuple[str, ...]:
        """The variables that must vary: those that a term falls with."""
        return tuple(self.variables[k] for k in sorted({term.variable for term in self.terms if term.variable is not None}))

    def centre(self, log_variables: Array) -> Array:
        """What is subtracted from log variables (n, V) before a fit: their means (V,)."""
        return np.asarray(log_variables.mean(axis=0), np.float64)

    def log_prediction(self, theta: Array, z: Array) -> Array:
        """log L (B, n) at internal parameters theta (B, P) and centred log variables z (n, V)."""
        f, _, _, _ = self.expand(theta, z)
        return self._scale(theta) * f

    def jacobian(self, theta: Array, z: Array) -> Array:
        """d log L / d theta (B, n, P), analytic."""
        f, shares, slopes, _ = self.expand(theta, z)
        out, scale = np.zeros((*f.shape, self.n_parameters)), self._scale(theta)
        for term, share, slope in zip(self.terms, shares, slopes, strict=True):
            out[:, :, term.parameters] += (scale * share)[:, :, None] * slope
        if self.scaled:
            out[:, :, -1] = scale * f
        return out

    def shares(self, theta: Array, z: Array) -> list[float]:
        """The largest share of the sum that each term has at any point; theta (1, P)."""
        return [float(share.max()) for share in self.expand(theta, z)[1]]

    def expand(self, theta: Array, z: Array) -> tuple[Array, list[Array], list[Array], list[Bend | None]]:
        """log Σ exp(t_k) (B, n), and of each term its share of the sum (B, n), its features and its bend (see Expansion)."""
        found = [term.expand(theta, z) for term in self.terms]
        terms = [t for t, _, _ in found]
        top = np.max(terms, axis=0)
        powers = [np.exp(t - top) for t in terms]
        total = np.sum(powers, axis=0)
        return top + np.log(total), [p / total for p in powers], [slope for _, slope, _ in found], [bend for _, _, bend in found]

    def _scale(self, theta: Array) -> Array:
        return np.exp(theta[:, -1:]) if self.scaled else np.ones((len(theta), 1))

    def natural(self, theta: Array, centre: Array) -> Array:
        """Natural parameters (B, P) in the order of ``parameters``. centre (V,): what was subtracted from the logs.

        A scale beyond the range of a float becomes inf or 0; the caller reports it as null.
        """
        with np.errstate(over="ignore", under="ignore"):
            return self.to_natural(theta, centre)

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds (P,) of the internal parameters. Terms may vanish or dominate, but not overflow."""
        widest = 1e4 if self.scaled else 80.0
        lower, upper = np.full(self.n_parameters, -widest), np.full(self.n_parameters, widest)
        lower[self.exponents], upper[self.exponents] = EXPONENT_RANGE
        if self.scaled:
            lower[-1], upper[-1] = np.log(EXPONENT_RANGE)
        lower[list(self.reuses)], upper[list(self.reuses)] = np.log(REUSE_RANGE)
        return lower, upper

    def starts(self, log_loss: Array) -> Array:
        """The start grid (S, P): all exponents of ``grid`` with all shares of the loss of each term at the centre."""
        level, n_free = float(np.mean(log_loss)), len(self.exponents)
        values = np.array(list(product(*self.grid)))
        scale = values[:, -1] if self.scaled else np.ones(len(values))
        theta, rest = np.empty((len(values), self.n_parameters)), np.ones(len(values))
        theta[:, self.exponents] = values[:, :n_free]
        for k, term in enumerate(self.terms):
            share = rest * values[:, n_free + k] if k < len(self.terms) - 1 else rest
            rest = rest - share
            theta[:, term.scale] = level / scale + np.log(share)
        if self.scaled:
            theta[:, -1] = np.log(scale)
        if self.reuses:
            theta[:, list(self.reuses)] = np.log(values[:, -len(self.reuses) :])
        return theta


def chinchilla_natural(theta: Array, centre: Array) -> Array:
    """(E, A, B, alpha, beta) of L = E + A/N^alpha + B/D^beta from (E, A, alpha, B, beta) as the solver has them."""
    c_e, c_a, alpha, c_b, beta = theta.T
    return np.column_stack([np.exp(c_e), np.exp(c_a + alpha * centre[0]), np.exp(c_b + beta * centre[1]), alpha, beta])


def weighted_outer(weights: Array, a: Array, b: Array) -> Array:
    """Σ_n w a bᵀ (B, i, j) of weights (B, n) and vectors (B or 1, n, i), (B or 1, n, j)."""
    return np.asarray(a.swapaxes(1, 2) @ (weights[:, :, None] * b), np.float64)
