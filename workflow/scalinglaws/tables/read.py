"""The one reader of tables of runs: those that aggregation makes, and those that were made elsewhere.

A table from elsewhere may have other names for its columns: ``columns`` maps our names to its own (see ``tables/mapping.py``).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_json
from scalinglaws.tables.formats import check_twice, csv_header, first_line, json_rows, kind_of, parquet_file, text_of
from scalinglaws.tables.mapping import MISSING, sources

# This file beside the tables has the warnings of aggregation, a JSON list of sentences; the report shows them.
WARNINGS = "warnings.json"
# These files beside the tables have their sums. Timings differ each time that runs are trained, and so does their list alone.
SUMS, SUMS_OF_TIMINGS, SUMS_OF_EXPONENTS = "aggregate.sha256", "timings.sha256", "exponents.sha256"
SUMS_OF_FORECASTS = "forecasts.sha256"
LISTS = (SUMS, SUMS_OF_TIMINGS, SUMS_OF_EXPONENTS, SUMS_OF_FORECASTS)


def check(path: Path) -> None:
    """Compare a table of a study with the lists of sums that may name it. Raises StudyError where it is damaged."""
    for name in LISTS:
        sums.require(path.with_name(name), [path.name])


def read_any(path: Path, which: str = "") -> pl.DataFrame:
    """Read a CSV, Parquet or JSON lines file, by its ending. ``which`` says in errors what asked for it.

    The separator of a CSV file (comma, semicolon, tab or bar) and the encoding of a text (UTF-8, UTF-16, UTF-32) are found out.
    Every column becomes one of whole numbers, numbers, texts, truth values, dates, or lists of these; of what else a file can
    hold, objects above all, the JSON text is taken.

    Raises
    ------
    StudyError
        The file is missing, is no regular file, cannot be read, or its ending is unknown.
    """
    kind, name = kind_of(path, which), f"{which}{path}"
    check(path)
    try:
        if kind == "parquet":
            return _flat(_arrow(path, which), name)
        text = text_of(path, which)
        return _csv(text, name) if kind == "csv" else _json(text, name)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, UnicodeError, OSError) as error:
        raise StudyError(f"{name} cannot be read as a table: {first_line(error)}") from None


def _csv(text: str, name: str) -> pl.DataFrame:
    """Return the table in a CSV text. With semicolons, a column of numbers with decimal commas is one of numbers."""
    text = text.lstrip("\r\n")
    names, separator = csv_header(text, name)
    # All rows decide on the type of a column, since the first values may be whole numbers and later ones not.
    options: dict[str, Any] = {"separator": separator, "infer_schema_length": None}
    try:
        table = pl.read_csv(io.BytesIO(text.encode()), **options)
    except pl.exceptions.ComputeError:  # a whole number that no column of 64 bits holds, or a line of too many values
        _check_lengths(text, separator, len(names), name)
        table = pl.read_csv(io.BytesIO(text.encode()), **options | {"infer_schema_length": 0})
        table = table.with_columns(_number_if_all(each, "") for each in table.iter_columns())
    table = table.rename({old: new for old, new in zip(table.columns, names, strict=False) if new and new != old})
    if separator == ";":
        table = table.with_columns(_number_if_all(each, ",") for each in table.iter_columns())
    return table.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines


def _check_lengths(text: str, separator: str, most: int, name: str) -> None:
    """Raise StudyError that names the first line of a CSV text with more values than its header has names."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    for row in reader:
        if len(row) > most:
            raise StudyError(
                f"{name}: line {reader.line_num} has {len(row)} values and the header {most} names: put a value that holds "
                f"the separator '{separator}' in double quotes"
            )


def _number_if_all(column: pl.Series, comma: str) -> pl.Series:
    """Return a column of texts as numbers where each text is one, written with a decimal ``comma`` if that is given."""
    if column.dtype != pl.String:
        return column
    texts = column.str.replace(comma, ".", literal=True) if comma else column
    texts = texts.set(column.str.strip_chars().str.to_lowercase().is_in(MISSING), None)
    found = texts.str.strip_chars().cast(pl.Float64, strict=False)
    return found if found.null_count() == texts.null_count() < len(texts) else column


def _json(text: str, name: str) -> pl.DataFrame:
    """Return the table in a JSON lines text: a row for each object, null where an object lacks a name."""
    columns: dict[str, list[Any]] = {}
    for count, row in enumerate(json_rows(text, name)):
        for key, value in row.items():
            if key not in columns:
                columns[key] = [None] * count
            columns[key].append(value)
        if len(row) < len(columns):
            for values in columns.values():
                if len(values) == count:
                    values.append(None)
    return pl.DataFrame([_series(key, values) for key, values in columns.items()])


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return values of JSON as a column of the narrowest type that holds them all."""
    kinds = {type(value) for value in values} - {type(None)}
    for kind, column in ((bool, pl.Boolean), (int, pl.Int64), (str, pl.String)):
        if kinds == {kind}:
            return pl.Series(name, values, column)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, texts, pl.String if kinds else pl.Null)


def _arrow(path: Path, which: str = "") -> pa.Table:
    """Return the table in a Parquet file, each of whose texts was found to be UTF-8."""
    table = parquet_file(path, which).read()
    table.validate(full=True)
    check_twice(table.column_names, f"{which}{path}")
    return table


def _flat(table: pa.Table, name: str) -> pl.DataFrame:
    """Return an Arrow table with columns of simple types and lists of these: decimals become numbers, and objects JSON texts."""
    found = []
    for key, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_decimal(kind):  # by way of text, which rounds once and correctly
            column = pc.cast(pc.cast(column, pa.string()), pa.float64())
        elif pa.types.is_float16(kind):
            column = pc.cast(column, pa.float32())
        elif not _simple(_inner(kind)):
            texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        series = pl.from_arrow(column)
        if not isinstance(series, pl.Series):
            raise StudyError(f"{name}: column {key} is of type {kind}, which is not read: leave it out of the file")
        found.append(series.cast(pl.String).alias(key) if series.dtype == pl.Categorical else series.alias(key))
    return pl.DataFrame(found)


def _inner(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a list, and any other type as it is."""
    return kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind


def _simple(kind: pa.DataType) -> bool:
    """Tell whether a column of the type has numbers, texts, truth values, dates or nothing."""
    of = pa.types
    whole = of.is_integer(kind) or of.is_floating(kind) or of.is_boolean(kind) or of.is_null(kind)
    return bool(whole or of.is_string(kind) or of.is_large_string(kind) or of.is_date(kind) or of.is_timestamp(kind))


def read_own(path: Path) -> pl.DataFrame:
    """Read a Parquet table of a study, as ``aggregate`` writes it. Raises StudyError where it is missing or damaged."""
    check(path)
    if not path.is_file():
        raise StudyError(f"{path} does not exist: aggregate the runs first (python -m scalinglaws aggregate, or snakemake)")
    try:
        table = _arrow(path)
        if strange := [field for field in table.schema if not _simple(_inner(field.type))]:
            raise StudyError(f"its column {strange[0].name} is of type {strange[0].type}")
        return pl.DataFrame(table)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, StudyError) as error:
        raise StudyError(f"{path} is not a readable Parquet table ({first_line(error)}): delete it and aggregate again") from None


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
    found = sources(table.columns, names, columns, which, key)
    return table.with_columns(pl.col(theirs).alias(name) for name, theirs in found.items())


def with_budgets(table: pl.DataFrame, flops: str = "flops") -> pl.DataFrame:
    """Fill tokens and FLOP from each other, C = 6 N D, where one of them is null; ``flops`` is the name of that column."""
    n = pl.col("n_params")
    table = table.with_columns(pl.coalesce("tokens", pl.col(flops) / (6.0 * n)))
    return table.with_columns(pl.coalesce(flops, 6.0 * n * pl.col("tokens")))
