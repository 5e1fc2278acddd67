"""Numbers as the project writes them: rounding before hashing, in words for tables and labels, and the unit of compute.

It imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence

PF_DAY = 8.64e19  # FLOP in a PF-day, 1e15 FLOP/s for a day: the unit of compute of Kaplan et al. 2020


def round_float(value: float) -> float:
    """Round to six significant digits, so that the number that is hashed is the number that is used."""
    return float(f"{value:.6g}")


def counted(number: int, what: str) -> str:
    """Write a number of things: 1 row, 2,000 rows."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Write a time with two digits or so: 45 s, 12 min, 5.3 h, 2.4 days."""
    for unit, size, most, digits in (("s", 1, 90, 0), ("min", 60, 5400, 0), ("h", 3600, 172800, 1)):
        if seconds < most:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def short(count: int) -> str:
    """Write a count for slugs and labels: 24576 is 24.6k, 8000000 is 8.0M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def number(value: float | None, digits: int = 3) -> str:
    """Write a value with three ``digits`` or more, as 0.0621, 15.4 or 3.60e8; "none" for None."""
    if value is None:
        return "none"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:#.{digits}g}".removesuffix(".")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(power)}"


def as_printed(value: float | None) -> str:
    """Write a published number with the digits that it has, four at most: 0.076, 8.8e13; "none" for None."""
    if value is None:
        return "none"
    if abs(value) < 1e3:
        return f"{value:.4g}"
    mantissa, power = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(power)}"


def count(value: int | None) -> str:
    """Write a count with separators, as 123,456; "none" for None."""
    return "none" if value is None else f"{value:,}"


def between(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval in words, as "0.055 to 0.069"; "none" where an end is missing."""
    return "none" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words to a list, as "a", "a and b" or "a, b and c"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
