"""Compare a step of a stack of E models on a CPU with E steps of a model alone, in processor time.

    PYTHONPATH=workflow:tests python tests/benchmarks/stack.py [--seconds 20] [--threads 1] [--smoke]

A model alone has the step that it has on a CPU, written by hand where the architecture has one, and for comparison that of
autograd. Steps take turns as in train_step.py. A ratio above 1 says that the stack is faster. On a GPU, where a step of a tiny
model is the time to start its kernels, the ratio is another one: see docs/gpu.md.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch

from fixtures.small_runs import flat_model, model_fields, small_spec
from fixtures.steps import RATE, own_step
from fixtures.turns import Step, compare, ratio
from scalinglaws.models.build import build
from scalinglaws.models.device import prepare
from scalinglaws.optim.stacked_adamw import StackedAdamW
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.stack import StackedModel

SIZES = (4, 16, 64)
N_CTX, BATCH_TOKENS, N_VOCAB = 128, 2048, 256
ALONE, AUTOGRAD = "alone", "autograd"


def spec_of(architecture: str, seed: int = 1) -> RunSpec:
    """Return the spec of a model of two layers of width 32."""
    fields = model_fields(architecture, 2, 32, n_heads=2)
    return small_spec(**fields, n_ctx=N_CTX, batch_tokens=BATCH_TOKENS, weight_decay=0.1, seed=seed)


def alone(architecture: str, threads: int, by_hand: bool) -> Step:
    """Set this process up for the steps of a model alone, and return the step."""
    prepare(threads, "cpu")
    torch.manual_seed(0)
    step = own_step(spec_of(architecture), N_VOCAB, by_hand=by_hand)
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, N_CTX + 1))
    return partial(step, batch[:, :-1], batch[:, 1:])


def stacked(architecture: str, threads: int, members: int) -> Step:
    """Set this process up for the steps of a stack, and return the step."""
    prepare(threads, "cpu")
    torch.manual_seed(0)
    spec = spec_of(architecture)
    model = StackedModel(build(spec.shape(N_VOCAB), by_hand=False), spec.precision, members)
    for row in range(members):
        model.place(flat_model(spec_of(architecture, row), N_VOCAB, by_hand=False), row)
    optimizer = StackedAdamW(model, spec)
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, members, N_CTX + 1))

    def step() -> float:
        model.grad.zero_()
        losses = model.backward(batch[..., :-1], batch[..., 1:])
        optimizer.update([RATE] * members, [0] * members)
        return float(losses.sum())

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each architecture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="one architecture and a stack of two, for a moment")
    args = parser.parse_args()
    names, sizes, seconds = (("transformer",), (2,), 0.0) if args.smoke else (("transformer", "llama"), SIZES, args.seconds)
    print("architecture   members   a step alone, ms   the stack's step, ms   alone/stack   autograd alone/stack   turns")
    for name in names:
        makers = {kind: partial(alone, name, args.threads, kind == ALONE) for kind in (ALONE, AUTOGRAD)}
        makers |= {str(members): partial(stacked, name, args.threads, members) for members in sizes}
        turns = compare(makers, seconds)
        for members in sizes:
            one, all_of_them = (1000 * statistics.median(times[kind] for times in turns) for kind in (ALONE, str(members)))
            gains = [members * ratio(turns, kind, str(members)) for kind in (ALONE, AUTOGRAD)]
            print(
                f"{name:<12} {members:>9}   {one:>16.2f}   {all_of_them:>20.2f}   {gains[0]:>11.2f}   {gains[1]:>20.2f}   "
                f"{len(turns):>5}",
                flush=True,
            )


if __name__ == "__main__":
    main()
