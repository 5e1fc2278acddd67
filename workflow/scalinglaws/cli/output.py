"""How commands print: tables for people on a terminal, the same as plain lines elsewhere, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and infinity are refused with ValueError."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows of texts under their columns; those named in ``right`` hold numbers and end at one edge.

    On a terminal rich draws the table. Elsewhere each row is one line without colours, for logs and other programs.
    """
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = zip(columns, row, widths, strict=True)
        print("  ".join(cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in cells).rstrip())
