"""Which figures there are and what each is drawn from. Standard library only: the DAG reads it without importing matplotlib."""

from __future__ import annotations

from scalinglaws.figures import listed_batch, listed_models, listed_scaling, listed_training
from scalinglaws.figures.listed import Figure

# In the order of the report.
_LISTED = (*listed_batch.FIGURES, *listed_models.FIGURES, *listed_scaling.FIGURES, *listed_training.FIGURES)
FIGURES: dict[str, Figure] = {figure.name: figure for figure in sorted(_LISTED, key=lambda figure: figure.name)}

SHARED = (
    *("batches", "by_position", "by_steps", "command", "comparing", "compute_efficient", "fitted", "groups", "learning"),
    *("lines", "style", "texts"),
)
USED = ("kinds.py", "laws/*.py", "models/count.py", "schedule.py", "spec.py")


def drawable(kinds: set[str], laws: set[str]) -> list[str]:
    """Names of the figures that a study has, in the registry's order.

    ``kinds``: of its runs (kinds.py); ``laws``: those that it fits. A figure all of whose laws are missing is left out
    unless it is worth drawing without.
    """
    return [
        name
        for name, figure in FIGURES.items()
        if set(figure.needs) <= kinds and (figure.bare or not figure.laws or laws & set(figure.laws))
    ]


def modules(name: str) -> list[str]:
    """Patterns of the package's files that draw a figure; captions are the report's."""
    return [f"figures/{name}.py", *(f"figures/{shared}.py" for shared in SHARED), *USED]
