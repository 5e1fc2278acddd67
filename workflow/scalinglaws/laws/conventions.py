"""Laws of compute under each convention of counting FLOP that a table of runs has.

References
----------
Porian et al. 2024 (arXiv:2406.19146) and Pearce and Song 2024 (arXiv:2406.12907): at small sizes the convention moves the fitted
exponents more than noise does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from scalinglaws.laws.forms import Described
from scalinglaws.laws.select import Points, select

# Column of the table of runs, and how its convention is called in a sentence.
CONVENTIONS = {
    "flops_6nd": "by 6ND without embeddings", "flops_last_layer": "with the last layer", "flops_attention": "with attention too",
}  # fmt: skip
COMPARED = ("alpha_C", "a")  # exponents that the sentence compares


def under_each(
    table: pl.DataFrame, curves: pl.DataFrame | None, law: Described, columns: Mapping[str, str], options: Mapping[str, Any],
    parameters: Callable[[Points], dict[str, Any]], own: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the parameters of a law of C under each convention that the table has, and a sentence on how they differ.

    Parameters
    ----------
    table, curves
        Runs, and learning curves for a law that is fitted to them.
    law, columns, options
        What ``select.select`` takes beside the tables.
    parameters
        The fit: points in, parameters and exponents with their intervals out.
    own
        What ``parameters`` returns for the law's own points, which count 6ND where no column ``flops`` says otherwise.
    """
    measured, found = table if curves is None else curves, {}
    for name in CONVENTIONS:
        if name not in table.columns or not (curves is None or {"trunk", "flops_6nd"} <= {*curves.columns} & {*table.columns}):
            continue
        if name == "flops_6nd" and "flops" not in measured.columns:
            found[name] = own
            continue
        counted = None if curves is None else _recounted(curves, table, name)
        found[name] = parameters(select(table, law, {**columns, "flops": name}, curves=counted, **options))
    return found | {"difference": _difference(found)}


def _recounted(curves: pl.DataFrame, runs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the curves with FLOP counted as in column ``name`` of the runs: a trunk's ratio to 6ND is one number."""
    ratio = runs.select("trunk", ratio=pl.col(name) / pl.col("flops_6nd")).drop_nulls().unique("trunk", keep="first")
    curves = curves.join(ratio, on="trunk", how="inner", maintain_order="left")
    return curves.with_columns(flops=pl.col("flops_6nd") * pl.col("ratio")).drop("ratio")


def _difference(found: Mapping[str, Any]) -> str:
    """Return a sentence for each exponent of COMPARED: its value under each convention, and the distance from the first."""
    out = []
    for name in COMPARED:
        values = {key: found[key][name]["estimate"] for key in CONVENTIONS if name in found.get(key, {})}
        first = next(iter(values.values()), math.nan)
        parts = [
            f"{value:.4f} {CONVENTIONS[key]}" + (f" ({value - first:+.4f})" if k else "")
            for k, (key, value) in enumerate(values.items())
        ]
        if len(parts) > 1:
            out.append(f"{name} is {', '.join(parts)}.")
    return " ".join(out)
