"""The section of the report on registered forecasts, and the lines about them at the end of a run of the workflow."""

from __future__ import annotations

from typing import Any

import polars

from scalinglaws.common.numbers import count, counted, number
from scalinglaws.report.markdown import table

NOTE = (
    "Each forecast was computed from fits of other runs and written to a file before its run was trained; a late one was "
    "written when the run was there already. Brackets hold the 95 % interval of a new run's loss, and the error is forecast / "
    "loss − 1. The factors compare the run with the largest values among the runs of the fit. A law of compute alone states the "
    "loss of the best run for that compute."
)


def section(forecasts: polars.DataFrame) -> list[str]:
    """Return the section: how many forecasts held the loss that came out, and a row for each law of each forecast.

    ``forecasts`` is the table of that name.
    """
    head = (
        "run",
        "law",
        "forecast",
        "came out",
        "error",
        "inside",
        "times the compute",
        "times N",
        "times the tokens",
        "written",
    )
    rows = [
        [
            row["run"],
            row["law"],
            _interval(row),
            _number(row["loss"]),
            "none" if row["error"] is None else f"{100 * row['error']:+.1f} %",
            "none" if row["inside"] is None else "yes" if row["inside"] else "no",
            *(number(row[name]) for name in ("compute_factor", "n_factor", "tokens_factor")),
            "late" if row["late"] else "before the run",
        ]
        for row in forecasts.iter_rows(named=True)
    ]
    return [NOTE, "", _held(forecasts.filter(~polars.col("late"))), "", *table(head, rows)]


def _held(registered: polars.DataFrame) -> str:
    """Tell how many of the forecasts that were written before their runs held the loss."""
    judged = registered.drop_nulls("inside")
    if judged.is_empty():
        return "No forecast that was written before its run can be judged yet."
    inside = int(judged["inside"].sum())
    return f"Of {counted(len(judged), 'forecast')} written before the run, {count(inside)} held its loss in the interval."


def lines(forecasts: polars.DataFrame) -> list[str]:
    """Return a line for each forecast run: its first forecast by the first law that states a loss, and how it came out."""
    stated = forecasts.drop_nulls("loss_forecast").unique("run", keep="first", maintain_order=True)
    return [_line(row) for row in stated.iter_rows(named=True)]


def _line(row: dict[str, Any]) -> str:
    late = " (late)" if row["late"] else ""
    inside = "" if row["inside"] is None else f" ({'inside' if row['inside'] else 'outside'})"
    came = "has no loss yet" if row["loss"] is None else f"came out {_number(row['loss'])}{inside}"
    factor = row["compute_factor"]
    times = "" if factor is None else f", {number(factor)} times the compute of the largest fitted run"
    return f"forecast {row['run']} by {row['law']}{late}: {_interval(row)}, {came}{times}"


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return _number(row["loss_forecast"])
    return f"{_number(row['loss_forecast'])} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    """Write a loss with four digits; "none" for None."""
    return "none" if value is None else f"{value:.4g}"
