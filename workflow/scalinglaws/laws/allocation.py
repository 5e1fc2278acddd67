"""How compute divides between model and data.

N is in parameters, D and B in tokens, S in updates, C in FLOP and L in nats per token. Functions take numbers or arrays that
broadcast against each other, return float64 of the broadcast shape, and raise StudyError where an input is not positive; nan
passes through.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), (4): ``exponents`` and ``optimum``, which follow from L = E + A/N^alpha + B/D^beta.
Kaplan et al. 2020 (arXiv:2001.08361): everything else. The numbers in brackets are equations of that paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array


def exponents(alpha: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    """Return (a, b) of N_opt ∝ C^a and D_opt ∝ C^b, which are beta/(alpha + beta) and alpha/(alpha + beta)."""
    alpha, beta = np.asarray(alpha, np.float64), np.asarray(beta, np.float64)
    return beta / (alpha + beta), alpha / (alpha + beta)


def optimum(flops: ArrayLike, scale_n: float, scale_d: float, alpha: float, beta: float) -> tuple[Array, Array]:
    """Return (N_opt, D_opt), the allocation of least loss under L = E + A/N^alpha + B/D^beta at C = 6ND.

    N_opt = G (C/6)^a and D_opt = (C/6)^b / G, with G = (alpha A/(beta B))^(1/(alpha + beta)).

    Parameters
    ----------
    flops
        Compute C in FLOP, of any shape.
    scale_n, scale_d
        A and B in nats per token.
    alpha, beta
        The exponents of N and D.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), (4).
    """
    a, b = exponents(alpha, beta)
    ratio = (alpha * scale_n / (beta * scale_d)) ** (1 / (alpha + beta))
    sixth = np.asarray(flops, np.float64) / 6
    return ratio * sixth**a, sixth**b / ratio


def _positive(**values: ArrayLike) -> tuple[Array, ...]:
    """Return the values as float64 arrays, in order. Raises StudyError with the name and the first value that is not positive."""
    arrays = {name: np.asarray(value, np.float64) for name, value in values.items()}
    for name, array in arrays.items():
        if np.any(array <= 0):
            raise StudyError(f"{name} is {array[array <= 0].flat[0]:g}, but must be positive; correct it or leave that point out")
    return tuple(arrays.values())


@dataclass(frozen=True)
class LossNS:
    """The law L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S (1.6), with n_c in parameters and s_c in updates."""

    alpha_n: float
    alpha_s: float
    n_c: float
    s_c: float

    def __post_init__(self) -> None:
        _positive(alpha_n=self.alpha_n, alpha_s=self.alpha_s, n_c=self.n_c, s_c=self.s_c)

    def loss(self, n_params: ArrayLike, steps_min: ArrayLike) -> Array:
        """Return the loss (1.6) of N parameters after S_min updates at B >> B_crit; steps_min = inf gives the converged loss."""
        n, s = _positive(n_params=n_params, steps_min=steps_min)
        return (self.n_c / n) ** self.alpha_n + (self.s_c / s) ** self.alpha_s

    def efficient(self, loss: ArrayLike) -> tuple[Array, Array]:
        """Return (N_eff, S_min) that reach ``loss`` with the least compute.

        There L = (1 + alpha_N/alpha_S) (N_c/N)^alpha_N (B.5), as (N_c/N)^alpha_N alpha_N = (S_c/S_min)^alpha_S alpha_S (B.4).
        """
        (loss,) = _positive(loss=loss)
        ratio = self.alpha_n / self.alpha_s
        n_eff = self.n_c * (1 + ratio) ** (1 / self.alpha_n) * loss ** (-1 / self.alpha_n)
        return n_eff, self.s_c * ((1 + ratio) / ratio) ** (1 / self.alpha_s) * loss ** (-1 / self.alpha_s)

    def steps_to(self, n_params: ArrayLike, loss: ArrayLike) -> Array:
        """Return S_min = S_c/[L − (N_c/N)^alpha_N]^(1/alpha_S) at which N parameters reach ``loss`` (1.6), or inf."""
        n, loss = _positive(n_params=n_params, loss=loss)
        rest = loss - (self.n_c / n) ** self.alpha_n
        with np.errstate(divide="ignore"):
            return self.s_c * np.maximum(rest, 0.0) ** (-1 / self.alpha_s)


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch size B_crit(L) = B_*/L^(1/alpha_B) (1.4), b_star in tokens; both NaN where a fit did not resolve it."""

    b_star: float
    alpha_b: float

    def __post_init__(self) -> None:
        if self.resolved:
            _positive(b_star=self.b_star, alpha_b=self.alpha_b)

    @property
    def resolved(self) -> bool:
        """Tell whether the law is known."""
        return not (np.isnan(self.b_star) and np.isnan(self.alpha_b))

    def tokens(self, loss: ArrayLike) -> Array:
        """Return B_crit (1.4) in tokens at ``loss``."""
        (loss,) = _positive(loss=loss)
        return self.b_star / loss ** (1 / self.alpha_b)


def steps_min(steps: ArrayLike, batch_tokens: ArrayLike, critical: ArrayLike) -> Array:
    """Return S_min = S/(1 + B_crit/B) (5.4), the updates that reach the same loss at B >> B_crit; ``critical`` is B_crit."""
    s, b, b_crit = _positive(steps=steps, batch_tokens=batch_tokens, critical=critical)
    return s / (1 + b_crit / b)


def compute_min(flops: ArrayLike, batch_tokens: ArrayLike, critical: ArrayLike) -> Array:
    """Return C_min = C/(1 + B/B_crit) (5.5), the compute that reaches the same loss at B << B_crit; ``critical`` is B_crit."""
    c, b, b_crit = _positive(flops=flops, batch_tokens=batch_tokens, critical=critical)
    return c / (1 + b / b_crit)


def overfitting(
    n_params: ArrayLike, dataset_tokens: ArrayLike, alpha_n: ArrayLike, alpha_d: ArrayLike, n_c: ArrayLike, d_c: ArrayLike
) -> Array:
    """Return delta L = L(N, D)/L(N, ∞) − 1 = (1 + (N/N_c)^(alpha_N/alpha_D) D_c/D)^alpha_D − 1 (4.3), for L(N, D) of (1.5).

    Parameters
    ----------
    n_params, dataset_tokens
        Parameters N, and tokens D of the dataset.
    alpha_n, alpha_d, n_c, d_c
        The parameters of L(N, D), with n_c in parameters and d_c in tokens.
    """
    n, d, a_n, a_d, n_c, d_c = _positive(
        n_params=n_params, dataset_tokens=dataset_tokens, alpha_n=alpha_n, alpha_d=alpha_d, n_c=n_c, d_c=d_c
    )
    return np.expm1(a_d * np.log1p((n / n_c) ** (a_n / a_d) * d_c / d))


def tokens_needed(
    n_params: ArrayLike, excess: ArrayLike, alpha_n: ArrayLike, alpha_d: ArrayLike, n_c: ArrayLike, d_c: ArrayLike
) -> Array:
    """Return the dataset D in tokens at which delta L equals ``excess`` (0.02 in (4.4)), the inverse of ``overfitting``.

    D = D_c (N/N_c)^(alpha_N/alpha_D) / ((1 + excess)^(1/alpha_D) − 1), with the parameters of ``overfitting``.
    """
    n, excess, a_n, a_d, n_c, d_c = _positive(
        n_params=n_params, excess=excess, alpha_n=alpha_n, alpha_d=alpha_d, n_c=n_c, d_c=d_c
    )
    return d_c * (n / n_c) ** (a_n / a_d) / np.expm1(np.log1p(excess) / a_d)


def earliest_stop(loss_nd: ArrayLike, loss_n_infinite: ArrayLike, s_c: ArrayLike, alpha_s: ArrayLike) -> Array:
    """Return the least update at which early stopping can come, S_c/[L(N, D) − L(N, ∞)]^(1/alpha_S) (5.7).

    It is inf where the losses are equal, and nan where L(N, D) is below L(N, ∞), which no dataset can give under the law.
    """
    limited, converged, s_c, a_s = _positive(loss_nd=loss_nd, loss_n_infinite=loss_n_infinite, s_c=s_c, alpha_s=alpha_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        return s_c * (limited - converged) ** (-1 / a_s)


def frontier_exponent(alpha_n: ArrayLike, alpha_s: ArrayLike, alpha_b: ArrayLike) -> Array:
    """Return alpha_C^min = 1/(1/alpha_S + 1/alpha_B + 1/alpha_N) (6.4) of L ∝ C_min^(−alpha_C^min).

    N_opt then grows as C_min^(alpha_C^min/alpha_N) (6.5).
    """
    a_n, a_s, a_b = _positive(alpha_n=alpha_n, alpha_s=alpha_s, alpha_b=alpha_b)
    return 1 / (1 / a_s + 1 / a_b + 1 / a_n)


@dataclass(frozen=True)
class Frontier:
    """The best allocation at each C_min, in arrays of the shape of ``flops_min``.

    A run at B_crit takes 2 S_min updates and 2 C_min of compute, so ``tokens`` is 2 S_min B_crit.
    """

    c_c: float  # FLOP; loss = (c_c/C_min)^alpha_C^min
    n_opt: Array  # parameters
    steps_min: Array  # updates at B >> B_crit
    batch_tokens: Array  # B_crit at the loss reached
    tokens: Array  # D(C_min) = 2 C_min/(6 N) (6.6): processed by a run at B_crit, twice the least number E_min
    loss: Array  # nats per token


def frontier(law: LossNS, critical: CriticalBatch, flops_min: ArrayLike) -> Frontier:
    """Return the allocation that reaches the lowest loss at each C_min = 6 N B_crit(L) S_min, in closed form (B.8–B.10).

    B_crit moves with the loss, but at the optimum dL = 0, so it stays put there, and N and S_min are those of
    ``LossNS.efficient``. All three are powers of L, and their product 6 N B_crit S_min gives C_c.

    Parameters
    ----------
    law, critical
        The fitted or published L(N, S_min) and B_crit(L).
    flops_min
        C_min in FLOP, of any shape.
    """
    (c,) = _positive(flops_min=flops_min)
    n_scale, s_scale = law.efficient(1.0)
    c_c = 6 * n_scale * critical.b_star * s_scale
    loss = (c_c / c) ** frontier_exponent(law.alpha_n, law.alpha_s, critical.alpha_b)
    n_opt, steps_min = law.efficient(loss)
    return Frontier(
        c_c=float(c_c),
        n_opt=n_opt,
        steps_min=steps_min,
        batch_tokens=critical.tokens(loss),
        tokens=2 * c / (6 * n_opt),
        loss=loss,
    )


def excess_steps(ratio: ArrayLike, alpha_n: ArrayLike, alpha_s: ArrayLike) -> Array:
    """Return S(N)/S(N_eff) = [1 + (alpha_S/alpha_N)(1 − (N_eff/N)^alpha_N)]^(−1/alpha_S) to the same loss (B.17).

    ``ratio`` is N/N_eff. The value is inf where a model so small cannot reach the loss: (N_eff/N)^alpha_N >= 1 + alpha_N/alpha_S.
    """
    x, a_n, a_s = _positive(ratio=ratio, alpha_n=alpha_n, alpha_s=alpha_s)
    bracket = 1 - a_s / a_n * np.expm1(-a_n * np.log(x))
    with np.errstate(divide="ignore"):
        return np.maximum(bracket, 0.0) ** (-1 / a_s)


def excess_compute(ratio: ArrayLike, alpha_n: ArrayLike, alpha_s: ArrayLike) -> Array:
    """Return C(N)/C(N_eff) to the same loss (B.16), ``ratio`` = N/N_eff times ``excess_steps``, which is inf where that is."""
    return np.asarray(ratio, np.float64) * excess_steps(ratio, alpha_n, alpha_s)


def crossing(
    power_cmin: tuple[ArrayLike, ArrayLike], power_d: tuple[ArrayLike, ArrayLike], tokens_of_compute: tuple[ArrayLike, ArrayLike]
) -> tuple[Array, Array, Array]:
    """Return (C* in FLOP, L* in nats, D* in tokens) where L(D(C_min)) meets L(C_min) (6.6–6.8).

    The values are nan where the lines are parallel, alpha_C = p alpha_D. The laws contradict each other beyond C* where
    alpha_C > p alpha_D, as in the paper, and below it otherwise.

    Parameters
    ----------
    power_cmin
        (C_c in FLOP, alpha_C) of L = (C_c/C)^alpha_C.
    power_d
        (D_c in tokens, alpha_D) of L = (D_c/D)^alpha_D.
    tokens_of_compute
        (k, p) of D = k C^p, with C in FLOP.
    """
    c_c, a_c = _positive(compute_scale=power_cmin[0], compute_exponent=power_cmin[1])
    d_c, a_d = _positive(data_scale=power_d[0], data_exponent=power_d[1])
    k, p = _positive(tokens_coefficient=tokens_of_compute[0], tokens_exponent=tokens_of_compute[1])
    slope = np.where(a_c == p * a_d, np.nan, a_c - p * a_d)
    log_c = (a_c * np.log(c_c) - a_d * np.log(d_c / k)) / slope
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(log_c), np.exp(a_c * (np.log(c_c) - log_c)), k * np.exp(p * log_c)
