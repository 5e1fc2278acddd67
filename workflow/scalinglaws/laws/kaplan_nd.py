"""Loss against model and dataset size with early stopping, L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D, also above an offset.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (1.5), section 4.2 and Table 2; without an offset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from scalinglaws.laws.forms import EXPONENT_RANGE, Array, Expansion, Hold, Law, Parameter, Term, weighted_outer
from scalinglaws.laws.held import crossing, scale
from scalinglaws.laws.rules import early, note_max_tokens, turned

SIZE, DATASET = range(2)  # places among the variables
C_E, C_N, RATIO, C_D, LOG_SCALE = range(5)  # places among the internal parameters above an offset
WIDEST = 1e4  # of c_N and c_D, which alpha_D multiplies


def _natural(theta: Array, centre: Array) -> Array:
    """Return (alpha_N, alpha_D, N_c, D_c) of log L = s·log[exp(c_0 − e log N) + exp(c_1 − log D)]: s = alpha_D, e = alpha_N/s."""
    c_n, ratio, c_d, log_scale = theta.T
    alpha_d = np.exp(log_scale)
    return np.column_stack([ratio * alpha_d, alpha_d, np.exp(centre[SIZE] + c_n / ratio), np.exp(centre[DATASET] + c_d)])


def _natural_offset(theta: Array, centre: Array) -> Array:
    """Return (E, alpha_N, alpha_D, N_c, D_c)."""
    return np.column_stack([np.exp(theta[:, C_E]), _natural(theta[:, C_N:], centre)])


class _Joint(Term):
    """The term [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D, with the parameters c_N, alpha_N/alpha_D, c_D and log alpha_D."""

    bent = True

    @property
    def falls_with(self) -> tuple[int, ...]:
        """Return the places of the variables that it depends on."""
        return (SIZE, DATASET)

    @property
    def parameters(self) -> list[int]:
        """Return the places of its internal parameters, in the order of its features."""
        return [C_N, RATIO, C_D, LOG_SCALE]

    def expand(self, theta: Array, z: Array) -> Expansion:
        """Return the term's exponent and its derivatives (see ``forms.Expansion``) at theta (B, P) and z (n, V)."""
        c_n, ratio, c_d, log_scale = (theta[:, place, None] for place in self.parameters)
        x, s = z[None, :, SIZE], np.exp(log_scale)
        of_size, of_data = c_n - ratio * x, c_d - z[None, :, DATASET]
        joint = np.logaddexp(of_size, of_data)
        share = np.exp(of_size - joint)
        slopes = np.stack([s * share, -s * share * x, s * (1 - share), s * joint], axis=2)

        def bend(weights: Array) -> Array:
            """Return the sum of ∇²t: s·p(1 − p)·wwᵀ with w = (1, −x, −1) of the two powers, and ∇t in the row of log alpha_D."""
            out = np.zeros((len(theta), 4, 4))
            apart = np.stack(np.broadcast_arrays(np.ones_like(x), -x, -np.ones_like(x)), axis=2)
            out[:, :3, :3] = weighted_outer(weights * s * share * (1 - share), apart, apart)
            out[:, 3] = out[:, :, 3] = (weights[:, :, None] * slopes).sum(axis=1)
            return out

        return s * joint, slopes, bend


@dataclass(frozen=True, kw_only=True)
class _OffsetLaw(Law):
    """The law above an offset, of which one term has the place of two powers and of their scale."""

    def ranges(self) -> tuple[Array, Array]:
        """Return lower and upper ends (P,) of what the internal parameters may be."""
        lower, upper = super().ranges()
        lower[[C_N, C_D]], upper[[C_N, C_D]] = -WIDEST, WIDEST
        lower[LOG_SCALE], upper[LOG_SCALE] = np.log(EXPONENT_RANGE)
        return lower, upper

    def starts(self, log_loss: Array, z: Array | None = None) -> Array:
        """Return the grid of starts (S, P): ratios of the exponents, shares of E, shares of N_c in the rest, and alpha_D."""
        level, rows = float(np.mean(log_loss)), []
        for ratio, offset, share, alpha_d in product(*self.grid):
            joint = (level + np.log1p(-offset)) / alpha_d
            rows.append([level + np.log(offset), joint + np.log(share), ratio, joint + np.log1p(-share), np.log(alpha_d)])
        return np.array(rows)


KAPLAN_ND = Law(
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
    terms=(Term(0, SIZE, 1), Term(2, DATASET)),
    distinct=2,
    held_out="n_params",
    published={"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},
    to_natural=_natural,
    grid=((0.3, 0.7, 1.0, 2.0), (0.1, 0.5, 0.9), (0.03, 0.1, 0.3, 1.0)),
    scaled=True,
    holds={
        "alpha_N": Hold(1, lambda value, fixed: value / fixed["alpha_D"], needs=("alpha_D",)),
        "alpha_D": scale(3),
        "N_c": crossing(0, SIZE),
        "D_c": scale(2, DATASET),
    },
)
LAWS = (
    KAPLAN_ND,
    _OffsetLaw(
        name="kaplan-nd-offset",
        title="Loss against model and dataset size, above an offset",
        formula="L = E + [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
        source="Kaplan et al. 2020 (1.5), with an offset as Henighan et al. 2020",
        rule=KAPLAN_ND.rule,
        selection=KAPLAN_ND.selection,
        variables=KAPLAN_ND.variables,
        parameters=(Parameter("E", "nats per token", True), *KAPLAN_ND.parameters),
        internal=("E", *KAPLAN_ND.internal),
        terms=(Term(C_E), _Joint(C_N, SIZE, RATIO)),
        distinct=3,
        held_out="n_params",
        published={},
        to_natural=_natural_offset,
        grid=((0.3, 0.7, 1.0, 2.0), (0.1, 0.5, 0.8), (0.1, 0.5, 0.9), (0.1, 0.3, 1.0)),
        holds={
            **{name: replace(at, place=at.place + 1) for name, at in KAPLAN_ND.holds.items()},
            "E": scale(C_E),
        },
    ),
)
