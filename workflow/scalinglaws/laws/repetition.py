"""Loss with repeated tokens and excess parameters, L = E + A/N'^alpha + B/D'^beta.

Of D tokens only U_D are unique, and of N parameters only U_N, the best model size for U_D tokens by the law itself, pay in full.
What exceeds them is worth less and less: X' = U + U·R*·(1 − exp(−R/R*)), with R = X/U − 1, stands for X = D and for X = N. The
paper fits E, A, B and one exponent to runs of one epoch first, and then R*; here all are fitted together.

References
----------
Muennighoff et al. 2023 (arXiv:2305.16264), (5), (6) and appendix A, with the published values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scalinglaws.laws import chinchilla
from scalinglaws.laws.forms import Array, Expansion, Law, Parameter, Term, weighted_outer
from scalinglaws.laws.held import exponent, scale
from scalinglaws.laws.refits import published
from scalinglaws.laws.rules import decayed

SIZE, TOKENS, DATASET = range(3)  # places among the variables
C_A, ALPHA, LOG_RN, C_B, BETA, LOG_RD = range(1, 7)  # places among the internal parameters
LARGEST_RATIO = 60.0  # log X/U is cut here: nothing more is gained long before


class _Saturated(NamedTuple):
    """log X' (B, n) and its first and second derivatives in u = log U and r = log R*."""

    x: Array
    u: Array
    r: Array
    uu: Array
    ur: Array
    rr: Array


def _saturated(x: Array, u: Array, log_reuse: Array) -> _Saturated:
    """Return log X' = u + log(1 + g) with g = R*·(1 − exp(−q)) and q = (X/U − 1)/R*, and its derivatives.

    x = log X and u = log U <= x are (B or 1, n), log_reuse = log R* is (B, 1).
    """
    ratio, reuse = np.exp(np.minimum(x - u, LARGEST_RATIO)), np.exp(log_reuse)
    q = (ratio - 1) / reuse
    gone = np.exp(-q)
    whole = 1 - reuse * np.expm1(-q)
    r = reuse * (1 - gone * (1 + q))
    rr, r, g_u = (r - reuse * q * q * gone) / whole, r / whole, -ratio * gone / whole
    uu = -g_u * (1 - ratio / reuse) - g_u * g_u
    return _Saturated(u + np.log(whole), 1 + g_u, r, uu, g_u * q - g_u * r, rr - r * r)


class _Repeated(Term):
    """The term B/D'^beta, with the parameters log B, beta and log R_D*."""

    bent = True

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return [C_B, BETA, LOG_RD]

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and z (n, V)."""
        x = z[None, :, TOKENS]
        at = _saturated(x, np.minimum(x, z[None, :, DATASET]), theta[:, LOG_RD, None])
        beta = theta[:, BETA, None]

        def bend(weights: Array) -> Array:
            """Return the sum of −β·∇²log D' less what ∂β·∇log D' adds; it vanishes but for beta and log R_D*."""
            out = np.zeros((len(theta), 3, 3))
            out[:, 1, 2] = out[:, 2, 1] = -(weights * at.r).sum(axis=1)
            out[:, 2, 2] = -beta[:, 0] * (weights * at.rr).sum(axis=1)
            return out

        return theta[:, C_B, None] - beta * at.x, np.stack([np.ones_like(at.x), -at.x, -beta * at.r], axis=2), bend


class _Excess(Term):
    """The term A/N'^alpha, with the parameters log A, alpha and log R_N*, and log B and beta, on which the best size U_N depends.

    Where αA/N^α = βB/D^β no other N and D of the same product have a lower loss, so
    log U_N = (β log U_D + log α − log β + c_A − c_B)/α, and at most log N.
    """

    bent = True

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return [C_A, ALPHA, LOG_RN, C_B, BETA]

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and z (n, V)."""
        c_a, alpha, log_rn, c_b, beta = (theta[:, place, None] for place in self.parameters)
        x, unique = z[None, :, SIZE], np.minimum(z[None, :, TOKENS], z[None, :, DATASET])
        best = (beta * unique + np.log(alpha) - np.log(beta) + c_a - c_b) / alpha
        inside = best < x
        at = _saturated(x, np.where(inside, best, x), log_rn)
        by_alpha, by_beta = (1 / alpha - best) / alpha, (unique - 1 / beta) / alpha
        u = np.zeros((*best.shape, 5))  # slopes of log U_N
        u[:, :, 0], u[:, :, 1], u[:, :, 3], u[:, :, 4] = 1 / alpha, by_alpha, -1 / alpha, by_beta
        u *= inside[:, :, None]
        slope = at.u[:, :, None] * u  # slopes of log N'
        slope[:, :, 2] += at.r
        features = -alpha[:, :, None] * slope
        features[:, :, 0] += 1
        features[:, :, 1] -= at.x

        def bend(weights: Array) -> Array:
            """Return the sum of −α·∇²log N', less what ∂α·∇log N' adds."""
            first, second = alpha[:, 0], np.zeros((len(theta), 5, 5))
            pull = weights * at.u * inside
            total, of_alpha, of_beta = pull.sum(axis=1), (pull * by_alpha).sum(axis=1), (pull * by_beta).sum(axis=1)
            second[:, 0, 1], second[:, 1, 3] = -total / first**2, total / first**2
            second[:, 1, 1] = 0.5 * (-total / first**3 - 2 * of_alpha / first)  # halves: the mirror is added below
            second[:, 1, 4] = -of_beta / first
            second[:, 4, 4] = 0.5 * total / (beta[:, 0] ** 2 * first)
            second[:, 2] += ((weights * at.ur)[:, :, None] * u).sum(axis=1)
            second[:, 2, 2] += 0.5 * (weights * at.rr).sum(axis=1)
            out = -first[:, None, None] * (second + second.swapaxes(1, 2) + weighted_outer(weights * at.uu, u, u))
            mixed = np.zeros_like(out)
            mixed[:, 1] = (weights[:, :, None] * slope).sum(axis=1)
            return np.asarray(out - mixed - mixed.swapaxes(1, 2), np.float64)

        return c_a - alpha * at.x, features, bend


@dataclass(frozen=True, kw_only=True)
class _RepetitionLaw(Law):
    """A law whose tokens and dataset tokens are centred together."""

    def centre(self, log_variables: Array) -> Array:
        """Return the means (V,), but that of the tokens for the dataset tokens too, so that the two keep their ratio."""
        out = super().centre(log_variables)
        out[DATASET] = out[TOKENS]
        return out


def _natural(theta: Array, centre: Array) -> Array:
    """Return (E, A, B, alpha, beta, R_D*, R_N*) from the solver's parameters."""
    base = chinchilla.natural(theta[:, [0, C_A, ALPHA, C_B, BETA]], centre)
    return np.column_stack([base, np.exp(theta[:, [LOG_RD, LOG_RN]])])


def loss(natural: Sequence[float], n_params: ArrayLike, tokens: ArrayLike, dataset_tokens: ArrayLike) -> Array:
    """Return the loss in nats per token.

    Parameters
    ----------
    natural
        E, A, B, alpha, beta, R_D* and R_N*, in the order of ``REPETITION.parameters``.
    n_params, tokens, dataset_tokens
        Parameters N, tokens processed D and unique tokens, which broadcast against each other.

    References
    ----------
    Muennighoff et al. 2023 (arXiv:2305.16264), (5) and (6).
    """
    e, a, b, alpha, beta, reuse_d, reuse_n = natural
    theta = np.array([[np.log(e), np.log(a), alpha, np.log(reuse_n), np.log(b), beta, np.log(reuse_d)]])
    columns = np.broadcast_arrays(n_params, tokens, dataset_tokens)
    z = np.log(np.column_stack([np.ravel(column) for column in columns]).astype(np.float64))
    return np.asarray(np.exp(REPETITION.log_prediction(theta, z)[0]).reshape(columns[0].shape), np.float64)


REPETITION = _RepetitionLaw(
    name="repetition",
    title="Loss with repeated tokens and excess parameters",
    formula="L = E + A/N'^alpha + B/D'^beta, X' = U_X·(1 + R_X*(1 - exp(-(X/U_X - 1)/R_X*)))",
    source="Muennighoff et al. 2023 (5, 6)",
    rule="decayed budgets, one epoch or more; D is the tokens processed, U_D those of the dataset",
    selection=(decayed,),
    variables=("n_params", "tokens", "dataset_tokens"),
    parameters=(
        *(Parameter(name, "nats per token", True) for name in ("E", "A", "B")),
        *(Parameter(name, "", False) for name in ("alpha", "beta")),
        Parameter("R_D*", "epochs", True),
        Parameter("R_N*", "", True),
    ),
    internal=("E", "A", "alpha", "R_N*", "B", "beta", "R_D*"),
    terms=(Term(0), _Excess(C_A, SIZE, ALPHA), _Repeated(C_B, TOKENS, BETA)),
    reuses=(LOG_RN, LOG_RD),
    distinct=3,
    held_out="tokens",
    published=published("repetition"),
    to_natural=_natural,
    holds={
        "E": scale(0),
        "A": scale(C_A, SIZE),
        "B": scale(C_B, TOKENS),
        "alpha": exponent(ALPHA),
        "beta": exponent(BETA),
        "R_D*": scale(LOG_RD),
        "R_N*": scale(LOG_RN),
    },
    grid=((0.1, 0.4, 1.0), (0.1, 0.4, 1.0), (0.3, 0.6, 0.9), (0.2, 0.8), (6.0,), (3.0, 30.0)),
)
LAWS = (REPETITION,)
