"""Which runs a figure draws: finished ones, and groups of them that differ in one thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars

from scalinglaws.common.numbers import short
from scalinglaws.study.questions import COMPARISONS, SAME_SIZE, SHAPE, fields_but


def finished(runs: polars.DataFrame) -> polars.DataFrame:
    """Return runs that did not diverge and have a loss, sorted by size, budget and id."""
    return runs.filter((polars.col("status") == "ok") & polars.col("loss").is_not_null()).sort("n_params", "tokens", "run")


def at_budget() -> polars.Expr:
    """Tell whether a run ended at its budget of tokens, not by early stopping."""
    return polars.col("stop").fill_null("budget") == "budget"


def all_data() -> polars.Expr:
    """Tell whether a run ended at its budget and was trained on the whole training split."""
    return at_budget() & ~polars.col("dataset_limited").fill_null(False)


def budget_runs(runs: polars.DataFrame) -> polars.DataFrame:
    """Return finished runs that ended at a budget and were trained on all the data."""
    return finished(runs).filter(all_data())


def columns_but(varied: Sequence[str]) -> list[str]:
    """Return the columns in which runs of the table that are compared must agree: fields of their specs but those ``varied``.

    The size of the dataset is not among them. In the table it is the number of tokens that there were, which says something of a
    run only where its dataset was limited: see ``part_of_data``.
    """
    return [name for name in fields_but(tuple(varied)) if name != "dataset_tokens"]


def part_of_data() -> polars.Expr:
    """Return the size of a run's dataset where that was limited, null for a run on all the data."""
    return polars.when(polars.col("dataset_limited")).then(polars.col("dataset_tokens"))


def run_groups(runs: polars.DataFrame, key: str, follow: tuple[str, ...] = (), fewest: int = 2) -> list[polars.DataFrame]:
    """Return finished runs in groups that agree in every field of their specs but ``key`` and those that ``follow`` it.

    A group with fewer than ``fewest`` different values of ``key`` is left out. Each group is sorted by ``key``.
    """
    table = finished(runs).with_columns(limited=part_of_data())
    groups = table.partition_by([*columns_but((key, *follow)), "limited"], maintain_order=True)
    return [group.sort(key, "run").drop("limited") for group in groups if group[key].n_unique() >= fewest]


def comparison(runs: polars.DataFrame, kind: str) -> list[polars.DataFrame]:
    """Return the groups that answer a question of ``study.questions.COMPARISONS``, of runs that ended at a budget."""
    key, follow, fewest = COMPARISONS[kind]
    return run_groups(runs.filter(at_budget()), key, follow, fewest)


def sized(data: polars.DataFrame) -> polars.DataFrame:
    """Return the table sorted by N, with a column ``size``, the least N of a size: N within 2 % of it are the same size."""
    data = data.sort("n_params", "run")
    starts, label = 0.0, []
    for value in data["n_params"]:
        starts = float(value) if value > SAME_SIZE * starts else starts
        label.append(starts)
    return data.with_columns(size=polars.Series(label, dtype=polars.Float64))


def one_rate(runs: polars.DataFrame) -> polars.DataFrame:
    """Return finished runs; of those that differ in their rate alone, only the one at the rate that the model mostly has.

    This keeps the points of a sweep of rates out of comparisons of models. Of equally common rates the one with the lowest loss
    is taken. The column ``times`` says how many finished runs of a run's model the table has.
    """
    model = ["architecture", *SHAPE, "n_repeats", "sharing", "optimizer", "parametrization"]
    table = finished(runs).with_columns(
        limited=part_of_data(), times=polars.len().over(model), at_rate=polars.len().over([*model, "learning_rate"])
    )
    same = columns_but(["learning_rate"])
    table = table.sort("at_rate", "loss", "run", descending=[True, False, False]).unique(
        [*same, "limited"], keep="first", maintain_order=True
    )
    return table.drop("limited", "at_rate").sort("n_params", "tokens", "run")


def same_size(runs: polars.DataFrame, fewest: int = 3, follow: tuple[str, ...] = ()) -> list[polars.DataFrame]:
    """Return Transformers of one N (within 2 %) that differ in shape alone, at least ``fewest`` in a group.

    A group is sorted by n_layer.

    ``follow`` names what else may differ, for example the seed.
    """
    table = runs.filter((polars.col("stop") == "budget") & (polars.col("architecture") == "transformer"))
    out = []
    for group in run_groups(table, "d_model", (*SHAPE, "learning_rate", *follow), 1):
        sizes = sized(group).partition_by("size", maintain_order=True)
        out += [size.drop("size").sort("n_layer", "d_model", "d_ff", "n_heads") for size in sizes if len(size) >= fewest]
    return out


def family(runs: polars.DataFrame, key: str, follow: tuple[str, ...] = (), fewest: int = 2) -> polars.DataFrame:
    """Return the largest set of finished runs to a budget that differ in ``key``, what ``follow`` names, shape and seed alone.

    It has only shapes with at least ``fewest`` values of ``key``. The table is empty where there is no such set.
    """
    table = runs.filter(at_budget())
    sets = []
    for group in run_groups(table, key, (*follow, *SHAPE, "seed"), fewest):
        counts = group.group_by(SHAPE).agg(values=polars.col(key).n_unique()).filter(polars.col("values") >= fewest)
        sets.append(group.join(counts, on=SHAPE, how="semi", nulls_equal=True, maintain_order="left"))
    sets = [chosen for chosen in sets if not chosen.is_empty()]
    return max(sets, key=len) if sets else finished(runs).clear()


def transformers_first(runs: polars.DataFrame) -> polars.DataFrame:
    """Return the Transformers among the runs; where there are none, as in a study of a user's own architecture, all of them."""
    transformers = runs.filter(polars.col("architecture") == "transformer")
    return runs if transformers.is_empty() else transformers


def main_family(runs: polars.DataFrame) -> polars.DataFrame:
    """Return finished runs to a budget of the models that most of the study's laws are about: the family with the most sizes.

    The runs agree in all but shape, rate, budget and seed, belong to experiments that laws are fitted to, and have more than one
    layer. Where some are Transformers, the family is one of Transformers, else of whatever architecture the study has. Of each
    size only the shape that most runs have is kept.
    """
    free = ("tokens", "decay", "learning_rate", "seed", "noise_every")
    fixed = columns_but((*free, *SHAPE))
    chosen = budget_runs(runs).filter(polars.col("fitted").fill_null(True) & (polars.col("n_layer") > 1))
    families = transformers_first(chosen).partition_by(fixed, maintain_order=True)
    if not families:
        return budget_runs(runs).clear()
    family = max(families, key=lambda group: (group["n_params"].n_unique(), len(group)))
    shapes = (
        family.group_by("n_params", *SHAPE)
        .agg(runs=polars.len())
        .sort("n_params", "runs", *SHAPE, descending=[False, True, *[False] * len(SHAPE)])
    )
    return family.join(
        shapes.unique("n_params", keep="first", maintain_order=True),
        on=SHAPE,
        how="semi",
        nulls_equal=True,
        maintain_order="left",
    )


def overfitting(data: polars.DataFrame, runs: polars.DataFrame) -> polars.DataFrame:
    """Return points that have a companion of the same size on the whole split.

    The columns whole_tokens, delta and delta_stderr are added.

    delta is loss/loss_whole − 1. Its standard error takes the two losses as independent, which overstates it, since they share
    the test text. Points of sizes without a companion are left out.
    """
    whole = finished(runs).filter((polars.col("stop") == "early") & ~polars.col("dataset_limited"))
    names = whole["run"].to_list()
    companions = (
        data.filter(polars.col("run").is_in(names))
        .group_by("n_params", maintain_order=True)
        .agg(
            loss_whole=polars.col("loss").min(),
            stderr_whole=polars.col("loss_stderr").min(),
            whole_tokens=polars.col("dataset_tokens").max(),
        )
    )
    part = data.filter(~polars.col("run").is_in(names)).join(companions, on="n_params", how="inner", maintain_order="left")
    relative = (
        (polars.col("loss_stderr") / polars.col("loss")) ** 2 + (polars.col("stderr_whole") / polars.col("loss_whole")) ** 2
    ).sqrt()
    ratio = polars.col("loss") / polars.col("loss_whole")
    return part.with_columns(delta=ratio - 1, delta_stderr=ratio * relative)


def with_whole(data: polars.DataFrame, left_out: polars.DataFrame) -> polars.DataFrame:
    """Return the points of a fit and, of the runs that it leaves out (``fit_json.left_out``), those on the whole split.

    Their losses are upper bounds of L(N, ∞), as max_tokens ended them while they fell; ``overfitting`` has no others for it.
    """
    whole = left_out.filter(~polars.col("dataset_limited").fill_null(False))
    return polars.concat([data, whole.select(name for name in data.columns if name in whole.columns)], how="diagonal")


def lost(runs: polars.DataFrame, chosen: polars.DataFrame, free: tuple[str, ...]) -> list[str]:
    """Return a note that counts diverged runs that agree with ``chosen`` in all fields but those ``free``, shape and seed."""
    fixed = columns_but((*free, *SHAPE, "seed"))
    same = runs.join(chosen.select(fixed).unique(), on=fixed, how="semi", nulls_equal=True, maintain_order="left")
    count = len(same.filter(polars.col("status") != "ok"))
    return [f"{count} diverged run{'s' if count > 1 else ''} left out"] if count else []


def scatter(runs: polars.DataFrame, cell: Sequence[str]) -> float | None:
    """Return the standard deviation of losses of runs that agree in the columns ``cell``, pooled over all cells.

    Such runs differ in their seed alone. It is None where every cell has one run.
    """
    away = runs.select(polars.col("loss") - polars.col("loss").mean().over(cell))["loss"].to_numpy()
    freedom = len(runs) - len(runs.unique(cell))
    return float(np.sqrt(np.square(away).sum() / freedom)) if freedom else None


def described(chosen: polars.DataFrame) -> str:
    """Say what a set of runs has in common: "N 1.5k to 55k, 2.0M tokens, batches of 2.0k tokens, n_ctx 128, 3 seeds"."""
    parts = []
    for column, form in (("n_params", "N {}"), ("tokens", "{} tokens"), ("batch_tokens", "batches of {} tokens")):
        low, high = (int(value) for value in (chosen[column].min(), chosen[column].max()))  # type: ignore[arg-type]
        parts.append(form.format(short(low) if low == high else f"{short(low)} to {short(high)}"))
    if chosen["n_ctx"].n_unique() == 1:
        parts.append(f"n_ctx {chosen['n_ctx'][0]}")
    seeds = chosen["seed"].n_unique()
    return ", ".join([*parts, f"{seeds} seeds" if seeds > 1 else "one seed"])
