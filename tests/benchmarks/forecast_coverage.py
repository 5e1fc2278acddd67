"""Measure how often 95 % forecast intervals hold the losses of larger runs, on any tables of runs, by factor of extrapolation.

``PYTHONPATH=workflow python tests/benchmarks/forecast_coverage.py TABLE… [--law chinchilla] [--smoke] [--out FILE.md]``

A table is a CSV file with the columns series (optional), n_params, tokens and loss. Each series is fitted in windows: to its
runs of at most C_max/f FLOP, C = 6·N·D, for f = 3, 10, 30, 100 and 300, where that leaves ten runs and three sizes or more; the
loss of every run beyond is forecast. Printed beside each other are the intervals of forecasts (``prediction.predict``) and
those of a single fit, which count its resamples and residuals alone. The interval score is the width plus 40 times the distance
of a loss outside it, over the loss. Shares and scores are means over the windows of a table, and last over the tables.
``--error`` changes the size of the law's error (``extrapolation.LAW_ERROR``), which shows how much hangs on it. ``--smoke``
takes one window a series and few resamples. Tables that are missing are named, and it is no failure.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.laws import extrapolation, prediction
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.uncertainty import bootstrap

FACTORS = (3.0, 10.0, 30.0, 100.0, 300.0)
FEWEST_RUNS, FEWEST_SIZES = 10, 3
BINS = ((0.0, 3.0), (3.0, 10.0), (10.0, 30.0), (30.0, np.inf))
Array = np.ndarray


def windows(table: pl.DataFrame, factors: tuple[float, ...]) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield the name of each window of a table, log N and log D (n, 2), log losses (n,), and which rows are fitted (n,)."""
    if "series" not in table.columns:
        table = table.with_columns(series=pl.lit("all"))
    for name in table["series"].unique(maintain_order=True):
        rows = table.filter(pl.col("series") == name).select("n_params", "tokens", "loss").drop_nulls().to_numpy().astype(float)
        x, y, compute = np.log(rows[:, :2]), np.log(rows[:, 2]), 6 * rows[:, 0] * rows[:, 1]
        for factor in factors:
            fitted = compute <= compute.max() / factor * (1 + 1e-9)
            if fitted.sum() >= FEWEST_RUNS and len(np.unique(rows[fitted, 0])) >= FEWEST_SIZES:
                yield f"{name}, C ≤ C_max/{factor:g}", x, y, fitted


def judged(low: Array, high: Array, middle: Array, loss: Array) -> Array:
    """Return inside, interval score, half-width and absolute error (4, m), all but the first over the loss."""
    outside = np.maximum(low - loss, 0.0) + np.maximum(loss - high, 0.0)
    score = (high - low + 40 * outside) / loss
    return np.stack([outside == 0, score, (high - low) / 2 / loss, np.abs(middle - loss) / loss])


def of_window(law: str, x: Array, y: Array, fitted: Array, resamples: int) -> tuple[Array, Array]:
    """Return the factors of compute (m,) of the runs beyond a window, and (m, 8): the forecast judged, and the single fit."""
    fit = best_fit(LAWS[law], x[fitted], y[fitted], Objective())
    drawn = bootstrap(fit, [f"{k:05d}" for k in range(len(fit.log_loss))], resamples, 0)
    found, loss = prediction.predict(fit, drawn, x[~fitted], 0), np.exp(y[~fitted])
    single = prediction.within(fit, drawn, x[~fitted], 0)
    size = x.sum(axis=1)
    both = [judged(each["run_low"], each["run_high"], each["loss"], loss) for each in (found, single)]
    return np.exp(size[~fitted] - size[fitted].max()), np.concatenate(both).T


def line(name: str, rows: Array) -> str:
    """Return a line of Markdown from the means (8,) over windows: shares and the rest in percent, scores as they are."""
    cells = [f"{100 * rows[0]:.1f}", f"{100 * rows[2]:.1f}", f"{100 * rows[3]:.2f}", f"{rows[1]:.3f}"]
    cells += [f"{100 * rows[4]:.1f}", f"{100 * rows[6]:.1f}", f"{100 * rows[7]:.2f}", f"{rows[5]:.3f}"]
    return f"| {name} | {' | '.join(cells)} |"


def report(tables: list[Path], law: str, factors: tuple[float, ...], resamples: int) -> str:
    """Return the tables of Markdown for the tables of runs."""
    head = "| {} | inside % | half-width % | error % | score | single fit: inside % | half-width % | error % | score |"
    out, by_factor, of_tables = [head.format("table, window"), "|---" * 9 + "|"], [], []
    for path in tables:
        found = []
        for name, x, y, fitted in windows(pl.read_csv(path, infer_schema_length=None), factors):
            factor, rows = of_window(law, x, y, fitted, resamples)
            found.append(_summary(rows))
            by_factor.append((factor, rows))
            out.append(line(f"{path.stem}: {name}", found[-1]))
        if found:
            of_tables.append((path.stem, np.mean(found, axis=0)))
    out += ["", head.format("table"), "|---" * 9 + "|", *(line(*item) for item in of_tables)]
    if of_tables:
        out.append(line("**mean of tables**", np.mean([rows for _, rows in of_tables], axis=0)))
    out += ["", head.format("factor beyond the data"), "|---" * 9 + "|"]
    for low, high in BINS:
        inside = [(factor > low) & (factor <= high) for factor, _ in by_factor]
        means = [_summary(rows[some]) for (_, rows), some in zip(by_factor, inside, strict=True) if some.any()]
        if means:
            out.append(line(f"up to {high:g}" if np.isfinite(high) else f"above {low:g}", np.mean(means, axis=0)))
    return "\n".join(out) + "\n"


def _summary(rows: Array) -> Array:
    """Return, of rows (m, 8), the mean of shares and scores and the median of half-widths and errors, (8,)."""
    means, medians = rows.mean(axis=0), np.median(rows, axis=0)
    return np.where(np.arange(8) % 4 < 2, means, medians)


def present(tables: list[Path]) -> list[Path]:
    """Return the tables that are there, and name those that are not."""
    there = [path for path in tables if path.exists()]
    if missing := [str(path) for path in tables if path not in there]:
        print(f"skipped, as they are not there: {', '.join(missing)}", file=sys.stderr)
    if not there:
        print("No table of runs is there, so nothing was measured.")
    return there


def show(text: str, out: Path | None) -> None:
    """Print what was measured, and write it to a file where one is given."""
    if out:
        out.write_text(text)
    print(text, end="")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument(
        "--law", choices=[name for name in LAWS if LAWS[name].variables == ("n_params", "tokens")], default="chinchilla"
    )
    parser.add_argument("--error", type=float, default=extrapolation.LAW_ERROR, help="size of the law's error")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="one window a series and 20 resamples: does it run?")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    extrapolation.LAW_ERROR = args.error
    if not (there := present(args.tables)):
        return 0
    settings: Any = (FACTORS[:1], 20) if args.smoke else (FACTORS, args.resamples)
    text = report(there, args.law, *settings)
    show(text, args.out)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
