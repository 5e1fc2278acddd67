"""The figures: a line for each says where its module lies and what it is drawn from. It imports the standard library only.

The DAG reads this without importing matplotlib or polars. A figure is added by one module in one of the folders beside this file
(``scaling``, ``batch``, ``models``, ``training``) and one line here. The module holds

- ``TITLE``: the figure's name in the report,
- ``CAPTION``: what it shows, how, and what the paper found, one paragraph of reStructuredText,
- ``draw(tables, fits)``: a matplotlib figure, from the polars frames of the tables and the fit.json of the laws that are there.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.tables.mapping import READERS


@dataclass(frozen=True)
class Figure:
    """What is known of a figure without drawing it."""

    name: str  # the name of its module and of its files
    folder: str  # the folder of its module
    needs: tuple[str, ...]  # questions (study/questions.py) that a study's runs must be able to answer, or it has no such figure
    tables: tuple[str, ...]  # the tables of the study that it reads
    laws: tuple[str, ...]  # the laws that it draws where the study fits them; the picture says which are missing
    bare: bool  # whether it is worth drawing where the study fits none of its laws

    @property
    def module(self) -> str:
        """Return the dotted name of its module."""
        return f"scalinglaws.figures.{self.folder}.{self.name}"

    @property
    def title(self) -> str:
        """Return its name in the report."""
        return _texts(self.folder, self.name)["TITLE"]

    @property
    def number(self) -> int:
        """Return its number in the paper; 0 for a figure that the paper does not have."""
        found = re.match(r"fig(\d+)_", self.name)
        return int(found[1]) if found else 0

    @property
    def label(self) -> str:
        """Return its title, after its number where it is one of the paper."""
        return f"Figure {self.number}: {self.title}" if self.number else self.title

    @property
    def caption(self) -> str:
        """Return its caption, one paragraph of reStructuredText."""
        return _texts(self.folder, self.name)["CAPTION"]


@cache
def _texts(folder: str, name: str) -> dict[str, str]:
    """Read TITLE and CAPTION in a figure's source, with white space as single spaces; importing it would import matplotlib."""
    source = Path(__file__).parent / folder / f"{name}.py"
    assigned = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)]
    values = {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    return {key: " ".join(ast.literal_eval(values[key]).split()) for key in ("TITLE", "CAPTION")}


def _figure(name: str, folder: str, needs: str, tables: str = "", laws: str = "", bare: bool = False) -> Figure:
    """Return an entry whose lists are words in one string."""
    return Figure(name, folder, tuple(needs.split()), tuple(tables.split()), tuple(laws.split()), bare)


# In the order of the report: name, folder, questions that it needs, tables, laws.
FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        _figure("fig01_compute_data_parameters", "scaling", "size", "runs curves", "power-c envelope power-d power-n"),
        _figure("fig02_learning_curves", "scaling", "size curves", "runs curves"),
        _figure("fig03_allocation", "batch", "batch", "", "critical-batch kaplan-ns"),
        _figure("fig04_loss_vs_data", "scaling", "data", "runs", "kaplan-nd kaplan-ns"),
        _figure("fig05_shape", "models", "shape", "runs"),
        _figure("fig06_depth", "models", "depth", "runs"),
        _figure("fig07_lstm", "models", "lstm", "runs evals"),
        _figure("fig08_transfer", "models", "transfer", "runs evals"),
        _figure("fig09_overfitting", "scaling", "data", "runs", "kaplan-nd"),
        _figure("fig10_critical_batch", "batch", "batch", "runs curves", "critical-batch"),
        _figure("fig11_fixed_resources", "training", "size curves", "runs curves", "kaplan-ns critical-batch", bare=True),
        _figure("fig12_wrong_size", "batch", "batch", "runs", "kaplan-ns"),
        _figure("fig13_compute_min", "batch", "batch", "runs", "power-c power-cmin critical-batch kaplan-ns"),
        _figure("fig14_optimal_size", "batch", "batch", "runs", "critical-batch kaplan-ns"),
        _figure("fig15_contradiction", "batch", "batch data", "runs", "power-cmin power-d critical-batch kaplan-ns"),
        _figure("fig16_early_stopping", "training", "data", "runs curves", "kaplan-ns", bare=True),
        _figure("fig17_recurrent", "models", "recurrent", "runs"),
        _figure("fig18_steps_tokens", "batch", "batch", "", "critical-batch"),
        _figure("fig19_resources_by_size", "batch", "batch", "runs", "critical-batch kaplan-ns"),
        _figure("fig20_position", "training", "size curves", "runs curves evals"),
        _figure("fig21_position_by_size", "training", "context", "runs evals"),
        _figure("fig22_schedules", "training", "schedule", "runs"),
        _figure("fig23_power_law_alternatives", "scaling", "size", "runs", "power-n"),
        _figure("fig24_transfer_depth", "models", "shape transfer", "runs evals"),
        _figure("architectures", "models", "architecture", "runs"),
        _figure("forecasts", "scaling", "forecast", "runs forecasts"),
        _figure("learning_rate", "training", "rate", "runs"),
        _figure("mixture", "training", "mixture", "runs evals", "mixture", bare=True),
        _figure("optimizers", "training", "optimizer", "runs curves"),
        _figure("parametrizations", "training", "rate parametrization", "runs"),
        _figure("quality", "models", "quality", "runs evals"),
        _figure("repetition", "training", "repetition", "runs", "repetition", bare=True),
        _figure("seeds", "models", "seed", "runs"),
    )
}

# The files of the package that all figures are drawn with.
DRAWN_WITH = (
    *("figures/shared/*.py", "study/questions.py", "laws/*.py", *READERS),
    *("optim/rates.py", "optim/schedule.py", "study/spec.py"),
)


def drawable(kinds: set[str], laws: set[str]) -> list[str]:
    """Return names of the figures that a study has, in the order of the report.

    ``kinds`` are the questions that its runs can answer (study/questions.py), and ``laws`` those that it fits. A figure all of
    whose laws are missing is left out unless it is worth drawing without them.
    """
    return [
        name
        for name, figure in FIGURES.items()
        if set(figure.needs) <= kinds and (figure.bare or not figure.laws or laws & set(figure.laws))
    ]


def modules(name: str) -> list[str]:
    """Return patterns of the source files that draw a figure, relative to the package: an edit of one of them draws it again."""
    return [f"figures/{FIGURES[name].folder}/{name}.py", *DRAWN_WITH]


def asked(names: list[str] | tuple[str, ...] | str) -> tuple[str, ...]:
    """Return the names of the figures that a config asks for.

    ``names`` is the value of the config's key ``figures``: "all" or a list. Raises StudyError for a name that is not in FIGURES.
    """
    if names == "all":
        return tuple(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        raise StudyError(f"figures: {unknown[0]!r} is unknown: {proposal(unknown[0], FIGURES)}")
    return tuple(names)
