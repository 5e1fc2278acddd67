"""Markdown of the reference pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "This page is made from the code by `scalinglaws reference`, and a test compares it with the code."


def cell(text: str) -> str:
    """Return a text for a cell of a table: one line, in which a bar does not end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with an empty line after it."""
    lines = [names, ["---"] * len(names), *rows]
    return ["| " + " | ".join(map(cell, line)) + " |" for line in lines] + [""]


def page(title: str, lines: Iterable[str]) -> str:
    """Return a page with its title and a sentence on how it is made."""
    return "\n".join([f"# {title}", "", GENERATED, "", *lines]).rstrip("\n") + "\n"


def paragraphs(text: str) -> list[str]:
    """Return the lines of a docstring, with code as Markdown writes it and an empty line after it."""
    return [*(line.strip() for line in text.replace("``", "`").strip().splitlines()), ""]
