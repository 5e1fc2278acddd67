"""The points of a law: a table is checked, the law's steps choose among its rows, and each exclusion is listed and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.allocation import CriticalBatch, compute_min, steps_min
from scalinglaws.laws.forms import Array, Described
from scalinglaws.laws.registry import LAWS
from scalinglaws.laws.rules import begun_alike, drop, fitted, usable_curves
from scalinglaws.laws.where import condition
from scalinglaws.tables import rows
from scalinglaws.tables.read import named, read_any, with_budgets

COLUMNS = (
    *("run", "trunk", "n_params", "tokens", "dataset_tokens", "flops", "loss"),
    *("loss_stderr", "batch_tokens", "steps", "steps_min", "flops_min"),
)
OF_RULES = ("n_layer", "decay", "best_step")  # columns of numbers that rules (laws/rules.py) ask
TRUTHS = ("fitted", "dataset_limited")  # columns of truth values that they ask
TEXTS = ("stop", "stopped", "schedule", "phase", "init")  # columns of words that they ask
# A table with these columns was made by aggregation, which has checked the rows that come from elsewhere.
OWN = frozenset({"experiments", "fitted", "corpus_name"})
MAP_IT, RENAME_IT = "choose another with --columns {name}=NAME", "mend it, or give the column another name"


@dataclass(frozen=True)
class Points:
    """What a law is fitted to. Lists and arrays have one entry for each point.

    ``loss`` is in nats per token; ``columns`` has the other numbers of COLUMNS, by name, NaN where the table does not tell.
    ``excluded`` are the runs left out, each with its reason. ``notes`` are the sentences that the table and the law's steps
    gave rise to, and ``told`` those of them that are about rows of the table: left out, or doubtful.
    """

    run: list[str]
    trunk: list[str]
    loss: Array
    columns: dict[str, Array]
    excluded: list[dict[str, str]]
    notes: list[str]
    told: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.loss)

    def log_variables(self, variables: Sequence[str]) -> Array:
        """Return the natural logs (n, V) of the columns named."""
        return np.log(np.column_stack([self.columns[name] for name in variables]))

    def take(self, keep: np.ndarray) -> Points:
        """Return the points where ``keep`` (n,) is true."""
        index = np.flatnonzero(keep)
        columns = {name: values[index] for name, values in self.columns.items()}
        run, trunk = [self.run[i] for i in index], [self.trunk[i] for i in index]
        return Points(run, trunk, self.loss[index], columns, self.excluded, self.notes, self.told)


def read_table(path: str | Path) -> pl.DataFrame:
    """Read a table of runs from a CSV, Parquet or JSON lines file, by its ending. Raises StudyError where it cannot be read."""
    return read_any(Path(path))


def select(
    table: pl.DataFrame, law: Described, columns: Mapping[str, str] | None = None, where: str | None = None,
    exclude_highest: int = 0, curves: pl.DataFrame | None = None, critical_batch: CriticalBatch | None = None,
    held_out: str | None = None,
) -> Points:  # fmt: skip
    """Return the points of a law in a table of runs, or in the learning curves of these runs.

    Parameters
    ----------
    table
        The runs, one a row; ``columns`` says how its columns are named.
    law
        The law, which says what it needs and which rows it takes.
    columns
        Default names (COLUMNS) and the table's own names for them.
    where
        A condition on the columns, by our names or the table's own (``laws/where.py``). Of learning curves, those of trunks with
        such a run are used. Runs of experiments with ``fit: false``
        are left out unless it names the column ``fitted``, which is false for them.
    exclude_highest
        Number of runs with the largest losses to leave out.
    curves
        Learning curves, which some laws are fitted to.
    critical_batch
        B_crit(L), which gives steps_min and flops_min from steps, batch_tokens and loss.
    held_out
        A condition on the columns of curves that are judged and not fitted, for laws of whole loss curves.

    Raises
    ------
    StudyError
        If a column is missing or not numeric, no row can be used, or the condition cannot be used. Single rows that cannot be
        used are left out, and a sentence says which and why.

    References
    ----------
    Kaplan et al. 2020 (arXiv:2001.08361), (5.4) for S_min and (5.5) for C_min.
    """
    excluded: list[dict[str, str]] = []
    if table.is_empty():
        raise StudyError("the table has no rows: give a row for each run")
    columns, given = columns or {}, table.columns
    if law.own_points:
        if exclude_highest:
            raise StudyError(f"law {law.name} takes no --exclude-highest: choose curves with --where and --held-out")
        chosen: Points = law.own_points(table, curves, columns, where, held_out)
        return chosen
    if held_out is not None:
        raise StudyError(f"law {law.name} takes no --held-out: it is for laws of whole loss curves, such as multi-power")
    names = (*COLUMNS, *(name for name in law.variables if name not in COLUMNS))
    table = _named(table, columns, names)
    of_curves = LAWS.find(law.name).curves
    elsewhere = not of_curves and not set(given) >= OWN
    table = rows.numbers(table, ("dataset_tokens",) if of_curves else names[2:], "the table", MAP_IT)
    chosen_by_hand = False  # whether the condition itself says what becomes of runs with fit: false
    if where is not None:
        wanted = condition(table, where)
        chosen_by_hand = "fitted" in wanted.meta.root_names()
        table = drop(table, wanted.fill_null(False), f"not ({where})", excluded)
    if of_curves:
        if curves is None:
            raise StudyError(f"law {law.name} is fitted to learning curves: give their table with --curves")
        curves = rows.numbers(_named(curves, {}, COLUMNS), ("loss_test", *COLUMNS[2:]), "the table of curves", RENAME_IT)
        if where is not None:  # the curve of a trunk of which no run is wanted would else count, with nothing known of it
            curves = curves.filter(pl.col("trunk").is_in(table["trunk"].unique().to_list()))
        table = usable_curves(table, curves, excluded)
        table = rows.numbered(law.reshape(table, excluded, [])) if law.reshape else table
    else:
        table = table if chosen_by_hand else fitted(table, excluded, [])
        table = begun_alike(table, excluded, [])
    found = rows.Checked(table)
    if elsewhere:
        rows.strange_status(found)
    table = found.table
    if "status" in table.columns:
        for status in sorted(set(table["status"].drop_nulls().to_list()) - {"ok"}):
            table = drop(table, pl.col("status") != status, f"status {status}", excluded)
    if critical_batch is not None and not critical_batch.resolved:
        table = drop(table, pl.repeat(False, pl.len()), "B_crit(L) is not resolved, so it has no S_min and no C_min", excluded)
    found.refuse_if_empty("the table")
    found.table = _filled(table, law, names, critical_batch, given)
    rows.unreadable(found, names[2:])
    rows.unusable(found, ("loss", *law.variables), "the table")
    if elsewhere:
        of_runs = {columns.get(name) for name in ("run", "trunk")}
        rows.copies(found, [name for name in given if name not in of_runs])
        rows.impossible(found, "the table", "flops")
        rows.doubtful(found, columns.get("loss", "loss"))
        rows.few_trunks(found)
    found.refuse_if_empty("the table")
    excluded += [{"run": run, "reason": reason} for _, run, reason in found.left_out]
    table, notes = found.table.with_columns(pl.col(names[2:]).fill_null(float("nan"))), list(found.sentences)
    for rule in law.selection:
        table = rule(table, excluded, notes)
    if exclude_highest:
        if exclude_highest < 0:
            raise StudyError(f"--exclude-highest is {exclude_highest}: it must not be negative")
        rank = pl.col("loss").rank("ordinal", descending=True)
        table = drop(table, rank > min(exclude_highest, len(table)), f"among the {exclude_highest} highest losses", excluded)
    table = table.sort(["run", "flops", "tokens", "loss"], maintain_order=True)
    values = {name: table[name].to_numpy().astype(np.float64) for name in names[2:]}
    loss = values.pop("loss")
    return Points(table["run"].to_list(), table["trunk"].to_list(), loss, values, excluded, notes, found.sentences)


def _named(table: pl.DataFrame, columns: Mapping[str, str], names: Sequence[str]) -> pl.DataFrame:
    """Return the table with the columns ``names`` that it has; run defaults to the row's number, from 1, and trunk to the run."""
    table = rows.statuses(rows.numbered(named(table, names, columns)))
    table = rows.truths(rows.numbers(table, OF_RULES, "the table", RENAME_IT), TRUTHS, "the table")
    table, number = rows.texts(table, (*TEXTS, "run", "trunk")), pl.col(rows.ROW).cast(pl.String)
    run, trunk = (pl.col(name) if name in table.columns else pl.lit(None, pl.String) for name in ("run", "trunk"))
    return table.with_columns(pl.coalesce(run, trunk, number).alias("run"), pl.coalesce(trunk, run, number).alias("trunk"))


def _filled(
    table: pl.DataFrame, law: Described, names: Sequence[str], critical_batch: CriticalBatch | None, given: Sequence[str]
) -> pl.DataFrame:
    """Return the table with flops and tokens filled from each other (C = 6ND), and dataset_tokens from tokens.

    ``names`` are the columns that it shall have, and ``given`` those that the user's table has.

    Raises StudyError for a column that the law needs and the table lacks.
    """
    have = [name for name in table.columns if not name.startswith("__")]
    if "loss" not in have:
        raise StudyError(f"the table has no column 'loss': {proposal('loss', given, 'it has')}; map it with --columns loss=NAME")
    table = table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names[2:] if name not in have)
    table = with_budgets(table)
    steps = pl.coalesce("steps", pl.col("tokens") / pl.col("batch_tokens"))
    table = table.with_columns(pl.coalesce("dataset_tokens", "tokens"), steps.alias("steps"))
    if critical_batch is not None:
        table = _at_small_batches(table, critical_batch)
    for name in law.variables:
        if len(table) and table[name].is_null().all():
            way = f"map it with --columns {name}=NAME"
            if name in ("steps_min", "flops_min"):
                way += ", or give B_crit(L) with --critical-batch and the columns batch_tokens and steps or tokens"
            raise StudyError(f"law {law.name} needs the column '{name}': {proposal(name, given, 'the table has')}: {way}")
    return table


def _at_small_batches(table: pl.DataFrame, critical_batch: CriticalBatch) -> pl.DataFrame:
    """Return the table with steps_min and flops_min from B_crit at each loss, null where batch_tokens is unknown."""
    names = ("steps", "flops", "batch_tokens", "loss")
    sound = (pl.when((pl.col(name) > 0) & pl.col(name).is_finite()).then(pl.col(name)).fill_null(float("nan")) for name in names)
    columns = table.select(sound)
    steps, flops, batch, loss = (columns[name].to_numpy() for name in names)
    critical = critical_batch.tokens(loss)
    found = {"steps_min": steps_min(steps, batch, critical), "flops_min": compute_min(flops, batch, critical)}
    return table.with_columns(pl.Series(name, values).fill_nan(None) for name, values in found.items())
