"""What follows from several fits together: the trends of Table 6 and the crossing of section 6.3 of Kaplan et al. 2020.

The trends follow from laws/allocation.py with the fitted L(N, S_min) and B_crit(L). Fits are taken as independent of each other.
Where fit.json keeps resamples, the parameters of one fit move together as they do there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scalinglaws.figures.shared.fit_json import EXPONENTS, Fit, paired, parameter, unresolved
from scalinglaws.laws import allocation
from scalinglaws.laws.catalogue import PF_DAY
from scalinglaws.laws.uncertainty import interval

# The parameters of each law that these quantities follow from: exponents, then scales.
SCALES = {"kaplan-ns": ("N_c", "S_c"), "critical-batch": ("B_star",), "power-cmin": ("C_c",), "power-d": ("D_c",)}
PARAMETERS = {law: (*EXPONENTS[law], *scales) for law, scales in SCALES.items()}
TRENDS, CROSSING = ("kaplan-ns", "critical-batch"), tuple(PARAMETERS)
# Table 6 of the paper, as measured there: scale and exponent, with C_min in PF-days.
PUBLISHED_TRENDS = {"N_opt": (1.3e9, 0.73), "B": (2.0e6, 0.24), "S_min": (5.4e3, 0.03), "D_opt": (2e10, 0.27)}
# Section 6.3 of the paper, roughly: C* in PF-days, N* in parameters, D* in tokens, L* in nats per BPE token.
PUBLISHED_CROSSING = {"C*": 1e4, "N*": 1e12, "D*": 1e12, "L*": 1.7}
MANY = 0.025  # where a larger share of resamples lies on the other side, a 95 % interval has no end
BY_RESAMPLES = "by the fits' resamples (fits taken as independent)"
BY_FIRST_ORDER = "to first order in the logarithms of the exponents (taken as independent), as the fits keep no resamples"

Values = dict[str, float]
Found = dict[str, float | None]


@dataclass(frozen=True)
class Derived:
    """Quantities that follow from several fits together.

    Where there are resamples, the intervals of ``coefficients`` are the values whose names end in ": scale".
    """

    values: dict[str, Found]  # by name: estimate, ci_low and ci_high, each None where there is none
    doubt: str | None  # why they are not resolved
    how: str  # how the intervals were made
    coefficients: Values  # values of trends at C_min = 1 PF-day; for the crossing ``gap``, whose sign says where laws disagree


def trend_exponents(alpha_n: float, alpha_s: float, alpha_b: float) -> Values:
    """Return the exponents of C_min in 1/L (6.4), N_opt, B, S_min (B.8–B.10) and D_opt = 2 C_min/(6 N_opt) (6.6)."""
    total = float(allocation.frontier_exponent(alpha_n, alpha_s, alpha_b))
    shares = {"N_opt": total / alpha_n, "B": total / alpha_b, "S_min": total / alpha_s}
    return {"alpha_C_min": total, **shares, "D_opt": 1 - shares["N_opt"]}


def trends(fits: dict[str, Fit]) -> Derived:
    """Return the exponents and coefficients of the compute-efficient trends.

    C_min is in PF-days, N in parameters, B and D in tokens.
    """
    names = ("alpha_C_min", "N_opt", "B", "S_min", "D_opt")
    doubt, found = _doubt(fits, TRENDS), _estimates(fits, TRENDS)
    alphas = [found[name] for name in ("alpha_N", "alpha_S", "alpha_B")]
    if not all(value is not None and value > 0 for value in alphas):
        return Derived(dict.fromkeys(names, _found(None)), doubt or "not resolved: an exponent is not positive", "", {})
    usable = {name: value for name, value in found.items() if value is not None}
    coefficients = _coefficients(usable)
    estimates = trend_exponents(*(usable[name] for name in ("alpha_N", "alpha_S", "alpha_B")))
    drawn = _resamples(fits, TRENDS)
    if drawn is None:
        values = _first_order(fits, estimates)
    else:
        alphas_of = [[row[name] for name in ("alpha_N", "alpha_S", "alpha_B")] for row in drawn]
        each = [trend_exponents(*row) for row in alphas_of if _positive(row)]
        values = {name: _interval(fits, TRENDS, estimates[name], [row[name] for row in each], True) for name in names}
        if len(each) < (1 - MANY) * len(drawn):
            doubt = doubt or "not resolved: in too many resamples an exponent is not positive"
        scales = [_coefficients(row) for row in drawn if _positive(row.values())]
        for name, value in coefficients.items():
            values[f"{name}: scale"] = _interval(fits, TRENDS, value, [row.get(name, math.nan) for row in scales], True)
    return Derived(values, doubt, BY_FIRST_ORDER if drawn is None else BY_RESAMPLES, coefficients)


def crossing(fits: dict[str, Fit]) -> Derived:
    """Return C* (FLOP), N*, D* (tokens) and L* where L(D(C_min)) meets L(C_min) (6.6–6.8).

    They are not resolved without resamples, nor where too many resamples cross on the other side: it is then not known which law
    is the steeper one.
    """
    nothing = dict.fromkeys(("C*", "N*", "D*", "L*"), _found(None))
    doubt, found, drawn = _doubt(fits, CROSSING), _estimates(fits, CROSSING), _resamples(fits, CROSSING)
    usable = {name: value for name, value in found.items() if value is not None and value > 0}
    if len(usable) < len(found):
        return Derived(nothing, doubt or "not resolved: a parameter is missing or not positive", "", {})
    estimates, steeper = _crossing(usable)
    if not all(math.isfinite(value) for value in estimates.values()):
        return Derived(nothing, doubt or "not resolved: the two laws are nearly parallel", "", {})
    values = {name: _found(value) for name, value in estimates.items()}
    if drawn is None:
        return Derived(values, doubt or "not resolved: the fits keep no resamples, so the crossing has no interval", "", {})
    each = [_crossing(row) for row in drawn if _positive(row.values())]
    same = [row for row, gap in each if gap * steeper > 0 and all(map(math.isfinite, row.values()))]
    if len(same) < (1 - MANY) * len(drawn):
        share = 100 * (1 - len(same) / len(drawn))
        words = f"in {share:.0f} % of the resamples the two laws cross on the other side of the data, or nowhere"
        return Derived(values, doubt or f"not resolved: {words}", "", {"gap": steeper})
    values = {name: _interval(fits, CROSSING, estimates[name], [row[name] for row in same], True) for name in estimates}
    return Derived(values, doubt, BY_RESAMPLES, {"gap": steeper})


def _crossing(p: Values) -> tuple[Values, float]:
    """Return C*, N*, D* and L*, and alpha_C − p·alpha_D with D ∝ C^p, which is positive where the laws disagree beyond C*."""
    share = trend_exponents(p["alpha_N"], p["alpha_S"], p["alpha_B"])["D_opt"]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        tokens = _coefficients(p).get("D_opt", math.nan)
        at = (tokens * PF_DAY**-share, share)
        flops, loss, data = allocation.crossing((p["C_c"], p["alpha_C"]), (p["D_c"], p["alpha_D"]), at)
        found = {"C*": flops, "N*": flops / (3 * data), "D*": data, "L*": loss}
    return {name: float(value) for name, value in found.items()}, p["alpha_C"] - share * p["alpha_D"]


def _coefficients(p: Values) -> Values:
    """Return N_opt, B, S_min and D_opt at 1 PF-day; empty where a scale is missing."""
    if not {"N_c", "S_c", "B_star"} <= set(p):
        return {}
    law = allocation.LossNS(p["alpha_N"], p["alpha_S"], p["N_c"], p["S_c"])
    with np.errstate(over="ignore", invalid="ignore"):
        at = allocation.frontier(law, allocation.CriticalBatch(p["B_star"], p["alpha_B"]), PF_DAY)
    found = {"N_opt": at.n_opt, "B": at.batch_tokens, "S_min": at.steps_min, "D_opt": at.tokens}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _doubt(fits: dict[str, Fit], laws: tuple[str, ...]) -> str | None:
    doubts = [unresolved(fits.get(law), law) for law in laws]
    return next(filter(None, doubts), None)


def _estimates(fits: dict[str, Fit], laws: tuple[str, ...]) -> Found:
    return {name: parameter(fits.get(law), name)["estimate"] for law in laws for name in PARAMETERS[law]}


def _resamples(fits: dict[str, Fit], laws: tuple[str, ...]) -> list[Values] | None:
    """Return the resampled parameters of the fits together (fit_json.paired); None where a fit keeps none."""
    needed = {name for law in laws for name in PARAMETERS[law]}
    drawn = paired(fits, laws)
    return drawn if drawn and needed <= set(drawn[0]) else None


def _positive(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) and value > 0 for value in values)


def _interval(fits: dict[str, Fit], laws: tuple[str, ...], estimate: float, drawn: list[float], log: bool) -> Found:
    """Return the interval of drawn values (uncertainty.interval), widened for the fit that has fewest trunks."""
    found = interval(estimate, np.array(drawn), log, min(int(fits[law].get("n_trunks") or 0) for law in laws))
    return {key: found[key] if math.isfinite(found[key]) else None for key in ("estimate", "ci_low", "ci_high")}


def _first_order(fits: dict[str, Fit], estimates: Values) -> dict[str, Found]:
    """Return intervals to first order in the logarithms of the three exponents, from the intervals of these.

    With p the exponents of N_opt, S_min and B, which add up to 1: d log p_i = Σ_j p_j d log alpha_j − d log alpha_i, and
    d log alpha_C_min = Σ_j p_j d log alpha_j.
    """
    where = {"N_opt": ("kaplan-ns", "alpha_N"), "S_min": ("kaplan-ns", "alpha_S"), "B": ("critical-batch", "alpha_B")}
    half = []
    for law, name in where.values():
        found = parameter(fits[law], name)
        low, high = found["ci_low"], found["ci_high"]
        if low is None or high is None or low <= 0:
            return {name: _found(value) for name, value in estimates.items()}
        half.append(math.log(high / low) / 2)
    shares = np.array([estimates[name] for name in where])
    slopes = {"alpha_C_min": shares} | {name: shares - np.eye(3)[k] for k, name in enumerate(where)}
    slopes["D_opt"] = -slopes["N_opt"] * estimates["N_opt"] / estimates["D_opt"]
    out: dict[str, Found] = {}
    for name, estimate in estimates.items():
        reach = math.exp(float(np.linalg.norm(slopes[name] * half)))
        out[name] = {"estimate": estimate, "ci_low": estimate / reach, "ci_high": estimate * reach}
    return out


def _found(estimate: float | None) -> Found:
    return {"estimate": estimate, "ci_low": None, "ci_high": None}
