"""Runs that were made elsewhere, as rows of the table ``runs``: they take part in fits exactly as ours.

``check`` is what planning asks of them: it looks at names of columns and first rows, and reads small tables to the end.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.tables.formats import peek
from scalinglaws.tables.mapping import MISSING, sources
from scalinglaws.tables.schema import RUNS

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]
# Columns that we fill ourselves.
OURS = ("run", "trunk", "experiments", "fitted")
NUMBERS = tuple(field.name for field in RUNS if field.type in (pa.int64(), pa.float64()))
TRUTHS = tuple(field.name for field in RUNS if field.type == pa.bool_() and field.name not in OURS)
TEXTS = tuple(field.name for field in RUNS if field.type == pa.string() and field.name not in OURS)
WHOLE = tuple(field.name for field in RUNS if field.type == pa.int64())
KEY = ("n_params", "tokens", "flops_6nd", "loss")  # two rows that agree in all of these are one run
READ_BYTES = 1 << 24  # of a table, up to which planning reads all of it
LARGEST = 2.0**63  # whole numbers from here on fit no column


def needed(names: Sequence[str], columns: Mapping[str, str], which: str) -> dict[str, str]:
    """Check that a table with columns ``names``, mapped by ``columns``, has what every run needs; return our name -> its name.

    Raises
    ------
    StudyError
        A key of ``columns`` is not the name of a column of ours, or n_params, loss, or both tokens and FLOP are missing.
    """
    found = sources(names, RUNS.names, columns, which, f"{which}: columns")
    for name in ("n_params", "loss"):
        if name not in found:
            raise StudyError(f"{which} has no column {name}: {proposal(name, names, 'it has')}; name it under columns")
    if "tokens" not in found and "flops_6nd" not in found:
        raise StudyError(
            f"{which} has no column tokens, and no flops_6nd that would tell them: it has {', '.join(names)}; "
            "name one of the two under columns"
        )
    return found


def check(tables: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Check the ``external_runs`` of a config, each a path and its columns, before anything is trained.

    Raises
    ------
    StudyError
        A file is missing or cannot be read, lacks a column that is needed or named, has no number in the first rows of one, or
        is listed twice or a copy of another; or one of READ_BYTES at most is damaged further on, or has no row that can be used.
    """
    seen: list[tuple[Path, Mapping[str, str]]] = []
    for text, columns in tables:
        path, which = Path(text), f"external_runs: {text}"
        if {"{", "}"} & set(text):
            raise StudyError(f"{which}: Snakemake takes braces in a path for a wildcard: rename the file")
        first = peek(path, [*columns.values()], "external_runs: ")
        found = needed(list(first), columns, which)
        for name in NUMBERS:
            if name in found and (strange := strange_value(first[found[name]])):
                raise StudyError(f"{which}: column '{name}' is not numeric (a row has '{strange}'): name another under columns")
        for other, its in seen:
            if columns == its and os.path.getsize(path) == os.path.getsize(other) and filecmp.cmp(path, other, shallow=False):
                what = "is listed twice" if path.samefile(other) else f"is a copy of {other}"
                raise StudyError(f"{which} {what}: its runs would count twice, so list it once")
        seen.append((path, columns))
        if os.path.getsize(path) <= READ_BYTES:
            External().rows(path, columns)


def strange_value(values: Sequence[Any]) -> str:
    """Return the first of the values that is no number, where none of them is one; else an empty text."""
    strange = ""
    for value in values:
        text = "" if value is None else str(value).strip()
        if text.lower() in MISSING:
            continue
        try:
            float(text.replace(",", "."))  # perhaps a decimal comma
            return ""
        except ValueError:
            strange = strange or text[:40]
    return strange


class External:
    """Reads tables made elsewhere one after another: ``sentences`` say what was left out of them, and what is doubtful.

    Parameters
    ----------
    known
        Rows of ``runs`` that are there already: a row of a table that repeats one of them is left out.
    """

    def __init__(self, known: Sequence[Row] = ()) -> None:
        self.sentences: list[str] = []
        self._stems: list[str] = []
        self._known = {tuple(row[name] for name in KEY): "the study" for row in known if row["loss"] is not None}

    def rows(self, path: Path, columns: Mapping[str, str]) -> list[Row]:
        """Return rows of ``runs`` from a table of one of the ``external_runs`` of a study.

        n_params, loss and tokens or flops_6nd are needed; other columns of ``runs`` are taken where the table has them.

        Parameters
        ----------
        columns
            Our name of a column -> the name that the table has for it.

        Raises
        ------
        StudyError
            The file cannot be read, a column is missing or holds something else, or no row can be used.
        """
        which = f"external_runs: {path}"
        table, own = self._usable(path, columns, which)
        # Files of one name in two folders are told apart, so that their runs and trunks are.
        self._stems.append(path.stem)
        again = self._stems.count(path.stem)
        stem = path.stem if again == 1 else f"{path.stem}({again})"
        rows = []
        for row in table.iter_rows(named=True):
            i = row["__row"] - 1
            run = str(i) if row["run"] is None else row["run"]
            trunk = run if row["trunk"] is None else row["trunk"]
            values = {name: self._value(name, row[name]) for name in own}
            values |= {"status": row.get("status") or "ok"}
            names = {
                "run": f"{stem}-{run}-{i}",
                "trunk": f"{stem}-{trunk}",
                "experiments": ["external"],
                "fitted": True,
            }
            rows.append(dict.fromkeys(RUNS.names) | values | names)
        return self._new(rows, path, which)

    def _usable(self, path: Path, columns: Mapping[str, str], which: str) -> tuple[pl.DataFrame, list[str]]:
        """Return the rows of a table that can be used, under our names, and those of our columns that it has."""
        import polars as pl

        from scalinglaws.tables import rows
        from scalinglaws.tables.read import named, read_any, with_budgets

        hint = "name another under columns"
        table = read_any(path, "external_runs: ")
        needed(table.columns, columns, which)
        given = [name for name in table.columns if name not in (columns.get("run"), columns.get("trunk"))]
        table = rows.numbered(named(table, RUNS.names, columns, which, f"{which}: columns"))
        if table.is_empty():
            raise StudyError(f"{which} has no rows: give a row for each run")
        own = [name for name in RUNS.names if name in table.columns and name not in OURS]
        table = rows.truths(rows.numbers(table, NUMBERS, which, hint), TRUTHS, which)
        absent = [name for name in ("tokens", "flops_6nd") if name not in table.columns]
        table = table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
        names = [pl.lit(None, pl.String).alias(name) for name in ("run", "trunk") if name not in table.columns]
        table = rows.statuses(with_budgets(rows.texts(table.with_columns(names), (*TEXTS, "run", "trunk")), "flops_6nd"))
        found = rows.Checked(table)
        rows.unreadable(found, NUMBERS)
        rows.strange_status(found)
        rows.unusable(found, ("n_params", "tokens"), which)
        lost = pl.col("status") == "diverged" if "status" in table.columns else pl.lit(False)
        rows.unusable(found, ("loss",), which, unless=lost)
        whole = [name for name in WHOLE if name in own and name not in ("n_params", "tokens")]
        for name in whole:
            found.leave_out((pl.col(name) % 1 != 0) | (pl.col(name).abs() >= LARGEST), f"{name} is not a whole number", name)
        rows.copies(found, given)
        rows.impossible(found, which)
        rows.doubtful(found, columns.get("loss", "loss"), "flops_6nd")
        rows.few_trunks(found)
        found.refuse_if_empty(which)
        self.sentences += [f"{which}: {sentence}" for sentence in found.sentences]
        return found.table, [*own, *(name for name in absent if name not in own)]

    @staticmethod
    def _value(name: str, value: Any) -> Any:
        """Return a value as the column of ``runs`` takes it; parameters and tokens are cut to whole numbers."""
        return int(value) if name in WHOLE and value is not None else value

    def _new(self, rows: list[Row], path: Path, which: str) -> list[Row]:
        """Return the rows that repeat none of another table or of the study, and remember them."""
        keys = [tuple(row[name] for name in KEY) for row in rows]
        again = [i for i, key in enumerate(keys) if row_is_known(self._known, key)]
        if again:
            places = sorted({self._known[keys[i]] for i in again})
            number = f"{len(again)} row{'s' if len(again) > 1 else ''} left out"
            first = ", ".join(str(int(rows[i]["run"].rpartition("-")[2]) + 1) for i in again[:5])
            self.sentences.append(
                f"{which}: {number}: n_params, tokens, FLOP and loss are those of runs of {', '.join(places)} "
                f"(rows {first}{f' and {len(again) - 5:,} more' if len(again) > 5 else ''})."
            )
        self._known |= {key: str(path) for key in keys if key[-1] is not None and key not in self._known}
        gone = set(again)
        return [row for i, row in enumerate(rows) if i not in gone]


def row_is_known(known: Mapping[tuple[Any, ...], str], key: tuple[Any, ...]) -> bool:
    """Tell whether a row with a loss is among those that are known."""
    return key[-1] is not None and key in known
