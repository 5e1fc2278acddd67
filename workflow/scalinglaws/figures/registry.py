"""Which figures there are and what each is drawn from. Standard library only: the DAG reads it without importing matplotlib."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One picture. ``needs`` decides whether a study has it: without runs of these kinds it is no target.

    Kinds of runs: "size" (runs that end at a budget, on all the data) and "data" (early-stopped runs on part of the data).
    ``laws`` are drawn where the study fits them; a law that is absent is said to be so in the picture.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    tables: tuple[str, ...]
    laws: tuple[str, ...]

    @property
    def module(self) -> str:
        return f"scalinglaws.figures.{self.name}"

    @property
    def requires(self) -> dict[str, list[str]]:
        """What ``draw`` of its module takes: names of tables and of fits."""
        return {"tables": list(self.tables), "fits": list(self.laws)}


FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "fig01_compute_data_parameters",
            "Loss against compute, data and parameters",
            ("size",),
            ("runs", "curves"),
            ("power-c", "envelope", "power-d", "power-n"),
        ),
        Figure("fig02_learning_curves", "Learning curves", ("size",), ("runs", "curves"), ()),
        Figure("fig04_loss_vs_data", "L(N, D) against D", ("data",), ("runs",), ("kaplan-nd",)),
        Figure("fig09_overfitting", "Overfitting: L(N, D) by size and dataset", ("data",), ("runs",), ("kaplan-nd",)),
        Figure("fig23_power_law_alternatives", "Power law and alternatives for L(N)", ("size",), ("runs",), ("power-n",)),
    )
}


def drawable(kinds: set[str], laws: set[str]) -> list[str]:
    """Names of the figures that a study has, in the registry's order.

    ``kinds``: of its runs ("size", "data"); ``laws``: those that it fits. A figure all of whose laws are missing is left out.
    """
    return [
        name for name, figure in FIGURES.items() if set(figure.needs) <= kinds and (not figure.laws or laws & set(figure.laws))
    ]
