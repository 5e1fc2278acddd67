"""The forecasts that the slider of the page ``explore.html`` moves through: what the laws say at each compute of a grid.

They are those of ``decide/forecast.py``, made in advance, so that the page holds no law of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalinglaws.cluster.cost import H100
from scalinglaws.common.numbers import between, listed, number
from scalinglaws.decide.answer import Answer
from scalinglaws.decide.forecast import Basis, answer
from scalinglaws.laws.tradeoffs import SURFACES
from scalinglaws.report.one_fit import LOSS_DIGITS

A_DECADE = 5  # steps of the slider for a factor of ten in compute
BEYOND = 100.0  # times the compute of the largest fitted run, up to which the slider goes
INSIDE, CHECKED, UNCHECKED = "inside", "checked", "unchecked"
STATES = {
    INSIDE: "Within the fitted runs.",
    CHECKED: "Beyond the fitted runs, as far as their own table could check forecasts.",
    UNCHECKED: "Beyond what the fitted runs could check: the interval rests on how laws erred elsewhere.",
}


@dataclass(frozen=True)
class Step:
    """The forecast for the best run of a compute in FLOP: its N, its D and its loss in nats per token with 95 % intervals.

    Ends of intervals are NaN where there are none. ``rows`` has the loss by each law: its name, the loss, the interval, how far
    the law is asked beyond its data, and how far windows of the table could check.
    """

    flops: float
    n_params: float
    n_low: float
    n_high: float
    tokens: float
    loss: float
    low: float
    high: float
    factors: dict[str, float]  # compute, size and tokens over the largest among the fitted runs
    state: str
    rows: list[list[str]]

    def words(self) -> dict[str, Any]:
        """Return what the page writes when the slider stands here."""
        sure = f", 95 % interval {between(self.low, self.high, LOSS_DIGITS)}" if np.isfinite(self.low) else ""
        size = f" ({between(self.n_low, self.n_high)})" if np.isfinite(self.n_low) else ""
        factors = [f"{number(value)} times the {name}" for name, value in self.factors.items()]
        return {
            "flops": f"{number(self.flops)} FLOP",
            "n_params": f"{number(self.n_params)} parameters{size}",
            "tokens": f"{number(self.tokens)} tokens, {number(self.tokens / self.n_params)} for each parameter",
            "loss": f"{number(self.loss, LOSS_DIGITS)} nats per token{sure}",
            "beyond": f"{STATES[self.state]} Of the largest among the fitted runs it has {listed(factors)}.",
            "state": self.state,
            "rows": self.rows,
        }


def computes(basis: Basis) -> list[float]:
    """Return the grid of computes in FLOP, with three digits each: from the smallest fitted run to BEYOND times the largest."""
    fit = basis.laws[next(law for law in SURFACES if law in basis.laws)].fit
    size = (fit.z + fit.centre).sum(axis=1) + np.log(6)
    first = np.ceil(A_DECADE * size.min() / np.log(10))
    last = np.floor(A_DECADE * (size.max() + np.log(BEYOND)) / np.log(10))
    return [float(f"{10 ** (k / A_DECADE):.3g}") for k in np.arange(first, last + 1)]


def steps(basis: Basis) -> list[Step]:
    """Return what ``forecast.answer`` says at each compute of the grid."""
    return [_step(answer(basis, {"flops": flops}, H100, "bfloat16", None, None)) for flops in computes(basis)]


def _step(found: Answer) -> Step:
    known = {"compute": found.beyond.compute, "size": found.beyond.n_params, "tokens": found.beyond.tokens}
    factors = {name: value for name, value in known.items() if value is not None}
    inside = all(factor <= 1 + 1e-6 for factor in factors.values())
    rows = [
        [
            of.method, number(of.loss, LOSS_DIGITS), between(of.low, of.high, LOSS_DIGITS),
            "" if of.factor is None else number(of.factor), _checked(of.reach),
        ]
        for of in found.losses
    ]  # fmt: skip
    size, together = found.sizes[-1], found.losses[-1]
    n_low, n_high, low, high = (np.nan if end is None else end for end in (size.n_low, size.n_high, together.low, together.high))
    state = UNCHECKED if found.doubts else INSIDE if inside else CHECKED
    size_of = (found.flops, found.n_params, n_low, n_high, found.tokens)
    return Step(*size_of, together.loss, low, high, factors, state, rows)


def _checked(reach: float | None) -> str:
    return "" if reach is None else number(reach) if reach > 1 else "no check"
