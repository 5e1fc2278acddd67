"""Which figures there are and what each is drawn from. Standard library only: the DAG reads it without importing matplotlib."""

from __future__ import annotations

from dataclasses import replace

from scalinglaws.common.errors import StudyError
from scalinglaws.figures import listed_batch, listed_models, listed_scaling, listed_training
from scalinglaws.figures.listed import Figure

# In the order of the report.
_GROUPS = {"batch": listed_batch, "models": listed_models, "scaling": listed_scaling, "training": listed_training}
_LISTED = [replace(figure, group=group) for group, listed in _GROUPS.items() for figure in listed.FIGURES]
FIGURES: dict[str, Figure] = {figure.name: figure for figure in sorted(_LISTED, key=lambda figure: figure.name)}

USED = (
    *("figures/shared/*.py", "study/questions.py", "laws/*.py", "tables/read.py"),
    *("models/count.py", "optim/rates.py", "optim/schedule.py", "study/spec.py"),
)


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
    return [f"figures/{FIGURES[name].group}/{name}.py", *USED]


def asked(names: list[str] | tuple[str, ...] | str) -> tuple[str, ...]:
    """The figures that a config asks for, by name. ``names``: the value of its key ``figures``, "all" or a list.

    Raises StudyError for a name that is not in FIGURES.
    """
    if names == "all":
        return tuple(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        raise StudyError(f"figures: {unknown[0]} is not one of {', '.join(FIGURES)}")
    return tuple(names)
