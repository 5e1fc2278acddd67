"""Time the batched solver against a loop of scipy's L-BFGS-B over the same starts and resamples, in CPU seconds of this run.

``PYTHONPATH=workflow python tests/benchmarks/fit_speed.py [--smoke] [--starts 500] [--resamples 1000] [--scipy-starts 50] …``

The loop is timed on the first ``--scipy-starts`` starts and ``--scipy-resamples`` resamples and scaled up. L-BFGS-B gets the
analytic gradient, centred logs and tight tolerances, and resamples start from the best fit in both. The exit status is 1 if
scipy finds a lower objective than the batch. ``--smoke`` does all this at its smallest, in seconds.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from scipy.optimize import minimize

from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective, best_fit, solve
from scalinglaws.laws.forms import Array
from scalinglaws.laws.uncertainty import bootstrap


def data(count: int = 245) -> tuple[Array, Array]:
    """Return log variables (count, 2) and log losses (count,) by the parameters of Hoffmann et al. 2022, with 0.5 % of noise."""
    rng = np.random.default_rng(0)
    log_n, log_d = rng.uniform(np.log(1e7), np.log(1e10), count), rng.uniform(np.log(1e9), np.log(1e12), count)
    loss = 1.69 + 406.4 * np.exp(-0.34 * log_n) + 410.7 * np.exp(-0.28 * log_d)
    return np.column_stack([log_n, log_d]), np.log(loss) + 0.005 * rng.standard_normal(count)


def scipy_fit(z: Array, y: Array, start: Array, weights: Array, delta: float) -> float:
    """Run L-BFGS-B once on the Huber objective of the five-parameter law, and return the objective that it reached."""
    x_n, x_d = z.T

    def value(theta: Array) -> tuple[float, Array]:
        terms = np.stack([np.full(len(y), theta[0]), theta[1] - theta[2] * x_n, theta[3] - theta[4] * x_d])
        top = terms.max(axis=0)
        powers = np.exp(terms - top)
        total = powers.sum(axis=0)
        r = top + np.log(total) - y
        psi = np.clip(r, -delta, delta)
        pull = weights * psi * powers / total
        slope = [pull[0].sum(), pull[1].sum(), -pull[1] @ x_n, pull[2].sum(), -pull[2] @ x_d]
        return float((weights * psi * (r - 0.5 * psi)).sum()), np.array(slope)

    options = {"maxiter": 10000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-9}
    return float(minimize(value, start, jac=True, method="L-BFGS-B", options=options).fun)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--scipy-starts", type=int, default=50)
    parser.add_argument("--scipy-resamples", type=int, default=100)
    parser.add_argument("--points", type=int, default=100_000, help="points of the table whose memory is measured")
    parser.add_argument("--smoke", action="store_true", help="a few starts, resamples and points: does it run and agree?")
    args = parser.parse_args()
    if args.smoke:
        args.starts, args.resamples, args.scipy_starts, args.scipy_resamples, args.points = 40, 20, 4, 4, 2000
    law, goal, (x, y) = LAWS["chinchilla"], Objective(), data()
    z, rng, ones = x - x.mean(axis=0), np.random.default_rng(1), np.ones(len(y))
    grid = law.starts(y)
    starts = grid[rng.integers(len(grid), size=args.starts)] + 0.05 * rng.standard_normal((args.starts, 5))
    weights = rng.multinomial(len(y), ones / len(y), size=args.resamples).astype(float)

    wall, began = time.perf_counter(), time.process_time()
    fit = best_fit(law, x, y, goal, starts)
    middle = time.process_time()
    batch = solve(law, z, y, np.repeat(fit.theta[None], args.resamples, axis=0), goal, weights, warm=True)
    wall, ended = time.perf_counter() - wall, time.process_time()

    some, few = args.scipy_starts, args.scipy_resamples
    loop_began = time.process_time()
    by_start = [scipy_fit(z, y, start, ones, goal.delta) for start in starts[:some]]
    loop_middle = time.process_time()
    by_resample = np.array([scipy_fit(z, y, fit.theta, row, goal.delta) for row in weights[:few]])
    loop_ended = time.process_time()

    times = {
        "starts": (middle - began, (loop_middle - loop_began) * args.starts / some),
        "resamples": (ended - middle, (loop_ended - loop_middle) * args.resamples / few),
    }
    times["both"] = tuple(sum(pair) for pair in zip(*times.values(), strict=True))
    print(f"{'':10}{'batch s':>10}{'scipy s':>10}{'ratio':>8}")
    for name, (ours, theirs) in times.items():
        print(f"{name:10}{ours:10.2f}{theirs:10.2f}{theirs / ours:8.1f}")
    excess, fit_value = by_resample - batch.value[:few], fit.value
    print(f"batch: {wall:.2f} s on the clock")
    print(f"objective of the best fit: batch {fit.value:.12g}, scipy {min(by_start):.12g}")
    print(f"scipy minus batch over resamples: least {excess.min():.1e}, median {np.median(excess):.1e}, most {excess.max():.1e}")
    x, y = data(args.points)
    fit = best_fit(law, x, y, goal, law.starts(y)[::16])
    bootstrap(fit, [str(k) for k in range(len(y))], 20, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory after a fit of {len(y)} points and 20 resamples (as much for any number): {peak:.2f} GiB at most")
    if fit_value > min(by_start) * (1 + 1e-9) or excess.min() < -1e-9 * batch.value.max():
        print("scipy found a lower objective than the batch")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
