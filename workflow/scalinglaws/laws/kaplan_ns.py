"""Learning curves of all sizes, L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S, with S_min the steps at large batches.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (1.6), section 5.2 and Table 3; (5.4) for S_min.
"""

from __future__ import annotations

import numpy as np

from scalinglaws.laws.forms import Array, Law, Parameter, Term
from scalinglaws.laws.held import crossing, exponent


def _natural(theta: Array, centre: Array) -> Array:
    """Return (alpha_N, alpha_S, N_c, S_c) of L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S."""
    c_x, alpha_x, c_y, alpha_y = theta.T
    return np.column_stack([alpha_x, alpha_y, np.exp(centre[0] + c_x / alpha_x), np.exp(centre[1] + c_y / alpha_y)])


LAWS = (
    Law(
        name="kaplan-ns",
        title="Loss against model size and steps",
        formula="L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S",
        source="Kaplan et al. 2020 (1.6)",
        rule="learning curves after warm-up and before the decay, all the data; S_min = S/(1 + B_crit/B)",
        variables=("n_params", "steps_min"),
        parameters=(
            Parameter("alpha_N", "", False),
            Parameter("alpha_S", "", False),
            Parameter("N_c", "parameters", True),
            Parameter("S_c", "steps", True),
        ),
        internal=("N_c", "alpha_N", "S_c", "alpha_S"),
        terms=(Term(0, 0, 1), Term(2, 1, 3)),
        distinct=2,
        held_out="n_params",
        published={"alpha_N": 0.077, "alpha_S": 0.76, "N_c": 6.5e13, "S_c": 2.1e3},
        to_natural=_natural,
        holds={"alpha_N": exponent(1), "alpha_S": exponent(3), "N_c": crossing(0, 0), "S_c": crossing(2, 1)},
        grid=((0.02, 0.1, 0.5), (0.2, 0.7, 2.0), (0.5, 0.9)),
    ),
)
