"""Compare a step whose layers share one compiled code with one that is compiled as a whole, by PyTorch's compiler for the CPU.

    PYTHONPATH=workflow:tests python tests/benchmarks/compile.py [--layers 4 8 12] [--d-model 128] [--seconds 20] [--smoke]

A step is what a GPU computes: the hidden states, the loss in parts and their gradients, here in float32 on one core. Seconds of
compilation are processor time of the first step, the C compiler's included, less that of a second one; the softmax, which both
have, is compiled before. Steps then take turns as in train_step.py. The last columns are the largest differences of the loss and
of a gradient from uncompiled code, the latter over the largest number of the gradient. Without a C compiler the benchmark says so
and ends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sysconfig
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from fixtures.small_runs import flat_model, model_fields, small_spec
from fixtures.turns import Step, compare, ratio
from scalinglaws.models.device import prepare
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.compilation import compiled, missing_compiler
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.head_loss import rows_at_once, softmax_loss

KINDS = ("eager", "whole", "layer")
N_CTX, WINDOWS, N_VOCAB = 128, 8, 512


def spec_of(architecture: str, n_layer: int, d_model: int) -> RunSpec:
    """Return the spec of a model whose heads have 64 numbers, or all d_model where that is less."""
    fields = model_fields(architecture, n_layer, d_model, n_heads=max(1, d_model // 64))
    return small_spec(**fields, n_ctx=N_CTX, batch_tokens=WINDOWS * N_CTX)


def model_of(kind: str, spec: RunSpec) -> FlatModel:
    """Set this process up and return a model whose step is that of a GPU: uncompiled, compiled as a whole, or by layer."""
    prepare(1, "cpu")
    model = flat_model(spec, N_VOCAB, by_hand=False)
    model.loss_in_parts()
    if kind != "eager":
        model.compile()
    if kind == "whole":
        model.compiled = compiled(model.hidden)
    return model


def step_of(kind: str, spec: RunSpec) -> Step:
    """Return the step of a kind, which computes the gradient of one batch."""
    batch = torch.randint(N_VOCAB, (WINDOWS, N_CTX + 1), generator=torch.Generator().manual_seed(0))
    return partial(model_of(kind, spec).backward, batch[:, :-1], batch[:, 1:])


def first_step(kind: str, spec: RunSpec) -> tuple[float, float, list[float]]:
    """Return the processor seconds of compilation, the loss and the gradient of a first step, in a process of its own."""
    step = step_of(kind, spec)
    times, losses = [processor_seconds()], []
    for _ in range(2):
        losses.append(step())
        times.append(processor_seconds())
    assert isinstance(step, partial) and isinstance(losses[0], Tensor)
    model: Any = step.func
    gradient = model.__self__.grad / 2  # of two equal steps
    return 2 * times[1] - times[0] - times[2], float(losses[0]), gradient.tolist()


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it has started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def row(architecture: str, n_layer: int, d_model: int, seconds: float) -> str:
    """Return the line of the table for one model."""
    spec = spec_of(architecture, n_layer, d_model)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # of the processes that are started from here on
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            pool.apply(prepare_compiler)
            first = {kind: pool.apply(first_step, (kind, spec)) for kind in KINDS}
        turns = compare({kind: partial(step_of, kind, spec) for kind in KINDS}, seconds)
    exact = torch.tensor(first["eager"][2])
    worst = max(float((torch.tensor(first[kind][2]) - exact).abs().max() / exact.abs().max()) for kind in KINDS[1:])
    loss = max(abs(first[kind][1] - first["eager"][1]) for kind in KINDS[1:])
    steps = "".join(f"{1e3 * statistics.median(times[kind] for times in turns):9.1f}" for kind in KINDS)
    ratios = f"{ratio(turns, 'layer', 'whole'):13.3f}{ratio(turns, 'layer', 'eager'):13.3f}"
    model = f"{architecture} {n_layer}x{d_model}"
    return f"{model:<20}{first['whole'][0]:9.1f}{first['layer'][0]:9.1f}{steps}{ratios}{loss:11.1e}{worst:11.1e}"


def smoke() -> str:
    """Return a line on one small layer by a compiler that makes no code, in this process: the benchmark's parts work together."""
    with mock.patch("torch.compile", partial(torch.compile, backend="aot_eager")):
        spec = spec_of("transformer", 1, 8)
        exact, found = (first_step(kind, spec) for kind in ("eager", "layer"))
    apart = (torch.tensor(found[2]) - torch.tensor(exact[2])).abs().max()
    return (
        f"transformer 1x8 by layer, without the C compiler: loss {abs(found[1] - exact[1]):.1e}, gradient {apart:.1e} from eager"
    )


def prepare_compiler() -> None:
    """Let the compiler make what it makes once, whatever it compiles, such as headers and the softmax of a part of the logits."""
    prepare(1, "cpu")
    rows = min(rows_at_once(N_VOCAB), WINDOWS * N_CTX)
    compiled(softmax_loss)(torch.zeros(rows, N_VOCAB), torch.zeros(rows, dtype=torch.int64), N_VOCAB, 1 / (WINDOWS * N_CTX))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--architecture", default="transformer", choices=["transformer", "llama"])
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="time of the steps of each model")
    parser.add_argument("--smoke", action="store_true", help="one small layer, without the C compiler")
    args = parser.parse_args()
    if args.smoke:
        print(smoke())
        return
    if missing := missing_compiler(os.environ.get("CC", ""), Path(sysconfig.get_paths()["include"])):
        print(f"nothing is compared: {missing}")
        return
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # so that the C compiler is a child of the process that waits for it
    print(f"{'':<20}{'compilation, s':^18}{'a step, ms':^27}{'ratios of steps':^26}{'differences':^22}")
    print(
        f"{'model':<20}{'whole':>9}{'layer':>9}{'eager':>9}{'whole':>9}{'layer':>9}{'layer/whole':>13}{'layer/eager':>13}"
        f"{'loss':>11}{'gradient':>11}"
    )
    for n_layer in args.layers:
        print(row(args.architecture, n_layer, args.d_model, args.seconds), flush=True)


if __name__ == "__main__":
    main()
