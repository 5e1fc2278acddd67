"""Groups of runs that differ in one thing, for figures that compare them."""

from __future__ import annotations

import dataclasses

import polars

from scalinglaws.figures.learning import finished
from scalinglaws.kinds import COMPARISONS, SAME_SIZE, SHAPE
from scalinglaws.spec import RunSpec

FIELDS = tuple(field.name for field in dataclasses.fields(RunSpec) if field.name != "dataset_tokens")


def alike(runs: polars.DataFrame, key: str, follow: tuple[str, ...] = (), fewest: int = 2) -> list[polars.DataFrame]:
    """Finished runs in groups that agree in every field of their specs but ``key`` and those that ``follow`` it.

    Groups with fewer than ``fewest`` different values of ``key`` are left out; each is sorted by it. tokens are those
    processed; dataset_tokens must agree where the dataset was limited.
    """
    fixed = [name for name in FIELDS if name not in (key, *follow)]
    limited = polars.when(polars.col("dataset_limited")).then(polars.col("dataset_tokens"))
    table = finished(runs).with_columns(limited=limited)
    groups = table.partition_by([*fixed, "limited"], maintain_order=True)
    return [group.sort(key, "id").drop("limited") for group in groups if group[key].n_unique() >= fewest]


def comparison(runs: polars.DataFrame, kind: str) -> list[polars.DataFrame]:
    """The groups of a kind of ``kinds.COMPARISONS`` among runs that ended at a budget."""
    key, follow, fewest = COMPARISONS[kind]
    return alike(runs.filter(polars.col("stop").fill_null("budget") == "budget"), key, follow, fewest)


def same_size(runs: polars.DataFrame, fewest: int = 3, follow: tuple[str, ...] = ()) -> list[polars.DataFrame]:
    """Transformers of one N (within 2 %) that differ in shape alone, at least ``fewest`` in a group, sorted by n_layer.

    ``follow``: what else may differ, the seed say.
    """
    table = runs.filter((polars.col("stop") == "budget") & (polars.col("architecture") == "transformer"))
    out = []
    for group in alike(table, "d_model", (*SHAPE, "learning_rate", *follow), 1):
        group = group.sort("n_params", "id")
        # A size begins where N grows by more than 2 % over the first of the last one.
        starts, label = float(group["n_params"][0]), []
        for value in group["n_params"]:
            starts = float(value) if value > SAME_SIZE * starts else starts
            label.append(starts)
        sizes = group.with_columns(size=polars.Series(label)).partition_by("size", maintain_order=True)
        out += [size.drop("size").sort("n_layer", "d_model", "d_ff", "n_heads") for size in sizes if len(size) >= fewest]
    return out
