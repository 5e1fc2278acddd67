"""The command ``curve``: the loss curve that a fit of the law multi-power predicts for a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import Json, file_or_output


def curve(
    fit: Annotated[Path, typer.Option(help="The result of fit --law multi-power, a JSON file.")],
    schedule: Annotated[
        Path, typer.Option(help="The schedule, as .csv, .parquet or .jsonl, with step, learning_rate and perhaps loss.")
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN,…", help="Other names of the schedule's columns: learning_rate=lr."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(callback=file_or_output, help="CSV file to write; without it, the curve is printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the loss curve of a learning-rate schedule by the multi-power law, before anything is trained with it.

    Each row of the schedule gets the loss of the law with two 95 % intervals: of a run (run_low, run_high), by how the law errs
    on curves that are left out of the fit, and of the law alone (ci_low, ci_high). What lies before the first row is taken for a
    linear warm-up. Where the schedule has losses, the errors of the prediction are told.

    \b
    Example:
      scalinglaws curve --fit multi-power.json --schedule decay.csv --out predicted.csv
    """
    from scalinglaws.cli.laws import mapping
    from scalinglaws.cli.output import print_json, print_table
    from scalinglaws.common.files import write_bytes
    from scalinglaws.common.numbers import counted
    from scalinglaws.laws.predicted_curve import COLUMNS, predicted
    from scalinglaws.laws.select import read_table

    table, errors = predicted(fit, read_table(schedule), mapping("--columns", "COLUMN", columns))
    if as_json:
        print_json({"curve": table.to_dicts(), "errors": errors})
    elif out is None:
        print_table(
            COLUMNS, [["" if value is None else f"{value:.6g}" for value in row] for row in table.iter_rows()], right=COLUMNS
        )
    if out is not None:
        write_bytes(out, table.write_csv().encode())
        if not as_json:
            print(f"{out}: {counted(len(table), 'row')}")
    if errors and not as_json:
        known = {"r2": "R²", "mae": "mean absolute error (nats)", "rmse": "root mean square error (nats)"}
        known["final_error"] = "error of the last loss, as a share"
        typer.echo("\n".join(f"{text}: {errors[name]:.4g}" for name, text in known.items() if errors[name] is not None), err=True)
