"""The forecasts that the slider of the page ``explore.html`` moves through: what the laws say at each compute of a grid.

They are those of ``decide/forecast.py``, made in advance, so that the page holds no law of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalinglaws.common.numbers import between, listed, number
from scalinglaws.decide.forecast import TOGETHER, Basis, best_sizes, joined
from scalinglaws.laws.tradeoffs import SURFACES
from scalinglaws.report.one_fit import LOSS_DIGITS

A_DECADE = 8  # steps of the slider for a factor of ten in compute
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
    """Return the forecast at each compute of the grid, the same as ``forecast.answer`` gives for that compute."""
    flops = computes(basis)
    sizes = [best_sizes(basis, compute)[-1] for compute in flops]
    n_params, tokens = np.array([size.n_params for size in sizes]), np.array([size.tokens for size in sizes])
    found = basis.losses(n_params, tokens)
    loss, low, high = joined(found)
    largest = {name: basis.largest(of) for name, of in (("compute", "flops"), ("size", "n_params"), ("tokens", "tokens"))}
    out = []
    for k, size in enumerate(sizes):
        values = {"compute": flops[k], "size": size.n_params, "tokens": size.tokens}
        factors = {name: value / most for name, value in values.items() if (most := largest[name])}
        asked = {law: of for law, of in found.items() if np.isfinite(of["loss"][k])}
        rows = [
            [
                law, number(of["loss"][k], LOSS_DIGITS), _interval(of["run_low"][k], of["run_high"][k]),
                number(of["factor"][k]), number(of["reach"][k]) if of["reach"][k] > 1 else "no check",
            ]
            for law, of in asked.items()
        ]  # fmt: skip
        rows.append([TOGETHER, number(loss[k], LOSS_DIGITS), _interval(low[k], high[k]), "", ""])
        checked = all(of["factor"][k] <= of["reach"][k] * (1 + 1e-6) for of in asked.values())
        inside = all(factor <= 1 + 1e-6 for factor in factors.values())
        state = UNCHECKED if not checked else INSIDE if inside else CHECKED
        ends = [np.nan if end is None else end for end in (size.n_low, size.n_high)]
        place = (flops[k], size.n_params, *ends, size.tokens, float(loss[k]), float(low[k]), float(high[k]))
        out.append(Step(*place, factors, state, rows))
    return out


def _interval(low: float, high: float) -> str:
    return between(low, high, LOSS_DIGITS) if np.isfinite(low) and np.isfinite(high) else "none"
