"""Compare the tokens per second of a training step, without and with dropout, with plain eager PyTorch on the same core.

    PYTHONPATH=workflow:tests python tests/benchmarks/train_step.py [--seconds 12] [--threads 1] [--smoke]

Four steps are compared: a plain loop of the same model, ours, ours with dropout, and PyTorch's autograd of our model with
dropout. Each is a process of its own. They take turns, step by step, and processor time is counted, not wall time, so that
whatever else runs disturbs the ratios little: they are medians over turns. Where a process dies, the benchmark ends with
status 1. block_step.py does the same for the architectures without a hand-written step.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch

from fixtures.plain_gpt2 import Plain
from fixtures.small_runs import small_spec
from fixtures.steps import own_step, plain_step
from fixtures.turns import Step, compare, ratio
from scalinglaws.models.device import prepare
from scalinglaws.study.spec import RunSpec

SHAPES = ((1, 8, 1), (1, 16, 1), (2, 16, 1), (2, 32, 2), (3, 48, 3), (4, 64, 4), (5, 128, 4))
N_CTX, BATCH_TOKENS, N_VOCAB, DROPOUT = 128, 2048, 256, 0.1
KINDS = ("plain", "ours", "dropout", "autograd")


def spec_of(n_layer: int, d_model: int, n_heads: int, dropout: float = 0.0) -> RunSpec:
    """Return the spec of a model of this size."""
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": n_heads, "d_ff": 4 * d_model, "d_attn": d_model}
    return small_spec(**shape, n_ctx=N_CTX, batch_tokens=BATCH_TOKENS, grad_clip=1.0, dropout=dropout)


def makers(shape: tuple[int, int, int], threads: int) -> dict[str, Callable[[], Step]]:
    """Return what makes each kind of step."""
    return {kind: partial(step_of, kind, shape, threads) for kind in KINDS}


def step_of(kind: str, shape: tuple[int, int, int], threads: int) -> Step:
    """Set this process up for a kind of step, and return the step."""
    if kind == "plain":
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
    else:
        prepare(threads, "cpu")
    torch.manual_seed(0)
    spec = spec_of(*shape, dropout=DROPOUT if kind in ("dropout", "autograd") else 0.0)
    step = plain_step(Plain(*shape, N_VOCAB, N_CTX)) if kind == "plain" else own_step(spec, N_VOCAB, by_hand=kind != "autograd")
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, N_CTX + 1))
    return partial(step, batch[:, :-1], batch[:, 1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=12.0, help="time for each size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="the smallest and the largest size for a moment each")
    args = parser.parse_args()
    shapes, seconds = ((SHAPES[0], SHAPES[-1]), 0.0) if args.smoke else (SHAPES, args.seconds)
    print("N         layers x d_model   plain tokens/s   ours tokens/s   ratio   dropout's cost   dropout by autograd   turns")
    for n_layer, d_model, n_heads in shapes:
        turns = compare(makers((n_layer, d_model, n_heads), args.threads), seconds)
        n = spec_of(n_layer, d_model, n_heads).n_params
        plain, own = (BATCH_TOKENS / statistics.median(times[kind] for times in turns) for kind in ("plain", "ours"))
        cost, slower = ratio(turns, "dropout", "ours") - 1, ratio(turns, "autograd", "dropout")
        speeds = f"{plain:14,.0f}  {own:14,.0f}   {ratio(turns, 'plain', 'ours'):5.2f}"
        print(f"{n:<9} {n_layer}x{d_model:<16} {speeds}   {cost:14.1%}   {slower:19.2f}   {len(turns)}", flush=True)


if __name__ == "__main__":
    main()
