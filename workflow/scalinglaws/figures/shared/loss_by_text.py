"""Losses of runs on several texts: their own test split and those of other corpora."""

from __future__ import annotations

import math

import polars

from scalinglaws.figures.shared.groups import finished


def own_name() -> polars.Expr:
    """Return the name of the corpus that a run was trained on."""
    return polars.coalesce("corpus_name", "corpus")


def measured(runs: polars.DataFrame, evals: polars.DataFrame) -> polars.DataFrame:
    """Return a row for each mean loss of a finished run on a text, for runs that were measured on other text at all.

    It has the columns of the table of runs, but loss, loss_stderr, nats_per_byte and step are those of the measurement. ``own``
    and ``tested`` name the corpus that the run was trained on and the one that it was measured on, ``tested_id`` is the id of the
    latter, and ``final`` says whether the run had ended.
    """
    table = finished(runs).with_columns(own=own_name())
    told = evals.filter(polars.col("position").is_null() & polars.col("loss").is_not_null()).select(
        *("run", "step", "loss", "nats_per_byte"),
        loss_stderr="stderr",
        tested_id="corpus",
        tested=polars.coalesce("corpus_name", "corpus"),
    )
    other = told.join(table.select("run", corpus="corpus"), on="run").filter(polars.col("corpus") != polars.col("tested_id"))
    table = table.filter(polars.col("run").is_in(other["run"].unique().to_list()))
    inside = table.select(
        *("run", "loss", "loss_stderr"),
        step="best_step",
        tested_id="corpus",
        tested="own",
        nats_per_byte=polars.col("bits_per_byte") * math.log(2),
    )
    # What the run itself measured at its end stands for its own text where no evaluation did.
    every = polars.concat([told, inside.select(told.columns)]).unique(
        ["run", "step", "tested_id"], keep="first", maintain_order=True
    )
    both = table.drop("loss", "loss_stderr").join(every, on="run", how="inner", maintain_order="left")
    both = both.with_columns(final=polars.col("step") == polars.col("best_step"))
    return both.sort("n_params", "tokens", "run", "tested", "tested_id", "step")


def beside_own(points: polars.DataFrame, unit: str) -> polars.DataFrame:
    """Return rows of ``measured`` on other text: ``loss`` in ``unit``, and ``inside``, the loss on the own text at that step."""
    table = in_unit(points, unit)
    own = table.filter(polars.col("tested_id") == polars.col("corpus")).select("run", "step", inside="loss")
    return table.join(own, on=["run", "step"], how="inner", maintain_order="left").filter(
        polars.col("tested_id") != polars.col("corpus")
    )


def in_unit(points: polars.DataFrame, unit: str) -> polars.DataFrame:
    """Return rows of ``measured`` with the loss and its error in ``unit``, the name of a column (loss or nats_per_byte)."""
    ratio = polars.col(unit) / polars.col("loss")
    return points.with_columns(loss=polars.col(unit), loss_stderr=polars.col("loss_stderr") * ratio).drop_nulls("loss")


def texts_over_seeds(points: polars.DataFrame) -> polars.DataFrame:
    """Return final rows of ``measured``, averaged over models that differ in their seed alone; ``seeds`` counts these."""
    same = ["own", "tested", "n_layer", "d_model", "n_heads", "d_ff", "d_attn", "n_params", "tokens", "learning_rate"]
    means = polars.col("loss", "nats_per_byte").mean()
    error = (polars.col("loss_stderr") ** 2).mean().sqrt()
    final = points.filter(polars.col("final"))
    return final.group_by(same, maintain_order=True).agg(means, error, seeds=polars.col("seed").n_unique())
