"""The sum inside a checkpoint: a sha256 of all bytes of a safetensors file, its header included. No torch here.

The sum stands at the beginning of the file, as the first field of the JSON object that is the file's only metadata entry. It is
the sum of the file in which its own 64 digits are zeros. Files of earlier versions have a sum of their tensors alone, as a field
``sha256`` of that object.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from scalinglaws.common.files import replacing

KEY = "scalinglaws"  # the metadata entry
FIELD = "file_sha256"  # the field of its JSON object
BLANK = "0" * 64
_START = re.compile(rb'.{8}\{"__metadata__":\{"%s":"\{\\"%s\\": \\"([0-9a-f]{64})\\"' % (KEY.encode(), FIELD.encode()), re.DOTALL)
_MOST = 200  # bytes in which the start lies
_BLOCK = 1 << 20  # bytes read at once


def write(path: Path, header: bytes, parts: Sequence[Any] = ()) -> None:
    """Write a safetensors file whose field ``FIELD`` is BLANK, with the sum in that place, whole or not at all.

    Parameters
    ----------
    path
        The file.
    header
        Its beginning, to the end of the field at least.
    parts
        Objects with buffers of bytes that make the rest. They are not copied: a state may be gigabytes.
    """
    match = _START.match(header[:_MOST])
    assert match and match[1] == BLANK.encode(), "the sum is the first field of the only metadata entry"
    total = hashlib.sha256(header)
    for part in parts:
        total.update(part)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header[: match.start(1)] + total.hexdigest().encode())
        file.write(memoryview(header)[match.end(1) :])
        for part in parts:
            file.write(part)


def is_whole(path: Path) -> bool:
    """Tell whether a file is as it was written. Raises OSError where it cannot be read."""
    return digest(path) is not None


def digest(path: Path) -> str | None:
    """Return the sha256 in a file that is as it was written, in hexadecimal; None for any other file.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        match = _START.match(file.read(_MOST))
        if not match:
            return _digest_of_tensors(file)
        total = hashlib.sha256()
        file.seek(0)
        total.update(file.read(match.start(1)) + BLANK.encode())
        file.seek(match.end(1))
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest() if total.hexdigest().encode() == match[1] else None


def _digest_of_tensors(file: IO[bytes]) -> str | None:
    """Return the sha256 of the tensors in a file of an earlier version, by name; None where they are not as they were written."""
    try:
        file.seek(0)
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, _BLOCK * 100)))
        expected = json.loads(header.pop("__metadata__")[KEY])["sha256"]
        total = hashlib.sha256()
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            file.seek(8 + size + begin)
            left = end - begin
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                total.update(block)
                left -= len(block)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    return total.hexdigest() if total.hexdigest() == expected else None
