"""Measure whether runs that ``scalinglaws suggest`` chooses tell more for their FLOP than runs that are spread evenly.

``PYTHONPATH=workflow python tests/benchmarks/suggest.py [TABLE…] [--starts 10] [--shares 0.01 0.03] [--smoke] [--out FILE.md]``

Each set of runs has some cheap ones to start from, and a budget that is a share of the FLOP of all others. It is spent

- as suggested: once, from the fit to the first runs, by the functions that the command calls;
- even: on every k-th run in the order of compute, up to a largest one, so that the most is spent;
- spread: on the run farthest from all others in log N and log D that fits, one after another;
- random: on runs in a random order, as far as they fit.

The law is then fitted to the first runs and those, and the target is compared with the truth or, of real runs, with the fit to
the whole table. Planted runs follow Chinchilla's law with noise of 0.4 %. A TABLE is a CSV file with the columns series
(optional), n_params, tokens and loss. Tables that are missing are named, and it is no failure. A line has the root mean square
error over the starts (of real runs the median error, as single fits run away), the median width of the 95 % interval over that
of the fit to all runs, and the runs that were added. The last column is the share of starts in which the error was less than
that of the even choice.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from forecast_coverage import present

from scalinglaws.common.errors import StudyError
from scalinglaws.laws import targets
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.optimal_design import Costs, choose
from scalinglaws.laws.uncertainty import bootstrap, interval
from scalinglaws.laws.windows import forecaster

LAW, SHARES, MOST = LAWS["chinchilla"], (0.01, 0.03, 0.1), 24
FORECAST, BEYOND = "forecast", 10.0  # the run that is forecast has so many times the compute of the largest one
TRUTH = np.array([1.7, 400.0, 410.0, 0.34, 0.28])
NOISE, FIRST = 0.004, 10
HEAD = (
    "| runs | target | budget % | chosen | error | width over that of all | runs added | better than even % |\n"
    + "|---" * 8
    + "|"
)
Array = np.ndarray


@dataclass(frozen=True)
class Runs:
    """Log N and log D (n, 2), log losses (n,), the places of the first runs, and what is true of a target, None where unknown."""

    x: Array
    y: Array
    first: Array
    true: Callable[[str, Array], float] | None

    @property
    def flops(self) -> Array:
        return 6 * np.exp(self.x.sum(axis=1))


def planted(starts: int) -> Iterator[Runs]:
    """Yield tables of nine sizes and six ratios of tokens to parameters; the first runs are twelve of the four least sizes."""
    n, ratio = (each.ravel() for each in np.meshgrid(np.geomspace(2e7, 2e9, 9), np.geomspace(5, 160, 6), indexing="ij"))
    x = np.log(np.column_stack([n, n * ratio]))
    first = np.array([6 * size + k for size in range(4) for k in (1, 2, 3)])
    e, a, b, alpha, beta = TRUTH

    def true(target: str, place: Array) -> float:
        known = {"E": np.log(e), "alpha": alpha, "beta": beta, "a": beta / (alpha + beta)}
        return float(known[target] if target in known else np.log(loss(place[None])[0]))

    def loss(x: Array) -> Array:
        return np.asarray(e + a * np.exp(-alpha * x[:, 0]) + b * np.exp(-beta * x[:, 1]))

    for seed in range(starts):
        y = np.log(loss(x)) + NOISE * np.random.default_rng(seed).standard_normal(len(x))
        yield Runs(x, y, first, true)


def of_series(rows: Array, starts: int) -> Iterator[Runs]:
    """Yield the runs (n, 3) of a series, each time with FIRST other runs of the cheaper half, of three sizes and budgets."""
    x, y = np.log(rows[:, :2]), np.log(rows[:, 2])
    half = np.argsort(x.sum(axis=1), kind="stable")[: len(rows) // 2]
    for seed in range(starts):
        rng = np.random.default_rng(seed)
        for _ in range(100):
            first = np.sort(rng.choice(half, min(FIRST, len(half)), replace=False))
            if all(len(np.unique(column.round(3))) >= LAW.distinct for column in x[first].T):
                yield Runs(x, y, first, None)
                break


def even(runs: Runs, others: Array, budget: float, rng: np.random.Generator) -> list[int]:
    flops = runs.flops[others]
    order, best = np.argsort(flops, kind="stable"), np.empty(0, int)
    for top in range(1, len(order) + 1):
        for count in range(top, 0, -1):
            some = order[np.unique(np.linspace(0, top - 1, count).round().astype(int))]
            if flops[some].sum() <= budget:
                best = some if flops[some].sum() > flops[best].sum() else best
                break
    return [int(k) for k in best]


def spread(runs: Runs, others: Array, budget: float, rng: np.random.Generator) -> list[int]:
    flops, x, there, out = runs.flops[others], runs.x[others], runs.x[runs.first], list[int]()
    while True:
        left = budget - flops[out].sum()
        able = [k for k in range(len(others)) if k not in out and flops[k] <= left]
        if not able:
            return out
        apart = [((np.vstack([there, x[out]]) - x[k]) ** 2).sum(axis=1).min() for k in able]
        out.append(able[int(np.argmax(apart))])


def random(runs: Runs, others: Array, budget: float, rng: np.random.Generator) -> list[int]:
    flops, out = runs.flops[others], list[int]()
    for k in rng.permutation(len(others)):
        if flops[k] <= budget - flops[out].sum():
            out.append(int(k))
    return out


WAYS: dict[str, Callable[[Runs, Array, float, np.random.Generator], list[int]]] = {
    "even": even,
    "spread": spread,
    "random": random,
}


def suggested(runs: Runs, others: Array, budget: float, target: str, place: Array, resamples: int) -> list[int]:
    """Return what is suggested from the fit to the first runs."""
    fit = best_fit(LAW, runs.x[runs.first], runs.y[runs.first], Objective())
    drawn = bootstrap(fit, [str(k) for k in range(len(runs.first))], resamples, 0)
    if target == FORECAST:
        prospect = targets.of_forecast(fit, drawn, place, runs.x[others])
    else:
        prospect = targets.of_parameter(fit, drawn, target, runs.x[others])
    return choose(prospect.outlook, Costs.apart(runs.flops[others]), budget, MOST)


def known(runs: Runs, some: Array, target: str, place: Array, resamples: int) -> tuple[float, float]:
    """Return a target, as a logarithm where it is a scale or a loss, and the width of its interval, by the fit to some runs."""
    fit: Fit = best_fit(LAW, runs.x[some], runs.y[some], Objective())
    if target == FORECAST:
        mean, low, high = (float(of[0]) for of in forecaster(fit).interval(place[None]))
        return mean, high - low
    drawn = bootstrap(fit, [str(k) for k in range(len(some))], resamples, 0)
    value = float(targets.values(LAW, target, fit.theta[None], fit.centre)[0])
    ends = interval(value, targets.values(LAW, target, drawn.theta, fit.centre), False, drawn.n_trunks)
    return value, ends["ci_high"] - ends["ci_low"]


def measured(
    name: str, made: Callable[[], Iterator[Runs]], target: str, shares: tuple[float, ...], resamples: int
) -> Iterator[str]:
    """Yield lines of Markdown for a target of tables of runs."""
    found: dict[tuple[float, str], list[tuple[float, float, float]]] = {}
    whole: tuple[float, float] | None = None
    exact = True
    for seed, runs in enumerate(made()):
        place = runs.x.max(axis=0) + np.log(BEYOND) / 2
        if whole is None or runs.true is not None:
            whole = known(runs, np.arange(len(runs.y)), target, place, resamples)
        exact = runs.true is not None
        truth = runs.true(target, place) if runs.true else whole[0]
        others = np.setdiff1d(np.arange(len(runs.y)), runs.first)
        for share in shares:
            budget, rng = share * runs.flops[others].sum(), np.random.default_rng(seed)
            try:
                chosen = {"suggested": suggested(runs, others, budget, target, place, resamples)}
            except StudyError:  # the first runs do not tell how sure the target is
                continue
            chosen |= {way: choice(runs, others, budget, rng) for way, choice in WAYS.items()}
            for way, added in chosen.items():
                value, width = known(runs, np.sort([*runs.first, *others[added]]), target, place, resamples)
                found.setdefault((share, way), []).append((abs(value - truth), width / whole[1], len(added)))
    for (share, way), rows in found.items():
        errors, widths, counts = np.array(rows).T
        of_even = np.array(found[share, "even"])[:, 0]
        error = np.sqrt((errors**2).mean()) if exact else np.median(errors)
        better = "" if way == "even" else f"{100 * (errors < of_even).mean():.0f}"
        cells = (f"{100 * share:g}", way, f"{error:.4f}", f"{np.median(widths):.2f}", f"{counts.mean():.1f}", better)
        yield f"| {name} | {target} | {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--targets", nargs="*", default=["alpha", "beta", "a", FORECAST])
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--no-planted", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="one start, one share and two targets: does it run?")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    starts, shares, resamples = (1, SHARES[:1], 40) if args.smoke else (args.starts, tuple(args.shares), args.resamples)
    made: dict[str, Callable[[], Iterator[Runs]]] = {} if args.no_planted else {"planted": lambda: planted(starts)}
    for path in present(args.tables) if args.tables else []:
        table = pl.read_csv(path, infer_schema_length=None)
        table = table if "series" in table.columns else table.with_columns(series=pl.lit("all"))
        for series in table["series"].unique(maintain_order=True):
            rows = table.filter(pl.col("series") == series).select("n_params", "tokens", "loss").drop_nulls().to_numpy()
            made[f"{path.stem}: {series}"] = partial(of_series, rows.astype(float), starts)
    out = [HEAD]
    print(HEAD)
    for name, each in made.items():
        for target in args.targets[-2:] if args.smoke else args.targets:
            for line in measured(name, each, target, shares, resamples):
                out.append(line)
                print(line, flush=True)
    if args.out:
        args.out.write_text("\n".join(out) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
