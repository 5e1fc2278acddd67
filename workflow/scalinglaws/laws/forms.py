"""The equations. Every law here has the form  log L = s · log Σ_k exp(t_k),  t_k = c_k − e_k · log(variable_k).

The solver works on *internal* parameters: the c_k, the exponents e_k that are free, and log s where the law has a
scale. Logarithms of the variables are centred first, so c_k is the log of a term at the middle of the data and the
problem is well conditioned. ``Law.natural`` turns them into the parameters of the literature. Arrays: B problems, n
points, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PF_DAY = 8.64e19  # FLOP
EXPONENT_RANGE = (1e-3, 10.0)


@dataclass(frozen=True)
class Parameter:
    """A natural parameter. ``log``: a scale, whose interval is formed on its logarithm."""

    name: str
    unit: str
    log: bool


@dataclass(frozen=True)
class Term:
    """exp(c − e·log variable). ``variable``: place in Law.variables, None for a constant; not ``free``: e = 1."""

    variable: int | None
    free: bool = True


@dataclass(frozen=True)
class Law:
    """One law. ``variables`` are columns of the points; ``distinct``: values of each needed to identify the parameters.

    ``internal`` names the internal parameters in the order c_0, e_0, c_1, e_1, …, log s (for flags). ``held_out`` is
    the variable whose largest value is predicted from the rest. ``rule`` says in words which losses enter.
    """

    name: str
    title: str
    formula: str
    source: str
    rule: str
    variables: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    internal: tuple[str, ...]
    terms: tuple[Term, ...]
    distinct: int
    held_out: str
    published: dict[str, float]
    to_natural: Callable[[Array, Array], Array]
    grid: tuple[tuple[float, ...], ...]  # exponents (one tuple each), then shares of each term but the last, then s
    scaled: bool = False

    @property
    def n_parameters(self) -> int:
        return len(self.internal)

    def design(self, z: Array) -> list[tuple[Array, Array | None]]:
        """Features of each term at centred log variables z (n, V): t_k = theta_k @ features.T + offset."""
        out: list[tuple[Array, Array | None]] = []
        for term in self.terms:
            ones = np.ones((len(z), 1))
            if term.variable is None:
                out.append((ones, None))
            elif term.free:
                out.append((np.column_stack([ones, -z[:, term.variable]]), None))
            else:
                out.append((ones, -z[:, term.variable]))
        return out

    def slices(self) -> list[slice]:
        """Where the internal parameters of each term lie."""
        sizes = [2 if term.variable is not None and term.free else 1 for term in self.terms]
        ends = np.cumsum(sizes)
        return [slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)]

    def log_prediction(self, theta: Array, z: Array) -> Array:
        """log L (B, n) at internal parameters theta (B, P) and centred log variables z (n, V)."""
        return self._parts(theta, z)[0]

    def jacobian(self, theta: Array, z: Array) -> Array:
        """d log L / d theta (B, n, P), analytic."""
        f, shares, scale = self._parts(theta, z)
        columns = []
        for share, (features, _) in zip(shares, self.design(z), strict=True):
            columns.append(scale[:, None] * share[:, :, None] * features[None])
        if self.scaled:
            columns.append(f[:, :, None])
        return np.concatenate(columns, axis=2)

    def shares(self, theta: Array, z: Array) -> list[float]:
        """The largest share of the sum that each term has at any point; theta (1, P)."""
        return [float(share.max()) for share in self._parts(theta, z)[1]]

    def _parts(self, theta: Array, z: Array) -> tuple[Array, list[Array], Array]:
        terms = []
        for (features, offset), where in zip(self.design(z), self.slices(), strict=True):
            t = theta[:, where] @ features.T
            terms.append(t if offset is None else t + offset)
        top = np.max(terms, axis=0)
        powers = [np.exp(t - top) for t in terms]
        total = np.sum(powers, axis=0)
        scale = np.exp(theta[:, -1:]) if self.scaled else np.ones((len(theta), 1))
        return scale * (top + np.log(total)), [p / total for p in powers], scale

    def natural(self, theta: Array, centre: Array) -> Array:
        """Natural parameters (B, P) in the order of ``parameters``. centre (V,): what was subtracted from the logs.

        A scale beyond the range of a float becomes inf or 0; the caller reports it as null.
        """
        with np.errstate(over="ignore", under="ignore"):
            return self.to_natural(theta, centre)

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds (P,) of the internal parameters. Terms may vanish or dominate, but not overflow."""
        widest = 1e4 if self.scaled else 80.0
        lower, upper = [], []
        for term in self.terms:
            lower.append(-widest)
            upper.append(widest)
            if term.variable is not None and term.free:
                lower.append(EXPONENT_RANGE[0])
                upper.append(EXPONENT_RANGE[1])
        if self.scaled:
            lower.append(float(np.log(EXPONENT_RANGE[0])))
            upper.append(float(np.log(EXPONENT_RANGE[1])))
        return np.array(lower), np.array(upper)

    def starts(self, log_loss: Array) -> Array:
        """The start grid (S, P): all exponents of ``grid`` with all shares of the loss of each term at the centre."""
        level = float(np.mean(log_loss))
        free = [term.variable is not None and term.free for term in self.terms]
        rows = []
        for values in product(*self.grid):
            scale = values[-1] if self.scaled else 1.0
            exponents = iter(values[: sum(free)])
            shares = values[sum(free) : sum(free) + len(self.terms) - 1]
            rest, row = 1.0, []
            for k, is_free in enumerate(free):
                share = rest * shares[k] if k < len(shares) else rest
                rest -= share
                row.append(level / scale + np.log(share))
                if is_free:
                    row.append(next(exponents))
            rows.append([*row, np.log(scale)] if self.scaled else row)
        return np.array(rows)


def _power(theta: Array, centre: Array) -> Array:
    """(alpha, X_c) of L = (X_c/X)^alpha from log L = c − alpha (log X − centre)."""
    c, alpha = theta.T
    return np.column_stack([alpha, np.exp(centre[0] + c / alpha)])


def _kaplan_nd(theta: Array, centre: Array) -> Array:
    """alpha_N, alpha_D, N_c, D_c of log L = s·log[exp(c_0 − e log N) + exp(c_1 − log D)], s = alpha_D, e = alpha_N/s."""
    c_n, ratio, c_d, log_scale = theta.T
    alpha_d = np.exp(log_scale)
    return np.column_stack([ratio * alpha_d, alpha_d, np.exp(centre[0] + c_n / ratio), np.exp(centre[1] + c_d)])


def _chinchilla(theta: Array, centre: Array) -> Array:
    """(E, A, B, alpha, beta)."""
    c_e, c_a, alpha, c_b, beta = theta.T
    return np.column_stack([np.exp(c_e), np.exp(c_a + alpha * centre[0]), np.exp(c_b + beta * centre[1]), alpha, beta])


def _power_law(
    name: str, symbol: str, column: str, unit: str, title: str, source: str, rule: str, published: tuple[float, float]
) -> Law:
    exponent, scale = f"alpha_{symbol}", f"{symbol}_c"
    return Law(
        name=name,
        title=title,
        formula=f"L = ({scale}/{symbol})^{exponent}",
        source=source,
        rule=rule,
        variables=(column,),
        parameters=(Parameter(exponent, "", False), Parameter(scale, unit, True)),
        internal=(scale, exponent),
        terms=(Term(0),),
        distinct=2,
        held_out=column,
        published={exponent: published[0], scale: published[1]},
        to_natural=_power,
        grid=((0.02, 0.1, 0.5, 2.0),),
    )


_FINALS = "final losses of runs whose rate decayed, a single epoch of all the data"

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        _power_law(
            "power-n", "N", "n_params", "parameters", "Loss against model size", "Kaplan et al. 2020 (1.1)",
            f"{_FINALS}, more than one layer; the largest budget of each size", (0.076, 8.8e13),
        ),
        _power_law(
            "power-d", "D", "dataset_tokens", "tokens", "Loss against dataset size", "Kaplan et al. 2020 (1.2)",
            "early-stopped runs of the largest model; D is the size of the dataset", (0.095, 5.4e13),
        ),
        _power_law(
            "power-c", "C", "flops", "FLOP", "Loss against compute", "Kaplan et al. 2020 (3.3)",
            f"{_FINALS}, more than one layer; those that no run betters with less compute", (0.057, 1.6e7 * PF_DAY),
        ),
        _power_law(
            "envelope", "C", "flops", "FLOP", "Lower envelope of the learning curves",
            "Kaplan et al. 2020 (3.3), Figure 1",
            "learning curves after warm-up and before the decay, interpolated; the lowest at each compute",
            (0.057, 1.6e7 * PF_DAY),
        ),
        Law(
            name="kaplan-nd",
            title="Loss against model and dataset size",
            formula="L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
            source="Kaplan et al. 2020 (1.5)",
            rule="early-stopped runs; D is the size of the dataset",
            variables=("n_params", "dataset_tokens"),
            parameters=(
                Parameter("alpha_N", "", False), Parameter("alpha_D", "", False),
                Parameter("N_c", "parameters", True), Parameter("D_c", "tokens", True),
            ),
            internal=("N_c", "alpha_N/alpha_D", "D_c", "alpha_D"),
            terms=(Term(0), Term(1, free=False)),
            distinct=2,
            held_out="n_params",
            published={"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},
            to_natural=_kaplan_nd,
            grid=((0.3, 0.7, 1.0, 2.0), (0.1, 0.5, 0.9), (0.03, 0.1, 0.3, 1.0)),
            scaled=True,
        ),
        Law(
            name="chinchilla",
            title="Loss against model size and tokens",
            formula="L = E + A/N^alpha + B/D^beta",
            source="Hoffmann et al. 2022, approach 3",
            rule=f"{_FINALS}; D is the tokens processed",
            variables=("n_params", "tokens"),
            parameters=(
                Parameter("E", "nats per token", True), Parameter("A", "nats per token", True),
                Parameter("B", "nats per token", True), Parameter("alpha", "", False), Parameter("beta", "", False),
            ),
            internal=("E", "A", "alpha", "B", "beta"),
            terms=(Term(None), Term(0), Term(1)),
            distinct=3,
            held_out="n_params",
            published={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "a": 0.46, "b": 0.54},
            to_natural=_chinchilla,
            grid=((0.1, 0.3, 0.8, 2.0), (0.1, 0.3, 0.8, 2.0), (0.3, 0.6, 0.9), (0.2, 0.8)),
        ),
    )
}  # fmt: skip
