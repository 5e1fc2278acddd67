"""The page of one fit: every law's fit is told, with the numbers of fit.json and the reasons to doubt them."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest

from fixtures.planted_laws import planted
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.result import fit_table
from scalinglaws.report.one_fit import Block, Table, page

PLACES = [{"n_params": 1e8, "tokens": 1e10}, {"n_params": 1e12, "tokens": 1e14}, {"flops": 1e24}]


@functools.cache
def _fitted(law: str) -> dict[str, Any]:
    made = planted(law, 0)
    return fit_table(made.runs, law, curves=made.curves, n_bootstrap=20, at=PLACES if law == "chinchilla" else [])


def fitted(law: str) -> dict[str, Any]:
    """Return the fit of a law to a table made by it; that of chinchilla has forecasts at PLACES."""
    return copy.deepcopy(_fitted(law))


def tables(blocks: list[Block]) -> list[dict[str, dict[str, str]]]:
    """Return each table of a page as first cell -> column -> cell."""
    return [
        {row[0]: dict(zip(block.columns, row, strict=True)) for row in block.rows} for block in blocks if isinstance(block, Table)
    ]


def text(blocks: list[Block]) -> str:
    return "\n".join("\n".join(block) if isinstance(block, list) else block for block in blocks if not isinstance(block, Table))


@pytest.mark.parametrize("law", ["power-n", "chinchilla", "envelope", "isoflop", "critical-batch"])
def test_the_numbers_and_doubts_of_a_fit_are_told(law: str) -> None:
    fit = fitted(law)
    blocks, found = page(fit), {**fit["parameters"], **fit.get("exponents", {})}
    table = tables(blocks)[0]
    assert list(table) == list(found)
    for name, value in found.items():
        assert float(table[name]["estimate"]) == pytest.approx(value["estimate"], rel=5.1e-3), name
        low, high = map(float, table[name]["95 % interval"].split(" to "))
        assert (low, high) == (pytest.approx(value["ci_low"], rel=5.1e-3), pytest.approx(value["ci_high"], rel=5.1e-3)), name
        published = fit["published"].get(name)
        assert float(table[name].get("published") or "nan") == pytest.approx(published or np.nan, rel=5e-4, nan_ok=True), name
    told = text(blocks)
    assert find(law).formula in told and f"{fit['n_points']:,} points" in told and find(law).rule in told
    assert all(flag in told for flag in fit["flags"])
    assert ("No reason to doubt it was found." in told) == (not fit["flags"])


def test_a_published_value_lies_inside_above_or_below_and_scales_are_not_compared() -> None:
    fit = fitted("chinchilla")
    fit["published"] |= {"alpha": 0.01, "beta": 9.0}
    table = tables(page(fit))[0]
    assert [table[name]["which lies"] for name in ("alpha", "beta", "a", "A")] == [
        "below it",
        "above it",
        "inside it",
        "in other units",
    ]


def test_runs_that_were_left_out_are_counted_by_reason() -> None:
    fit = fitted("chinchilla")
    fit["excluded"] = [{"run": str(k), "reason": "no decay" if k else "diverged"} for k in range(1001)]
    assert ["1,000 runs: no decay", "1 run: diverged"] in page(fit)


def test_forecasts_stand_in_a_table() -> None:
    fit = fitted("chinchilla")
    blocks = page(fit)
    rows = list(tables(blocks)[1].items())
    assert [place.partition(":")[0] for place, _ in rows] == [
        "n_params = 1e8, tokens = 1e10", "n_params = 1e12, tokens = 1e14", "flops = 1e24",
    ]  # fmt: skip
    for (_, row), item in zip(rows, fit["predictions"], strict=True):
        assert float(row["loss"]) == pytest.approx(item["loss"], rel=5e-4)
        low, high = map(float, row["interval of a run"].split(" to "))
        assert low <= float(row["loss"]) <= high and low == pytest.approx(item["run_low"], rel=5e-4)
        assert float(row["factor"]) == pytest.approx(item["factor"], rel=5e-3)
    assert [row["checked"] for _, row in rows] == ["no" if item["flag"] else "yes" for item in fit["predictions"]]
    assert rows[0][1]["checked"] == "yes" and rows[1][1]["checked"] == "no"
    optimum = fit["predictions"][2]["optimum"]
    assert rows[2][0].endswith(f": n_params = {optimum['n_params']:.4g}, tokens = {optimum['tokens']:.4g}".replace("e+", "e"))
    assert "n_params × tokens over that of the largest fitted run" in text(blocks)


def test_a_law_without_points_says_why() -> None:
    made = planted("chinchilla", 0)
    fit = fit_table(made.runs.head(3), "chinchilla", n_bootstrap=0, allow_empty=True)
    told = text(page(fit))
    assert tables(page(fit)) == [] and "Not fitted: law chinchilla has 5 parameters and 3 points are left" in told
    assert "No reason to doubt it" not in told


def test_without_resamples_there_are_no_intervals() -> None:
    fit = fit_table(planted("isoflop", 0).runs, "isoflop", n_bootstrap=0)
    (table,) = tables(page(fit))
    assert {row["95 % interval"] for row in table.values()} == {"none"} and table["a"]["published"] == "0.49"
    fit["published"] = {}
    (table,) = tables(page(fit))
    assert list(table["a"]) == ["parameter", "estimate", "95 % interval", "unit"], "columns without a word are left out"


def test_what_other_laws_may_hold_is_told_by_its_shape() -> None:
    """A parameter that was held, and forecasts of something else than a loss."""
    fit = fitted("chinchilla")
    fit["fixed"] = {"E": 1.69}
    rate = {"estimate": 2.5e-4, "ci_low": 2e-4, "ci_high": 3e-4}
    fit["predictions"] = [{"at": PLACES[0], "learning_rate": rate, "batch_tokens": 1.5e6, "flag": None}]
    parameters, forecasts = tables(page(fit))
    assert parameters["E"]["95 % interval"] == "held fixed"
    (row,) = forecasts.values()
    assert row["learning_rate"] == "2.50e-4 (2.00e-4 to 3.00e-4)" and row["batch_tokens"] == "1.50e6"
