"""Measure how often 95 % intervals hold the planted parameters, on tables of 40 trunks that share noise, by law and parameter.

``PYTHONPATH=workflow:tests python tests/benchmarks/coverage.py [--smoke] [--law NAME …] [--sets 100] --out coverage.md``

Started again with the same --out, it goes on with the first law that the file lacks. Each set is planted with its own noise,
fitted, and bootstrapped. A line is a parameter: the share of sets whose interval holds it, by the bootstrap and by the sandwich
covariance, and the median of estimate/planted. Sets without an interval count as misses. ``--smoke`` takes two sets and few
resamples of each law, in seconds, and the exit status is 1 if a set could not be fitted.
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
    """Return, for each parameter of one planted set: inside the bootstrap's interval, inside the sandwich's, estimate/planted."""
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


def of_law(law: str, sets: int, resamples: int, pool: concurrent.futures.Executor) -> tuple[list[Row], int]:
    """Return a row for each parameter of a law, and the number of sets that could not be fitted."""
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
    return rows, sum(any(np.isnan(ratio) for _, _, ratio in each.values()) for each in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--law", nargs="*", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--out", type=Path, help="Markdown table to write; laws that it has are not run again")
    parser.add_argument("--smoke", action="store_true", help="two sets and 20 resamples of each law: does it run?")
    args = parser.parse_args()
    if args.smoke:
        args.sets, args.resamples = 2, 20
    failed = []
    head = ["| law | sets | parameter | bootstrap % | sandwich % | median estimate / planted |", "|---|---|---|---|---|---|"]
    text = args.out.read_text() if args.out and args.out.exists() else "\n".join(head) + "\n"
    with concurrent.futures.ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for law in args.law:
            if f"| `{law}` |" in text:
                continue
            rows, lost = of_law(law, args.sets, args.resamples, pool)
            failed += [law] if lost else []
            for name, parameter, inside, covariance, ratio in rows:
                sandwich = "" if covariance == 0 else f"{covariance:.1f}"
                text += f"| `{name}` | {args.sets} | {parameter} | {inside:.1f} | {sandwich} | {ratio:.4g} |\n"
            if args.out:
                args.out.write_text(text)
    print(text, end="")
    if failed:
        print(f"sets that could not be fitted: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed) and args.smoke)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
