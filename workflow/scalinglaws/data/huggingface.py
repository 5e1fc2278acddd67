"""Text from a data set of the Hugging Face hub: the source kind ``huggingface``."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data.formats import File
from scalinglaws.data.pinned import check, digest_of, file_at, matches, sha256
from scalinglaws.study.source_rules import COMMIT
from scalinglaws.study.spec import Source


def files(source: Source, downloads: Path) -> list[File]:
    """Fetch the files of a data set's revision that match the patterns of a source into the hub's own cache, and return them.

    A file of the cache that is not what the hub has is fetched once more.

    Raises StudyError where the files cannot be had, are damaged even then, or have another hash than the source says.
    """
    found = _found(source, _snapshot(source, source.files, source.exclude))
    wrong = [name for name, path in found.items() if _intact(path) is False]
    if not wrong and source.sha256 and found and sha256(found.values()) != source.sha256.lower():
        wrong = [name for name, path in found.items() if _intact(path) is None]
    if wrong:
        print(f"data set {source.repository}: {', '.join(wrong)} is damaged in the cache and is fetched again", file=sys.stderr)
        found = _found(source, _snapshot(source, [glob.escape(name) for name in wrong], (), again=True))
    if source.sha256 and found:
        check(source, f"data set {source.repository}", sha256(found.values()))
    elif still := [name for name in found if name in wrong and _intact(found[name]) is False]:
        raise StudyError(
            f"data set {source.repository}, revision {source.revision}: {still[0]} in the hub's cache has not the hash that the "
            f"hub names, and no other could be fetched: run again with a connection, or delete {found[still[0]]}"
        )
    return [file_at(name, path) for name, path in found.items()]


def _snapshot(source: Source, patterns: Iterable[str], exclude: Iterable[str], again: bool = False) -> Path:
    """Return the folder of the revision in the hub's cache, after fetching what matches the patterns and is missing."""
    from huggingface_hub import HfApi, snapshot_download

    from scalinglaws.data.hub_client import FAILURES, be_patient

    be_patient()
    try:
        revision = HfApi().resolve_revision(source.repository or "", repo_type="dataset", revision=source.revision)
        if not COMMIT.fullmatch(revision.resolved):
            raise ValueError(f"it names {revision.resolved!r}, which is no commit")
        # Online and offline the files come from the hub's cache; those that are missing are fetched into it first.
        return Path(
            snapshot_download(
                source.repository or "",
                repo_type="dataset",
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(exclude) or None,
                force_download=again,
            )
        )
    except FAILURES as error:
        raise StudyError(
            f"data set {source.repository}, revision {source.revision}, cannot be had from the hub: {_reason(error)}\n"
            "check `repository` and `revision`; with HF_HUB_OFFLINE=1 it must be in the cache (HF_HOME) already"
        ) from None


def _reason(error: BaseException) -> str:
    """Return one line about an error of the hub's library: that of the request behind it, where there was one."""
    from scalinglaws.data.hub_client import NoAnswer

    if isinstance(error.__cause__, NoAnswer):
        error = error.__cause__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if not isinstance(error, OSError) and type(error).__module__ in ("builtins", "json.decoder"):
        return f"its answer is not that of a hub ({type(error).__name__}: {line})"
    return line


def _found(source: Source, folder: Path) -> dict[str, Path]:
    """Return the files of a snapshot that match the patterns of a source, by name and sorted."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: paths[name] for name in sorted(paths) if matches(name, source)}


def _intact(path: Path) -> bool | None:
    """Tell whether a file in the hub's cache has the hash that the hub gave; None where it gave no hash of a known kind.

    The cache names a file after it: the sha256 of a large file and git's hash of a small one. Some mirrors give a plain sha1.
    """
    if not path.is_symlink():
        return None
    given = Path(os.readlink(path)).name
    if len(given) == 64:
        return digest_of(path, hashlib.sha256()) == given
    if len(given) == 40:
        as_git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
        return given in (digest_of(path, as_git), digest_of(path, hashlib.sha1()))
    return None
