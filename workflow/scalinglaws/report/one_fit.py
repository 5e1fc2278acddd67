"""One fit on a page for a reader: what was fitted to what, the parameters, how well it predicts, the doubts, the forecasts.

It reads fit.json alone, whichever law that is of, so a law that is added needs nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalinglaws.common.numbers import as_printed, between, counted, number
from scalinglaws.laws.catalogue import find

Fit = dict[str, Any]
LOSS_DIGITS = 4  # of a loss that is forecast: a tenth of a percent matters


@dataclass(frozen=True)
class Table:
    """Rows of texts under their columns; those named in ``right`` hold numbers and end at one edge."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    right: tuple[str, ...] = ()

    def filled(self) -> Table:
        """Return the table without the columns that have nothing in any row."""
        keep = [k for k in range(len(self.columns)) if any(row[k] for row in self.rows)]
        return Table(tuple(self.columns[k] for k in keep), [[row[k] for k in keep] for row in self.rows], self.right)


Block = str | list[str] | Table  # a paragraph, a list, or a table


def page(fit: Fit) -> list[Block]:
    """Return the page of a fit, the content of a fit.json, as paragraphs, lists and tables in their order."""
    law = find(fit["law"])
    blocks: list[Block] = [f"{law.name}: {law.title[:1].lower()}{law.title[1:]}. Source: {law.source}.", fit["formula"]]
    blocks += [*_data(fit, law.rule), *_parameters(fit, law.compared), *_quality(fit)]
    if fit["flags"]:
        blocks += ["Reasons to doubt it:", [_sentence(flag) for flag in fit["flags"]]]
    elif fit["parameters"]:
        blocks.append("No reason to doubt it was found.")
    return [*blocks, *_forecasts(fit)]


def _data(fit: Fit, rule: str) -> list[Block]:
    """Tell what the law was fitted to, how, and which runs were left out."""
    numbers = [counted(fit["n_points"], "point"), counted(fit["n_runs"], "run"), counted(fit["n_trunks"], "trunk")]
    blocks: list[Block] = [f"Fitted to {numbers[0]} of {numbers[1]} and {numbers[2]}: {rule}."]
    reasons = Counter(item["reason"] for item in fit["excluded"])
    if reasons:
        each = [f"{counted(n, 'run')}: {reason}" for reason, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]
        blocks += ["Left out:", each]
    if fit["starts"]:
        how = [f"{key} {value}" for key, value in fit["objective"].items() if key not in ("name", "value") and value is not None]
        blocks.append(f"Objective: {', '.join([fit['objective']['name'], *how])}; {counted(fit['starts'], 'start')}.")
    return blocks


def _parameters(fit: Fit, compared: Sequence[str]) -> list[Block]:
    """Return the table of parameters and derived exponents with their intervals, beside the published values."""
    rows, published, held = [], fit.get("published") or {}, fit.get("fixed") or {}
    for name, found in {**fit["parameters"], **fit.get("exponents", {})}.items():
        low, high, value = found.get("ci_low"), found.get("ci_high"), published.get(name)
        interval = "held fixed" if name in held else between(low, high)
        cells = [name, number(found["estimate"]), interval, found.get("unit") or "", "" if value is None else as_printed(value)]
        rows.append([*cells, _beside(value, low, high) if name in compared else "" if value is None else "in other units"])
    columns = ("parameter", "estimate", "95 % interval", "unit", "published", "which lies")
    return [Table(columns, rows, ("estimate", "published")).filled()] if rows else []


def _beside(published: float | None, low: float | None, high: float | None) -> str:
    """Say where a published value lies, as seen from an interval; an empty text where one of them is missing."""
    if published is None or low is None or high is None:
        return ""
    return "below it" if published < low else "above it" if published > high else "inside it"


def _quality(fit: Fit) -> list[Block]:
    """Tell how well the law fits, how well it predicts what was held out, and what other forms and conventions give."""
    told, held = [], fit.get("held_out") or {}
    if fit.get("r2") is not None:
        told.append(f"R² is {fit['r2']:.4f}.")
    if held.get("error") is not None:
        told.append(f"The held-out error is {100 * held['error']:.2g} % ({held['rule']}).")
    if verdict := (fit.get("alternatives") or {}).get("verdict"):
        told.append(f"Comparison of forms: {verdict}")
    told.append((fit.get("conventions") or {}).get("difference") or "")
    return [text] if (text := " ".join(_sentence(sentence) for sentence in told if sentence)) else []


def _forecasts(fit: Fit) -> list[Block]:
    """Return the table of the forecasts that --at asked for, with what it means."""
    items = fit.get("predictions") or fit.get("recommended") or []
    if not items:
        return []
    if any("run_low" not in item for item in items):  # of a law that forecasts something other than the loss of a run
        return ["Forecasts:", _other_forecasts(items)]
    reach = max(item["reach"] for item in items)
    checked = f"; windows of this table could check forecasts up to {number(reach)} times" if reach > 1 else ""
    size = " × ".join(find(fit["law"]).variables)
    meaning = (
        f"Forecasts of new runs, in nats per token, with 95 % intervals. The factor is {size} over that of the largest fitted "
        f"run{checked}."
    )
    columns = ("run at", "loss", "interval of a run", "law", "interval of the law", "factor", "checked")
    rows = [
        [
            _place(item),
            number(item["loss"], LOSS_DIGITS),
            between(item["run_low"], item["run_high"], LOSS_DIGITS),
            number(item["law_loss"], LOSS_DIGITS),
            between(item["ci_low"], item["ci_high"], LOSS_DIGITS),
            number(item["factor"]),
            "no" if item["flag"] else "yes",
        ]
        for item in items
    ]
    return [meaning, Table(columns, rows, ("loss", "law", "factor"))]


def _other_forecasts(items: list[dict[str, Any]]) -> Table:
    """Return forecasts by what they hold: a column for each number, and for each estimate with its interval."""
    names = list(dict.fromkeys(name for item in items for name in item if name not in ("at", "optimum", "flag")))
    return Table(("at", *names), [[_place(item), *(_cell(item.get(name)) for name in names)] for item in items]).filled()


def _cell(value: Any) -> str:
    """Write a number, an estimate with its interval, or a text."""
    if isinstance(value, dict) and "estimate" in value:
        low, high = value.get("ci_low"), value.get("ci_high")
        return number(value["estimate"]) + ("" if low is None or high is None else f" ({between(low, high)})")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return "" if value is None else str(value)


def _place(item: dict[str, Any]) -> str:
    """Write where a forecast is made, as "flops = 1e21: n_params = 2.1e9, tokens = 7.9e10"."""
    places = filter(None, (item["at"], item.get("optimum")))
    return ": ".join(", ".join(f"{name} = {as_printed(value)}" for name, value in place.items()) for place in places)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
