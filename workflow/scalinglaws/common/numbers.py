"""Numbers as the project writes them: rounding before hashing, short labels, and the unit of compute.

It imports the standard library only.
"""

from __future__ import annotations

PF_DAY = 8.64e19  # FLOP in a PF-day, 1e15 FLOP/s for a day: the unit of compute of Kaplan et al. 2020


def round_float(value: float) -> float:
    """Round to six significant digits, so that the number that is hashed is the number that is used."""
    return float(f"{value:.6g}")


def counted(number: int, what: str) -> str:
    """Write a number of things: 1 row, 2,000 rows."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(count: int) -> str:
    """Write a count for slugs and labels: 24576 is 24.6k, 8000000 is 8.0M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
