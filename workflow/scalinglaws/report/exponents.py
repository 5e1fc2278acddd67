"""The table of fitted against published exponents, as Parquet and as Markdown.

Only exponents are compared: N_c, D_c and C_c carry the units of a vocabulary and of a text, and ours are not the paper's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars
import pyarrow.parquet

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import replacing, write_bytes
from scalinglaws.figures.shared.fit_json import Fit, parameter, published, unresolved
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.registry import LAWS

EXPONENTS: dict[str, tuple[str, ...]] = {name: find(name).compared for name in LAWS}
SCHEMA: dict[str, Any] = {
    "law": polars.String,
    "parameter": polars.String,
    "estimate": polars.Float64,
    "ci_low": polars.Float64,
    "ci_high": polars.Float64,
    "published": polars.Float64,
    "n_points": polars.Int64,
    "n_trunks": polars.Int64,
    "flags": polars.String,
    "verdict": polars.String,
}
NOTE = (
    "Intervals are 95 % (bootstrap over trunks). Only exponents are compared with the published ones: the constants N_c, D_c and "
    "C_c depend on the vocabulary and the text, so that those of a byte-level model have other units than the paper's."
)


def exponents(fits: dict[str, Fit]) -> polars.DataFrame:
    """Return a row for each exponent of each fit, in the order of the laws; ``verdict`` is a sentence made from the numbers.

    An exponent that a law has but its fit lacks keeps its row, with a null estimate. The exponents a and b (N_opt ∝ C^a,
    D_opt ∝ C^b) have a row where they were derived.
    """
    rows = []
    for law, fit in fits.items():
        for name in EXPONENTS[law]:
            found = parameter(fit, name)
            if found["estimate"] is None and name in ("a", "b"):
                continue
            row = {"law": law, "parameter": name, **found, "published": published(fit, name)}
            row |= {"n_points": fit.get("n_points"), "n_trunks": fit.get("n_trunks"), "flags": "; ".join(fit.get("flags") or [])}
            rows.append(row | {"verdict": verdict(fit, law, name)})
    return polars.DataFrame(rows, schema=SCHEMA)


NEEDED = ("n_points", "n_trunks", "r2", "objective", "held_out", "flags", "parameters", "published")


def fit_rows(fits: dict[str, Fit]) -> list[dict[str, Any]]:
    """Return rows of the table ``fits``: one for each parameter or derived exponent, and one for a law that has neither.

    Raises StudyError where a fit lacks a value.
    """
    rows = []
    for law, fit in fits.items():
        if missing := [name for name in NEEDED if name not in fit]:
            raise StudyError(f"the fit of law {law} has no {missing[0]}: delete it and fit again (run snakemake, which does)")
        common = {"law": law, "n_points": fit["n_points"], "n_trunks": fit["n_trunks"], "r2": fit["r2"]}
        common |= {"objective": fit["objective"].get("value"), "held_out_error": fit["held_out"].get("error")}
        common |= {"flags": "; ".join(fit["flags"])}
        nothing = {"estimate": None, "stderr": None, "ci_low": None, "ci_high": None, "unit": None}
        found = {**fit["parameters"], **fit.get("exponents", {})} or {None: nothing}
        for name, value in found.items():
            rows.append({**common, "parameter": name, "published": fit["published"].get(name)} | nothing | value)
    return rows


def verdict(fit: Fit | None, law: str, name: str) -> str:
    """Say whether an exponent agrees with the published one."""
    doubt = unresolved(fit, law, (name,))
    return full(doubt) if doubt else agreement(parameter(fit, name), published(fit, name))


def agreement(found: dict[str, float | None], value: float | None, measure: str = "as steep") -> str:
    """Say whether the published ``value`` lies in the interval of ``found``, a ``fit_json.parameter``, or how far away it is."""
    if value is None:
        return "There is no published value to compare with."
    estimate, low, high = (float(found[key] or 0.0) for key in ("estimate", "ci_low", "ci_high"))
    if low <= value <= high:
        return f"Agrees: the published {value:.4g} lies inside the interval."
    where = "below" if value < low else "above"
    return f"Disagrees: the published {value:.4g} lies {where} the interval; ours is {estimate / value:.2f} times {measure}."


def full(sentence: str) -> str:
    """Write a sentence with its capital and its full stop."""
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def differences(fits: dict[str, Fit]) -> list[str]:
    """Return a line for each law of compute: its exponents under each convention of counting FLOP, and how they differ."""
    found = {law: (fit.get("conventions") or {}).get("difference") for law, fit in fits.items()}
    return [f"{law}: {sentence}" for law, sentence in found.items() if sentence]


def markdown(table: polars.DataFrame, conventions: list[str]) -> str:
    """Write the table as Markdown: a line for each exponent, the verdict last, and lists of ``conventions`` and flags below."""
    lines = ["# Fitted and published exponents", "", NOTE, ""]
    if table.is_empty():
        return "\n".join([*lines, "This study fits no law.", ""])
    lines += ["| law | exponent | fitted | 95 % interval | published | points | trunks | |", "|---|---|---|---|---|---|---|---|"]
    for row in table.iter_rows(named=True):
        interval = "–" if row["ci_low"] is None or row["ci_high"] is None else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"
        cells = [row["law"], row["parameter"], _cell(row["estimate"], ".4f"), interval, _cell(row["published"], "g")]
        cells += [_cell(row["n_points"], "d"), _cell(row["n_trunks"], "d"), row["verdict"]]
        lines.append("| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |")
    if conventions:
        lines += ["", "What is counted as compute moves its exponents:", "", *(f"- {line}" for line in conventions)]
    flagged = table.filter(polars.col("flags") != "").unique("law", keep="first", maintain_order=True)
    if not flagged.is_empty():
        lines += ["", "Flags raised by the fits:", ""]
        lines += [f"- {row['law']}: {row['flags']}" for row in flagged.iter_rows(named=True)]
    return "\n".join([*lines, ""])


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def write(table: polars.DataFrame, conventions: list[str], parquet: str | Path, md: str | Path) -> None:
    """Write the table as Parquet and as Markdown; the same table gives the same bytes."""
    with replacing(Path(parquet)) as temporary, open(temporary, "wb") as file:  # pyarrow opens no name that is not UTF-8
        pyarrow.parquet.write_table(table.to_arrow(), file, compression="zstd")
    write_bytes(Path(md), markdown(table, conventions).encode())
