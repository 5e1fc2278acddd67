"""What the values of a source of text may be, since they reach a command line, an address or a path.

The config checks them before anything runs, and the stage that reads text checks them again in the spec that it is given.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from packaging.version import InvalidVersion, Version

from scalinglaws.common.errors import StudyError

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"  # a package's name by PEP 508
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
COMMIT = re.compile(r"[0-9a-f]{40}")


def check_source(source: Any) -> None:
    """Check the values of a source, which is a ``Source`` or its config.

    Raises
    ------
    StudyError
        The package is no name or the version no version (PEP 508, PEP 440), the sha256 is none, the repository or the revision
        could leave its place in an address or a path, a branch or tag comes without a sha256, or ``encoding`` decodes no text.
    """
    if source.package is not None and not re.fullmatch(_NAME, source.package):
        raise StudyError(f"`package: {source.package!r}` is no package's name: letters, digits, '.', '_' and '-' make one")
    if source.version is not None and not _is_version(source.version):
        raise StudyError(f"`version: {source.version!r}` is no version of a package: give one such as 2.13.0")
    if source.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", source.sha256):
        raise StudyError(f"`sha256: {source.sha256!r}` is no hash: 64 hexadecimal digits are expected")
    _check_repository(source)
    for key in ("files", "exclude"):
        for pattern in getattr(source, key):
            if not pattern or "\0" in pattern or not _is_unicode(pattern):
                raise StudyError(f"`{key}` has the pattern {pattern!r}, which can be no file's name: remove it")
    check_encoding(source.encoding)


def _check_repository(source: Any) -> None:
    repository, revision = source.repository, source.revision
    if repository is not None and (not re.fullmatch(f"({_PART}/)?{_PART}", repository) or ".." in repository):
        raise StudyError(f"`repository: {repository!r}` is no data set of a hub: give one such as owner/name")
    if revision is None or COMMIT.fullmatch(revision):
        return
    if not re.fullmatch(f"{_PART}(/{_PART})*", revision) or ".." in revision:
        raise StudyError(f"`revision: {revision!r}` is no commit, branch or tag: give the 40 hexadecimal digits of a commit")
    if repository is not None and source.sha256 is None:
        raise StudyError(
            f"`revision: {revision}` is a branch or a tag, which can move: give the 40 hexadecimal digits of a commit, "
            "or the `sha256` of the files"
        )


def check_encoding(encoding: str) -> None:
    """Raise StudyError where ``encoding`` is unknown to Python or does not turn bytes into text, as zlib_codec."""
    try:
        "a".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        shown = repr(encoding)[1:-1]
        raise StudyError(f"unknown `encoding: {shown}`: utf-8, utf-16, latin-1 and cp1252 are usual ones") from None


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return bool(re.fullmatch(r"[!-~]+", text))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
