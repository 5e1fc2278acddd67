"""Files of tables of runs, before any library of tables is loaded: their kind, their text and the names of their columns.

Planning reads no more than this of a table, so this module imports the standard library alone, and pyarrow only for a Parquet
file.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal

# Ending of a file's name -> how it is read.
KINDS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
SEPARATORS = (",", ";", "\t", "|")
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
HEAD = 1 << 20  # bytes of a CSV file in which its header must end
FIRST = 100  # rows that planning looks at
LONGEST_WHOLE = 18  # digits of the whole numbers that a column of 64 bits surely holds


def kind_of(path: Path, which: str = "") -> str:
    """Return how a table is read: csv, parquet or jsonl. ``which`` says in errors what asked for it.

    Raises
    ------
    StudyError
        The file is missing, is not a regular file, is empty, or its ending is unknown.
    """
    kind = KINDS.get(path.suffix.lower())
    unknown = StudyError(f"{which}{path}: unknown kind of table: {proposal(path.suffix, KINDS, 'use a file that ends in')}")
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        if kind is None:
            raise unknown from None
        known = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        why = f" or cannot be reached ({error.strerror})" if known else ""  # type: ignore[union-attr]
        raise StudyError(f"{which}{path} does not exist{why}: give the path of a table of runs") from None
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise StudyError(f"{which}{path} is {what}, not a file: give the path of a table of runs")
    if kind is None:
        raise unknown
    if not found.st_size:
        raise StudyError(f"{which}{path} is empty: give a table of runs with a header and a row for each run")
    return kind


def encoding_of(head: bytes) -> str:
    """Return the encoding that the first bytes of a text tell by a byte order mark, or by where its NUL bytes lie; else UTF-8."""
    for bom, name in BOMS.items():
        if head.startswith(bom):
            return name
    even, odd = head[:2000:2].count(0), head[1:2000:2].count(0)
    if max(even, odd) > 0.3 * len(head[:2000:2]) and min(even, odd) == 0:
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def text_of(path: Path, which: str = "", head: bool = False) -> str:
    """Return the text of a CSV or JSON lines file, or that of its ``head`` of HEAD bytes alone.

    Raises
    ------
    StudyError
        The file cannot be read, or is no text in UTF-8, UTF-16 or UTF-32.
    """
    no_text = StudyError(f"{which}{path} has NUL bytes, so it is no text: give a table that its ending describes")
    try:
        with path.open("rb") as file:
            data = file.read(HEAD)
            encoding = encoding_of(data[:4096])
            if encoding.startswith("utf-8") and b"\0" in data:  # the rest may be large, and is not read
                raise no_text
            data += b"" if head else file.read()
            whole = not file.read(1)
    except OSError as error:
        raise StudyError(f"{which}{path} cannot be read: {error.strerror}") from None
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise StudyError(
            f"{which}{path} is not {name} text (its byte {error.start} is {data[error.start]:#04x}): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise no_text
    return text if "\n" in text else text.replace("\r", "\n")


def separator_of(header: str) -> str:
    """Return the separator that occurs most often in the header of a CSV file outside quotes; a comma where none does."""
    bare = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def csv_header(text: str, which: str) -> tuple[list[str], str]:
    """Return the names of the columns of a CSV text, and its separator.

    Raises
    ------
    StudyError
        The text has no header, or a name twice.
    """
    # A quoted name may contain a line break: the header is as many lines as close its quotes.
    header = ""
    for line in io.StringIO(text.lstrip("\r\n"), newline=""):
        header += line
        if header.count('"') % 2 == 0:
            break
    else:
        if header:
            raise StudyError(f"{which} has a quotation mark in its header that is never closed: mend its first line")
    separator = separator_of(header)
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(header, newline=""), delimiter=separator), [])]
    except csv.Error as error:
        raise StudyError(f"{which} has no readable header ({error}): its first line must name its columns") from None
    if not any(names):
        raise StudyError(f"{which} has no header: its first line must name its columns")
    check_twice(names, which)
    return names, separator


def check_twice(names: list[str], which: str) -> None:
    """Raise StudyError where two columns have one name, for it cannot be known which of them is meant."""
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise StudyError(f"{which} has two columns named '{twice[0]}': rename one of them")


def json_rows(text: str, which: str) -> Iterator[dict[str, Any]]:
    """Yield the object on each line of a JSON lines text; NaN, Infinity and whole numbers of any length are read as numbers.

    Raises
    ------
    StudyError
        A line is not JSON, holds something else than an object, or is nested too deeply.
    """

    def whole(digits: str) -> int | float:
        return int(digits) if len(digits) <= LONGEST_WHOLE else float(digits)

    decoder = json.JSONDecoder(parse_int=whole)
    for number, line in enumerate(text.split("\n"), 1):
        if not (bare := line.strip()):
            continue
        try:
            row = decoder.decode(bare)
        except ValueError as error:
            raise StudyError(f"{which}: line {number} is not JSON ({error}): mend or delete it") from None
        except RecursionError:
            raise StudyError(f"{which}: line {number} is nested too deeply: give an object of numbers and texts a line") from None
        if not isinstance(row, dict):
            raise StudyError(f"{which}: line {number} is no JSON object: write each run as {{name: value, …}} on its line")
        yield row


def parquet_file(path: Path, which: str) -> Any:
    """Open a Parquet file and return pyarrow's ParquetFile. Raises StudyError where it is damaged or is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StudyError(f"{which}{path} cannot be read as a Parquet table: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of the text of a library's error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def peek(path: Path, wanted: Collection[str], which: str = "") -> dict[str, list[Any]]:
    """Return the columns of a table, each with its values in the first rows, from no more of the file than is needed.

    A JSON lines file is read up to the line by which all ``wanted`` names were seen, for a row need not have every name.

    Raises
    ------
    StudyError
        The file is missing or cannot be read, two columns have one name, or there is no row.
    """
    kind, name = kind_of(path, which), f"{which}{path}"
    if kind == "parquet":
        names, rows = _first_of_parquet(path, which)
    elif kind == "csv":
        text = text_of(path, which, head=True)
        names, separator = csv_header(text, name)
        lines = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator)
        next(lines)
        try:
            rows = [dict(zip(names, line, strict=False)) for line in itertools.islice(filter(any, lines), FIRST)]
        except csv.Error as error:
            raise StudyError(f"{name} cannot be read as a table: {error}") from None
    else:
        rows, seen = [], dict[str, None]()
        for row in json_rows(text_of(path, which), name):
            if len(rows) < FIRST or not row.keys() <= seen.keys():
                rows.append(row)
                seen |= dict.fromkeys(row)
            elif set(wanted) <= seen.keys():
                break
        names = list(seen)
    if not rows:
        raise StudyError(f"{name} has no rows: give a row for each run")
    return {each: [row.get(each) for row in rows] for each in names}


def _first_of_parquet(path: Path, which: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the columns of a Parquet file and its first rows. Raises StudyError where it is damaged."""
    import pyarrow as pa

    file = parquet_file(path, which)
    try:
        check_twice(names := list(file.schema_arrow.names), f"{which}{path}")
        return names, next((batch.to_pylist() for batch in file.iter_batches(FIRST) if len(batch)), [])
    except (pa.ArrowException, UnicodeError, OSError, ValueError) as error:
        raise StudyError(f"{which}{path} cannot be read as a Parquet table: {first_line(error)}") from None
