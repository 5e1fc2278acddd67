"""Readers of .txt, .jsonl, .tab (each also with .gz or .zst) and .parquet files, which keep only a part in memory at a time.

Heavy imports (pyarrow) are inside the functions that need them.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.data.compression import damage, decompressed
from scalinglaws.data.encodings import decoded

PIECE = 1 << 24  # characters of a .txt file that are held at once: longer files come in pieces, cut at a blank line
END = "\0end"  # a row of ours that tells the end of a .tab file
ROWS = 32  # rows of a .parquet file that are held at once
SUFFIXES = ".txt, .jsonl, .tab (each also with .gz or .zst) and .parquet"
Rows = Iterator[tuple[str, str | None]]  # the name and the text of each document; None where a row's text is null


@dataclass(frozen=True)
class File:
    """A file of a source. ``size`` is a guess of the bytes of its text, for which compressed bytes count four times."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def read(file: File, encoding: str, column: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each document: a .txt file is one, and each row of a table is one, named ``file:row`` from 1.

    Newlines come out as \\n. A .txt file above PIECE characters comes as several items of one name. Rows whose text is null are
    left out, and a sentence on stderr counts them. Raises StudyError for an unknown suffix, wrong encoding, a missing column,
    broken content, content that ends too early, and where the file has no text at all.
    """
    stem, compression = file.name, ""
    if stem.endswith((".gz", ".zst")):
        stem, _, compression = stem.rpartition(".")
    reader = _READERS.get(stem[stem.rfind(".") :])
    if reader is None or (reader is _parquet and compression):
        raise StudyError(f"{file.name}: only {SUFFIXES} files can be read; narrow `files` or add it to `exclude`")
    empty, nulls, first = True, 0, ""
    try:
        with file.open() as raw, decompressed(raw, compression) as stream:
            for name, text in reader(file.name, stream, encoding, column):
                if text is None:
                    nulls, first = nulls + 1, first or name
                elif text and not text.isspace():
                    empty = False
                    yield name, text
    except damage(compression) as error:
        raise StudyError(f"{file.name} is damaged ({error}): fetch it again") from None
    except OSError as error:
        raise StudyError(f"{file.name} cannot be read ({error})") from None
    if empty:
        raise StudyError(f"{file.name} has no text: remove it, or add it to `exclude` of its source")
    if nulls:
        print(f"{file.name}: {nulls} rows without text (null) are left out, the first is {first}", file=sys.stderr, flush=True)


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in blocks; a character is copied a fixed number of times, however long a line is."""
    held: list[str] = []
    for block in blocks:
        first, newline, rest = block.partition("\n")
        held.append(first)
        if newline:
            yield "".join(held) + "\n"
            *whole, rest = rest.split("\n")
            for line in whole:
                yield line + "\n"
            held = [rest]
    if last := "".join(held):
        yield last


def _text(name: str, stream: Any, encoding: str, column: str) -> Rows:
    held: list[str] = []
    length = 0
    for block in decoded(stream, encoding, name):
        held.append(block)
        length += len(block)
        if length >= PIECE:
            text = "".join(held)
            end = text.rfind("\n\n") + 2
            if end < PIECE // 2:
                end = PIECE
            yield name, text[:end]
            held, length = [text[end:]], len(text) - end
    yield name, "".join(held)


def _no_column(name: str, column: str, there: Any) -> StudyError:
    return StudyError(
        f"{name} has no column {column!r}: {proposal(column, map(str, there), 'set `text` of its source to one of')}"
    )


def _value(name: str, column: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise StudyError(f"{name}: column {column!r} holds a {kind}, not text: set `text` to another column")
    return value


def _jsonl(name: str, stream: Any, encoding: str, column: str) -> Rows:
    for row, line in enumerate(_lines(decoded(stream, encoding, name)), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StudyError(f"{name}:{row} is not JSON ({error}): a .jsonl file has one JSON object a line") from None
        if not isinstance(record, dict):
            raise StudyError(f"{name}:{row} is not a JSON object: a .jsonl file has one a line")
        if column not in record:
            raise _no_column(f"{name}:{row}", column, record)
        yield f"{name}:{row}", _value(f"{name}:{row}", column, record[column])


def _tab(name: str, stream: Any, encoding: str, column: str) -> Rows:
    """Yield the documents of a file in Orange's format, whose first three lines are names, types and flags, quoted as in CSV."""
    csv.field_size_limit(sys.maxsize)
    # The row END follows the file's own rows, but becomes a part of the last one where that has a quotation mark that is open.
    rows = csv.reader(itertools.chain(_lines(decoded(stream, encoding, name)), [END]), delimiter="\t")
    try:
        header = list(itertools.islice(rows, 3))
        names = header[0] if header[0] != [END] else []
        if column not in names:
            raise _no_column(name, column, names)
        place = names.index(column)
        if [END] in header:
            return
        for row, values in enumerate(filter(None, rows), 1):
            if values == [END]:
                return
            yield f"{name}:{row}", values[place] if place < len(values) else ""
    except csv.Error as error:
        raise StudyError(f"{name}, line {rows.line_num}: {error}") from None
    raise StudyError(f"{name} ends within double quotes: it is cut off, or a quotation mark in it is not doubled")


def _parquet(name: str, stream: Any, encoding: str, column: str) -> Rows:
    """Yield the rows of a table a few at a time: pyarrow writes out each text of a batch, also where a file holds it once."""
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        table = pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True)
        if column not in table.schema_arrow.names:
            raise _no_column(name, column, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=ROWS, columns=[column]):
            for value in batch.column(0):
                row += 1
                yield f"{name}:{row}", _value(f"{name}:{row}", column, value.as_py())
    except UnicodeDecodeError as error:
        raise StudyError(f"{name}:{row} is not UTF-8 ({error}), as text in a parquet file is: write the file anew") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise StudyError(f"{name} is not a readable parquet file ({error}): fetch it again") from None


_READERS: dict[str, Callable[[str, Any, str, str], Rows]] = {
    ".txt": _text,
    ".jsonl": _jsonl,
    ".tab": _tab,
    ".parquet": _parquet,
}
