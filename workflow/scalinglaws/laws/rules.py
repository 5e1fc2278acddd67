"""Which losses belong to which law: decayed budgets, early-stopped runs, the frontier, the learning curves.

A rule that needs a column which the table lacks is skipped: a table made elsewhere needs only n_params, loss, and
tokens or flops.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError

ENVELOPE_POINTS_PER_DECADE = 10
Rule = Callable[[pl.DataFrame, list[dict[str, str]], list[str]], pl.DataFrame]


def drop(table: pl.DataFrame, keep: pl.Expr, reason: str, excluded: list[dict[str, str]]) -> pl.DataFrame:
    """The rows where ``keep`` is true or null (the row does not say); the others are added to ``excluded``."""
    mask = table.select(keep.fill_null(True).alias("keep"))["keep"]
    excluded += [{"run": run, "reason": reason} for run in table.filter(~mask)["run"].to_list()]
    return table.filter(mask)


def _decayed(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Final losses at a decayed rate: not early-stopped, not constant."""
    if "stop" in table.columns:
        table = drop(table, pl.col("stop") != "early", "stopped early, its loss is not at a decayed rate", excluded)
    if "schedule" in table.columns:
        decays = pl.col("schedule") != "constant"
        if "decay" in table.columns:
            decays &= (pl.col("schedule") != "wsd") | (pl.col("decay") > 0)
        table = drop(table, decays, "its learning rate does not decay", excluded)
    return table


def _single_epoch(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if "dataset_limited" in table.columns:
        table = drop(table, ~pl.col("dataset_limited"), "its dataset is limited", excluded)
    fits = pl.col("dataset_tokens").is_nan() | (pl.col("tokens") <= pl.col("dataset_tokens")) | pl.col("tokens").is_nan()
    return drop(table, fits, "more than one epoch", excluded)


def _deep(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    return drop(table, pl.col("n_layer") > 1, "one layer", excluded) if "n_layer" in table.columns else table


def _early(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    return drop(table, pl.col("stop") == "early", "not stopped early", excluded) if "stop" in table.columns else table


def one_batch(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Of a size trained at several batch sizes the curves at that which most trunks of the table have: L(C) is at a fixed one.

    A batch size that grows with the model is kept as it is.
    """
    if "batch_tokens" not in table.columns:
        return table
    counts = table.group_by("batch_tokens").agg(trunks=pl.col("trunk").n_unique())
    # Of batch sizes as common the smaller.
    counts = counts.sort("trunks", "batch_tokens", descending=[False, True]).with_row_index("rank")
    table = table.join(counts.drop("trunks"), on="batch_tokens", how="left", nulls_equal=True, maintain_order="left")
    common = pl.col("rank") == pl.col("rank").max().over("n_params")
    return drop(table, common, "a batch size that fewer runs have than another of its size", excluded).drop("rank")


def fitted(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """The runs of experiments that laws are to be fitted to."""
    return drop(table, pl.col("fitted"), "its experiments have fit: false", excluded) if "fitted" in table.columns else table


def _largest_budget(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if not table["tokens"].is_finite().all():
        return table
    table = drop(
        table,
        pl.col("tokens") == pl.col("tokens").max().over("n_params"),
        "not the largest budget of its size",
        excluded,
    )
    if table["tokens"].n_unique() > 1:
        low, high = np.min(table["tokens"].to_numpy()), np.max(table["tokens"].to_numpy())
        notes.append(f"The largest budgets differ between sizes ({low:.3g} to {high:.3g} tokens): not only size changes.")
    return table


def _largest_model(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if not table["n_params"].is_finite().all():
        return table
    return drop(table, pl.col("n_params") == pl.col("n_params").max(), "not the largest model", excluded)


def frontier(column: str) -> Rule:
    """Runs whose loss is below that of every run with at most their ``column``, a compute."""

    def rule(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
        table = table.sort([column, "loss", "run"])
        best = pl.col("loss").cum_min().shift(1)
        return drop(table, best.is_null() | (pl.col("loss") < best), "another run is better for at most its compute", excluded)

    return rule


def usable_curves(runs: pl.DataFrame, curves: pl.DataFrame, excluded: list[dict[str, str]]) -> pl.DataFrame:
    """Rows of learning curves after warm-up, and before the decay where the trunk has a stable phase.

    Curves of runs on a limited dataset or of one layer are left out where ``runs`` or the curves say so. A row that
    several budgets share counts once. Raises StudyError where flops, loss or n_params is missing.
    """
    if "loss_test" in curves.columns:
        curves = curves.with_columns(pl.col("loss_test").alias("loss"))
    if missing := sorted({"flops", "loss", "n_params"} - set(curves.columns)):
        raise StudyError(f"the table of curves has no column {', '.join(missing)}: it has {', '.join(curves.columns)}")
    if "phase" in curves.columns:
        stable = (pl.col("phase") == "stable").any().over("trunk")
        curves = curves.filter((pl.col("phase") == "stable") | ((pl.col("phase") == "decay") & ~stable))
    dropped: list[dict[str, str]] = []
    curves = curves.join(_flags(runs, curves), on="trunk", how="left", maintain_order="left")
    for rule in (fitted, _deep, _unlimited):
        curves = rule(curves, dropped, [])
    excluded += [dict(item) for item in sorted({tuple(item.items()) for item in dropped})]
    curves = curves.filter(pl.col("loss").is_finite() & (pl.col("flops") > 0)).unique(["trunk", "flops"], keep="first")
    return curves.sort(["trunk", "flops", "run"])


def envelope(curves: pl.DataFrame) -> pl.DataFrame:
    """Lowest loss at each of a grid of computes over all curves, interpolated in log-log between evaluation steps."""
    rows: dict[int, tuple[float, str, float]] = {}
    for (trunk,), curve in curves.group_by(["trunk"], maintain_order=True):
        log_c, log_l = curve["flops"].log().to_numpy(), curve["loss"].log().to_numpy()
        grid = np.log(10) / ENVELOPE_POINTS_PER_DECADE
        for k in range(int(np.ceil(log_c[0] / grid)), int(np.floor(log_c[-1] / grid)) + 1):
            loss = float(np.exp(np.interp(k * grid, log_c, log_l)))
            if k not in rows or loss < rows[k][0]:
                rows[k] = (loss, str(trunk), float(curve["n_params"][0]))
    data = [(trunk, trunk, n, float(np.exp(k * grid)), loss) for k, (loss, trunk, n) in sorted(rows.items())]
    schema = {"run": pl.String, "trunk": pl.String, "n_params": pl.Float64, "flops": pl.Float64, "loss": pl.Float64}
    return pl.DataFrame(data, schema=schema, orient="row")


def _flags(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """Of each trunk: the columns of the table of runs that decide whether its curve counts."""
    known = ("n_layer", "dataset_limited", "fitted")
    names = [name for name in known if name in runs.columns and name not in curves.columns]
    return runs.group_by("trunk", maintain_order=True).agg(
        pl.col(name).any() if name == "fitted" else pl.col(name).first() for name in names
    )


def _unlimited(curves: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if "dataset_limited" not in curves.columns:
        return curves
    return drop(curves, ~pl.col("dataset_limited").fill_null(False), "its dataset is limited", excluded)


_SIZE, _BUDGETS = (_decayed, _single_epoch, _deep, _largest_budget), (_decayed, _single_epoch, _deep)
RULES: dict[str, tuple[Rule, ...]] = {
    "power-n": _SIZE,
    "power-n-offset": _SIZE,
    "power-d": (_early, _largest_model),
    "power-d-offset": (_early, _largest_model),
    "power-c": (*_BUDGETS, frontier("flops")),
    "power-c-offset": (*_BUDGETS, frontier("flops")),
    "envelope": (frontier("flops"),),
    "envelope-offset": (frontier("flops"),),
    "power-cmin": (*_BUDGETS, frontier("flops_min")),
    "power-cmin-offset": (*_BUDGETS, frontier("flops_min")),
    "kaplan-nd": (_early,),
    "kaplan-ns": (),
    "chinchilla": (_decayed, _single_epoch),
    "overtraining": (_decayed, _single_epoch),
    "repetition": (_decayed,),
    "isoflop": (_decayed, _single_epoch),
    "critical-batch": (),
}
