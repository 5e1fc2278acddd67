"""Compressed files: all parts of a file are read, and a missing end, damage and what follows the end are noticed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import struct
from pathlib import Path

import pytest
import zstandard

from scalinglaws.common.errors import StudyError
from scalinglaws.data import sources
from scalinglaws.study.spec import Source

ROWS = "".join(json.dumps({"text": f"Row {i} holds {random.Random(i).random()}."}) + "\n" for i in range(3000)).encode()
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"hello"


def zst(content: bytes) -> bytes:
    """Compress as a pipe does: the frame does not say how long its content is, and has a checksum."""
    made = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return made.compress(content) + made.flush()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def long_window(content: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    made = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return made.compress(content) + made.flush()


def read(tmp_path: Path, name: str, content: bytes) -> bytes:
    (tmp_path / name).write_bytes(content)
    source = Source("files", (str(tmp_path / name),), sha256=hashlib.sha256(content).hexdigest())
    texts = [text for _, text in sources.documents(source, tmp_path)]
    if ".txt" in name:
        return "".join(texts).encode()
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


WHOLE = {
    "one.zst": zst(ROWS),
    "frames.zst": zst(ROWS[:50]) + SKIPPABLE + zst(b"") + long_window(ROWS[50:9000]) + zst(ROWS[9000:]) + SKIPPABLE,
    "window.zst": long_window(ROWS),
    "one.gz": gz(ROWS),
    "members.gz": gz(ROWS[:50]) + gz(b"") + gz(ROWS[50:]),
    "padded.gz": gz(ROWS) + b"\0" * 512,
}


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@pytest.mark.parametrize("name", list(WHOLE))
def test_whole_files_are_read_whole(tmp_path: Path, name: str, kind: str) -> None:
    stem, suffix = name.split(".")
    assert read(tmp_path, f"{stem}.{kind}.{suffix}", WHOLE[name]) == ROWS


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@pytest.mark.parametrize("name", ["one.zst", "frames.zst", "window.zst", "one.gz", "members.gz"])
def test_a_missing_end_is_noticed(tmp_path: Path, name: str, kind: str) -> None:
    stem, suffix = name.split(".")
    content = WHOLE[name].removesuffix(SKIPPABLE)
    for end in (1, 4, 5, len(content) // 2, len(content) - 60, len(content) - 3):
        with pytest.raises(StudyError, match=rf"{stem}.{kind}.{suffix} is damaged \(.+\): fetch it again"):
            read(tmp_path, f"{stem}.{kind}.{suffix}", content[:-end])


@pytest.mark.parametrize("rest", [b"x", b"garbage after the end", zst(b"abc")[:4], gz(b"abc")[:4], b"\0\0x"])
@pytest.mark.parametrize("name", ["one.zst", "one.gz"])
def test_what_follows_the_end_is_refused(tmp_path: Path, name: str, rest: bytes) -> None:
    stem, suffix = name.split(".")
    with pytest.raises(StudyError, match=rf"{stem}.txt.{suffix} is damaged"):
        read(tmp_path, f"{stem}.txt.{suffix}", WHOLE[name] + rest)


@pytest.mark.parametrize("name", ["one.zst", "one.gz"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    stem, suffix = name.split(".")
    draw = random.Random(0)
    for _ in range(60):
        content = bytearray(WHOLE[name])
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        with contextlib.suppress(StudyError):
            assert read(tmp_path, f"{stem}.txt.{suffix}", bytes(content)) == ROWS  # such as a bit of the time in a .gz file
