"""How often 95 % intervals hold the planted parameters: tables of 40 trunks that share noise, by law and parameter.

``PYTHONPATH=workflow:tests python tests/benchmarks/coverage.py [--law NAME …] [--sets 100] [--resamples 200] --out coverage.md``

Stopped and started again with the same --out, it goes on with the next law. Each set is planted with its own noise,
fitted, and bootstrapped. A line a parameter: the share of sets whose interval holds it, by the bootstrap and by the
sandwich covariance; the median of estimate/planted; sets without an interval count as misses.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.planted_laws import MAKERS, intervals, planted
from scalinglaws.common.errors import StudyError

Row = tuple[str, str, float, float, float]


def one(law: str, seed: int, resamples: int) -> dict[str, tuple[bool, bool, float]]:
    """Parameter -> (inside the bootstrap's interval, inside the sandwich's, estimate/planted) of one planted set."""
    made = planted(law, seed)
    try:
        found, sandwich = intervals(law, made, seed, resamples)
    except StudyError:
        found, sandwich = {}, {}
    out = {}
    for name, truth in made.truth.items():
        estimate = found.get(name, {}).get("estimate")
        ratio = estimate / truth if estimate else np.nan
        out[name] = (_holds(found.get(name, {}), truth), _holds(sandwich.get(name, {}), truth), ratio)
    return out


def _holds(value: dict[str, Any], truth: float) -> bool:
    low, high = value.get("ci_low"), value.get("ci_high")
    return low is not None and high is not None and low <= truth <= high


def of_law(law: str, sets: int, resamples: int, pool: concurrent.futures.Executor) -> list[Row]:
    began = time.monotonic()
    found = []
    jobs = [pool.submit(one, law, seed, resamples) for seed in range(sets)]
    for k, job in enumerate(jobs):
        found.append(job.result())
        left = (time.monotonic() - began) / (k + 1) * (sets - k - 1)
        if k % 50 == 49:
            print(f"{law}: {k + 1} of {sets} sets, {left:.0f} s left", file=sys.stderr, flush=True)
    rows = []
    for name in found[0]:
        inside, covariance, ratio = (np.array([each[name][k] for each in found], float) for k in range(3))
        rows.append((law, name, 100 * inside.mean(), 100 * covariance.mean(), float(np.nanmedian(ratio))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--law", nargs="*", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a Markdown table, printed without it; laws that it has are not run again")
    args = parser.parse_args()
    head = ["| law | sets | parameter | bootstrap % | sandwich % | median estimate / planted |", "|---|---|---|---|---|---|"]
    text = args.out.read_text() if args.out and args.out.exists() else "\n".join(head) + "\n"
    with concurrent.futures.ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for law in args.law:
            if f"| `{law}` |" in text:
                continue
            for name, parameter, inside, covariance, ratio in of_law(law, args.sets, args.resamples, pool):
                sandwich = "" if covariance == 0 else f"{covariance:.1f}"
                text += f"| `{name}` | {args.sets} | {parameter} | {inside:.1f} | {sandwich} | {ratio:.4g} |\n"
            if args.out:
                args.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
