"""What all sources of text share: which names match, and whether contents are those that the config pins by sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.data.formats import File
from scalinglaws.study.spec import Source


def matches(name: str, source: Source) -> bool:
    """Tell whether a name matches one of the patterns of ``source.files`` and none of ``source.exclude``."""
    return any(fnmatchcase(name, p) for p in source.files) and not any(fnmatchcase(name, p) for p in source.exclude)


def check(source: Source, what: str, computed: str) -> None:
    """Compare a hash with the one that the source pins. Raises StudyError where that is missing or another one."""
    if source.sha256 is None:
        raise StudyError(f"{what} has no hash: add `sha256: {computed}` to that source in config.yaml")
    if source.sha256.lower() != computed:
        raise StudyError(
            f"{what} has sha256 {computed}, but its source says `sha256: {source.sha256}`: "
            "get the right file, or change the hash if the new content is meant"
        )


def sha256(paths: Iterable[Path]) -> str:
    """Return the hex digest over the contents of the files, one after another: that of ``cat FILES | sha256sum``.

    Raises StudyError where a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest_of(path, digest)
    return digest.hexdigest()


def digest_of(path: Path, digest: Any) -> str:
    """Add the content of a file to a hash and return its hex digest. Raises StudyError where the file cannot be read."""
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def text_size(name: str, size: int) -> int:
    """Guess the bytes of text in a file of ``size`` bytes: what is compressed counts four times."""
    return size * 4 if name.endswith((".gz", ".zst", ".parquet")) else size


def file_at(name: str, path: Path) -> File:
    """Describe a file on disk as a File of a source."""
    return File(name, text_size(name, path.stat().st_size), lambda: open(path, "rb"))
