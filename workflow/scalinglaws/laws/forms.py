"""The form of the laws that are one equation of the loss:  log L = s · log Σ_k exp(t_k),  t_k = c_k − e_k · log(variable_k).

The solver works on *internal* parameters: the scales c_k, the free exponents e_k (two terms may share one), log s where the law
has a scale s, and log R* of terms that saturate (``laws/repetition.py``). The logarithms of the variables are centred before a
fit, so c_k is the log of a term at the middle of the data and the problem is well conditioned. ``Law.natural`` turns internal
parameters into those of the literature.

Shapes: B parameter vectors (starts or resamples), n points, P parameters, V variables, S starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXPONENT_RANGE = (1e-3, 10.0)
REUSE_RANGE = (1e-2, 1e4)

# A step in the choice of points: it takes the table, the list that excluded runs are added to, and the list that notes are
# added to, and returns the table that is left (laws/rules.py).
Rule = Callable[[pl.DataFrame, list[dict[str, str]], list[str]], pl.DataFrame]
# What sums the second derivatives of a term over the points with weights (B, n): it returns (B, k, k) for its k parameters.
Bend = Callable[[Array], Array]
# A term's exponent t (B, n), its features, which are the slopes of t in its k parameters (B or 1, n, k), and its bend, which is
# None where all second derivatives vanish.
Expansion = tuple[Array, Array, Bend | None]


@dataclass(frozen=True, kw_only=True)
class Described:
    """What every law says of itself, whether it is an equation (``Law``) or a procedure (``laws/methods.py``).

    ``variables`` are the columns of the points that it needs. ``published`` are the values of ``source`` for the parameters and
    for the exponents derived from them. ``rule`` is the sentence, and ``selection`` the steps, that say which losses it is fitted
    to. ``reshape``, for laws of learning curves, makes the points of the rows of the curves before they are checked.
    ``derived`` names the exponents that follow from a fit beside its parameters. ``own_points``, for laws of whole loss curves,
    takes (table, table of curves or None, names of columns, where, held_out) and returns the points. A law of losses on several
    texts takes the table of these in place of curves.
    """

    name: str
    title: str
    formula: str
    source: str
    rule: str
    variables: tuple[str, ...]
    published: dict[str, float]
    selection: tuple[Rule, ...] = ()
    reshape: Rule | None = None
    derived: tuple[str, ...] = ()
    own_points: Callable[..., Any] | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """Return the exponents that are compared with published ones; scales have the units of a vocabulary and of a text."""
        return self.derived


@dataclass(frozen=True)
class Parameter:
    """A natural parameter. ``log`` is true of a scale, whose interval is formed on its logarithm, and false of an exponent."""

    name: str
    unit: str
    log: bool


@dataclass(frozen=True)
class Hold:
    """How a natural parameter is held at a value (``laws/held.py``): the internal parameter at ``place`` is held.

    ``internal`` gives its value from that of the natural parameter and from all that are held, by name. ``variable`` is the place
    of a variable whose log is then centred at ``centre`` of the value. ``needs`` names what must be held as well. A value is
    positive unless ``signed`` is true.
    """

    place: int
    internal: Callable[[float, Mapping[str, float]], float]
    variable: int | None = None
    centre: Callable[[float], float] = float
    needs: tuple[str, ...] = ()
    signed: bool = False


@dataclass(frozen=True)
class Term:
    """The term exp(c − e·log variable).

    ``scale`` and ``exponent`` are the places of c and e in ``Law.internal``, and ``variable`` is a place in ``Law.variables``.
    A term without a variable is a constant; one without an exponent has e = 1. ``bent`` is true of kinds of terms whose features
    depend on the parameters: they have an ``expand`` of their own.
    """

    bent: ClassVar[bool] = False

    scale: int
    variable: int | None = None
    exponent: int | None = None

    @property
    def falls_with(self) -> tuple[int, ...]:
        """Return the places of the variables that it depends on by its own parameters."""
        return () if self.variable is None else (self.variable,)

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return [self.scale] if self.exponent is None else [self.scale, self.exponent]

    def features(self, z: Array) -> tuple[Array, Array | None]:
        """Return features (n, k) and an offset (n,) or None, with which t = theta[parameters] @ features.T + offset.

        They do not depend on the parameters. ``z`` (n, V) are the centred log variables.
        """
        ones = np.ones((len(z), 1))
        if self.variable is None:
            return ones, None
        if self.exponent is None:
            return ones, -z[:, self.variable]
        return np.column_stack([ones, -z[:, self.variable]]), None

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``Expansion``) at theta (B, P) and z (n, V)."""
        slopes, c = self.features(z)[0][None], theta[:, self.scale, None]
        if self.variable is None:
            return c + np.zeros((1, len(z))), slopes, None
        x = z[None, :, self.variable]
        return c - (x if self.exponent is None else theta[:, self.exponent, None] * x), slopes, None


@dataclass(frozen=True, kw_only=True)
class Law(Described):
    """A law that is one equation of the loss.

    ``distinct`` is the number of values of each variable that are needed to identify the parameters. ``internal`` names the
    internal parameters for flags, log s last where there is one. ``held_out`` is the variable whose largest value is predicted
    from the rest. ``grid`` has the start values: those of each exponent, then the shares of each term but the last in the loss,
    then those of s or R*. ``reuses`` are the places of the logs of R*, the constants of terms that saturate. ``derive`` takes
    (points, fit, resamples, number of resamples, seed) and returns the values of ``derived``, by name, and sentences of doubt.
    ``holds`` says how natural parameters can be held at a value. Where a user does so (``held.hold``), ``fixed`` has their
    values by name, ``held`` those of internal parameters by place, and ``pinned`` the centres of variables by place.
    """

    parameters: tuple[Parameter, ...]
    internal: tuple[str, ...]
    terms: tuple[Term, ...]
    distinct: int
    held_out: str
    to_natural: Callable[[Array, Array], Array]
    grid: tuple[tuple[float, ...], ...]
    scaled: bool = False
    reuses: tuple[int, ...] = ()
    derive: Callable[..., tuple[dict[str, Any], list[str]]] | None = None
    holds: Mapping[str, Hold] = field(default_factory=dict)
    held: Mapping[int, float] = field(default_factory=dict)
    pinned: Mapping[int, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)

    @property
    def compared(self) -> tuple[str, ...]:
        """Return the exponents that are compared with published ones; scales have the units of a vocabulary and of a text."""
        return (*(parameter.name for parameter in self.parameters if not parameter.log), *self.derived)

    @property
    def n_parameters(self) -> int:
        """Return P, the number of parameters."""
        return len(self.internal)

    @property
    def free(self) -> list[int]:
        """Return the places of the internal parameters that are fitted."""
        return [k for k in range(self.n_parameters) if k not in self.held]

    @property
    def bent(self) -> bool:
        """Return whether a term has features that depend on the parameters."""
        return any(term.bent for term in self.terms)

    @property
    def exponents(self) -> list[int]:
        """Return the places of the free exponents among the internal parameters."""
        return sorted({term.exponent for term in self.terms if term.exponent is not None})

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the variables that must vary for the law to be fitted: those that a term with a free parameter falls with."""
        places = {k for term in self.terms if not self.held.keys() >= set(term.parameters) for k in term.falls_with}
        return tuple(self.variables[k] for k in sorted(places))

    def needed(self, variable: str) -> int:
        """Return how many values of a variable are needed to identify the free parameters of its terms and of the constant."""
        place = self.variables.index(variable)
        own = {k for term in self.terms if not term.falls_with or place in term.falls_with for k in term.parameters}
        return max(self.distinct - len(own & self.held.keys()), 1)

    def centre(self, log_variables: Array) -> Array:
        """Return what is subtracted from log variables (n, V) before a fit: their means (V,), or what they are pinned at."""
        out = np.asarray(log_variables.mean(axis=0), np.float64)
        for place, value in self.pinned.items():
            out[place] = value
        return out

    def log_prediction(self, theta: Array, z: Array) -> Array:
        """Return log L (B, n) at internal parameters theta (B, P) and centred log variables z (n, V)."""
        f, _, _, _ = self.expand(theta, z)
        return self._scale(theta) * f

    def jacobian(self, theta: Array, z: Array) -> Array:
        """Return the analytic derivatives d log L / d theta (B, n, P) at theta (B, P) and z (n, V)."""
        f, shares, slopes, _ = self.expand(theta, z)
        out, scale = np.zeros((*f.shape, self.n_parameters)), self._scale(theta)
        for term, share, slope in zip(self.terms, shares, slopes, strict=True):
            out[:, :, term.parameters] += (scale * share)[:, :, None] * slope
        if self.scaled:
            out[:, :, -1] = scale * f
        return out

    def shares(self, theta: Array, z: Array) -> list[float]:
        """Return the largest share of the sum that each term has at any point; theta (1, P), z (n, V)."""
        return [float(share.max()) for share in self.expand(theta, z)[1]]

    def expand(self, theta: Array, z: Array) -> tuple[Array, list[Array], list[Array], list[Bend | None]]:
        """Return log Σ exp(t_k) (B, n), and of each term its share of the sum (B, n), its features and its bend.

        See ``Expansion`` for the last two; theta (B, P), z (n, V).
        """
        found = [term.expand(theta, z) for term in self.terms]
        terms = [t for t, _, _ in found]
        top = np.max(terms, axis=0)
        powers = [np.exp(t - top) for t in terms]
        total = np.sum(powers, axis=0)
        return top + np.log(total), [p / total for p in powers], [slope for _, slope, _ in found], [bend for _, _, bend in found]

    def _scale(self, theta: Array) -> Array:
        """Return the scale s (B, 1), which is 1 for a law without one."""
        return np.exp(theta[:, -1:]) if self.scaled else np.ones((len(theta), 1))

    def natural(self, theta: Array, centre: Array) -> Array:
        """Return natural parameters (B, P), in the order of ``parameters``, from internal ones theta (B, P).

        ``centre`` (V,) is what was subtracted from the logs of the variables. A scale beyond the range of a float becomes inf or
        0, which fit.json reports as null.
        """
        with np.errstate(over="ignore", under="ignore"):
            return self.to_natural(theta, centre)

    def bounds(self) -> tuple[Array, Array]:
        """Return lower and upper bounds (P,) of the internal parameters; those of a held one are its value."""
        lower, upper = self.ranges()
        for place, value in self.held.items():
            lower[place] = upper[place] = value
        return lower, upper

    def ranges(self) -> tuple[Array, Array]:
        """Return lower and upper ends (P,) of what the internal parameters may be: terms may vanish or dominate, not overflow."""
        widest = 1e4 if self.scaled else 80.0
        lower, upper = np.full(self.n_parameters, -widest), np.full(self.n_parameters, widest)
        lower[self.exponents], upper[self.exponents] = EXPONENT_RANGE
        if self.scaled:
            lower[-1], upper[-1] = np.log(EXPONENT_RANGE)
        lower[list(self.reuses)], upper[list(self.reuses)] = np.log(REUSE_RANGE)
        return lower, upper

    def starts(self, log_loss: Array, z: Array | None = None) -> Array:
        """Return the grid of starts (S, P) for log losses (n,): all exponents of ``grid`` with all shares of its terms.

        ``z`` (n, V) are the centred log variables, which laws with other grids take.
        """
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


def weighted_outer(weights: Array, a: Array, b: Array) -> Array:
    """Return Σ_n w a bᵀ (B, i, j) of weights (B, n) and vectors a (B or 1, n, i), b (B or 1, n, j)."""
    return np.asarray(a.swapaxes(1, 2) @ (weights[:, :, None] * b), np.float64)
