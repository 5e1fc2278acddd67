"""What a command printed with --json, held against its schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from scalinglaws.decide.schemas import file_name

SCHEMAS = Path(__file__).parents[1] / "docs/reference/json"


@cache
def validator(command: str) -> Draft202012Validator:
    """Return the validator of the schema that is kept for a command of decide/schemas.py."""
    schema = json.loads((SCHEMAS / file_name(command)).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def printed(command: str, text: str) -> Any:
    """Return the JSON value that a command printed. Fails where its schema does not allow it."""
    value = json.loads(text)
    faults = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator(command).iter_errors(value)
    ]
    assert faults == []
    return value
