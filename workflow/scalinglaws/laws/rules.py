"""Steps that choose the losses of a law: decayed budgets, early-stopped runs, the frontier, the learning curves.

Each step (``forms.Rule``) takes a table of runs, the list of excluded runs and the list of notes, and returns the rows that are
left. A step that needs a column which the table lacks is skipped, since a table made elsewhere needs only n_params, loss, and
tokens or flops.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.numbers import counted
from scalinglaws.laws.forms import Rule

Excluded = list[dict[str, str]]
BEYOND = "more than one epoch"
MOST_AT_MAX_TOKENS = 0.25  # share of a fit's runs that reached max_tokens above which a fit of early-stopped runs is doubtful
FALLING = "max_tokens ended it before its validation loss had turned"
FINALS = "final losses of runs whose rate decayed, a single epoch of all the data"


def drop(table: pl.DataFrame, keep: pl.Expr, reason: str, excluded: Excluded) -> pl.DataFrame:
    """Return the rows where ``keep`` is true, or null as the row does not say, and add the others to ``excluded``."""
    mask = table.select(keep.fill_null(True).alias("keep"))["keep"]
    excluded += [{"run": run, "reason": reason} for run in table.filter(~mask)["run"].to_list()]
    return table.filter(mask)


def decayed(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep final losses at a decayed rate: runs that were not stopped early and whose schedule is not constant."""
    if "stop" in table.columns:
        table = drop(table, pl.col("stop") != "early", "stopped early, its loss is not at a decayed rate", excluded)
    if "schedule" in table.columns:
        decays = pl.col("schedule") != "constant"
        if "decay" in table.columns:
            decays &= (pl.col("schedule") != "wsd") | (pl.col("decay") > 0)
        table = drop(table, decays, "its learning rate does not decay", excluded)
    return table


def single_epoch(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep runs on all the data that saw no token twice."""
    return drop(_unlimited(table, excluded, notes), within_epoch(), BEYOND, excluded)


def within_epoch() -> pl.Expr:
    """Return whether a row saw no token twice, true where it does not say: of a run all tokens, of a curve those up to there."""
    tokens, dataset = pl.col("tokens").cast(pl.Float64), pl.col("dataset_tokens").cast(pl.Float64)
    return dataset.is_nan() | (tokens <= dataset) | tokens.is_nan()


def deep(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep models of more than one layer, as the 2020 study does in its fits of L(N) and L(C)."""
    return drop(table, pl.col("n_layer") > 1, "one layer", excluded) if "n_layer" in table.columns else table


def early(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep early-stopped runs."""
    return drop(table, pl.col("stop") == "early", "not stopped early", excluded) if "stop" in table.columns else table


def still_falling(table: pl.DataFrame) -> pl.Expr:
    """Return whether max_tokens ended an early-stopped run before its validation loss had turned; null where a row does not say.

    The loss had turned where the best step came before the last one and tokens were repeated: a run that sees no token twice
    does not overfit, and where its best step is not the last, that is noise. Without such a turn the budget limits the loss,
    which is then an upper bound of what early stopping would give. A ``table`` without the column stopped says nothing.
    """
    if "stopped" not in table.columns:
        return pl.lit(None, pl.Boolean)
    names = ("best_step", "steps", "tokens", "dataset_tokens")
    known = [pl.col(name).cast(pl.Float64) if name in table.columns else pl.lit(None, pl.Float64) for name in names]
    best, steps, tokens, dataset = (pl.when(column.is_finite()).then(column) for column in known)
    turned = (best <= steps - 1) & (tokens > dataset)  # steps are no whole number where they are tokens over batch_tokens
    return (pl.col("stopped") == "max_tokens") & ~turned.fill_null(False)


def turned(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Leave out early-stopped runs that max_tokens ended before their validation loss had turned, and note how many they are."""
    falling = table.select(falling=still_falling(table).fill_null(False))["falling"]
    if count := int(falling.sum()):
        limited = table["dataset_limited"].fill_null(False) if "dataset_limited" in table.columns else falling
        whole = int((falling & ~limited).sum())
        notes.append(
            f"max_tokens ended {count} of {counted(len(table), 'early-stopped run')}"
            f"{f', {whole} on all the data,' if whole else ''} before the validation loss had turned: "
            "their budgets limit their losses, so they are left out; raise max_tokens"
            f"{' or take smaller datasets' if whole < count else ''} to have them in."
        )
    return drop(table, ~still_falling(table), FALLING, excluded)


def note_max_tokens(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep every run, and note where more than MOST_AT_MAX_TOKENS of the runs on limited data reached max_tokens.

    Runs on all the data are not counted: they are expected to end there.
    """
    if not {"stopped", "dataset_limited"} <= set(table.columns):
        return table
    limited = table.filter(pl.col("dataset_limited").fill_null(False) & pl.col("stopped").is_not_null())
    reached = int((limited["stopped"] == "max_tokens").sum())
    if reached > MOST_AT_MAX_TOKENS * len(limited):
        notes.append(
            f"{reached} of {counted(len(limited), 'run')} on limited data reached max_tokens before patience ran out, with their "
            "least validation loss before the end: more training might find a lower one, so raise max_tokens or take smaller "
            "datasets."
        )
    return table


def fitted(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep runs of experiments that laws are to be fitted to."""
    return (
        drop(table, pl.col("fitted"), "its experiments have fit: false or forecast: true", excluded)
        if "fitted" in table.columns
        else table
    )


def begun_alike(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep runs that begin alike: from nothing where any does, else from the published weights that most of them begin from.

    The tokens and the compute that went into published weights are in no table, so a law of both kinds of runs is one of neither.
    """
    if "init" not in table.columns:
        return table
    begun = table["init"].fill_null("")
    counts = Counter(begun.to_list())
    chosen = "" if "" in counts or not counts else max(counts, key=lambda init: (counts[init], init))
    others = "others from nothing" if not chosen else "most others from different ones"
    return drop(table, pl.col("init").fill_null("") == chosen, f"it begins from published weights, and {others}", excluded)


def largest_budget(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep the runs with the largest budget of their model size, and note where these budgets differ between sizes."""
    if table.is_empty() or not table["tokens"].is_finite().all():
        return table
    # Budgets that differ by less than a step are one budget: each is cut to whole steps of its own batch size.
    step = pl.col("batch_tokens").fill_nan(0.0).fill_null(0.0) if "batch_tokens" in table.columns else pl.lit(0.0)
    short = (pl.col("tokens").max().over("n_params") - pl.col("tokens")).alias("__short")
    table = table.with_columns(short, step.alias("__step"))
    table = table.with_columns(pl.when(pl.col("__short") == 0).then(pl.col("__step")).otherwise(0.0).alias("__of_largest"))
    larger = pl.max_horizontal("__step", pl.col("__of_largest").max().over("n_params"))
    equal = (pl.col("__short") == 0) | (pl.col("__short") < larger)
    table = drop(table, equal, "not the largest budget of its size", excluded)
    low, high = np.min(table["tokens"].to_numpy()), np.max(table["tokens"].to_numpy())
    if high > low and high - low >= np.max(table["__step"].to_numpy()):
        notes.append(f"The largest budgets differ between sizes ({low:.3g} to {high:.3g} tokens): not only size changes.")
    return table.drop("__short", "__step", "__of_largest")


def largest_model(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep runs of the largest model."""
    if not table["n_params"].is_finite().all():
        return table
    return drop(table, pl.col("n_params") == pl.col("n_params").max(), "not the largest model", excluded)


def frontier(column: str) -> Rule:
    """Return the step that keeps runs whose loss is below that of every run with at most their compute, a ``column``."""

    def rule(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
        table = table.sort([column, "loss", "run"])
        best = pl.col("loss").cum_min().shift(1)
        return drop(table, best.is_null() | (pl.col("loss") < best), "another run is better for at most its compute", excluded)

    return rule


def usable_curves(runs: pl.DataFrame, curves: pl.DataFrame, excluded: Excluded) -> pl.DataFrame:
    """Return the rows of learning curves after warm-up, and before the decay where the trunk has a stable phase.

    Curves of runs on a limited dataset or of one layer are left out where ``runs`` or the curves say so, and so is what lies
    beyond one epoch. A row that several budgets of a trunk share counts once.

    Parameters
    ----------
    runs, curves
        The tables of runs and of learning curves, a row for each evaluation step.
    excluded
        The list that runs whose curves are left out are added to, with the reason.

    Raises
    ------
    StudyError
        If the curves have no column flops, loss or n_params.
    """
    if "loss_test" in curves.columns:
        curves = curves.with_columns(pl.col("loss_test").alias("loss"))
    if missing := sorted({"flops", "loss", "n_params"} - set(curves.columns)):
        have = [name for name in curves.columns if not name.startswith("__")]
        raise StudyError(f"the table of curves has no column {', '.join(missing)}: {proposal(missing[0], have, 'it has')}")
    if "phase" in curves.columns:
        stable = (pl.col("phase") == "stable").any().over("trunk")
        curves = curves.filter((pl.col("phase") == "stable") | ((pl.col("phase") == "decay") & ~stable))
    dropped: Excluded = []
    own = curves.columns
    curves = curves.join(_flags(runs, curves), on="trunk", how="left", maintain_order="left")
    for rule in (fitted, begun_alike, deep, _unlimited):
        curves = rule(curves, dropped, [])
    if {"tokens", "dataset_tokens"} <= set(curves.columns):
        curves = drop(curves, within_epoch(), BEYOND, dropped)
        curves = curves if "dataset_tokens" in own else curves.drop("dataset_tokens")
    excluded += [dict(item) for item in sorted({tuple(item.items()) for item in dropped})]
    curves = curves.filter(pl.col("loss").is_finite() & (pl.col("flops") > 0)).unique(["trunk", "flops"], keep="first")
    return curves.sort(["trunk", "flops", "run"])


def _flags(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """Return, for each trunk, the columns of the table of runs that decide whether its curve counts."""
    known = ("n_layer", "dataset_limited", "fitted", "dataset_tokens", "init")
    names = [name for name in known if name in runs.columns and name not in curves.columns]
    return runs.group_by("trunk", maintain_order=True).agg(
        pl.col(name).any() if name == "fitted" else pl.col(name).first() for name in names
    )


def _unlimited(table: pl.DataFrame, excluded: Excluded, notes: list[str]) -> pl.DataFrame:
    """Keep runs, or learning curves of runs, on all the data."""
    if "dataset_limited" not in table.columns:
        return table
    return drop(table, ~pl.col("dataset_limited").fill_null(False), "its dataset is limited", excluded)
