"""How compute divides between N and D: L = E + A/N^alpha + B/D^beta at C = 6 N D (Hoffmann et al. 2022, equation 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scalinglaws.laws.forms import Array


def exponents(alpha: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    """(a, b) of N_opt ∝ C^a and D_opt ∝ C^b: beta/(alpha + beta) and alpha/(alpha + beta)."""
    alpha, beta = np.asarray(alpha, np.float64), np.asarray(beta, np.float64)
    return beta / (alpha + beta), alpha / (alpha + beta)


def optimum(flops: ArrayLike, scale_n: float, scale_d: float, alpha: float, beta: float) -> tuple[Array, Array]:
    """(N_opt, D_opt) in parameters and tokens at compute ``flops`` (FLOP), any shape; scale_n = A, scale_d = B.

    N_opt = G (C/6)^a, D_opt = (C/6)^b / G, G = (alpha A / (beta B))^(1/(alpha + beta)).
    """
    a, b = exponents(alpha, beta)
    ratio = (alpha * scale_n / (beta * scale_d)) ** (1 / (alpha + beta))
    sixth = np.asarray(flops, np.float64) / 6
    return ratio * sixth**a, sixth**b / ratio
