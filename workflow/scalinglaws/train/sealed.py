"""The sum inside a checkpoint: a sha256 of all bytes of a safetensors file, its header included. No torch here.

The sum stands at the beginning of the file, as the first field of the JSON object that is the file's only metadata entry. It is
the sum of the file in which its own 64 digits are zeros.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from scalinglaws.common.files import replacing

KEY = "scalinglaws"  # the metadata entry
FIELD = "file_sha256"  # the field of its JSON object
BLANK = "0" * 64
_START = re.compile(rb'.{8}\{"__metadata__":\{"%s":"\{\\"%s\\": \\"([0-9a-f]{64})\\"' % (KEY.encode(), FIELD.encode()), re.DOTALL)
_MOST = 200  # bytes in which the start lies


def write(path: Path, data: bytes) -> None:
    """Write the bytes of a safetensors file whose field ``FIELD`` is BLANK, with the sum in that place, whole or not at all."""
    match = _START.match(data[:_MOST])
    assert match and match[1] == BLANK.encode(), "the sum is the first field of the only metadata entry"
    digest = hashlib.sha256(data).hexdigest().encode()
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data[: match.start(1)] + digest)
        file.write(memoryview(data)[match.end(1) :])  # the rest is not copied: it may be gigabytes


def is_whole(path: Path) -> bool | None:
    """Tell whether a file is as it was written; None where it has no sum, as files of earlier versions and other files.

    Raises OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        match = _START.match(file.read(_MOST))
        if not match:
            return None
        total = hashlib.sha256()
        file.seek(0)
        total.update(file.read(match.start(1)) + BLANK.encode())
        file.seek(match.end(1))
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest().encode() == match[1]
