"""Two sides compared: exponents, losses at equal compute, and the compute-equivalent gain, each with its interval.

Where the runs of both can tell, the same law is fitted to both; where they were trained at one budget of tokens, their models
there are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.decide.comparison import AtCompute, Comparison, Estimate, Exponent, Place, SideOf
from scalinglaws.decide.design import of_equation
from scalinglaws.decide.sides import Side, differences
from scalinglaws.laws import one_budget
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.equal_compute import STATING, Curve, Interval, both, curve, interval, log_gains
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.gain import FEWEST, compute_equivalent
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import bootstrap, flags

CHOSEN = ("chinchilla", "power-c")  # the laws that are tried where none is named, in this order
SAME_BUDGET = 0.01  # share by which budgets of one size may differ: each is cut to whole steps of its own batch
NEVER = 1e3  # a logarithm of compute beyond all runs, in place of the infinite one of a loss that is never reached
BUDGET_LAW = "chinchilla"  # the law whose rules choose the runs that are compared at one budget: final losses at a decayed rate


def compare(
    a: Side, b: Side, *, law: str | None = None, tokens: float | None = None, at: Sequence[float] = (), n_bootstrap: int = 1000,
    seed: int = 0,
) -> Comparison:  # fmt: skip
    """Compare two sides.

    Parameters
    ----------
    a, b
        The sides.
    law
        The law that is fitted to both, one of ``equal_compute.STATING``. Without it, the first of CHOSEN that the runs of both
        can tell, or else the budget of tokens that both have most models at.
    tokens
        A budget at which their models are compared; no law is fitted then.
    at
        Computes in FLOP for a law; without them, the ends and the middle of the computes that both have.
    n_bootstrap, seed
        Number of resamples of trunks, 0 for no intervals, and their seed.

    Raises
    ------
    StudyError
        An option is impossible, or the runs do not allow the comparison; the message says what either side lacks.

    References
    ----------
    Davidson et al. 2023 (arXiv:2312.07413): the compute-equivalent gain.
    """
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise StudyError(f"--bootstrap is {n_bootstrap}: use 0 for no intervals, or at least 2 resamples (1000)")
    if seed < 0:
        raise StudyError(f"--seed is {seed}: it must not be negative")
    if law is not None and law not in STATING:
        raise StudyError(f"--law {law} states no loss of the best run of a compute: {proposal(law, STATING)}")
    if law is not None and tokens is not None:
        raise StudyError("--law and --tokens exclude each other: at one budget of tokens no law of compute is fitted")
    if not all(np.isfinite(value) and value > 0 for value in at):
        raise StudyError("--at takes computes in FLOP above 0, such as 1e21")
    lacking: list[str] = []
    for name in [law] if law else [] if tokens else CHOSEN:
        points = (a.points(LAWS[name]), b.points(LAWS[name]))
        if not (lacks := _lacks(name, points, chosen=law is None)):
            return _by_law(LAWS[name], (a, b), points, at, n_bootstrap, seed)
        lacking += lacks
    if law:
        raise StudyError(f"{' '.join(lacking)} Without --law another way to compare is tried.")
    points = (a.points(LAWS[BUDGET_LAW]), b.points(LAWS[BUDGET_LAW]))
    budget = _budget(points, tokens)
    if budget is None:
        asked = f"at {tokens:.6g} tokens" if tokens else "at a budget of tokens that both have"
        also = f" And no law can be fitted to both: {' '.join(lacking)}" if lacking else ""
        raise StudyError(f"{asked} A needs a model, and B {FEWEST} models of different compute: name other runs, or --tokens.{also}")
    if at:
        raise StudyError("--at is for a law, and at one budget of tokens the models of A are compared where they are: leave it out")
    return _at_budget((a, b), points, budget)


def _lacks(name: str, points: tuple[Points, Points], chosen: bool) -> list[str]:
    """Return sentences on what the points of each side lack for a law.

    Where the law is ``chosen`` by the program, points of one budget are none for a law of compute, whose best runs have others.
    """
    out = []
    for letter, own in zip("AB", points, strict=True):
        lacks = of_equation(LAWS[name], own)
        if not lacks and chosen and name != BUDGET_LAW and len(_budgets(own)) == 1:
            lacks = ["has one budget of tokens only"]
        out += [f"{letter}: law {name} {lack}." for lack in lacks]
    return out


def _by_law(law: Law, sides: tuple[Side, Side], points: tuple[Points, Points], at: Sequence[float], n: int, seed: int) -> Comparison:
    """Compare two sides by a law that is fitted to both, with intervals by independent resamples of the trunks of each."""
    curves, doubts = [], differences(*sides, *points)
    for k, (letter, own) in enumerate(zip("AB", points, strict=True)):
        fit = best_fit(law, own.log_variables(law.variables), np.log(own.loss), Objective())
        resamples = bootstrap(fit, own.trunk, n, 2 * seed + k) if n else None  # equal seeds would pair the trunks of both
        curves.append(curve(fit, resamples, own.columns["flops"]))
        doubts += [f"{letter}: {sentence}" for sentence in flags(fit, own, resamples)]
    a, b, n_trunks = both(*curves)
    places, apart = _places(a, b, at)
    return Comparison(
        a=_side(sides[0], points[0]), b=_side(sides[1], points[1]), method="law", law=law.name, formula=law.formula, tokens=None,
        exponents=_exponents(*curves), at=_at_places(curves, (a, b), n_trunks, np.log(places)), mean_gain=None,
        doubts=[*apart, *doubts],
    )  # fmt: skip


def _side(side: Side, points: Points) -> SideOf:
    flops = points.columns["flops"]
    return SideOf(
        name=side.described, n_points=len(points), n_trunks=len(set(points.trunk)), flops_low=flops.min(), flops_high=flops.max()
    )


def _places(a: Curve, b: Curve, at: Sequence[float]) -> tuple[Array, list[str]]:
    """Return the computes at which two curves are compared, and a sentence where the two have none in common."""
    low, high = (fold(a.log_compute[k], b.log_compute[k]) for k, fold in ((0, max), (1, min)))
    apart = [f"No compute is within the runs of both: those of one end at {np.exp(high):.3g} FLOP and of the other begin at {np.exp(low):.3g}."]
    ends = np.array([low, high])
    places = np.exp([ends.min(), ends.mean(), ends.max()]) if high != low else np.exp(ends[:1])
    return np.array(sorted(at)) if at else places, apart if low > high else []


def _exponents(a: Curve, b: Curve) -> list[Exponent]:
    """Return the parameters of two curves by name, each with the interval of the difference."""
    first, second, n_trunks = both(a, b)
    return [
        Exponent(
            name=name,
            a=_estimate(interval(a.exponents[name], a.n_trunks)),
            b=_estimate(interval(b.exponents[name], b.n_trunks)),
            difference=_estimate(interval(first.exponents[name] - second.exponents[name], n_trunks)),
        )
        for name in a.exponents
    ]


def _at_places(curves: list[Curve], paired: tuple[Curve, Curve], n_trunks: int, log_flops: Array) -> list[AtCompute]:
    """Return losses, their difference and the gain at logs of compute (m,)."""
    own = [each.loss(log_flops) for each in curves]
    beyond = [each.beyond(log_flops) for each in curves]
    a, b = paired
    apart, gains = a.loss(log_flops) - b.loss(log_flops), log_gains(a, b, log_flops)
    reached = b.beyond(np.where(np.isfinite(gains[0]), log_flops + gains[0], NEVER))
    out = []
    for k, place in enumerate(log_flops):
        losses = [
            _place(interval(loss[:, k], each.n_trunks), outside[k])
            for loss, each, outside in zip(own, curves, beyond, strict=True)
        ]
        gain = interval(gains[:, k], n_trunks)
        out.append(
            AtCompute(
                flops=float(np.exp(place)), loss_a=losses[0], loss_b=losses[1],
                difference=_place(interval(apart[:, k], n_trunks), beyond[0][k] or beyond[1][k]),
                gain=_place(gain, beyond[0][k] or reached[k], np.exp),
            )  # fmt: skip
        )
    return out


def _budgets(points: Points) -> list[Array]:
    """Return the places of the points at each budget of tokens, in ascending order; budgets within SAME_BUDGET are one."""
    tokens = points.columns["tokens"]
    order = np.argsort(tokens, kind="stable")
    cuts = np.flatnonzero(np.diff(np.log(tokens[order])) > SAME_BUDGET) + 1
    return np.split(order, cuts)


def _budget(points: tuple[Points, Points], tokens: float | None) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Return a budget of tokens and the places of the points of both sides at it: of those that both have, the one with most.

    With ``tokens`` it is that budget. None where no budget has a model of A and FEWEST computes of B.
    """
    found = []
    for value in [tokens] if tokens else [float(points[1].columns["tokens"][group].mean()) for group in _budgets(points[1])]:
        at = [np.flatnonzero(np.abs(np.log(own.columns["tokens"] / value)) <= SAME_BUDGET) for own in points]
        computes = len(np.unique(points[1].columns["flops"][at[1]]))
        if len(at[0]) and computes >= FEWEST:
            found.append((min(len(at[0]), computes), len(at[0]) + computes, value, at))
    if not found:
        return None
    *_, value, at = max(found, key=lambda item: item[:3])
    return value, at[0], at[1]


def _at_budget(sides: tuple[Side, Side], points: tuple[Points, Points], budget: tuple[float, np.ndarray, np.ndarray]) -> Comparison:
    """Compare the models of two sides at one budget of tokens, those of A with a power law through those of B."""
    tokens, *places = budget
    own = [each.take(np.isin(np.arange(len(each)), at)) for each, at in zip(points, places, strict=True)]
    a, b = ((each.columns["flops"], each.loss) for each in own)
    gains = compute_equivalent(*b, *a)
    known = one_budget.losses(b, *a)
    outside = (a[0] < b[0].min()) | (a[0] > b[0].max())
    at = [
        AtCompute(
            flops=a[0][k], loss_a=_place(Interval(a[1][k], np.nan, np.nan), False), loss_b=_place(known[k][0], outside[k]),
            difference=_place(known[k][1], outside[k]),
            gain=_place(Interval(gains.each[k], gains.low[k], gains.high[k]), gains.beyond[k]),
        )  # fmt: skip
        for k in np.argsort(a[0], kind="stable")
    ]
    alpha = dict(zip(("a", "b", "difference"), map(_estimate, one_budget.exponents(a, b)), strict=True))
    return Comparison(
        a=_side(sides[0], own[0]), b=_side(sides[1], own[1]), method="one budget", law=None, formula="L = (C_0/C)^alpha",
        tokens=float(tokens), exponents=[Exponent(name="alpha", **alpha)], at=at,
        mean_gain=_estimate(Interval(gains.mean, gains.mean_low, gains.mean_high)),
        doubts=[*differences(*sides, *own), *_doubts_at_budget(points, own)],
    )  # fmt: skip


def _doubts_at_budget(points: tuple[Points, Points], own: list[Points]) -> list[str]:
    """Return the reasons to doubt a comparison at one budget."""
    out = []
    for letter, each, chosen in zip("AB", points, own, strict=True):
        out += [f"{letter}: {sentence}" for sentence in each.told]
        if again := len(chosen) - len(np.unique(chosen.columns["flops"])):
            out.append(
                f"{letter}: {again} of {len(chosen)} models have the compute of another: where they differ in more than their seed, "
                f"choose the ones to compare with --where-{letter.lower()}."
            )
    return out


def _estimate(found: Interval) -> Estimate:
    """Return an interval with null for what is not a finite number."""
    known = (None if not np.isfinite(value) else float(value) for value in (found.estimate, found.low, found.high))
    return Estimate(**dict(zip(("estimate", "ci_low", "ci_high"), known, strict=True)))


def _place(found: Interval, extrapolated: bool, scale: Callable[[float], float] = float) -> Place:
    """Return an interval at a compute, each number on another scale where one is given."""
    scaled = Interval(*(float(scale(value)) for value in (found.estimate, found.low, found.high)))
    return Place(**_estimate(scaled).model_dump(), extrapolated=bool(extrapolated))
