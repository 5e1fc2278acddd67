"""Types of config keys whose values become a part of a path, of a URL or of another program's command line."""

from __future__ import annotations

import codecs
import re
from typing import Annotated

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field

MOST_CHARACTERS = 100  # of a name: with what is added to it, it stays below the 255 bytes of a file's name


def name(value: str) -> str:
    """Refuse what is no plain name: letters, digits, dots, dashes and underscores, but not ``.``, ``..`` or a dash in front."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value) or set(value) == {"."} or value.startswith("-"):
        raise ValueError("a name of letters, digits, dots, dashes and underscores is expected, without a dash in front")
    return _short(value)


def study(value: str) -> str:
    """Refuse what is no plain name, and what begins with a dot: the name is that of a folder, which would be hidden."""
    if value.startswith("."):
        raise ValueError("a name without a dot in front is expected: it becomes a folder in results/studies")
    return name(value)


def package(value: str) -> str:
    """Refuse what is no name of a Python package (PEP 508): pip would take an URL or an option."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError("the name of a package is expected: letters, digits, dots, dashes and underscores")
    return _short(value)


def version(value: str) -> str:
    """Refuse what is no version of a Python package (PEP 440)."""
    try:
        Version(_plain(value))
    except InvalidVersion:
        raise ValueError("one version of the package is expected, such as 2.13.0") from None
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("a version without spaces around it is expected")
    return _short(value)


def repository(value: str) -> str:
    """Refuse what is no name of a data set on the hub: owner/name, or a name alone."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?", value) or ".." in value:
        raise ValueError("the name of a data set is expected, such as HuggingFaceFW/fineweb")
    return _short(value)


def revision(value: str) -> str:
    """Refuse what is no commit, tag or branch of a repository."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", value) or ".." in value:
        raise ValueError("a commit is expected, 40 hex digits, or the name of a tag")
    return _short(value)


def sha256(value: str) -> str:
    """Refuse what is no sha256 in hex."""
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("a sha256 is expected: 64 hexadecimal digits, a to f as small letters")
    return value


def pattern(value: str) -> str:
    """Refuse what can be no file's name and no pattern of names."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("the name of a file or a pattern of names is expected, and it is no text in Unicode") from None
    if not value or "\0" in value:
        raise ValueError("the name of a file or a pattern of names is expected")
    return value


def encoding(value: str) -> str:
    """Refuse what Python does not know as an encoding that turns bytes into text; zlib_codec is none."""
    try:
        "text".encode(value)
        codecs.getincrementaldecoder(value)
    except (LookupError, ValueError):  # ValueError: a NUL in the name; UnicodeError is one
        raise ValueError("an encoding of text is expected, such as utf-8 or latin-1") from None
    return value


def _plain(value: str) -> str:
    """Refuse spaces, new lines and letters beyond ASCII, some of which ``packaging`` lets pass."""
    if not value.isascii() or any(character.isspace() for character in value):
        raise ValueError("ASCII characters without spaces are expected")
    return value


def _short(value: str) -> str:
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"a name of at most {MOST_CHARACTERS} characters is expected")
    return value


Name = Annotated[str, AfterValidator(name), Field(json_schema_extra={"pattern": r"^(?!-)(?!\.+$)[A-Za-z0-9_.-]+$"})]
StudyName = Annotated[str, AfterValidator(study), Field(json_schema_extra={"pattern": r"^(?![-.])[A-Za-z0-9_.-]+$"})]
Package = Annotated[str, AfterValidator(package)]
PackageVersion = Annotated[str, AfterValidator(version)]
Repository = Annotated[str, AfterValidator(repository)]
Revision = Annotated[str, AfterValidator(revision)]
Encoding = Annotated[str, AfterValidator(encoding)]
Title = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS, pattern=r"^[^\n\t]+$")]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
