"""Text from a data set of the Hugging Face hub: the source kind ``huggingface``."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data.formats import File
from scalinglaws.data.hub_files import Repository, is_intact, snapshot
from scalinglaws.data.pinned import check, file_at, matches, sha256
from scalinglaws.study.spec import Source


def files(source: Source, downloads: Path) -> list[File]:
    """Fetch the files of a data set's revision that match the patterns of a source into the hub's own cache, and return them.

    A file of the cache that is not what the hub has is fetched once more.

    Raises StudyError where the files cannot be had, are damaged even then, or have another hash than the source says.
    """
    found = _found(source, _snapshot(source, source.files, source.exclude))
    wrong = [name for name, path in found.items() if is_intact(path) is False]
    if not wrong and source.sha256 and found and sha256(found.values()) != source.sha256.lower():
        wrong = [name for name, path in found.items() if is_intact(path) is None]
    if wrong:
        print(f"data set {source.repository}: {', '.join(wrong)} is damaged in the cache and is fetched again", file=sys.stderr)
        found = _found(source, _snapshot(source, [glob.escape(name) for name in wrong], (), again=True))
    if source.sha256 and found:
        check(source, f"data set {source.repository}", sha256(found.values()))
    elif still := [name for name in found if name in wrong and is_intact(found[name]) is False]:
        raise StudyError(
            f"data set {source.repository}, revision {source.revision}: {still[0]} in the hub's cache has not the hash that the "
            f"hub names, and no other could be fetched: run again with a connection, or delete {found[still[0]]}"
        )
    return [file_at(name, path) for name, path in found.items()]


def _snapshot(source: Source, patterns: Iterable[str], exclude: Iterable[str], again: bool = False) -> Path:
    """Return the folder of the revision in the hub's cache, after fetching what matches the patterns and is missing."""
    asked = Repository("dataset", source.repository or "", source.revision or "", "`repository` and `revision`")
    return snapshot(asked, patterns, exclude, again)


def _found(source: Source, folder: Path) -> dict[str, Path]:
    """Return the files of a snapshot that match the patterns of a source, by name and sorted."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: paths[name] for name in sorted(paths) if matches(name, source)}
