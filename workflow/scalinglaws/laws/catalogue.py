"""The laws by name: equation, source, which losses enter, published values, and the way to natural parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalinglaws.common.numbers import PF_DAY
from scalinglaws.laws.forms import Array, Law, Parameter, Term, chinchilla_natural
from scalinglaws.laws.repetition import REPETITION


def _power(theta: Array, centre: Array) -> Array:
    """(alpha, X_c) of L = (X_c/X)^alpha from log L = c − alpha (log X − centre)."""
    c, alpha = theta.T
    return np.column_stack([alpha, np.exp(centre[0] + c / alpha)])


def _power_offset(theta: Array, centre: Array) -> Array:
    """(E, alpha, X_c) of L = E + (X_c/X)^alpha."""
    c_e, c, alpha = theta.T
    return np.column_stack([np.exp(c_e), alpha, np.exp(centre[0] + c / alpha)])


def _two_powers(theta: Array, centre: Array) -> Array:
    """(alpha_1, alpha_2, X_c, Y_c) of L = (X_c/X)^alpha_1 + (Y_c/Y)^alpha_2."""
    c_x, alpha_x, c_y, alpha_y = theta.T
    return np.column_stack([alpha_x, alpha_y, np.exp(centre[0] + c_x / alpha_x), np.exp(centre[1] + c_y / alpha_y)])


def _kaplan_nd(theta: Array, centre: Array) -> Array:
    """alpha_N, alpha_D, N_c, D_c of log L = s·log[exp(c_0 − e log N) + exp(c_1 − log D)], s = alpha_D, e = alpha_N/s."""
    c_n, ratio, c_d, log_scale = theta.T
    alpha_d = np.exp(log_scale)
    return np.column_stack([ratio * alpha_d, alpha_d, np.exp(centre[0] + c_n / ratio), np.exp(centre[1] + c_d)])


def _overtraining(theta: Array, centre: Array) -> Array:
    """(E, a, b, eta) of L = E + (a·M^eta + b·M^−eta)·C^−eta: with C = 6ND, M = D/N, A = a/6^eta, alpha = 2·eta."""
    c_e, c_a, alpha, c_b = theta.T
    scales = [np.exp(c + alpha * (middle + np.log(6) / 2)) for c, middle in ((c_a, centre[0]), (c_b, centre[1]))]
    return np.column_stack([np.exp(c_e), *scales, alpha / 2])


def _one_variable(
    name: str,
    symbol: str,
    column: str,
    unit: str,
    title: str,
    source: str,
    rule: str,
    published: tuple[float, float],
    derived: dict[str, float] | None = None,
) -> tuple[Law, Law]:
    """The power law of one variable, and the same above an offset E, which has no published value in this study.

    ``published``: its exponent and scale; ``derived``: published exponents that follow from the fit beside these.
    """
    exponent, scale = f"alpha_{symbol}", f"{symbol}_c"
    own = (Parameter(exponent, "", False), Parameter(scale, unit, True))
    plain = Law(
        name=name, title=title, formula=f"L = ({scale}/{symbol})^{exponent}", parameters=own, internal=(scale, exponent),
        terms=(Term(0, 0, 1),), distinct=2, published={exponent: published[0], scale: published[1]} | (derived or {}),
        to_natural=_power, grid=((0.02, 0.1, 0.5, 2.0),), source=source, rule=rule, variables=(column,), held_out=column,
    )  # fmt: skip
    offset = replace(
        plain, name=f"{name}-offset", title=f"{title}, above an offset", formula=f"L = E + ({scale}/{symbol})^{exponent}",
        parameters=(Parameter("E", "nats per token", True), *own), internal=("E", scale, exponent),
        terms=(Term(0), Term(1, 0, 2)), distinct=3, published={},
        to_natural=_power_offset, grid=((0.05, 0.2, 0.5, 2.0), (0.1, 0.5, 0.9)),
    )  # fmt: skip
    return plain, offset


_FINALS = "final losses of runs whose rate decayed, a single epoch of all the data"

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        *_one_variable(
            "power-n", "N", "n_params", "parameters", "Loss against model size", "Kaplan et al. 2020 (1.1)",
            f"{_FINALS}, more than one layer; the largest budget of each size", (0.076, 8.8e13),
        ),
        *_one_variable(
            "power-d", "D", "dataset_tokens", "tokens", "Loss against dataset size", "Kaplan et al. 2020 (1.2)",
            "early-stopped runs of the largest model; D is the size of the dataset", (0.095, 5.4e13),
        ),
        *_one_variable(
            "power-c", "C", "flops", "FLOP", "Loss against compute", "Kaplan et al. 2020 (3.3)",
            f"{_FINALS}, more than one layer; those that no run betters with less compute", (0.057, 1.6e7 * PF_DAY),
        ),
        *_one_variable(
            "envelope", "C", "flops", "FLOP", "Lower envelope of the learning curves",
            "Kaplan et al. 2020 (3.3), Figure 1; Hoffmann et al. 2022, approach 1",
            "learning curves after warm-up and before the decay, interpolated; the lowest at each compute",
            (0.057, 1.6e7 * PF_DAY), {"a": 0.50, "b": 0.50},
        ),
        *_one_variable(
            "power-cmin", "C", "flops_min", "FLOP", "Loss against compute at small batches", "Kaplan et al. 2020 (1.3)",
            f"{_FINALS}, more than one layer; C_min = C/(1 + B/B_crit); those that no run betters with less",
            (0.050, 3.1e8 * PF_DAY),
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
            terms=(Term(0, 0, 1), Term(2, 1)),
            distinct=2,
            held_out="n_params",
            published={"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13},
            to_natural=_kaplan_nd,
            grid=((0.3, 0.7, 1.0, 2.0), (0.1, 0.5, 0.9), (0.03, 0.1, 0.3, 1.0)),
            scaled=True,
        ),
        Law(
            name="kaplan-ns",
            title="Loss against model size and steps",
            formula="L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S",
            source="Kaplan et al. 2020 (1.6)",
            rule="learning curves after warm-up and before the decay, all the data; S_min = S/(1 + B_crit/B)",
            variables=("n_params", "steps_min"),
            parameters=(
                Parameter("alpha_N", "", False), Parameter("alpha_S", "", False),
                Parameter("N_c", "parameters", True), Parameter("S_c", "steps", True),
            ),
            internal=("N_c", "alpha_N", "S_c", "alpha_S"),
            terms=(Term(0, 0, 1), Term(2, 1, 3)),
            distinct=2,
            held_out="n_params",
            published={"alpha_N": 0.077, "alpha_S": 0.76, "N_c": 6.5e13, "S_c": 2.1e3},
            to_natural=_two_powers,
            grid=((0.02, 0.1, 0.5), (0.2, 0.7, 2.0), (0.5, 0.9)),
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
            terms=(Term(0), Term(1, 0, 2), Term(3, 1, 4)),
            distinct=3,
            held_out="n_params",
            published={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "a": 0.46, "b": 0.54},
            to_natural=chinchilla_natural,
            grid=((0.1, 0.3, 0.8, 2.0), (0.1, 0.3, 0.8, 2.0), (0.3, 0.6, 0.9), (0.2, 0.8)),
        ),
        Law(
            name="overtraining",
            title="Loss against compute and tokens per parameter",
            formula="L = E + (a·M^eta + b·M^-eta)·C^-eta, M = D/N",
            source="Gadre et al. 2024 (4)",
            rule=f"{_FINALS}; D is the tokens processed",
            variables=("n_params", "tokens"),
            parameters=(
                Parameter("E", "nats per token", True), Parameter("a", "nats per token", True),
                Parameter("b", "nats per token", True), Parameter("eta", "", False),
            ),
            internal=("E", "a", "eta", "b"),
            terms=(Term(0), Term(1, 0, 2), Term(3, 1, 2)),
            distinct=3,
            held_out="tokens",
            published={},
            to_natural=_overtraining,
            grid=((0.1, 0.3, 0.8, 2.0), (0.3, 0.6, 0.9), (0.2, 0.5, 0.8)),
        ),
        REPETITION,
    )
}  # fmt: skip
