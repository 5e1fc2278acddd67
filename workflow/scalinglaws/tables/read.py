"""The one reader of tables of runs: those that aggregation makes, and those that were made elsewhere.

A table from elsewhere may have other names for its columns: ``columns`` maps our names to its own. Where a name is not mapped and
the table lacks it, its other name in ALIASES is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_json

READERS: dict[str, Callable[..., pl.DataFrame]] = {
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
}
# This file beside the tables has the warnings of aggregation, a JSON list of sentences; the report shows them.
WARNINGS = "warnings.json"
# These files beside the tables have their sums. Timings differ each time that runs are trained, and so does their list alone.
SUMS, SUMS_OF_TIMINGS, SUMS_OF_EXPONENTS = "aggregate.sha256", "timings.sha256", "exponents.sha256"
LISTS = (SUMS, SUMS_OF_TIMINGS, SUMS_OF_EXPONENTS)
# Our name of a column -> another that tables have for it.
ALIASES = {"run": "id", "flops": "flops_6nd", "flops_6nd": "flops", "steps": "step"}


def check(path: Path) -> None:
    """Compare a table of a study with the lists of sums that may name it. Raises StudyError where it is damaged."""
    for name in LISTS:
        sums.require(path.with_name(name), [path.name])


def read_any(path: Path, which: str = "") -> pl.DataFrame:
    """Read a CSV, Parquet or JSON lines file, by its ending. ``which`` says in errors what asked for it.

    Raises
    ------
    StudyError
        The file is missing, cannot be read, or its ending is unknown.
    """
    if path.suffix not in READERS:
        raise StudyError(f"{which}{path}: unknown kind of table; use a file that ends in {', '.join(READERS)}")
    if not path.is_file():
        raise StudyError(f"{which}{path} does not exist: give the path of a table of runs")
    check(path)
    # All rows decide on the type of a column, since the first values may be whole numbers and later ones not.
    options: dict[str, Any] = {} if path.suffix == ".parquet" else {"infer_schema_length": None}
    try:
        return READERS[path.suffix](path, **options)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StudyError(f"{which}{path} cannot be read as a table: {error}") from None


def read_own(path: Path) -> pl.DataFrame:
    """Read a Parquet table of a study, as ``aggregate`` writes it. Raises StudyError where it is missing or damaged."""
    check(path)
    if not path.is_file():
        raise StudyError(f"{path} does not exist: aggregate the runs first (python -m scalinglaws aggregate, or snakemake)")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StudyError(f"{path} is not a readable Parquet table ({error}): delete it and aggregate again") from None


def read_warnings(folder: Path) -> list[str]:
    """Read the sentences that aggregation wrote about the runs, beside the tables; tables of earlier versions have none.

    Raises StudyError where the file is damaged.
    """
    path = folder / WARNINGS
    if not path.exists():
        return []
    check(path)
    found = read_json(path, "delete it and aggregate again")
    if not isinstance(found, list) or not all(isinstance(sentence, str) for sentence in found):
        raise StudyError(f"{path} is no list of sentences: delete it and aggregate again")
    return found


def named(
    table: pl.DataFrame, names: Sequence[str], columns: Mapping[str, str], which: str = "the table", key: str = "--columns"
) -> pl.DataFrame:
    """Return a table with a column for each of ``names``, as far as it has it under this name, a mapped one or an alias.

    Parameters
    ----------
    names
        Names of ours.
    columns
        Our name -> the name that the table has.
    which, key
        What errors call the table, and the option that maps its columns.

    Raises
    ------
    StudyError
        ``columns`` has a name that is not ours, or one that the table lacks.
    """
    if unknown := sorted(set(columns) - set(names)):
        raise StudyError(f"{key} names {', '.join(unknown)}: it can map {', '.join(names)}")
    own = table.columns
    found = []
    for name in names:
        theirs = columns.get(name) or (name if name in own else ALIASES.get(name, name))
        if theirs in own:
            found.append(pl.col(theirs).alias(name))
        elif name in columns:
            raise StudyError(f"{which} has no column '{theirs}' (for {name}): it has {', '.join(own)}")
    return table.with_columns(found)


def with_budgets(table: pl.DataFrame, flops: str = "flops") -> pl.DataFrame:
    """Fill tokens and FLOP from each other, C = 6 N D, where one of them is null; ``flops`` is the name of that column."""
    n = pl.col("n_params")
    table = table.with_columns(pl.coalesce("tokens", pl.col(flops) / (6.0 * n)))
    return table.with_columns(pl.coalesce(flops, 6.0 * n * pl.col("tokens")))
