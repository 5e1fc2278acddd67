"""The one writer of Parquet tables of a known schema. They are written through pyarrow: the same rows give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import replacing


def write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write rows as a Parquet file, whole or not at all.

    Raises
    ------
    StudyError
        A row has other columns or types than the schema, or the disk is full.
    """
    names = set(schema.names)
    if strange := [row for row in rows if set(row) != names]:
        differing = sorted(set(strange[0]) ^ names)
        raise StudyError(f"{path}: a row's columns are not the table's ({', '.join(differing)})")
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise StudyError(f"{path}: a value does not fit its column: {error}") from None
    with replacing(path) as temporary, open(temporary, "wb") as file:  # pyarrow opens no name that is not UTF-8
        pq.write_table(table, file, compression="zstd")
