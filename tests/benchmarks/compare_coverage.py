"""Measure how often the 95 % intervals of ``scalinglaws compare`` hold a planted compute-equivalent gain.

``PYTHONPATH=workflow:tests python tests/benchmarks/compare_coverage.py [--smoke] [--sets 300] [--resamples 200]``

B needs 1.8 times the compute of A at every loss. A line is a design and a law, or one budget, with the share of sets whose
interval holds the gain at the least, the middle and the largest compute of the runs, and the medians of the estimates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import polars as pl

from scalinglaws.decide.compare import compare
from scalinglaws.decide.sides import Side

GAIN = 1.8
Made = Callable[[np.random.Generator, float, int], pl.DataFrame]


def sizes_and_budgets(rng: np.random.Generator, gain: float, count: int) -> pl.DataFrame:
    """Return runs of ``count`` sizes with three budgets each by Chinchilla's law: noise of 0.4 % by trunk and 0.3 % by run."""
    n = np.repeat(np.geomspace(2e7, 6.4e8, count), 3)
    d = n * np.tile(np.geomspace(10, 80, 3), count)
    loss = 1.7 + 400 / (gain**0.5 * n) ** 0.34 + 410 / (gain**0.5 * d) ** 0.28
    noise = 0.004 * np.repeat(rng.standard_normal(count), 3) + 0.003 * rng.standard_normal(len(n))
    return pl.DataFrame({"trunk": np.repeat(np.arange(count), 3), "n_params": n, "tokens": d, "loss": loss * np.exp(noise)})


def best_runs(rng: np.random.Generator, gain: float, count: int) -> pl.DataFrame:
    """Return ``count`` runs at 20 tokens per parameter by a power law of compute, with a noise of 0.5 %."""
    n = np.geomspace(1e7, 3e8, count)
    loss = (1e26 / (gain * 120 * n**2)) ** 0.06 * np.exp(0.005 * rng.standard_normal(count))
    return pl.DataFrame({"n_params": n, "tokens": 20 * n, "loss": loss})


def one_budget(rng: np.random.Generator, gain: float, count: int) -> pl.DataFrame:
    """Return ``count`` sizes at one budget by a power law of compute, with a noise of 0.8 %."""
    n = np.geomspace(1e5, 3e6, count)
    loss = (1e16 / (gain * n * 1e8)) ** 0.08 * np.exp(0.008 * rng.standard_normal(count))
    return pl.DataFrame({"n_params": n, "tokens": np.full(count, 1e8), "loss": loss})


CASES: tuple[tuple[str, Made, int, str | None], ...] = (
    ("8 sizes, 3 budgets", sizes_and_budgets, 8, "chinchilla"),
    ("8 sizes, 3 budgets", sizes_and_budgets, 8, "power-c"),
    ("8 best runs", best_runs, 8, "power-c"),
    ("30 best runs", best_runs, 30, "power-c"),
    ("6 sizes, 1 budget", one_budget, 6, None),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="places in CASES")
    asked = parser.parse_args()
    sets, resamples = (2, 20) if asked.smoke else (asked.sets, asked.resamples)
    print("| runs of each side | law | sets | held % | median gain |\n|---|---|---|---|---|")
    for name, made, count, law in (CASES[k] for k in asked.cases):
        held, found = [], []
        for seed in range(sets):
            rng = np.random.default_rng(seed)
            sides = [Side(letter, "", made(rng, gain, count)) for letter, gain in (("A", GAIN), ("B", 1.0))]
            got = compare(*sides, law=law, n_bootstrap=resamples, seed=seed).at
            gains = [got[k].gain for k in (0, len(got) // 2, -1)]
            held.append([(gain.ci_low or 0) < GAIN < (gain.ci_high or np.inf) for gain in gains])
            found.append([gain.estimate or np.inf for gain in gains])
        shares, medians = 100 * np.mean(held, axis=0), np.median(found, axis=0)
        cells = (" ".join(f"{value:.1f}" for value in shares), " ".join(f"{value:.3f}" for value in medians))
        print(f"| {name} | {law or 'none'} | {sets} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
