"""The points of the law ``mixture``: of each run the shares of the corpora that it was trained on, and its loss on each text.

They come from the tables of a study, ``runs`` and ``evals``, or from one table made elsewhere with a row for each run: the
columns share_NAME have the shares of the corpora, which are divided by their sum, and loss_NAME the losses on the texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.laws.rules import decayed, drop, fitted, single_epoch
from scalinglaws.laws.select import Points
from scalinglaws.laws.where import condition
from scalinglaws.study.questions import FEWEST_MIXTURES, fields_but
from scalinglaws.tables import rows
from scalinglaws.tables.read import named

SHARE, LOSS, GROUP = "share_", "loss_", "group"
# Columns that a table made elsewhere may have beside shares and losses, which --columns maps to its own names.
KNOWN = ("run", "trunk", "n_params", "tokens")
OTHER_LOSSES = ("loss_stderr", "loss_train")  # columns of tables of runs that are no losses on a text
# Settings of runs that may differ within a group: what is compared, what chance does, and what has no part in a loss.
VARIED = ("corpus", "seed", "threads", "dataset_tokens", "eval_tokens", "curve_tokens")


def points_of(
    table: pl.DataFrame, evals: pl.DataFrame | None, columns: Mapping[str, str], where: str | None, held_out: str | None
) -> Points:
    """Return a point for each run that was trained on a mixture, or on a corpus that is a part of one.

    Parameters
    ----------
    table, evals
        The tables of runs and of losses on texts, or a table made elsewhere and None.
    columns
        Our name of a column -> the table's own.
    where
        A condition on the columns of ``table``.
    held_out
        No law but those of learning curves takes it.

    Returns
    -------
    Points
        The columns are n_params, tokens, ``GROUP``, and of each name a column with ``SHARE`` or ``LOSS`` before it; runs of one
        group differ in their text alone. A loss that was not measured is NaN. ``loss`` is the mean of those that were.

    Raises
    ------
    StudyError
        If a column is missing or cannot be read, the condition cannot be used, or no run was trained on a mixture.
    """
    if held_out is not None:
        raise StudyError("law mixture takes no --held-out: it is for laws of whole loss curves, such as multi-power")
    excluded: list[dict[str, str]] = []
    notes: list[str] = []
    table = rows.numbered(table)
    if where is not None:
        name = pl.col("run").cast(pl.String) if "run" in table.columns else pl.col(rows.ROW).cast(pl.String)
        table = drop(table.with_columns(run=name), condition(table, where).fill_null(False), f"not ({where})", excluded)
    if table.is_empty():
        raise StudyError("law mixture: the table has no row left: give runs, or another --where")
    elsewhere = any(name.startswith(SHARE) for name in table.columns)
    found = _wide(table, columns) if elsewhere else _of_study(table, evals, excluded, notes)
    shares, losses = (sorted(name for name in found.columns if name.startswith(kind)) for kind in (SHARE, LOSS))
    found = found.sort("n_params", "tokens", *shares, "run", maintain_order=True)
    values = {name: found[name].cast(pl.Float64).to_numpy() for name in ("n_params", "tokens", GROUP, *shares, *losses)}
    measured = np.column_stack([values[name] for name in losses])
    mean = np.nanmean(measured, axis=1)
    return Points(found["run"].to_list(), found["trunk"].to_list(), mean, values, excluded, notes, notes)


def texts(points: Points, kind: str) -> list[str]:
    """Return the names of the corpora (``kind`` SHARE) or texts (LOSS) of points, sorted."""
    return sorted(name.removeprefix(kind) for name in points.columns if name.startswith(kind))


def shares_of(points: Points) -> Array:
    """Return the shares (n, M) of the corpora, in the order of ``texts``."""
    return np.column_stack([points.columns[f"{SHARE}{name}"] for name in texts(points, SHARE)])


def _wide(table: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the points of a table made elsewhere. Raises StudyError for a share or a loss that cannot be."""
    table = named(table, KNOWN, columns)
    shares, losses = ([name for name in table.columns if name.startswith(kind)] for kind in (SHARE, LOSS))
    losses = [name for name in losses if name not in OTHER_LOSSES]
    if len(shares) < 2 or not losses:
        raise StudyError(
            f"law mixture takes columns {SHARE}NAME, of two corpora at least, and {LOSS}NAME with the losses on texts: "
            f"the table has {', '.join([*shares, *losses]) or 'neither'}"
        )
    numbers = [name for name in ("n_params", "tokens") if name in table.columns]
    table = rows.numbers(table, (*numbers, *shares, *losses), "the table", "mend it")
    total = pl.sum_horizontal(shares)
    bad = table.filter(
        pl.any_horizontal(pl.col(shares).is_null() | ~pl.col(shares).is_finite() | (pl.col(shares) < 0)) | (total <= 0)
    )
    bad = bad if len(bad) else table.filter(pl.any_horizontal(pl.col(losses) <= 0) | pl.all_horizontal(pl.col(losses).is_null()))
    if len(bad):
        raise StudyError(
            f"row {bad[rows.ROW][0]} of the table has a share below 0, shares of sum 0, or no positive loss: mend it"
        )
    row = pl.col(rows.ROW).cast(pl.String)
    run = pl.col("run").cast(pl.String) if "run" in table.columns else row
    trunk = pl.col("trunk").cast(pl.String) if "trunk" in table.columns else run
    known = [pl.col(name).fill_null(0.0) if name in table.columns else pl.lit(0.0).alias(name) for name in ("n_params", "tokens")]
    made = table.select(
        run.alias("run"),
        trunk.alias("trunk"),
        *known,
        *((pl.col(name) / total).alias(name) for name in shares),
        *(pl.col(name).fill_null(float("nan")) for name in losses),
    )
    return made.with_columns(pl.struct("n_params", "tokens").rank("dense").alias(GROUP))


def _of_study(runs: pl.DataFrame, evals: pl.DataFrame | None, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Return the points of the tables of a study."""
    if "mixture" not in runs.columns or evals is None:
        raise StudyError(
            "law mixture takes the tables of a study, runs with --table and evals with --evals, or a table of runs made "
            f"elsewhere with columns {SHARE}NAME and {LOSS}NAME"
        )
    runs = runs.filter(pl.col("corpus_name").is_not_null())
    for rule in (fitted, decayed, single_epoch):
        runs = rule(runs, excluded, notes)
    runs = drop(runs, pl.col("status") == "ok", "it diverged", excluded)
    of = [json.loads(text) if text else {name: 1.0} for name, text in runs.select("corpus_name", "mixture").iter_rows()]
    mixed = pl.Series([bool(text) for text in runs["mixture"]], dtype=pl.Boolean)
    same = [name for name in fields_but(VARIED) if name in runs.columns and runs[name].dtype != pl.List]
    runs = runs.with_columns(pl.Series("__of", range(len(runs)), pl.Int64), mixed.alias("__mixed"))
    parts = []
    for group in runs.partition_by(same, maintain_order=True) if len(runs) else []:
        corpora = sorted({name for k, is_mixed in group.select("__of", "__mixed").iter_rows() if is_mixed for name in of[k]})
        inside = [bool(corpora) and set(of[k]) <= set(corpora) for k in group["__of"]]
        excluded += [
            {"run": run, "reason": "on no mixture, and on no part of one that a run like it was trained on"}
            for run, keep in zip(group["run"], inside, strict=True)
            if not keep
        ]
        group = group.filter(pl.Series(inside, dtype=pl.Boolean))
        if len(group):
            shares = {f"{SHARE}{name}": [of[k].get(name, 0.0) for k in group["__of"]] for name in corpora}
            parts.append(
                group.select("run", "trunk", "n_params", "tokens").with_columns(pl.Series(k, v) for k, v in shares.items())
            )
    if not parts:
        raise StudyError(f"law mixture: no run was trained on a mixture: it takes {FEWEST_MIXTURES} mixtures of the same corpora")
    kept, dropped = _largest_groups(parts)
    excluded += [{"run": run, "reason": "fewer mixtures than runs of its size and budget with other settings"} for run in dropped]
    found = pl.concat(kept, how="diagonal")
    shares_there = [name for name in found.columns if name.startswith(SHARE)]
    found = found.with_columns(pl.col(shares_there).fill_null(0.0))
    return _with_losses(found, evals, notes)


def _largest_groups(parts: list[pl.DataFrame]) -> tuple[list[pl.DataFrame], list[str]]:
    """Return, of each size and budget, the group of most mixtures, with its number as a column; and the runs of the others."""
    best: dict[tuple[Any, ...], pl.DataFrame] = {}
    for part in sorted(parts, key=lambda part: (-part.select(pl.selectors.starts_with(SHARE)).n_unique(), part["run"][0])):
        best.setdefault((part["n_params"][0], part["tokens"][0]), part)
    kept = [part.with_columns(pl.lit(float(k)).alias(GROUP)) for k, part in enumerate(best.values())]
    names = {run for part in kept for run in part["run"]}
    return kept, [run for part in parts for run in part["run"] if run not in names]


def _with_losses(found: pl.DataFrame, evals: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Return the points with a column for each text that runs on enough mixtures were measured on. Raises StudyError for none."""
    mixture = pl.struct(pl.selectors.starts_with(SHARE))
    told = evals.filter(pl.col("position").is_null() & (pl.col("loss") > 0)).join(found.select("run", mixture=mixture), on="run")
    told = told.unique(["run", "corpus_name"], keep="last", maintain_order=True)
    counts = told.group_by("corpus_name").agg(pl.col("mixture").n_unique())
    often = counts.filter(pl.col("mixture") >= FEWEST_MIXTURES)["corpus_name"].sort().to_list()
    corpora = [name.removeprefix(SHARE) for name in found.columns if name.startswith(SHARE)]
    if lacking := sorted(set(corpora) - set(often)):
        notes.append(
            f"The loss on {', '.join(lacking)} was measured on fewer than {FEWEST_MIXTURES} mixtures: name it under evaluate."
        )
    if not often:
        raise StudyError(
            f"law mixture: no text was measured by runs on {FEWEST_MIXTURES} mixtures: name {', '.join(corpora)} under evaluate"
        )
    for name in often:
        loss = told.filter(pl.col("corpus_name") == name).select("run", pl.col("loss").alias(f"{LOSS}{name}"))
        found = found.join(loss, on="run", how="left", maintain_order="left")
    losses = [f"{LOSS}{name}" for name in often]
    return found.filter(pl.any_horizontal(pl.col(losses).is_not_null())).with_columns(pl.col(losses).fill_null(float("nan")))
