"""What the values of a source of text may be, since they reach a command line, an address or a path.

The config checks them before anything runs (names.py has a type for each), and the stage that reads text checks them again in the
spec that it is given.
"""

from __future__ import annotations

import re
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.study import names

COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKS = {
    "package": names.package,
    "version": names.version,
    "sha256": names.sha256,
    "repository": names.repository,
    "revision": names.revision,
    "encoding": names.encoding,
    "files": names.pattern,
    "exclude": names.pattern,
}


def check_source(source: Any) -> None:
    """Check the values of a source.

    Raises
    ------
    StudyError
        The package is no name or the version no version (PEP 508, PEP 440), the sha256 is none, the repository or the revision
        could leave its place in an address or a path, a branch or tag comes without a sha256, or ``encoding`` decodes no text.
    """
    for key, check in CHECKS.items():
        found = getattr(source, key)
        for value in [found] if isinstance(found, str) else found or ():
            try:
                check(value)
            except ValueError as error:
                raise StudyError(f"`{key}: {value!r}`: {error}") from None
    check_pinned(source)


def check_pinned(source: Any) -> None:
    """Raise StudyError where the files of a hub come from a branch or a tag, which can move, without a sha256."""
    if source.repository is None or source.revision is None or source.sha256 or COMMIT.fullmatch(source.revision):
        return
    raise StudyError(
        f"`revision: {source.revision}` is a branch or a tag, which can move: give the 40 hexadecimal digits of a commit, "
        "or the `sha256` of the files"
    )


def check_encoding(encoding: str) -> None:
    """Raise StudyError where ``encoding`` is unknown to Python or does not turn bytes into text, as zlib_codec."""
    try:
        names.encoding(encoding)
    except ValueError as error:
        raise StudyError(f"`encoding: {encoding!r}`: {error}") from None
