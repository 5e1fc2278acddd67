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
from scalinglaws.laws.equal_compute import STATING, Curve, Interval, Statistic, curve, interval, intervals, log_gains
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.gain import FEWEST, Gains, compute_equivalent
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
    _check(law, tokens, at, n_bootstrap, seed)
    lacking: list[str] = []
    for name in [law] if law else [] if tokens else CHOSEN:
        try:
            points = (a.points(LAWS[name]), b.points(LAWS[name]))
            lacks = _lacks(name, points, chosen=law is None)
        except StudyError as error:
            lacks = [f"{error}."]
        if not lacks:
            return _by_law(LAWS[name], (a, b), points, at, n_bootstrap, seed)
        lacking += lacks
    if law:
        raise StudyError(f"{' '.join(lacking)} Without --law another way to compare is tried.")
    return _at_budget((a, b), tokens, at, lacking)


def _check(law: str | None, tokens: float | None, at: Sequence[float], n_bootstrap: int, seed: int) -> None:
    """Raise StudyError for an option that is impossible."""
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
    if tokens is not None and not (np.isfinite(tokens) and tokens > 0):
        raise StudyError(f"--tokens is {tokens}: give a budget above 0, such as 6M")


def _lacks(name: str, points: tuple[Points, Points], chosen: bool) -> list[str]:
    """Return sentences on what the points of each side lack for a law.

    Where the law is ``chosen`` by the program, points of one budget are none for a law of compute, whose best runs have others.
    """
    out = []
    for letter, own in zip("AB", points, strict=True):
        lacks = of_equation(LAWS[name], own)
        known = np.isfinite(own.columns["tokens"]).all()
        if not lacks and chosen and name != BUDGET_LAW and known and len(_budgets(own)) == 1:
            lacks = ["has one budget of tokens only"]
        out += [f"{letter}: law {name} {lack}." for lack in lacks]
    return out


def _by_law(
    law: Law, sides: tuple[Side, Side], points: tuple[Points, Points], at: Sequence[float], n: int, seed: int
) -> Comparison:
    """Compare two sides by a law that is fitted to both, with intervals by independent resamples of the trunks of each."""
    curves, doubts = [], differences(*sides, *points)
    for k, (letter, own) in enumerate(zip("AB", points, strict=True)):
        fit = best_fit(law, own.log_variables(law.variables), np.log(own.loss), Objective())
        resamples = bootstrap(fit, own.trunk, n, 2 * seed + 1 - k) if n else None  # equal seeds would pair the trunks of both
        curves.append(curve(fit, resamples, own.columns["flops"]))
        doubts += [f"{letter}: {sentence}" for sentence in flags(fit, own, resamples)]
    first, second = curves
    places, apart = _places(first, second, at)
    return Comparison(
        a=_side(sides[0], points[0]), b=_side(sides[1], points[1]), method="law", law=law.name, formula=law.formula, tokens=None,
        exponents=_exponents(first, second), at=_at_places(first, second, np.log(places)), mean_gain=None,
        doubts=[*apart, *doubts],
    )  # fmt: skip


def _side(side: Side, points: Points) -> SideOf:
    flops = points.columns["flops"]
    return SideOf(
        name=side.described, n_points=len(points), n_trunks=len(set(points.trunk)), flops_low=flops.min(), flops_high=flops.max()
    )


def _places(a: Curve, b: Curve, at: Sequence[float]) -> tuple[Array, list[str]]:
    """Return the computes at which two curves are compared, and a sentence where the two have none in common."""
    low, high = max(a.log_compute[0], b.log_compute[0]), min(a.log_compute[1], b.log_compute[1])
    apart = []
    if low > high:
        ends = f"those of one end at {np.exp(high):.3g} FLOP, and of the other they begin at {np.exp(low):.3g}"
        apart = [f"The runs of the two have no compute in common: {ends}."]
    places = np.unique(np.exp([low, (low + high) / 2, high]))
    return np.array(sorted(set(at))) if at else places, apart


def _exponents(a: Curve, b: Curve) -> list[Exponent]:
    """Return the parameters of two curves by name, each with the interval of the difference."""
    out = []
    for name in a.exponents:
        own = [_estimate(interval(each.exponents[name], each.n_trunks)) for each in (a, b)]
        (apart,) = intervals(_apart(name), a, b)
        out.append(Exponent(name=name, a=own[0], b=own[1], difference=_estimate(apart)))
    return out


def _apart(name: str) -> Statistic:
    return lambda a, b: (a.exponents[name] - b.exponents[name])[:, None]


def _at_places(a: Curve, b: Curve, log_flops: Array) -> list[AtCompute]:
    """Return losses, their difference and the gain at logs of compute (m,)."""
    outside = [each.beyond(log_flops) for each in (a, b)]
    own = [[interval(values, each.n_trunks) for values in each.loss(log_flops).T] for each in (a, b)]
    apart = intervals(lambda a, b: a.loss(log_flops) - b.loss(log_flops), a, b)
    gains = intervals(lambda a, b: log_gains(a, b, log_flops), a, b)
    needed = np.array([place + gain.estimate for place, gain in zip(log_flops, gains, strict=True)])
    reached = b.beyond(np.where(np.isfinite(needed), needed, NEVER))
    out = []
    for k, place in enumerate(log_flops):
        losses = [_place(values[k], beyond[k]) for values, beyond in zip(own, outside, strict=True)]
        difference = _place(apart[k], outside[0][k] or outside[1][k])
        gain = _place(gains[k], outside[0][k] or reached[k], np.exp)
        out.append(AtCompute(flops=np.exp(place), loss_a=losses[0], loss_b=losses[1], difference=difference, gain=gain))
    return out


def _budgets(points: Points) -> list[float]:
    """Return the budgets of tokens of the points, ascending; those within SAME_BUDGET of the one before are one."""
    tokens = np.unique(points.columns["tokens"])
    groups = np.split(tokens, np.flatnonzero(np.diff(np.log(tokens)) > SAME_BUDGET) + 1)
    return [float(group.mean()) for group in groups]


def _of_budget(points: Points, tokens: float) -> Points:
    """Return the points at a budget of tokens."""
    return points.take(np.abs(np.log(points.columns["tokens"] / tokens)) <= SAME_BUDGET)


def _common(a: Points, b: Points) -> float | None:
    """Return the budget of tokens that both sides have most models at, and of several such ones the largest.

    None where there is no budget at which A has a model and B has FEWEST of different compute.
    """
    found = []
    for tokens in _budgets(b):
        models, computes = len(_of_budget(a, tokens)), len(np.unique(_of_budget(b, tokens).columns["flops"]))
        if models and computes >= FEWEST:
            found.append((min(models, computes), models + computes, tokens))
    return max(found)[-1] if found else None


def _at_budget(sides: tuple[Side, Side], tokens: float | None, at: Sequence[float], lacking: list[str]) -> Comparison:
    """Compare the models of two sides at one budget of tokens, those of A with a power law through those of B.

    Raises StudyError where there are too few models; ``lacking`` says why no law was fitted instead.
    """
    points = [side.points(LAWS[BUDGET_LAW]) for side in sides]
    budget = tokens or _common(points[0], points[1])
    own = [_of_budget(each, budget) for each in points] if budget else []
    if not budget or not len(own[0]) or len(np.unique(own[1].columns["flops"])) < FEWEST:
        where = f"At {tokens:.6g} tokens" if tokens else "At one budget of tokens"
        also = f" No law can be fitted to both either: {' '.join(lacking)}" if lacking else ""
        raise StudyError(f"{where}, A needs a model and B needs {FEWEST} of different compute: choose other runs.{also}")
    if at:
        raise StudyError("--at is for a law: at one budget of tokens the models of A are compared where they are. Leave it out")
    (a, b) = [(each.columns["flops"], each.loss) for each in own]
    gains = compute_equivalent(*b, *a)
    alpha, its, apart = map(_estimate, one_budget.exponents(a, b))
    return Comparison(
        a=_side(sides[0], own[0]), b=_side(sides[1], own[1]), method="one budget", law=None, formula="L = (C_0/C)^alpha",
        tokens=budget, exponents=[Exponent(name="alpha", a=alpha, b=its, difference=apart)], at=_at_models(a, b, gains),
        mean_gain=_estimate(Interval(gains.mean, gains.mean_low, gains.mean_high)),
        doubts=[*differences(*sides, *own), *_doubts_at_budget(own)],
    )  # fmt: skip


def _at_models(a: tuple[Array, Array], b: tuple[Array, Array], gains: Gains) -> list[AtCompute]:
    """Return the losses, their difference and the gain of each model of A, in the order of compute."""
    out, known = [], one_budget.losses(b, *a)
    for k in np.argsort(a[0], kind="stable"):
        flops, loss, (line, apart) = a[0][k], a[1][k], known[k]
        outside = not b[0].min() <= flops <= b[0].max()
        measured, gain = Interval(loss, np.nan, np.nan), Interval(gains.each[k], gains.low[k], gains.high[k])
        places = {"loss_b": _place(line, outside), "difference": _place(apart, outside), "gain": _place(gain, gains.beyond[k])}
        out.append(AtCompute(flops=flops, loss_a=_place(measured, False), **places))
    return out


def _doubts_at_budget(own: list[Points]) -> list[str]:
    """Return the reasons to doubt a comparison at one budget."""
    out = []
    for letter, points in zip("AB", own, strict=True):
        out += [f"{letter}: {sentence}" for sentence in points.told]
        if again := len(points) - len(np.unique(points.columns["flops"])):
            out.append(
                f"{letter}: {again} of {len(points)} models have the compute of another: where they differ in more than their "
                f"seed, choose the ones to compare with --where-{letter.lower()}."
            )
    return out


def _estimate(found: Interval) -> Estimate:
    """Return an interval with null for what is not a finite number."""
    known = (None if not np.isfinite(value) else float(value) for value in (found.estimate, found.low, found.high))
    return Estimate(**dict(zip(("estimate", "ci_low", "ci_high"), known, strict=True)))


def _place(found: Interval, extrapolated: bool, scale: Callable[[float], float] = float) -> Place:
    """Return an interval at a compute, each number on another scale where one is given."""
    with np.errstate(over="ignore"):  # a number beyond the range of floats is infinite, and told as null
        scaled = Interval(*(float(scale(value)) for value in (found.estimate, found.low, found.high)))
    return Place(**_estimate(scaled).model_dump(), extrapolated=bool(extrapolated))
