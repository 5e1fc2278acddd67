"""One comparison of two sides on a page for a reader: exponents, losses at equal compute, gains, and the doubts."""

from __future__ import annotations

from typing import Any

from scalinglaws.common.numbers import as_printed, between, counted, number
from scalinglaws.report.one_fit import LOSS_DIGITS, Block, Table

Values = dict[str, Any]


def page(found: Values) -> list[Block]:
    """Return the page of a comparison, what ``compare --json`` prints, as paragraphs, lists and tables in their order."""
    blocks: list[Block] = [_sides(found), _method(found), _exponents(found)]
    blocks += ["Losses in nats per token at equal compute, with 95 % intervals:", _losses(found)]
    blocks += [_gain_in_words(found), _gains(found)]
    if found["doubts"]:
        return [*blocks, "Reasons to doubt it:", found["doubts"]]
    return [*blocks, "No reason to doubt it was found."]


def _sides(found: Values) -> Table:
    rows = []
    for letter in "ab":
        side = found[letter]
        compute = between(side["flops_low"], side["flops_high"])
        rows.append([letter.upper(), side["name"], str(side["n_points"]), str(side["n_trunks"]), compute])
    return Table(("side", "runs of", "used", "trunks", "compute in FLOP"), rows, ("used", "trunks"))


def _method(found: Values) -> str:
    """Say by what the two are compared."""
    if found["method"] == "law":
        return f"Compared by the law {found['law']}, {found['formula']}, fitted to each."
    return (
        f"Compared at one budget of {as_printed(found['tokens'])} tokens: each model of A with {found['formula']} through the "
        f"{counted(found['b']['n_points'], 'model')} of B."
    )


def _exponents(found: Values) -> Table:
    rows = []
    for item in found["exponents"]:
        rows.append([item["name"], *_cells(item["a"]), *_cells(item["b"]), *_cells(item["difference"])])
    columns = ("parameter", "A", "interval of A", "B", "interval of B", "A − B", "interval of A − B")
    return Table(columns, rows, ("A", "B", "A − B"))


def _losses(found: Values) -> Table:
    """Return the table of losses; a side is named where the compute is beyond its runs."""
    rows = []
    for item in found["at"]:
        beyond = [letter.upper() for letter in "ab" if item[f"loss_{letter}"]["extrapolated"]]
        cells = [cell for name in ("loss_a", "loss_b", "difference") for cell in _cells(item[name], LOSS_DIGITS)]
        rows.append([number(item["flops"]), *cells, " and ".join(beyond)])
    columns = ("compute", "A", "interval of A", "B", "interval of B", "A − B", "interval of A − B", "extrapolated")
    return Table(columns, rows, ("compute", "A", "B", "A − B")).filled()


def _gain_in_words(found: Values) -> str:
    """Say what the gain is, and its mean where there is one."""
    text = "Compute-equivalent gain of A over B: how many times the compute B needs to have the loss of A, with 95 % intervals."
    mean = found["mean_gain"]
    if mean is None or mean["estimate"] is None:
        return text
    return f"{text} Its geometric mean is {number(mean['estimate'])}, {_interval(mean)}."


def _gains(found: Values) -> Table:
    rows = []
    for item in found["at"]:
        gain = item["gain"]
        estimate = "never" if gain["estimate"] is None else number(gain["estimate"])
        rows.append([number(item["flops"]), estimate, _interval(gain), "yes" if gain["extrapolated"] else "no"])
    return Table(("compute of A", "gain", "interval", "extrapolated"), rows, ("compute of A", "gain"))


def _cells(found: Values, digits: int = 3) -> tuple[str, str]:
    """Return the texts of an estimate and of its interval; of what is not known, empty ones."""
    value, low, high = found["estimate"], found["ci_low"], found["ci_high"]
    return "" if value is None else number(value, digits), "" if low is None or high is None else between(low, high, digits)


def _interval(found: Values) -> str:
    """Write an interval in words, which may have no upper end."""
    low, high = found["ci_low"], found["ci_high"]
    if low is None:
        return "not resolved"
    return f"above {number(low)}" if high is None else between(low, high)
