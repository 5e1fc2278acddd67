"""Loss against model size and tokens, L = exp(a3·N^gamma + b3) + exp(a2·N^beta + b2)·D^−exp(a1·N^alpha + b1).

Each size has a law E + B/D^h of its own, in which E, B and the exponent h are stretched exponentials of N. The solver writes each
of their logs g(N) = a·N^e + b as u + v·(exp(e·z) − 1)/e with z the log of N less its mean over the data: u is the value there, v
the slope in log N, and e the curvature. The data tell these apart much better than a, b and e, and e = 0 is no special case.

References
----------
Li et al. 2025, Predictable Scale: Part II, Farseer (arXiv:2506.10972). They fit differences along D at each size, then functions
of N to what these give; here all nine parameters are fitted together. Their losses are bits per character, so that of the
published values the exponents alone are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import polars as pl

from scalinglaws.common.numbers import counted
from scalinglaws.laws.forms import Array, Expansion, Law, Parameter, Term, weighted_outer
from scalinglaws.laws.held import exponent
from scalinglaws.laws.refits import published
from scalinglaws.laws.rules import FINALS, Excluded, decayed, single_epoch

SIZE, TOKENS = range(2)  # places among the variables
OF_E, OF_B, OF_H = (0, 1, 2), (3, 4, 5), (6, 7, 8)  # places of u, v and e of log E, log B and log h
CURVATURES = (-2.0, 2.0)  # range of the exponents of N, which may be of either sign
LEVELS, SLOPES = 200.0, 20.0  # largest u and v
STEEPEST_LOG = 5.0  # log h is cut here, far above any exponent of D
SMALL, ORDERS = 0.5, 14  # |e·z| below which the series is summed, and its length
FEWEST = 3  # budgets of a size, and sizes with so many, that tell E, B and h of each and their three parameters


def _stretched(z: Array, e: Array) -> tuple[Array, Array, Array]:
    """Return (exp(e·z) − 1)/e (B, n) and its first and second derivatives in e, at z (1, n) and e (B, 1)."""
    w = e * z
    near = np.abs(w) < SMALL
    x = np.where(near, 1.0, w)
    grown = np.exp(x)
    exact = (np.expm1(x) / x, (grown * (x - 1) + 1) / x**2, (grown * (x * x - 2 * x + 2) - 2) / x**3)
    small, out = np.where(near, w, 0.0), []
    for order, values in enumerate(exact):
        # The derivative of this order of (exp(w) − 1)/w is the sum of w^k/(k!·(k + order + 1)).
        series = np.polynomial.polynomial.polyval(small, [1 / (factorial(k) * (k + order + 1)) for k in range(ORDERS)])
        out.append(z ** (order + 1) * np.where(near, series, values))
    return out[0], out[1], out[2]


def _log_of(theta: Array, places: tuple[int, ...], z: Array) -> tuple[Array, Array, Array, Array]:
    """Return g = u + v·φ(e, z) (B, n), its slopes in u, v and e (B, n, 3), ∂²g/∂v∂e and ∂²g/∂e² (B, n)."""
    u, v, e = (theta[:, place, None] for place in places)
    phi, first, second = _stretched(z[None, :, SIZE], e)
    return u + v * phi, np.stack([np.ones_like(phi), phi, v * first], axis=2), first, v * second


class _Floor(Term):
    """The term E(N) = exp(a3·N^gamma + b3), which is left where D grows without end."""

    bent = True

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return list(OF_E)

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and z (n, V)."""
        t, slopes, mixed, curved = _log_of(theta, OF_E, z)
        return t, slopes, lambda weights: _bend(weights, mixed, curved)


class _Data(Term):
    """The term B(N)·D^−h(N), with log B = a2·N^beta + b2 and log h = a1·N^alpha + b1."""

    bent = True

    @property
    def falls_with(self) -> tuple[int, ...]:
        """Return the places of the variables that it depends on."""
        return (SIZE, TOKENS)

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return [*OF_B, *OF_H]

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and z (n, V)."""
        log_b, of_b, mixed_b, curved_b = _log_of(theta, OF_B, z)
        log_h, of_h, mixed_h, curved_h = _log_of(theta, OF_H, z)
        fall = np.exp(np.minimum(log_h, STEEPEST_LOG)) * z[None, :, TOKENS]  # h·log D
        slopes = np.concatenate([of_b, -fall[:, :, None] * of_h], axis=2)

        def bend(weights: Array) -> Array:
            """Return the sum of ∇² log B and of −∇²(h·log D), which is −h·log D·(qqᵀ + ∇² log h) with q = ∇ log h."""
            out, pull = np.zeros((len(theta), 6, 6)), -weights * fall
            out[:, :3, :3] = _bend(weights, mixed_b, curved_b)
            out[:, 3:, 3:] = weighted_outer(pull, of_h, of_h) + _bend(pull, mixed_h, curved_h)
            return out

        return log_b - fall, slopes, bend


def _bend(weights: Array, mixed: Array, curved: Array) -> Array:
    """Return Σ_n w·∇²g (B, 3, 3) in u, v and e with weights (B, n)."""
    out = np.zeros((len(weights), 3, 3))
    out[:, 1, 2] = out[:, 2, 1] = (weights * mixed).sum(axis=1)
    out[:, 2, 2] = (weights * curved).sum(axis=1)
    return out


def _natural(theta: Array, centre: Array) -> Array:
    """Return (a1, b1, alpha, a2, b2, beta, a3, b3, gamma): a = v/e·exp(−e·centre) and b = u − v/e."""
    columns = []
    with np.errstate(divide="ignore", invalid="ignore"):  # at e = 0 there is no a and no b
        for u, v, e in (theta[:, places].T for places in (OF_H, OF_B, OF_E)):
            columns += [v / e * np.exp(-e * centre[SIZE]), u - v / e, e]
    return np.column_stack(columns)


def note_budgets(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep every run, and note where too few sizes have enough budgets to tell E, B and h of each."""
    several = table.group_by("n_params").agg(budgets=pl.col("tokens").n_unique()).filter(pl.col("budgets") >= FEWEST)
    if len(several) < FEWEST:
        notes.append(
            f"Not identified: {counted(len(several), 'size')} with {FEWEST} budgets or more, and {FEWEST} such sizes are needed: "
            "the law has an offset, a scale and an exponent of D for each size."
        )
    return table


@dataclass(frozen=True, kw_only=True)
class _FarseerLaw(Law):
    """A law whose parameters are coefficients, of either sign, and exponents of N."""

    @property
    def compared(self) -> tuple[str, ...]:
        """Return the exponents that are compared with published ones; coefficients have the units of a text."""
        return ("alpha", "beta", "gamma")

    def ranges(self) -> tuple[Array, Array]:
        """Return lower and upper ends (P,) of what the internal parameters may be."""
        upper = np.array([LEVELS, SLOPES, CURVATURES[1]] * 3)
        lower = np.array([-LEVELS, -SLOPES, CURVATURES[0]] * 3)
        lower[OF_H[0]], upper[OF_H[0]] = np.log((1e-3, 10.0))
        return lower, upper

    def starts(self, log_loss: Array, z: Array | None = None) -> Array:
        """Return the grid of starts (S, P): shares of E, exponents of D, slopes of log E and log h, and curvatures.

        At the mean log D, which ``z`` (n, V) has, the second term does not depend on N.
        """
        level, rows = float(np.mean(log_loss)), []
        log_d = 0.0 if z is None else float(z[:, TOKENS].mean())
        for share, h, slope, steeper, e in product(*self.grid):
            of_e = [level + np.log(share), slope, e]
            of_b = [level + np.log1p(-share) + h * log_d, h * steeper * log_d, e]
            rows.append([*of_e, *of_b, np.log(h), steeper, e])
        return np.array(rows)


LAWS = (
    _FarseerLaw(
        name="farseer",
        title="Loss against model size and tokens, which act together",
        formula="L = exp(a3·N^gamma + b3) + exp(a2·N^beta + b2)·D^-exp(a1·N^alpha + b1)",
        source="Li et al. 2025 (Farseer)",
        rule=f"{FINALS}; D is the tokens processed",
        selection=(decayed, single_epoch, note_budgets),
        variables=("n_params", "tokens"),
        parameters=tuple(Parameter(name, "", False) for name in ("a1", "b1", "alpha", "a2", "b2", "beta", "a3", "b3", "gamma")),
        internal=(
            *("log E", "slope of log E", "gamma", "log B", "slope of log B", "beta"),
            *("log h", "slope of log h", "alpha"),
        ),
        terms=(_Floor(OF_E[0], SIZE), _Data(OF_B[0], TOKENS)),
        distinct=FEWEST,
        held_out="n_params",
        published={name: published("farseer")[name] for name in ("alpha", "beta", "gamma")},
        to_natural=_natural,
        grid=((0.4, 0.7, 0.9), (0.2, 0.5), (-0.03, -0.15), (-0.1, 0.1), (-0.2, 0.2)),
        pinned={TOKENS: 0.0},
        holds={name: exponent(of[2], signed=True) for name, of in (("alpha", OF_H), ("beta", OF_B), ("gamma", OF_E))},
    ),
)
