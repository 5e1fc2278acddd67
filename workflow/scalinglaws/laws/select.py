"""Which losses enter which law: reads a table, checks it, applies the law's rules, and lists every exclusion with its
reason.

A rule that needs a column which the table lacks is skipped: a table made elsewhere needs only n_params, loss, and
tokens or flops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from scalinglaws.errors import StudyError
from scalinglaws.laws.forms import Array, Law

COLUMNS = ("run", "trunk", "n_params", "tokens", "dataset_tokens", "flops", "loss")
# Names that our own tables use, taken where the default name is absent.
ALIASES = {"run": "id", "flops": "flops_6nd"}
# ln of a vocabulary of a million: a larger loss is not in nats per token.
HIGHEST_LOSS = 13.8
ENVELOPE_POINTS_PER_DECADE = 10


@dataclass(frozen=True)
class Points:
    """What a law is fitted to. Arrays have one entry a point; ``columns``: n_params, tokens, dataset_tokens, flops.

    NaN stands for an unknown value.
    """

    run: list[str]
    trunk: list[str]
    loss: Array
    columns: dict[str, Array]
    excluded: list[dict[str, str]]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.loss)

    def log_variables(self, law: Law) -> Array:
        """(n, V) natural logs of the law's variables."""
        return np.log(np.column_stack([self.columns[name] for name in law.variables]))

    def take(self, keep: np.ndarray) -> Points:
        """The points where ``keep`` (n,) is true."""
        index = np.flatnonzero(keep)
        columns = {name: values[index] for name, values in self.columns.items()}
        run, trunk = [self.run[i] for i in index], [self.trunk[i] for i in index]
        return Points(run, trunk, self.loss[index], columns, self.excluded, self.notes)


def read_table(path: str | Path) -> pl.DataFrame:
    """A CSV, Parquet or JSON lines file (by its ending). Raises StudyError where it cannot be read."""
    path = Path(path)
    readers: dict[str, Callable[..., pl.DataFrame]] = {
        ".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".ndjson": pl.read_ndjson,
    }  # fmt: skip
    if path.suffix not in readers:
        raise StudyError(f"{path}: unknown kind of table; use a file that ends in {', '.join(readers)}")
    if not path.is_file():
        raise StudyError(f"{path} does not exist: give a table of runs with --table")
    options = {} if path.suffix == ".parquet" else {"infer_schema_length": None}
    try:
        return readers[path.suffix](path, **options)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StudyError(f"{path} cannot be read as a table: {error}") from None


def select(
    table: pl.DataFrame, law: Law, columns: Mapping[str, str] | None = None, where: str | None = None,
    exclude_highest: int = 0, curves: pl.DataFrame | None = None,
) -> Points:  # fmt: skip
    """The points of ``law`` in a table of runs; ``curves`` is the table of learning curves, which the envelope needs.

    ``columns`` maps default names (run, trunk, n_params, tokens, dataset_tokens, flops, loss) to those of the table;
    ``where`` is an SQL condition on the table's own columns; ``exclude_highest`` leaves out the runs with the largest
    losses. Raises StudyError for a missing column, a value that is not a positive finite number, or a bad condition.
    """
    excluded: list[dict[str, str]] = []
    table = _named(table, columns or {})
    if where is not None:
        table = _drop(table, _condition(table, where).fill_null(False), f"not ({where})", excluded)
    if law.name == "envelope":
        if curves is None:
            raise StudyError("law envelope is fitted to learning curves: give their table with --curves")
        table = _envelope(table, _named(curves, {}), excluded)
    if "status" in table.columns:
        for status in sorted(set(table["status"].drop_nulls().to_list()) - {"ok"}):
            table = _drop(table, pl.col("status") != status, f"status {status}", excluded)
    table = _checked(table, law)
    notes: list[str] = []
    for rule in RULES[law.name]:
        table = rule(table, excluded, notes)
    if exclude_highest:
        if exclude_highest < 0:
            raise StudyError(f"--exclude-highest is {exclude_highest}: it must not be negative")
        rank = pl.col("loss").rank("ordinal", descending=True)
        table = _drop(table, rank > exclude_highest, f"among the {exclude_highest} highest losses", excluded)
    table = table.sort(["run", "flops", "tokens", "loss"], maintain_order=True)
    values = {name: table[name].to_numpy().astype(np.float64) for name in COLUMNS[2:]}
    loss = values.pop("loss")
    return Points(table["run"].to_list(), table["trunk"].to_list(), loss, values, excluded, notes)


def _named(table: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """The table with the default column names; run defaults to the row's number (from 1), trunk to the run."""
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise StudyError(f"--columns names {', '.join(unknown)}: it can map {', '.join(COLUMNS)}")
    for name in COLUMNS:
        source = columns.get(name) or (name if name in table.columns else ALIASES.get(name, name))
        if source in table.columns:
            table = table.with_columns(pl.col(source).alias(name))
        elif name in columns:
            raise StudyError(f"the table has no column '{source}' (for {name}): it has {', '.join(table.columns)}")
    if "run" not in table.columns:
        table = table.with_columns(pl.int_range(1, pl.len() + 1).alias("run"))
    if "trunk" not in table.columns:
        table = table.with_columns(pl.col("run").alias("trunk"))
    run, trunk = pl.col("run").cast(pl.String), pl.col("trunk").cast(pl.String)
    return table.with_columns(pl.coalesce(run, trunk).alias("run"), pl.coalesce(trunk, run).alias("trunk"))


def _condition(table: pl.DataFrame, where: str) -> pl.Expr:
    try:
        condition = pl.sql_expr(where)
        if table.select(condition.alias("keep")).schema["keep"] != pl.Boolean:
            raise StudyError(f'--where "{where}" is not a condition: write for example "n_params > 1e6 and loss < 4"')
    except pl.exceptions.PolarsError as error:
        raise StudyError(f'--where "{where}" cannot be used: {error}; the columns are {", ".join(table.columns)}') from None
    return condition


def _drop(table: pl.DataFrame, keep: pl.Expr, reason: str, excluded: list[dict[str, str]]) -> pl.DataFrame:
    """The rows where ``keep`` is true or null (the row does not say); the others are added to ``excluded``."""
    mask = table.select(keep.fill_null(True).alias("keep"))["keep"]
    excluded += [{"run": run, "reason": reason} for run in table.filter(~mask)["run"].to_list()]
    return table.filter(mask)


def _checked(table: pl.DataFrame, law: Law) -> pl.DataFrame:
    """Fills flops and tokens from each other (C = 6 N D), dataset_tokens from tokens; refuses impossible values."""
    if "loss" not in table.columns:
        raise StudyError(f"the table has no column 'loss': it has {', '.join(table.columns)}; map it with --columns loss=NAME")
    have = table.columns
    for name in COLUMNS[2:]:
        if name not in have:
            table = table.with_columns(pl.lit(None, pl.Float64).alias(name))
        if not table[name].dtype.is_numeric() and table[name].dtype != pl.Null:
            raise StudyError(f"column '{name}' is not numeric but {table[name].dtype}: choose another with --columns {name}=NAME")
        table = table.with_columns(pl.col(name).cast(pl.Float64))
    n, tokens, flops, data = (pl.col(name) for name in ("n_params", "tokens", "flops", "dataset_tokens"))
    table = table.with_columns(pl.coalesce(tokens, flops / (6 * n)))
    table = table.with_columns(pl.coalesce(flops, 6 * n * tokens), pl.coalesce(data, tokens))
    for name in law.variables:
        if len(table) and table[name].is_null().all():
            raise StudyError(
                f"law {law.name} needs the column '{name}' and the table has {', '.join(have)}: map it with --columns {name}=NAME"
            )
    table = table.with_columns(pl.col(COLUMNS[2:]).fill_null(float("nan")))
    for name in ("loss", *law.variables):
        bad = table.filter(~pl.col(name).is_finite() | (pl.col(name) <= 0))
        if len(bad):
            run, value = bad["run"][0], bad[name][0]
            raise StudyError(
                f"run {run} has {name} = {value} ({len(bad)} such rows): {name} must be a positive number; "
                "mend the row or leave it out with --where"
            )
    high = table.filter(pl.col("loss") > HIGHEST_LOSS)
    if len(high):
        raise StudyError(
            f"run {high['run'][0]} has loss {high['loss'][0]}, above the logarithm of any vocabulary: "
            "losses are nats per token, not perplexities or sums"
        )
    return table


Rule = Callable[[pl.DataFrame, list[dict[str, str]], list[str]], pl.DataFrame]


def _decayed(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Final losses at a decayed rate: not early-stopped, not constant."""
    if "stop" in table.columns:
        table = _drop(table, pl.col("stop") != "early", "stopped early, its loss is not at a decayed rate", excluded)
    if "schedule" in table.columns:
        decays = pl.col("schedule") != "constant"
        if "decay" in table.columns:
            decays &= (pl.col("schedule") != "wsd") | (pl.col("decay") > 0)
        table = _drop(table, decays, "its learning rate does not decay", excluded)
    return table


def _single_epoch(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if "dataset_limited" in table.columns:
        table = _drop(table, ~pl.col("dataset_limited"), "its dataset is limited", excluded)
    fits = pl.col("dataset_tokens").is_nan() | (pl.col("tokens") <= pl.col("dataset_tokens")) | pl.col("tokens").is_nan()
    return _drop(table, fits, "more than one epoch", excluded)


def _deep(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    return _drop(table, pl.col("n_layer") > 1, "one layer", excluded) if "n_layer" in table.columns else table


def _early(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    return _drop(table, pl.col("stop") == "early", "not stopped early", excluded) if "stop" in table.columns else table


def _largest_budget(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if not table["tokens"].is_finite().all():
        return table
    table = _drop(
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
    return _drop(table, pl.col("n_params") == pl.col("n_params").max(), "not the largest model", excluded)


def _frontier(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Runs whose loss is below that of every run with at most their compute."""
    table = table.sort(["flops", "loss", "run"])
    best = pl.col("loss").cum_min().shift(1)
    return _drop(table, best.is_null() | (pl.col("loss") < best), "another run is better for at most its compute", excluded)


def _envelope(runs: pl.DataFrame, curves: pl.DataFrame, excluded: list[dict[str, str]]) -> pl.DataFrame:
    """Lowest loss at each of a grid of computes over all curves, interpolated in log-log between evaluation steps.

    Warm-up is left out, and a decay where the trunk has a stable phase (the decayed losses have the law power-c).
    Curves of runs on a limited dataset or of one layer are left out where ``runs`` or the curves say so.
    """
    if "loss_test" in curves.columns:
        curves = curves.with_columns(pl.col("loss_test").alias("loss"))
    if missing := sorted({"flops", "loss", "n_params"} - set(curves.columns)):
        raise StudyError(f"the table of curves has no column {', '.join(missing)}: it has {', '.join(curves.columns)}")
    if "phase" in curves.columns:
        stable = (pl.col("phase") == "stable").any().over("trunk")
        curves = curves.filter((pl.col("phase") == "stable") | ((pl.col("phase") == "decay") & ~stable))
    dropped: list[dict[str, str]] = []
    for rule in (_deep, _unlimited):
        curves = rule(curves.join(_flags(runs, curves), on="run", how="left", maintain_order="left"), dropped, [])
    excluded += [dict(item) for item in sorted({tuple(item.items()) for item in dropped})]
    curves = curves.filter(pl.col("loss").is_finite() & (pl.col("flops") > 0)).unique(["trunk", "flops"], keep="first")
    rows: dict[int, tuple[float, str, float]] = {}
    for (trunk,), curve in curves.sort(["trunk", "flops", "run"]).group_by(["trunk"], maintain_order=True):
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
    """Of each run: the columns of the table of runs that decide whether its curve counts."""
    names = [name for name in ("n_layer", "dataset_limited") if name in runs.columns and name not in curves.columns]
    return runs.select("run", *names).unique("run", keep="first")


def _unlimited(curves: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    if "dataset_limited" not in curves.columns:
        return curves
    return _drop(curves, ~pl.col("dataset_limited").fill_null(False), "its dataset is limited", excluded)


RULES: dict[str, tuple[Rule, ...]] = {
    "power-n": (_decayed, _single_epoch, _deep, _largest_budget),
    "power-d": (_early, _largest_model),
    "power-c": (_decayed, _single_epoch, _deep, _frontier),
    "envelope": (_frontier,),
    "kaplan-nd": (_early,),
    "chinchilla": (_decayed, _single_epoch),
}
