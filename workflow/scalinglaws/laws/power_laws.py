"""Power laws of one variable, L = (X_c/X)^alpha, and the same above an offset E.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (1.1) for N, (1.2) for D, (3.3) for C and (1.3) for C_min, with the published values.
Henighan et al. 2020 (arXiv:2010.14701) add the offset; it has no published value for this kind of study.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalinglaws.common.numbers import PF_DAY
from scalinglaws.laws import held
from scalinglaws.laws.forms import Array, Law, Parameter, Rule, Term
from scalinglaws.laws.rules import (
    FINALS,
    decayed,
    deep,
    early,
    frontier,
    largest_budget,
    largest_model,
    note_max_tokens,
    single_epoch,
    turned,
)


def _power(theta: Array, centre: Array) -> Array:
    """Return (alpha, X_c) of L = (X_c/X)^alpha from log L = c − alpha (log X − centre)."""
    c, alpha = theta.T
    return np.column_stack([alpha, np.exp(centre[0] + c / alpha)])


def _power_offset(theta: Array, centre: Array) -> Array:
    """Return (E, alpha, X_c) of L = E + (X_c/X)^alpha."""
    c_e, c, alpha = theta.T
    return np.column_stack([np.exp(c_e), alpha, np.exp(centre[0] + c / alpha)])


def one_variable(
    *,
    name: str,
    symbol: str,
    column: str,
    unit: str,
    title: str,
    source: str,
    rule: str,
    published: tuple[float, float],
    selection: tuple[Rule, ...],
    reshape: Rule | None = None,
) -> tuple[Law, Law]:
    """Return the power law of one variable, and the same law above an offset E.

    Parameters
    ----------
    name
        Name of the first law; that of the second ends in "-offset".
    symbol, column, unit
        The variable X: its letter, its column in the points, and the unit of X_c.
    published
        Exponent and scale that ``source`` gives for the first law.
    title, source, rule, selection, reshape
        See ``forms.Described``.
    """
    exponent, scale = f"alpha_{symbol}", f"{symbol}_c"
    own = (Parameter(exponent, "", False), Parameter(scale, unit, True))
    plain = Law(
        name=name, title=title, formula=f"L = ({scale}/{symbol})^{exponent}", parameters=own, internal=(scale, exponent),
        terms=(Term(0, 0, 1),), distinct=2, published={exponent: published[0], scale: published[1]},
        to_natural=_power, grid=((0.02, 0.1, 0.5, 2.0),), source=source, rule=rule, variables=(column,), held_out=column,
        selection=selection, reshape=reshape, holds={exponent: held.exponent(1), scale: held.crossing(0, 0)},
    )  # fmt: skip
    offset = replace(
        plain, name=f"{name}-offset", title=f"{title}, above an offset", formula=f"L = E + ({scale}/{symbol})^{exponent}",
        parameters=(Parameter("E", "nats per token", True), *own), internal=("E", scale, exponent),
        terms=(Term(0), Term(1, 0, 2)), distinct=3, published={},
        to_natural=_power_offset, grid=((0.05, 0.2, 0.5, 2.0), (0.1, 0.5, 0.9)),
        holds={"E": held.scale(0), exponent: held.exponent(2), scale: held.crossing(1, 0)},
    )  # fmt: skip
    return plain, offset


LAWS = (
    *one_variable(
        name="power-n", symbol="N", column="n_params", unit="parameters", title="Loss against model size",
        source="Kaplan et al. 2020 (1.1)", published=(0.076, 8.8e13),
        rule=f"{FINALS}, more than one layer; the largest budget of each size",
        selection=(decayed, single_epoch, deep, largest_budget),
    ),
    *one_variable(
        name="power-d", symbol="D", column="dataset_tokens", unit="tokens", title="Loss against dataset size",
        source="Kaplan et al. 2020 (1.2)", published=(0.095, 5.4e13),
        rule="early-stopped runs of the largest model, without those that max_tokens ended before their validation loss had "
        "turned; D is the dataset",
        selection=(early, largest_model, turned, note_max_tokens),
    ),
    *one_variable(
        name="power-c", symbol="C", column="flops", unit="FLOP", title="Loss against compute",
        source="Kaplan et al. 2020 (3.3)", published=(0.057, 1.6e7 * PF_DAY),
        rule=f"{FINALS}, more than one layer; those that no run betters with less compute",
        selection=(decayed, single_epoch, deep, frontier("flops")),
    ),
    *one_variable(
        name="power-cmin", symbol="C", column="flops_min", unit="FLOP", title="Loss against compute at small batches",
        source="Kaplan et al. 2020 (1.3)", published=(0.050, 3.1e8 * PF_DAY),
        rule=f"{FINALS}, more than one layer; C_min = C/(1 + B/B_crit); those that no run betters with less",
        selection=(decayed, single_epoch, deep, frontier("flops_min")),
    ),
)  # fmt: skip
