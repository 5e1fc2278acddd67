"""Types of config keys that several rooms use: counts and rates as people write them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def parse_count(value: Any) -> Any:
    """Read a whole number written as 8000000, 8M, 1e9 or 2^19. Other types are returned for pydantic to judge."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip().replace("_", "")
        if power := re.fullmatch(r"(\d+)\^(\d{1,2})", text):
            return int(power[1]) ** int(power[2])
        number = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE]\+?\d{1,2})?)([kKMGBT]?)", text)
        exact = Fraction(number[1]) * UNITS[number[2]] if number else Fraction(1, 2)
        if exact.denominator != 1:
            raise ValueError("a whole number is expected, such as 8000000, 8M, 1e9 or 2^19")
        return int(exact)
    return value


def parse_rate(value: Any) -> Any:
    """Read a number written as 1e-3, which YAML 1.1 takes for text. Other values are returned for pydantic to judge."""
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d*)?[eE][+-]?\d+", value.strip()):
        return float(value)
    return value


Count = Annotated[
    int,
    BeforeValidator(parse_count, json_schema_input_type=int | float | str),
    Field(gt=0, description="8000000, 8M, 1e9 or 2^19"),
]
Rate = Annotated[float, BeforeValidator(parse_rate, json_schema_input_type=float | str)]
Fraction01 = Annotated[Rate, Field(ge=0, lt=1)]
