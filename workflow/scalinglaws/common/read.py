"""The one reader of JSON files of results: what is missing or damaged is named, with what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.common.sums import REPAIR


def read_text(path: Path, again: str = REPAIR) -> str:
    """Return the text of a file in UTF-8. Raises StudyError where it is missing or damaged; ``again`` says what to do then."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run snakemake, which makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is damaged ({error}): {again}") from None


def parse_json(text: str, source: Path | str, again: str = REPAIR) -> Any:
    """Return the value of JSON text from ``source``. NaN and infinity are refused, since no file of results holds them.

    Raises StudyError where the text is no JSON, is nested too deeply, or has a number of too many digits.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{source} is damaged ({error}): {again}") from None


def read_json(path: Path, again: str = REPAIR) -> Any:
    """Return the value in a JSON file. Raises StudyError as ``read_text`` and ``parse_json`` do."""
    return parse_json(read_text(path, again), path, again)


def read_object(path: Path, again: str = REPAIR) -> dict[str, Any]:
    """Return the object in a JSON file. Raises StudyError as ``read_json`` does, and where the value is no object."""
    value = read_json(path, again)
    if not isinstance(value, dict):
        raise StudyError(f"{path} is damaged (it holds no JSON object): {again}")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
