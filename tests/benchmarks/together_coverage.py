"""Measure how often 95 % intervals of single laws, and of all together, hold the losses of larger runs on any tables of runs.

``PYTHONPATH=workflow python tests/benchmarks/together_coverage.py TABLE… [--smoke] [--out FILE.md]``

The tables and the windows are those of ``forecast_coverage.py``. Each law that states the loss of a run is fitted to the runs of
a window and asked for all runs beyond (``laws/together.py``), and so are all together. A law of compute is judged on the runs of
which it speaks, those near the best size. The second table has the runs alone that no run betters with less compute. ``--smoke``
takes one window a series and few resamples. Tables that are missing are named, and it is no failure.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
from forecast_coverage import FACTORS, judged, present, show, windows

from scalinglaws.common.errors import StudyError
from scalinglaws.decide.forecast import STATING, TOGETHER, joined
from scalinglaws.laws.fit import Objective
from scalinglaws.laws.together import of_table
from scalinglaws.laws.tradeoffs import surface

Array = np.ndarray
HEAD = "| law | inside % | half-width % | median error % | score |\n|---|---|---|---|---|"


def of_window(x: Array, y: Array, fitted: Array, resamples: int) -> dict[str, Array]:
    """Return, of each law and of all together, the forecasts of the runs beyond a window judged, (m, 4).

    A run of which a law does not speak has NaN.
    """
    columns = {"n_params": np.exp(x[fitted, 0]), "tokens": np.exp(x[fitted, 1]), "loss": np.exp(y[fitted])}
    laws = {}
    for law in STATING:
        try:
            laws[law], _ = of_table(pl.DataFrame(columns), law, Objective(), resamples, 0)
        except StudyError as error:
            print(f"{law} is left out: {error}", file=sys.stderr)
    plane, (n, d), loss = surface(laws["chinchilla"].fit), np.exp(x[~fitted]).T, np.exp(y[~fitted])
    found = {law: of.losses(n, d, plane) for law, of in laws.items()}
    middle, low, high = joined(found)
    out = {law: judged(of["run_low"], of["run_high"], of["loss"], loss).T for law, of in found.items()}
    return out | {TOGETHER: judged(low, high, middle, loss).T}


def on_frontier(x: Array, y: Array) -> Array:
    """Return which runs, of log N and log D (m, 2) and log losses (m,), no run betters with at most their compute."""
    order = np.lexsort((y, x.sum(axis=1)))
    best = np.minimum.accumulate(y[order])
    keep = np.zeros(len(y), bool)
    keep[order] = np.concatenate([[True], y[order][1:] < best[:-1]])
    return keep


def summary(windows_of: dict[str, list[Array]]) -> Array:
    """Return the means over tables of the means over windows (4,): shares and scores are means, the rest medians, of runs."""
    each = [
        np.mean([np.where([1, 1, 0, 0], rows.mean(axis=0), np.median(rows, axis=0)) for rows in found], axis=0)
        for found in windows_of.values()
    ]
    return np.asarray(np.mean(each, axis=0))


def report(tables: list[Path], factors: tuple[float, ...], resamples: int) -> str:
    """Return two tables of Markdown: all runs beyond the windows, and those on the frontier."""
    found: dict[str, tuple[dict[str, list[Array]], dict[str, list[Array]]]] = {}
    for path in tables:
        for _, x, y, fitted in windows(pl.read_csv(path, infer_schema_length=None), factors):
            keep = on_frontier(x[~fitted], y[~fitted])
            for law, rows in of_window(x, y, fitted, resamples).items():
                for into, some in zip(found.setdefault(law, ({}, {})), (rows, rows[keep]), strict=True):
                    if len(spoken := some[np.isfinite(some).all(axis=1)]):
                        into.setdefault(path.stem, []).append(spoken)
    out = []
    for k, what in enumerate(("All runs beyond the windows", "Runs on the frontier beyond the windows")):
        out += [f"{what}:", "", HEAD]
        for law, of in found.items():
            inside, score, half, error = summary(of[k])
            out.append(f"| {law} | {100 * inside:.1f} | {100 * half:.1f} | {100 * error:.2f} | {score:.3f} |")
        out.append("")
    return "\n".join(out)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--smoke", action="store_true", help="one window a series and 20 resamples: does it run?")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    if not (there := present(args.tables)):
        return 0
    text = report(there, FACTORS[:1] if args.smoke else FACTORS, 20 if args.smoke else args.resamples)
    show(text, args.out)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
