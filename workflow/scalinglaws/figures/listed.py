"""What is known of a figure without drawing it. Standard library only: the DAG reads it without importing matplotlib."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One picture. ``needs`` decides whether a study has it: without runs of these kinds it is no target.

    Kinds of runs: see kinds.py. ``tables``: of results/tables. ``laws`` are drawn where the study fits them; a law that is
    absent is said to be so in the picture, and without any of them the figure is drawn only where it is ``bare``.
    ``caption`` is reStructuredText for the report.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    tables: tuple[str, ...]
    laws: tuple[str, ...]
    caption: str
    bare: bool = False
    group: str = ""  # the folder of its module

    @property
    def module(self) -> str:
        return f"scalinglaws.figures.{self.group}.{self.name}"

    @property
    def requires(self) -> dict[str, list[str]]:
        """What ``draw`` of its module takes: names of tables and of fits."""
        return {"tables": list(self.tables), "fits": list(self.laws)}
