"""Types of config keys that several rooms use: counts and rates as people write them, each with bounds."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from scalinglaws.common.numbers import round_float

UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
MOST_TOKENS = 10**18  # the largest count: products of counts are then far from the end of a float, and counts fit 64 bits
WIDEST = 2**20  # the largest width of a layer
LARGEST_INTEGER = 2**63 - 1  # the largest integer that a table holds
MOST_RESAMPLES = 100_000  # of the bootstrap of a fit
DELTAS = (1e-12, 1e6)  # of the Huber function, the least and the largest


def number(value: Any) -> Any:
    """Refuse true and false, which Python takes for 1 and 0. Other values are returned for pydantic to judge."""
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError("a number below 9.2e18 is expected")
    return value


def parse_count(value: Any) -> Any:
    """Read a whole number written as 8000000, 8M, 1e9 or 2^19. Other types are returned for pydantic to judge."""
    if isinstance(value, float) and value.is_integer():
        return number(int(value))
    if isinstance(value, str):
        text = value.strip().replace("_", "")
        if power := re.fullmatch(r"([0-9]{1,18})\^([0-9]{1,2})", text):
            return number(int(power[1]) ** int(power[2]))
        found = re.fullmatch(r"([0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE]\+?[0-9]{1,2})?)([kKMGBT]?)", text)
        exact = Fraction(found[1]) * UNITS[found[2]] if found else Fraction(1, 2)
        if exact.denominator != 1:
            raise ValueError("a whole number is expected, such as 8000000, 8M, 1e9 or 2^19")
        return number(int(exact))
    return number(value)


def parse_rate(value: Any) -> Any:
    """Read a number written as 1e-3, which YAML 1.1 takes for text. Other values are returned for pydantic to judge."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+", value.strip()):
        return float(value)
    return number(value)


def below_one(value: float) -> float:
    """Refuse a share that becomes 1 when it is rounded to the digits that a study keeps, as 0.9999999 does."""
    if round_float(value) >= 1:
        raise ValueError("a number below 0.999999 is expected, since six digits are kept")
    return value


AS_COUNT = BeforeValidator(parse_count, json_schema_input_type=int | float | str)
COUNT_EXAMPLES = "8000000, 8M, 1e9 or 2^19"

# Bounds stand before these in a type: Annotated[int, Field(gt=0, le=1024), NUMBER].
NUMBER = BeforeValidator(number)
Seed = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), NUMBER]
Count = Annotated[int, AS_COUNT, Field(gt=0, le=MOST_TOKENS, description=COUNT_EXAMPLES)]
CountOrZero = Annotated[int, AS_COUNT, Field(ge=0, le=MOST_TOKENS, description=COUNT_EXAMPLES)]
Rate = Annotated[float, BeforeValidator(parse_rate, json_schema_input_type=float | str), Field(allow_inf_nan=False)]
Fraction01 = Annotated[Rate, Field(ge=0, lt=1), AfterValidator(below_one)]
Share = Annotated[Rate, Field(gt=0, lt=1), AfterValidator(below_one)]
