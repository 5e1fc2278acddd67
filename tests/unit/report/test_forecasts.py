"""Forecasts in words: the section of the report, and the lines at the end of a run of the workflow."""

from __future__ import annotations

import polars

from fixtures import planted_forecasts
from scalinglaws.report.forecasts import lines, section


def test_the_section_tells_each_forecast_and_how_many_held() -> None:
    said = section(planted_forecasts.table())
    # Of the three that were written before their runs, one has no interval, and one of the other two held the loss.
    assert "Of 2 forecasts written before the run, 1 held its loss in the interval." in said
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said if line.startswith("| gpt")]
    held = [["gpt-a", "chinchilla", "1.8 [1.75, 1.85]", "1.82", "-1.1 %", "yes"], ["gpt-a", "power-c", "1.7 [1.66, 1.74]"]]
    assert rows[0][:6] == held[0] and rows[1][:3] == held[1] and rows[1][5] == "no"
    assert [row[-1] for row in rows] == ["before the run", "before the run", "late", "before the run"]
    assert rows[3][2] == "1.6" and rows[3][5] == "none"


def test_a_line_for_each_run_tells_its_first_forecast() -> None:
    table = planted_forecasts.table()
    first, second = lines(table)
    assert first == (
        "forecast gpt-a by chinchilla: 1.8 [1.75, 1.85], came out 1.82 (inside), 15.3 times the compute of the largest fitted run"
    )
    assert second.startswith("forecast gpt-b by chinchilla: 1.6, came out 1.65, 172 times")
    (line,) = lines(table.filter(polars.col("late")).with_columns(loss=polars.lit(None, polars.Float64)))
    assert line.startswith("forecast gpt-a by chinchilla (late): 1.81 [1.78, 1.84], has no loss yet")
