"""What the values of a config must be whatever their keys: finite numbers, printable text, and not too many of them."""

from __future__ import annotations

import math
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.study.explain import path_of
from scalinglaws.study.read_yaml import DEEPEST, MOST_DIGITS, MOST_VALUES

MOST_CHARACTERS = 4000  # of a text


def check(data: Any, name: str) -> None:
    """Check the values of a config that was read from YAML, from JSON or from the command line; ``name`` is that of its file.

    Raises StudyError that names the place of a number that is not finite or has more than 30 digits, of text with characters
    that cannot be printed, of a key that is no text, and of what is neither number, text, truth value, list nor mapping.
    """
    left = MOST_VALUES
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        left -= 1
        if wrong := _wrong(value):
            raise StudyError(f"{name}: {path_of(path)}: {wrong}")
        if len(path) > DEEPEST or left < 0:
            what = f"is nested more than {DEEPEST} deep" if left >= 0 else f"{name} has more than {MOST_VALUES:,} values"
            raise StudyError(f"{name}: {path_of(path[:3])}: {what}")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str) or not key.isprintable() or _wrong(key):
                    raise StudyError(f"{name}: {path_of(path) or 'the file'}: the key {key!r:.40} is no printable text: quote it")
            waiting += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, i), each) for i, each in enumerate(value)]


def _wrong(value: Any) -> str:
    """Say what is wrong with a value, apart from what is in it; empty where nothing is."""
    if value is None or isinstance(value, (bool, dict, list)):
        return ""
    if isinstance(value, int):
        return "" if abs(value) < 10**MOST_DIGITS else f"a number of more than {MOST_DIGITS} digits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"a finite number is expected, found {value}"
    if isinstance(value, str):
        if len(value) > MOST_CHARACTERS:
            return f"a text of {len(value):,} characters: {MOST_CHARACTERS:,} at most"
        if value.isprintable():
            return ""
        odd = next((c for c in value if not (c.isprintable() or c in "\n\t" or (c > "\x9f" and c.isspace()))), "")
        return f"a text with the character U+{ord(odd):04X}, which cannot be printed" if odd else ""
    return f"a number, a text, true, false, a list or a mapping is expected, found {type(value).__name__}"
