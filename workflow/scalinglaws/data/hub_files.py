"""Files of a repository of the Hugging Face hub at one revision, in the hub's own cache: fetched where missing, and checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data.pinned import digest_of
from scalinglaws.study.source_rules import COMMIT

WORDS = {"dataset": "data set", "model": "model"}


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a revision. ``keys`` are the keys of the config that name it, for errors."""

    kind: str  # dataset or model
    name: str
    revision: str
    keys: str

    def __str__(self) -> str:
        return f"{WORDS[self.kind]} {self.name}"


def snapshot(asked: Repository, patterns: Iterable[str], exclude: Iterable[str] = (), again: bool = False) -> Path:
    """Return the folder of a revision in the hub's cache, after fetching what matches the patterns and is missing.

    Parameters
    ----------
    asked
        The repository.
    patterns, exclude
        Patterns of the names of files that are fetched, and of those that are left out of them.
    again
        Whether what is there is fetched once more.

    Raises
    ------
    StudyError
        The files cannot be had.
    """
    from huggingface_hub import HfApi, snapshot_download

    from scalinglaws.data.hub_client import FAILURES, be_patient

    be_patient()
    try:
        revision = HfApi().resolve_revision(asked.name, repo_type=asked.kind, revision=asked.revision)
        if not COMMIT.fullmatch(revision.resolved):
            raise ValueError(f"it names {revision.resolved!r}, which is no commit")
        # Online and offline the files come from the hub's cache; those that are missing are fetched into it first.
        return Path(
            snapshot_download(
                asked.name,
                repo_type=asked.kind,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(exclude) or None,
                force_download=again,
            )
        )
    except FAILURES as error:
        raise StudyError(
            f"{asked}, revision {asked.revision}, cannot be had from the hub: {_reason(error)}\n"
            f"check {asked.keys}; with HF_HUB_OFFLINE=1 it must be in the cache (HF_HOME) already"
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


def is_intact(path: Path) -> bool | None:
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
