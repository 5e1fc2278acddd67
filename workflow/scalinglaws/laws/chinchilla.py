"""Loss against model size and tokens processed, L = E + A/N^alpha + B/D^beta, and the allocation that follows from it.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), approach 3, (2) and (4), with the published values.
Besiroglu et al. 2024 (arXiv:2404.10102) fit the same runs again, with the sum of Huber terms, and give intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scalinglaws.laws.allocation import exponents
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array, Law, Parameter, Term
from scalinglaws.laws.held import exponent, scale
from scalinglaws.laws.refits import published
from scalinglaws.laws.rules import FINALS, decayed, single_epoch
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import Resamples, interval


def natural(theta: Array, centre: Array) -> Array:
    """Return (E, A, B, alpha, beta) of L = E + A/N^alpha + B/D^beta from (E, A, alpha, B, beta) as the solver has them."""
    c_e, c_a, alpha, c_b, beta = theta.T
    return np.column_stack([np.exp(c_e), np.exp(c_a + alpha * centre[0]), np.exp(c_b + beta * centre[1]), alpha, beta])


def allocation_exponents(
    points: Points, fit: Fit, resamples: Resamples | None, n_bootstrap: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Return a and b of N_opt ∝ C^a and D_opt ∝ C^b with their intervals.

    Parameters
    ----------
    fit, resamples
        The fit of the law, and its resamples or None.
    points, n_bootstrap, seed
        Not used: the exponents follow from the fit and its resamples.

    Returns
    -------
    tuple
        The exponents by name, as ``uncertainty.interval`` returns them, and an empty list, since there is no further doubt.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), (4).
    """
    best = exponents(*fit.natural[-2:])
    drawn = exponents(*resamples.natural[:, -2:].T) if resamples else (np.empty(0), np.empty(0))
    n_trunks = resamples.n_trunks if resamples else 0
    found = {name: interval(float(best[k]), drawn[k], False, n_trunks) | {"unit": ""} for k, name in enumerate(("a", "b"))}
    return found, []


LAWS = (
    Law(
        name="chinchilla",
        title="Loss against model size and tokens",
        formula="L = E + A/N^alpha + B/D^beta",
        source="Hoffmann et al. 2022, approach 3",
        rule=f"{FINALS}; D is the tokens processed",
        selection=(decayed, single_epoch),
        variables=("n_params", "tokens"),
        parameters=(
            *(Parameter(name, "nats per token", True) for name in ("E", "A", "B")),
            *(Parameter(name, "", False) for name in ("alpha", "beta")),
        ),
        internal=("E", "A", "alpha", "B", "beta"),
        terms=(Term(0), Term(1, 0, 2), Term(3, 1, 4)),
        distinct=3,
        held_out="n_params",
        published=published("chinchilla"),
        to_natural=natural,
        grid=((0.1, 0.3, 0.8, 2.0), (0.1, 0.3, 0.8, 2.0), (0.3, 0.6, 0.9), (0.2, 0.8)),
        holds={"E": scale(0), "A": scale(1, 0), "B": scale(3, 1), "alpha": exponent(2), "beta": exponent(4)},
        derived=("a", "b"),
        derive=allocation_exponents,
    ),
)
