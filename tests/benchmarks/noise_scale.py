"""Measure what the gradient noise scale adds to the time of a training step.

    PYTHONPATH=workflow:tests python tests/benchmarks/noise_scale.py [--pairs 12] [--threads 1] [--smoke]

Steps with and without a measurement are taken in turns by one process; processor time is counted, not wall time. A run that
measures every k steps pays for one measurement in k.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.models.device import prepare
from scalinglaws.train.steps import is_eval_step
from scalinglaws.train.trainer import Trainer

CASES = ((2, 16, 2048), (2, 16, 16384), (4, 64, 2048), (4, 64, 16384))
EVERY = (2, 4, 8, 16)


def seconds_of_step(trainer: Trainer) -> float:
    """Return the processor seconds of one update."""
    began = time.process_time()
    trainer.update()
    return time.process_time() - began


def compare(tokens: Path, n_layer: int, d_model: int, batch_tokens: int, pairs: int) -> tuple[float, float]:
    """Return the median seconds of a step that measures nothing, and the median share that a measurement adds in a pair."""
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": d_model // 16, "d_ff": 4 * d_model, "d_attn": d_model}
    spec = small_spec(**shape, n_ctx=128, batch_tokens=batch_tokens, tokens=1000 * batch_tokens, curve_tokens=128)
    plain, measured = (Trainer(dataclasses.replace(spec, noise_every=every), tokens) for every in (0, 1))
    times: list[tuple[float, float]] = []
    while len(times) < pairs:
        step = plain.step
        pair = seconds_of_step(plain), seconds_of_step(measured)
        # The first steps allocate and choose kernels; a point of the curve costs the same in both, as much as a step.
        if step >= 3 and not is_eval_step(step + 1):
            times.append(pair)
    return statistics.median(p for p, _ in times), statistics.median(m / p - 1 for p, m in times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=12, help="steps of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="two pairs of steps of the smallest case")
    args = parser.parse_args()
    cases, pairs = (CASES[:1], 2) if args.smoke else (CASES, args.pairs)
    prepare(args.threads, "cpu")
    print("layers x d_model   batch    ms a step   a measurement   " + "   ".join(f"every {every:>2}" for every in EVERY))
    with tempfile.TemporaryDirectory() as name:
        tokens = write_tokens(Path(name), train=200_000, held_out=1000, n_vocab=256)
        for n_layer, d_model, batch_tokens in cases:
            plain, share = compare(tokens, n_layer, d_model, batch_tokens, pairs)
            costs = "   ".join(f"{100 * share / every:6.2f} %" for every in EVERY)
            print(f"{n_layer}x{d_model:<15}  {batch_tokens:>6}  {1e3 * plain:9.1f}   {100 * share:11.1f} %   {costs}", flush=True)


if __name__ == "__main__":
    main()
