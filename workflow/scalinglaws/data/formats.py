"""Readers of .txt, .jsonl, .tab (each also with .gz or .zst) and .parquet files, which keep only a part in memory at a time.

Heavy imports (pyarrow, zstandard) are inside the functions that need them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from scalinglaws.common.errors import StudyError

BLOCK = 1 << 20  # bytes decoded at once
PIECE = 1 << 24  # characters of a .txt file that are held at once: longer files come in pieces, cut at a blank line
SUFFIXES = ".txt, .jsonl, .tab (each also with .gz or .zst) and .parquet"


@dataclass(frozen=True)
class File:
    """A file of a source. ``size`` is a guess of the bytes of its text, for which compressed bytes count four times."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def read(file: File, encoding: str, column: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each document: a .txt file is one, and each row of a table is one, named ``file:row`` from 1.

    Newlines come out as \\n. A .txt file above PIECE characters comes as several items of one name. Raises StudyError
    for an unknown suffix, wrong encoding, a missing column, broken content, and where the file has no text at all.
    """
    stem, compression = file.name, ""
    if stem.endswith((".gz", ".zst")):
        stem, _, compression = stem.rpartition(".")
    reader = _READERS.get(stem[stem.rfind(".") :])
    if reader is None or (reader is _parquet and compression):
        raise StudyError(f"{file.name}: only {SUFFIXES} files can be read; narrow `files` or add it to `exclude`")
    empty = True
    try:
        with file.open() as raw, _decompress(raw, compression) as stream:
            for name, text in reader(file.name, stream, encoding, column):
                if text and not text.isspace():
                    empty = False
                    yield name, text
    except _damage(compression) as error:
        raise StudyError(f"{file.name} is damaged ({error}): fetch it again") from None
    if empty:
        raise StudyError(f"{file.name} has no text: remove it, or add it to `exclude` of its source")


def _damage(compression: str) -> tuple[type[Exception], ...]:
    if compression == "zst":
        import zstandard

        return (zstandard.ZstdError,)
    return (EOFError, gzip.BadGzipFile, zlib.error) if compression else ()


def _decompress(raw: IO[bytes], compression: str) -> Any:
    if compression == "gz":
        return gzip.open(raw)
    if compression == "zst":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return raw


def decoded(stream: Any, encoding: str, name: str) -> Iterator[str]:
    """Yield the text of a binary stream in blocks, with \\n in place of \\r\\n and \\r and without a byte order mark.

    Raises StudyError with the offset of the first byte that is not in the encoding.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise StudyError(f"{name}: unknown `encoding: {encoding}`; utf-8 and latin-1 are usual ones") from None
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    position = 0
    while True:
        chunk = stream.read(BLOCK)
        held = len(decoder.getstate()[0])  # the bytes of an unfinished character
        try:
            text = newlines.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            other = "utf-8" if encoding.lower().startswith("latin") else "latin-1"
            raise StudyError(
                f"{name}: byte {position - held + error.start} is not {encoding}: "
                f"set the `encoding` of this source, perhaps `encoding: {other}` "
                "(list files of different encodings as two sources)"
            ) from None
        yield text.removeprefix("\ufeff") if position == 0 else text
        if not chunk:
            return
        position += len(chunk)


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        for line in whole:
            yield line + "\n"
    if rest:
        yield rest


def _text(name: str, stream: Any, encoding: str, column: str) -> Iterator[tuple[str, str]]:
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
        f"{name} has no column {column!r}: set `text` of its source to one of {', '.join(map(str, there)) or '(none)'}"
    )


def _value(name: str, column: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise StudyError(f"{name}: column {column!r} holds a {kind}, not text: set `text` to another column")
    return value


def _jsonl(name: str, stream: Any, encoding: str, column: str) -> Iterator[tuple[str, str]]:
    for row, line in enumerate(_lines(decoded(stream, encoding, name)), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise StudyError(f"{name}:{row} is not JSON ({error}): a .jsonl file has one JSON object a line") from None
        if not isinstance(record, dict):
            raise StudyError(f"{name}:{row} is not a JSON object: a .jsonl file has one a line")
        if column not in record:
            raise _no_column(f"{name}:{row}", column, record)
        yield f"{name}:{row}", _value(f"{name}:{row}", column, record[column])


def _tab(name: str, stream: Any, encoding: str, column: str) -> Iterator[tuple[str, str]]:
    """Yield the documents of a file in Orange's format, whose first three lines are names, types and flags, quoted as in CSV."""
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(_lines(decoded(stream, encoding, name)), delimiter="\t")
    try:
        names = next(rows, [])
        if column not in names:
            raise _no_column(name, column, names)
        place = names.index(column)
        next(rows, None), next(rows, None)
        for row, values in enumerate(filter(None, rows), 1):
            yield f"{name}:{row}", values[place] if place < len(values) else ""
    except csv.Error as error:
        raise StudyError(f"{name}, line {rows.line_num}: {error}") from None


def _parquet(name: str, stream: Any, encoding: str, column: str) -> Iterator[tuple[str, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(stream)
        if column not in table.schema_arrow.names:
            raise _no_column(name, column, table.schema_arrow.names)
        row = 0
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            for value in batch.column(0):
                row += 1
                yield f"{name}:{row}", _value(f"{name}:{row}", column, value.as_py())
    except (pyarrow.ArrowException, OSError) as error:
        raise StudyError(f"{name} is not a readable parquet file ({error}): fetch it again") from None


_READERS: dict[str, Callable[[str, Any, str, str], Iterator[tuple[str, str]]]] = {
    ".txt": _text,
    ".jsonl": _jsonl,
    ".tab": _tab,
    ".parquet": _parquet,
}
