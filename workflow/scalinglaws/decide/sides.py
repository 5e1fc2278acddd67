"""What is compared: a study, an experiment of a study, or a table of runs, and which of its runs are meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from scalinglaws.common.errors import StudyError, shown
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.forms import Described
from scalinglaws.laws.select import Points, read_table, select
from scalinglaws.laws.where import condition
from scalinglaws.study.paths import study_folder
from scalinglaws.tables.formats import KINDS
from scalinglaws.tables.read import named, read_own

# Columns in which a difference makes the losses of two sides incomparable: a column -> how a sentence calls it. Of the first two,
# which are the name and the pin of a text, one is told.
SETTINGS = {"corpus_name": "texts", "corpus": "texts", "tokenizer": "tokenizers", "n_vocab": "vocabularies", "n_ctx": "contexts"}
SHOWN = 3  # values of a column that a sentence names


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: a table of runs, and which of them are meant.

    ``letter`` is A or B, ``name`` is what the user wrote, ``where`` is a condition on the columns or None, and ``columns`` maps
    our names of columns to the table's own.
    """

    letter: str
    name: str
    table: pl.DataFrame
    where: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> str:
        """Return how the side is called in words."""
        return f"{self.name} where {self.where}" if self.where else self.name

    def points(self, law: Described) -> Points:
        """Return the points of a law among the runs that are meant. Raises StudyError, with the side, where there can be none."""
        try:
            return select(self.table, law, self.columns, self.where)
        except StudyError as error:
            text = str(error).replace("--where", f"--where-{self.letter.lower()}").replace("--columns", self._columns)
            raise StudyError(f"{self.letter}, {self.name}: {text}") from None

    @property
    def _columns(self) -> str:
        return f"--columns-{self.letter.lower()}"

    def settings(self, points: Points) -> dict[str, list[str]]:
        """Return the values that runs among the points have in each column of SETTINGS that the table has."""
        names = {name: self.columns[name] for name in ("run", "trunk") if name in self.columns}
        rows = named(self.table, ("run", "trunk"), names).with_row_index("__row", offset=1)
        known = [pl.col(name).cast(pl.String) for name in ("run", "trunk", "__row") if name in rows.columns]
        rows = rows.filter(pl.coalesce(known).is_in(points.run))
        texts = {name: rows[name].drop_nulls().cast(pl.String) for name in SETTINGS if name in rows.columns}
        return {name: sorted(set(column.to_list())) for name, column in texts.items() if len(column)}


def side(letter: str, text: str, results: Path, where: str | None = None, columns: Mapping[str, str] | None = None) -> Side:
    """Return what a text names.

    Parameters
    ----------
    letter
        A or B.
    text
        A table's file, a study's folder, or the name of a study in ``results``; the latter two perhaps with a colon and the name
        of an experiment, whose runs are then meant whether or not laws are fitted to it.
    results
        The folder of results.
    where, columns
        A condition on the columns, and other names that a table has for ours.

    Raises
    ------
    StudyError
        There is no such table, study or experiment, or the condition cannot be used.
    """
    columns = dict(columns or {})
    table = _table(letter, text, results)
    if where is not None:
        try:
            condition(named(table, [*columns], columns, text, f"--columns-{letter.lower()}"), where)
        except StudyError as error:
            raise StudyError(str(error).replace("--where", f"--where-{letter.lower()}", 1)) from None
    return Side(letter, shown(text), table, where, columns)


def _table(letter: str, text: str, results: Path) -> pl.DataFrame:
    """Return the table of runs that a text names, of an experiment its own runs, all of which count as fitted."""
    if Path(text).suffix.lower() in KINDS or Path(text).is_file():
        return read_table(text)
    study, _, experiment = text.partition(":")
    folder = _folder(letter, study, results)
    runs = read_own(folder / "tables" / "runs.parquet")
    if not experiment:
        return runs
    known = sorted(set(runs["experiments"].explode().drop_nulls().to_list()))
    if experiment not in known:
        raise StudyError(
            f"{letter}, {shown(text)}: {study} has no experiment '{shown(experiment)}': {proposal(experiment, known)}"
        )
    own = runs.filter(pl.col("experiments").list.contains(experiment))
    return own.with_columns(fitted=pl.lit(True))


def _folder(letter: str, study: str, results: Path) -> Path:
    """Return the folder of a study, by its path or its name. Raises StudyError where there is none."""
    for folder in (study_folder(results, study), Path(study)) if study and "\0" not in study else ():
        if (folder / "tables" / "runs.parquet").is_file():
            return folder
    known = sorted(path.parent.parent.name for path in results.glob("studies/*/tables/runs.parquet"))
    raise StudyError(
        f"{letter}: there is no table or finished study '{shown(study)}': give a file that ends in {', '.join(KINDS)}, or "
        f"STUDY or STUDY:EXPERIMENT; {proposal(study, known, 'the finished studies are')}"
    )


def differences(a: Side, b: Side, points_a: Points, points_b: Points) -> list[str]:
    """Return sentences on what makes the losses of two sides incomparable, and on runs that both have; perhaps none."""
    ours, theirs, out, told = a.settings(points_a), b.settings(points_b), [], set()
    for name, word in SETTINGS.items():
        if name in ours and name in theirs and ours[name] != theirs[name] and word not in told:
            told.add(word)
            out.append(
                f"The {word} differ: {_some(ours[name])} of A, {_some(theirs[name])} of B. Losses in nats per token of other "
                f"{word} cannot be compared."
            )
    if shared := len(_runs(points_a) & _runs(points_b)):
        out.append(
            f"{shared} of the {len(points_a)} points of A are points of B, too, with the same size, tokens and loss: intervals "
            "of differences and gains take the two sides for independent, and are too wide."
        )
    return out


def _some(values: list[str]) -> str:
    return ", ".join(values[:SHOWN]) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")


def _runs(points: Points) -> set[tuple[float, float, float]]:
    columns = (points.columns["n_params"], points.columns["tokens"], points.loss)
    return set(zip(*(values.tolist() for values in columns), strict=True))
