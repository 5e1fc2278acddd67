"""Loss against compute and tokens per parameter M = D/N, L = E + (a·M^eta + b·M^−eta)·C^−eta.

With C = 6ND this is the law ``chinchilla`` with alpha = beta = 2·eta, A = a/6^eta and B = b/6^eta.

References
----------
Gadre et al. 2024 (arXiv:2403.08540), (4). Its constants are those of its own text and vocabulary, so none is listed here.
"""

from __future__ import annotations

import numpy as np

from scalinglaws.laws.forms import Array, Law, Parameter, Term
from scalinglaws.laws.held import exponent, scale
from scalinglaws.laws.rules import FINALS, decayed, single_epoch

ORIGIN = -np.log(6) / 2  # the centre of log X at which c is the log of a or b, since C = 6ND


def _natural(theta: Array, centre: Array) -> Array:
    """Return (E, a, b, eta) from the solver's (E, A, 2·eta, B)."""
    c_e, c_a, alpha, c_b = theta.T
    scales = [np.exp(c + alpha * (middle - ORIGIN)) for c, middle in ((c_a, centre[0]), (c_b, centre[1]))]
    return np.column_stack([np.exp(c_e), *scales, alpha / 2])


LAWS = (
    Law(
        name="overtraining",
        title="Loss against compute and tokens per parameter",
        formula="L = E + (a·M^eta + b·M^-eta)·C^-eta, M = D/N",
        source="Gadre et al. 2024 (4)",
        rule=f"{FINALS}; D is the tokens processed",
        selection=(decayed, single_epoch),
        variables=("n_params", "tokens"),
        parameters=(
            *(Parameter(name, "nats per token", True) for name in ("E", "a", "b")),
            Parameter("eta", "", False),
        ),
        internal=("E", "a", "eta", "b"),
        terms=(Term(0), Term(1, 0, 2), Term(3, 1, 2)),
        distinct=3,
        held_out="tokens",
        published={},
        to_natural=_natural,
        holds={"E": scale(0), "a": scale(1, 0, ORIGIN), "b": scale(3, 1, ORIGIN), "eta": exponent(2, times=2)},
        grid=((0.1, 0.3, 0.8, 2.0), (0.3, 0.6, 0.9), (0.2, 0.5, 0.8)),
    ),
)
