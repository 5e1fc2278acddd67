"""From bytes to text: blocks of decoded text, and a sentence that names the encoding where bytes are in another one.

A byte order mark and NUL bytes tell what a file is in, whatever its config says: a file in UTF-16 that is read as latin-1 gives
text without an error, and garbage to train on.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.study.source_rules import check_encoding

BLOCK = 1 << 20  # bytes decoded at once
SAMPLE = 1 << 12  # bytes that a guess looks at
NUL_SHARE = 0.01  # a text with more NUL bytes than this is none

# Byte order marks, the longest first: the bytes, the encoding to set, and the encodings that read the mark as one.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", ("utf-32", "utf-32-le")),
    (codecs.BOM_UTF32_BE, "utf-32", ("utf-32", "utf-32-be")),
    (codecs.BOM_UTF8, "utf-8", ("utf-8", "utf-8-sig")),
    (codecs.BOM_UTF16_LE, "utf-16", ("utf-16", "utf-16-le")),
    (codecs.BOM_UTF16_BE, "utf-16", ("utf-16", "utf-16-be")),
)
_WIDE = ("utf-16", "utf-32")
_USUAL = re.compile(r"[\t\n -~、。，　]")  # ASCII, and the punctuation of East Asian texts


def decoded(stream: Any, encoding: str, name: str) -> Iterator[str]:
    """Yield the text of a binary stream in blocks, with \\n in place of \\r\\n and \\r and without a byte order mark.

    A warning on stderr tells where text that is read in another encoding is valid UTF-8, which it hardly ever is by chance.
    Raises StudyError where the encoding is none of text, a byte order mark or NUL bytes tell of another one, and with the offset
    of the first byte that is not in the encoding.
    """
    check_encoding(encoding)
    codec = codecs.lookup(encoding).name
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    position = nuls = 0
    first, begun = b"", False
    while True:
        chunk = stream.read(BLOCK)
        if position == 0:
            first = chunk[:SAMPLE]
            _check_start(name, first, codec)
            if not codec.startswith("utf") and not chunk.isascii() and is_utf8(chunk):
                print(f"warning: {name} is read as {encoding}, but is valid UTF-8: see its `encoding`", file=sys.stderr)
        nuls += chunk.count(0)
        if nuls > 1 and nuls > NUL_SHARE * (position + len(chunk)) and not codec.startswith(_WIDE):
            raise _other(f"{name} holds {nuls} NUL bytes and is not {encoding}", guess(first))
        held = len(decoder.getstate()[0])  # the bytes of an unfinished character
        try:
            text = newlines.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            start = position - held + error.start
            other = guess(chunk[max(error.start - held, 0) & ~3 :]) or guess(first) or _narrow(encoding, first)
            raise _other(f"{name}: byte {start} is not {encoding}", other) from None
        except UnicodeError as error:
            raise _other(f"{name} is not {encoding} ({error})", guess(first) or _narrow(encoding, first)) from None
        yield text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)
        if not chunk:
            return
        position += len(chunk)


def _check_start(name: str, first: bytes, codec: str) -> None:
    for mark, suggested, readers in _MARKS:
        if first.startswith(mark):
            if codec not in readers:
                raise _other(f"{name} starts with the byte order mark of {suggested.upper()}", suggested)
            return
    if codec.startswith(_WIDE) and len(first) > 1:
        found = guess(first) or ("utf-8" if is_utf8(first) else None)
        if found and not found.startswith(codec):
            raise _other(f"{name} is not {codec}", found)


def _other(what: str, encoding: str | None) -> StudyError:
    if encoding is None:
        return StudyError(f"{what}: it is perhaps no text at all; add it to `exclude` of its source")
    return StudyError(
        f"{what}: set the `encoding` of this source, perhaps `encoding: {encoding}` "
        "(list files of different encodings as two sources)"
    )


def _narrow(encoding: str, first: bytes) -> str:
    """Return the encoding of bytes that are in none of two or four bytes a character."""
    is_latin = encoding.lower().startswith("latin")
    return "utf-8" if is_latin or (first and is_utf8(first) and "utf" not in encoding.lower()) else "latin-1"


def is_utf8(sample: bytes) -> bool:
    """Tell whether bytes are UTF-8 without a NUL; the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return b"\0" not in sample


def guess(sample: bytes) -> str | None:
    """Return utf-16-le, utf-16-be, utf-32-le or utf-32-be for the start of a text in it, and None for all other bytes.

    It is the encoding in which most characters are ASCII or usual punctuation, if at least one in a hundred is. No text in an
    encoding of single bytes has such characters when it is read so, for that takes NUL bytes at even or at odd places.
    """
    sample = sample[: SAMPLE & ~3]
    scores = {}
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        width = 4 if "32" in encoding else 2
        text = sample[: len(sample) // width * width].decode(encoding, "replace" if width == 2 else "ignore")
        usual, most = len(_USUAL.findall(text)), len(sample) // width
        if usual and usual >= most / 100:
            scores[encoding] = usual / most
    return max(scores, key=scores.__getitem__) if scores else None
