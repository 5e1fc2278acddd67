"""Markdown that reads well as plain text: aligned tables, and numbers of three digits."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; each column but the last, which holds sentences, is padded to one width."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in escaped) for k in range(len(head) - 1)]
    lines = [
        "| " + " | ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) + " |" for row in escaped
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|---|"
    return [lines[0], rule, *lines[1:]]


def number(value: float | None) -> str:
    """Write a value with three digits, as 0.0621, 15.4 or 3.60e8; "none" for None."""
    if value is None:
        return "none"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:#.3g}".removesuffix(".")
    mantissa, power = f"{value:.2e}".split("e")
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


def between(low: float | None, high: float | None) -> str:
    """Write an interval in words, as "0.055 to 0.069"; "none" where an end is missing."""
    return "none" if low is None or high is None else f"{number(low)} to {number(high)}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words to a list, as "a", "a and b" or "a, b and c"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
