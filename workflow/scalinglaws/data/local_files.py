"""Text from local files: the source kind ``files``."""

from __future__ import annotations

import glob
import os
from fnmatch import fnmatchcase
from pathlib import Path

from scalinglaws.data.formats import File
from scalinglaws.data.pinned import check, file_at, sha256
from scalinglaws.study.spec import Source


def files(source: Source, downloads: Path) -> list[File]:
    """Return the files that match the patterns of a source, relative to the working directory.

    One hash is checked for all of them together.

    Raises StudyError where the hash is missing or another one.
    """
    found = {Path(name) for pattern in source.files for name in glob.glob(pattern, recursive=True)}
    paths = sorted(
        (path for path in found if os.path.isfile(path) and not any(fnmatchcase(path.as_posix(), p) for p in source.exclude)),
        key=Path.as_posix,
    )
    if paths:
        check(source, f"the source with `files: {list(source.files)}`", sha256(paths))
    return [file_at(path.as_posix(), path) for path in paths]
