"""Tables 2 to 6 of Kaplan et al. 2020 for a study, the crossing of its section 6.3, and what came after, as Markdown.

Only exponents are compared with the published ones: scales carry the units of a vocabulary and of a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from scalinglaws.common.numbers import as_printed, between, count, listed, number
from scalinglaws.figures.shared import compute_efficient
from scalinglaws.figures.shared.compute_efficient import PUBLISHED_CROSSING, PUBLISHED_TRENDS, Derived
from scalinglaws.figures.shared.fit_json import Fit, parameter, unresolved
from scalinglaws.laws.catalogue import LAWS, METHODS, PF_DAY
from scalinglaws.laws.refits import OF_LAW
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.report.exponents import agreement, differences, full, verdict
from scalinglaws.report.markdown import table
from scalinglaws.study.questions import WORDS

Fits = dict[str, Fit]
HEAD = ("parameter", "this study", "95 % interval", "published", "finding")
OTHER_UNITS, SEE_BELOW = "Not compared: other units.", "Not resolved: see below."
# The rows of Table 5: law, exponent, scale and its unit.
BASIC = (
    ("power-n", "alpha_N", "N_c", "parameters"),
    ("power-d", "alpha_D", "D_c", "tokens"),
    ("power-c", "alpha_C", "C_c", "PF-days"),
    ("power-cmin", "alpha_C", "C_c", "PF-days"),
    ("critical-batch", "alpha_B", "B_star", "tokens"),
    ("kaplan-ns", "alpha_S", "S_c", "steps"),
)
LATER = (
    ("envelope", "Hoffmann et al. 2022, approach 1", ("a", "b")),
    ("isoflop", "Hoffmann et al. 2022, approach 2", ("a", "b")),
    ("chinchilla", "Hoffmann et al. 2022, approach 3", ("a", "b")),
    ("repetition", "Muennighoff et al. 2023", ("R_D*",)),
    ("overtraining", "Gadre et al. 2024", ("eta",)),
    ("farseer", "Li et al. 2025", ("alpha", "beta", "gamma")),
)
PUBLISHED_ALPHA_C_MIN = 0.054  # equation 6.4
UNITS = {"C*": "PF-days", "N*": "parameters", "D*": "tokens", "L*": "nats per token"}


def not_fitted(laws: Sequence[str]) -> str:
    """Say that a study has no fit of ``laws``, and which runs they need."""
    taken = listed([WORDS[kind] for kind in dict.fromkeys(LAW_KINDS[law] for law in laws)])
    return f"This study has no fit of {listed(laws, 'or')} (taken: {taken})."


def one_law(fits: Fits, law: str) -> list[str]:
    """Return Table 2 or 3, with a row for each parameter of a fit."""
    if law not in fits:
        return [not_fitted([law])]
    rows = [_row(fits, law, item.name, item.name, item.unit, item.log) for item in LAWS[law].parameters]
    return table(HEAD, rows)


def equations(fits: Fits) -> list[str]:
    """Return Table 4, with each law and its fitted numbers, then the laws that the study does not fit."""
    rows = []
    for law, fit in fits.items():
        held = (fit.get("held_out") or {}).get("error")
        share = "none" if held is None else f"{100 * held:.1f} %"
        cells = [law, count(fit.get("n_points")), count(fit.get("n_trunks")), number(fit.get("r2")), share]
        rows.append([*cells, f"`{equation(fit, law)}`" if fit.get("parameters") else full(_reason(fit))])
    lines = table(("law", "points", "trunks", "R²", "held-out error", "fitted"), rows) if rows else []
    for kind in dict.fromkeys(LAW_KINDS.values()):
        if left := [law for law in LAW_KINDS if LAW_KINDS[law] == kind and law not in fits]:
            lines += ["", not_fitted(left)]
    return [*lines, "", "N in parameters, D and B in tokens, C in FLOP, S in updates."]


def _reason(fit: Fit) -> str:
    return " ".join(fit.get("flags") or ["Not fitted."])


def equation(fit: Fit, law: str) -> str:
    """Write the formula of a law with the fitted numbers in place of its parameters.

    Parameters that the formula does not name follow it.
    """
    text = LAWS[law].formula if law in LAWS else METHODS[law].formula
    names = [*(fit.get("parameters") or {}), *((fit.get("exponents") or {}) if law == "isoflop" else {})]
    left = []
    for name in sorted(names, key=len, reverse=True):
        value = number(parameter(fit, name)["estimate"])
        text, times = re.subn(rf"(?<![\w.]){re.escape(name)}(?![\w'*])", value, text)
        left += [] if times else [f"{name} = {value}"]
    return ", ".join([text, *sorted(left)])


def basic(fits: Fits) -> list[str]:
    """Return Table 5, with the exponent and the scale of each law of one variable."""
    rows = []
    for law, exponent, scale, unit in BASIC:
        suffix = "_min" if law == "power-cmin" else ""
        rows.append(_row(fits, law, exponent, exponent + suffix, "", False))
        rows.append(_row(fits, law, scale, scale + suffix, unit, True))
    return table(HEAD, rows)


def _row(fits: Fits, law: str, name: str, label: str, unit: str, scale: bool) -> list[str]:
    """Return the cells of a parameter: its value, interval and published value in ``unit``, and a sentence."""
    known = (LAWS[law].published if law in LAWS else METHODS[law].published).get(name)
    size, label = PF_DAY if unit == "PF-days" else 1.0, f"{label} ({unit})" if unit else label
    published = as_printed(known / size if known is not None else None)
    if law not in fits:
        return [label, "not fitted", "none", published, "Not fitted." if scale else not_fitted([law])]
    found = {key: value / size if value is not None else None for key, value in parameter(fits[law], name).items()}
    sentence = OTHER_UNITS if scale else verdict(fits[law], law, name)
    return [label, number(found["estimate"]), between(found["ci_low"], found["ci_high"]), published, sentence]


def compute_efficient_trends(fits: Fits) -> list[str]:
    """Return Table 6, with exponents and scales of N_opt, B, S_min and D_opt, and alpha_C_min as the fits predict it."""
    if missing := [law for law in compute_efficient.TRENDS if law not in fits]:
        words = [f"{name} = {as_printed(scale)}·C_min^{power:g}" for name, (scale, power) in PUBLISHED_TRENDS.items()]
        return [not_fitted(missing), "", f"Published: {listed(words)}, C_min in PF-days."]
    found = compute_efficient.trends(fits)
    rows = [_derived_row("alpha_C_min (6.4)", found, "alpha_C_min", PUBLISHED_ALPHA_C_MIN)]
    for name, (scale, exponent) in PUBLISHED_TRENDS.items():
        rows.append(_derived_row(f"{name}: exponent", found, name, exponent))
        ends = found.values.get(f"{name}: scale", {})
        reach = between(ends.get("ci_low"), ends.get("ci_high"))
        rows.append([f"{name}: scale", number(found.coefficients.get(name)), reach, as_printed(scale), OTHER_UNITS])
    return [*table(HEAD, rows), "", *_below(found), "Scales are at C_min = 1 PF-day. " + _measured()]


def _measured() -> str:
    known = LAWS["kaplan-ns"].published
    theory = compute_efficient.trend_exponents(known["alpha_N"], known["alpha_S"], METHODS["critical-batch"].published["alpha_B"])
    words = [f"{theory[name]:.2f} ({name})" for name in PUBLISHED_TRENDS]
    return (
        "The published exponents of N_opt, B, S_min and D_opt were measured. By the equations used here the published "
        f"alpha_N, alpha_S and alpha_B of L(N, S_min) and B_crit give {listed(words)}."
    )


def _below(found: Derived) -> list[str]:
    """Return sentences below a table of derived quantities: why they are doubted, and how their intervals were made."""
    doubt = [full(found.doubt), ""] if found.doubt else []
    return [*doubt, *([f"Intervals are {found.how}.", ""] if found.how else [])]


def _derived_row(label: str, found: Derived, name: str, published: float) -> list[str]:
    value = found.values[name]
    sentence = SEE_BELOW if found.doubt or value["ci_low"] is None else agreement(value, published)
    return [label, number(value["estimate"]), between(value["ci_low"], value["ci_high"]), as_printed(published), sentence]


def contradiction(fits: Fits) -> list[str]:
    """Return the table of section 6.3: where the extrapolated L(D(C_min)) meets L(C_min)."""
    if missing := [law for law in compute_efficient.CROSSING if law not in fits]:
        words = [f"{key} {as_printed(value)} {UNITS[key]}" for key, value in PUBLISHED_CROSSING.items()]
        return [not_fitted(missing), "", f"Published, roughly: {listed(words)}."]
    found, rows = compute_efficient.crossing(fits), []
    for name, published in PUBLISHED_CROSSING.items():
        size = PF_DAY if name == "C*" else 1.0
        value = {key: None if at is None else at / size for key, at in found.values[name].items()}
        cells = [f"{name} ({UNITS[name]})", number(value["estimate"]), between(value["ci_low"], value["ci_high"])]
        rows.append([*cells, as_printed(published), SEE_BELOW if found.doubt else OTHER_UNITS])
    side = "beyond" if found.coefficients.get("gap", 0.0) > 0 else "below"
    finding = [] if found.doubt else [f"The two laws contradict each other {side} C*."]
    return [*table(HEAD, rows), "", *_below(found), *finding]


def later(fits: Fits) -> list[str]:
    """Return exponents of laws published after 2020, and how the convention of counting FLOP moves those of laws of compute."""
    rows = []
    for law, source, names in LATER:
        for name in names:
            row = _row(fits, law, name, name, "", False)
            if name == "R_D*" and law in fits:
                doubt = unresolved(fits[law], law, (name,))
                known: Any = LAWS[law].published[name]
                row[-1] = full(doubt) if doubt else agreement(parameter(fits[law], name), known, "as large")
            rows.append([f"{name}: {law}", source, *row[1:]])
    counted = differences(fits)
    lines = [*table(("parameter", "by", *HEAD[1:]), rows), *_beside_others(fits)]
    if not counted:
        return [*lines, "", "No law of compute was fitted under several conventions of FLOP."]
    return [*lines, "", "What is counted as compute moves its exponents:", "", *(f"- {line}" for line in counted)]


def _beside_others(fits: Fits) -> list[str]:
    """Return a table of the parameters of each fitted law of which other studies published fits, ours before theirs."""
    rows = []
    for law, published in OF_LAW.items():
        found = {name: parameter(fits.get(law), name)["estimate"] for name in published[0].values}
        found = {name: value for name, value in found.items() if value is not None}
        if found:
            rows.append([law, "this study", "", ", ".join(f"{name} = {number(value)}" for name, value in found.items())])
            for each in published:
                values = ", ".join(f"{name} = {as_printed(value)}" for name, value in each.values.items())
                rows.append(["", each.source, each.of, values])
    if not rows:
        return []
    head = "Published fits of the same laws. Exponents can be compared; scales and offsets are those of a text and a vocabulary."
    return ["", head, "", *table(("law", "by", "fitted to", "values"), rows)]
