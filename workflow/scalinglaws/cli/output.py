"""How commands print: tables for people on a terminal, the same as plain lines elsewhere, and JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from scalinglaws.report.one_fit import Block


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and infinity are refused with ValueError."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with the time left on a terminal while this is active; yield what is called with each amount that is done."""
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount: bar.advance(task, amount)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = (), sentences: bool = False
) -> None:
    """Print rows of texts under their columns; those named in ``right`` hold numbers and end at one edge.

    On a terminal rich draws the table as wide as that is. With ``sentences``, which take several lines of a cell, rows stand
    apart and the first column, of names, is never broken. Elsewhere each row is one line without colours, for logs and other
    programs.
    """
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(drawn(columns, rows, right, sentences))
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = zip(columns, row, widths, strict=True)
        print("  ".join(cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in cells).rstrip())


def drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = (), sentences: bool = False) -> Table:
    """Return the table that ``print_table`` prints on a terminal, as rich draws it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", show_lines=sentences, box=box.SIMPLE_HEAD if sentences else box.HEAVY_HEAD)
    for k, column in enumerate(columns):
        justify: Any = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=sentences and k == 0)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def print_page(blocks: Sequence[Block]) -> None:
    """Print paragraphs, lists and tables with an empty line between them; on a terminal sentences break between words."""
    for k, block in enumerate(blocks):
        if k and not (isinstance(block, list) and isinstance(blocks[k - 1], str)):
            print()
        if isinstance(block, str):
            print(_broken(block))
        elif isinstance(block, list):
            print("\n".join(_broken(f"- {sentence}", "  ") for sentence in block))
        else:
            print_table(block.columns, block.rows, block.right)


def _broken(text: str, indent: str = "") -> str:
    """Break a text into lines as wide as the terminal, of which those after the first are indented; elsewhere leave it whole."""
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, subsequent_indent=indent, break_on_hyphens=False)
