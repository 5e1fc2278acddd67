"""The equation of the law ``mixture`` on one text: L = c + k·exp(Σ_j t_j·r_j), with the shares r of the corpora in training.

As the shares sum to one, only differences of the t_j are told by any data: t of a reference corpus is 0, and k is what the loss
of a model trained on that corpus alone has above c. The solver works on log c and on τ_j = log k + t_j, of which each is the log
of what a model trained on corpus j alone has above c.

Shapes: M corpora, n runs, B resamples, P = M + 1 parameters.

References
----------
Ye et al. 2024, Data Mixing Laws (arXiv:2403.16952), who give every t_j and k: one of them too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.forms import Array, Expansion, Law, Parameter, Term

FLOORS = (0.05, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.995)  # start values of c, as shares of the least loss
SQUARED = Objective("squared")


@dataclass(frozen=True)
class _Shares(Term):
    """The term exp(Σ_j τ_j·r_j), whose "log variables" are the shares themselves."""

    count: int = 0

    @property
    def falls_with(self) -> tuple[int, ...]:
        """Return the places of the variables that it depends on."""
        return tuple(range(self.count))

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return list(range(self.scale, self.scale + self.count))

    def features(self, z: Array) -> tuple[Array, Array | None]:
        """Return the shares (n, M), which are its features, and no offset."""
        return z, None

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and shares z (n, M)."""
        return theta[:, self.parameters] @ z.T, z[None], None


@dataclass(frozen=True, kw_only=True)
class _MixingLaw(Law):
    """A law whose starts follow from a value of c: the others then by least squares."""

    def starts(self, log_loss: Array, z: Array | None = None) -> Array:
        """Return starts (S, P) for log losses (n,) at shares z (n, M), one for each of FLOORS."""
        assert z is not None
        loss, rows = np.exp(log_loss), []
        for share in FLOORS:
            floor = share * loss.min()
            rows.append([np.log(floor), *(np.linalg.pinv(z) @ np.log(loss - floor))])
        return np.array(rows)


def law_of(corpora: Sequence[str], reference: int) -> Law:
    """Return the equation for shares of these corpora, with t = 0 of the one at the place ``reference``."""
    others = [k for k in range(len(corpora)) if k != reference]

    def natural(theta: Array, centre: Array) -> Array:
        """Return c, k and t of the other corpora from the internal parameters."""
        tau = theta[:, 1:]
        return np.column_stack([np.exp(theta[:, 0]), np.exp(tau[:, reference]), tau[:, others] - tau[:, [reference]]])

    return _MixingLaw(
        name="mixture",
        title="Loss on a text against the mixture trained on",
        formula="L = c + k·exp(Σ_j t_j·r_j)",
        source="Ye et al. 2024",
        rule="runs of one size and budget on several mixtures",
        variables=tuple(corpora),
        parameters=(
            Parameter("c", "nats per token", True),
            Parameter("k", "nats per token", True),
            *(Parameter(f"t[{corpora[k]}]", "", False) for k in others),
        ),
        internal=("c", *(f"tau[{corpus}]" for corpus in corpora)),
        terms=(Term(0), _Shares(1, count=len(corpora))),
        distinct=3 if len(corpora) == 2 else 2,
        held_out="",
        published={},
        to_natural=natural,
        grid=(),
        pinned=dict.fromkeys(range(len(corpora)), 0.0),
    )


def fit(law: Law, shares: Array, loss: Array, start: Array | None = None) -> Fit:
    """Fit the equation to losses (n,) at shares (n, M), by least squares of log losses.

    ``start`` are internal parameters (P,) near the answer, where such are known.
    """
    return best_fit(law, shares, np.log(loss), SQUARED, starts=None if start is None else start[None])


def predict(theta: Array, shares: Array) -> Array:
    """Return losses (B, n) at internal parameters theta (B, P) and shares (n, M)."""
    return np.asarray(np.exp(theta[:, :1]) + np.exp(theta[:, 1:] @ shares.T), np.float64)
