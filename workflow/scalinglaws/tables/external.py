"""Runs that were made elsewhere, as rows of the table ``runs``: they take part in fits exactly as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.tables.read import named, read_any, with_budgets
from scalinglaws.tables.schema import RUNS

# Columns that we fill ourselves.
OURS = ("run", "trunk", "experiments", "fitted")
NEEDED = ("n_params", "tokens", "loss")


def external_rows(path: Path, columns: dict[str, str]) -> list[dict[str, Any]]:
    """Return rows of ``runs`` from a table of one of the ``external_runs`` of a study.

    n_params, loss and tokens or flops_6nd are needed; other columns of ``runs`` are taken where the table has them.

    Parameters
    ----------
    columns
        Our name of a column -> the name that the table has for it.

    Raises
    ------
    StudyError
        The file cannot be read, or a column is missing or holds something else.
    """
    which = f"external_runs: {path}"
    frame = named(read_any(path, "external_runs: "), RUNS.names, columns, which, f"{which}: columns")
    own = [name for name in RUNS.names if name in frame.columns and name not in OURS]
    for name in ("n_params", "tokens", "flops_6nd"):
        if name not in own:
            frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name))
        elif not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Null):
            raise StudyError(f"{which}: column {name} is not numeric but {frame[name].dtype}: name another under columns")
    frame = with_budgets(frame, "flops_6nd")
    for name in NEEDED:
        if name not in own and (name != "tokens" or "flops_6nd" not in own):
            raise StudyError(f"{which} has no column {name}: name it under columns")
    kept = [name for name in frame.columns if name in own or name in ("tokens", "flops_6nd")]
    rows = []
    for i, row in enumerate(frame.iter_rows(named=True)):
        if missing := [name for name in ("n_params", "tokens") if row[name] is None]:
            raise StudyError(f"{which}: row {i + 1} has no {missing[0]}: mend it or leave it out")
        run = str(i if row.get("run") is None else row["run"])
        trunk = run if row.get("trunk") is None else row["trunk"]
        values = {name: row[name] for name in kept}
        values |= {"n_params": int(row["n_params"]), "tokens": int(row["tokens"]), "status": row.get("status") or "ok"}
        names = {"run": f"{path.stem}-{run}-{i}", "trunk": f"{path.stem}-{trunk}", "experiments": ["external"], "fitted": True}
        rows.append(dict.fromkeys(RUNS.names) | values | names)
    return rows
