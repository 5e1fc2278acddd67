"""Loss against model and dataset size with early stopping, L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (1.5), section 4.2 and Table 2.
"""

from __future__ import annotations

import numpy as np

from scalinglaws.laws.forms import Array, Law, Parameter, Term
from scalinglaws.laws.rules import early, note_max_tokens, turned


def _natural(theta: Array, centre: Array) -> Array:
    """Return (alpha_N, alpha_D, N_c, D_c) of log L = s·log[exp(c_0 − e log N) + exp(c_1 − log D)]: s = alpha_D, e = alpha_N/s."""
    c_n, ratio, c_d, log_scale = theta.T
    alpha_d = np.exp(log_scale)
    return np.column_stack([ratio * alpha_d, alpha_d, np.exp(centre[0] + c_n / ratio), np.exp(centre[1] + c_d)])


LAWS = (
    Law(
        name="kaplan-nd",
        title="Loss against model and dataset size",
        formula="L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
        source="Kaplan et al. 2020 (1.5)",
        rule="early-stopped runs, without those that max_tokens ended before their validation loss had turned; D is the dataset",
        selection=(early, turned, note_max_tokens),
        variables=("n_params", "dataset_tokens"),
        parameters=(
            Parameter("alpha_N", "", False),
            Parameter("alpha_D", "", False),
            Parameter("N_c", "parameters", True),
            Parameter("D_c", "tokens", True),
        ),
        internal=("N_c", "alpha_N/alpha_D", "D_c", "alpha_D"),
        terms=(Term(0, 0, 1), Term(2, 1)),
        distinct=2,
        held_out="n_params",
        published={"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},
        to_natural=_natural,
        grid=((0.3, 0.7, 1.0, 2.0), (0.1, 0.5, 0.9), (0.03, 0.1, 0.3, 1.0)),
        scaled=True,
    ),
)
