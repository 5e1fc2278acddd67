"""Tables in Markdown that read well as plain text: their columns are aligned."""

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
