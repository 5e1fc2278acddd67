"""Compare the tokens per second of a training step with a plain eager PyTorch loop of the same model on the same core.

    PYTHONPATH=workflow:tests python tests/benchmarks/train_step.py [--seconds 6] [--threads 1] [--smoke]

The two are processes that take turns, step by step, and processor time is counted, not wall time, so that whatever else runs
disturbs the ratio little: it is the median over pairs. Where one of them dies, the benchmark ends with status 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fixtures.small_runs import flat_model, small_spec
from scalinglaws.models.device import prepare
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.study.spec import RunSpec

SHAPES = ((1, 8, 1), (1, 16, 1), (2, 16, 1), (2, 32, 2), (3, 48, 3), (4, 64, 4), (5, 128, 4))
N_CTX, BATCH_TOKENS, N_VOCAB, RATE = 128, 2048, 256, 1e-3


class PlainBlock(nn.Module):
    """A layer of GPT-2 as it is usually written."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.project = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.gelu = nn.GELU(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (part.view(b, t, self.n_heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(d, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).contiguous().view(b, t, d)
        x = x + self.project(mixed)
        return x + self.down(self.gelu(self.up(self.norm2(x))))


class Plain(nn.Module):
    """The same model as an nn.Module."""

    def __init__(self, n_layer: int, d_model: int, n_heads: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(N_VOCAB, d_model), nn.Embedding(N_CTX, d_model)
        self.blocks = nn.ModuleList(PlainBlock(d_model, n_heads) for _ in range(n_layer))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, N_VOCAB, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).view(-1, N_VOCAB), targets.reshape(-1))


def plain_step(n_layer: int, d_model: int, n_heads: int) -> Callable[[Tensor, Tensor], float]:
    """Take a step of the plain loop: loss, gradients, clipping, AdamW."""
    model = Plain(n_layer, d_model, n_heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), fused=True)

    def step(tokens: Tensor, targets: Tensor) -> float:
        loss = model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def spec_of(n_layer: int, d_model: int, n_heads: int) -> RunSpec:
    """Return the spec of a model of this size."""
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": n_heads, "d_ff": 4 * d_model, "d_attn": d_model}
    return small_spec(**shape, n_ctx=N_CTX, batch_tokens=BATCH_TOKENS, grad_clip=1.0)


def own_step(n_layer: int, d_model: int, n_heads: int) -> Callable[[Tensor, Tensor], float]:
    """Take a step as scalinglaws.train.trainer does."""
    spec = spec_of(n_layer, d_model, n_heads)
    model = flat_model(spec, N_VOCAB)
    optimizer = build_optimizer(model, spec)
    count = 0

    def step(tokens: Tensor, targets: Tensor) -> float:
        nonlocal count
        model.grad.zero_()
        loss = model.backward(tokens, targets)
        optimizer.update(RATE, count)
        count += 1
        return loss.item()

    return step


def worker(plain: bool, shape: tuple[int, int, int], threads: int, turns: Connection) -> None:
    """Take a step whenever told to and answer with its processor seconds, until told None."""
    if plain:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
    else:
        prepare(threads, "cpu")
    torch.manual_seed(0)
    step = plain_step(*shape) if plain else own_step(*shape)
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, N_CTX + 1))
    while turns.recv() is not None:
        began = time.process_time()
        step(batch[:, :-1], batch[:, 1:])
        turns.send(time.process_time() - began)


def compare(shape: tuple[int, int, int], seconds: float, threads: int) -> tuple[float, float, float, int]:
    """Return the median seconds of a plain step and of ours, the median of the pairs' ratios, and the number of pairs."""
    spawn = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for plain in (True, False):
        ours, theirs = spawn.Pipe()
        processes.append(spawn.Process(target=worker, args=(plain, shape, threads, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # so that the death of the process ends the pipe, instead of leaving it silent
        ends.append(ours)
    pairs: list[list[float]] = []
    for _ in range(3):  # the first steps allocate memory and choose kernels
        _pair(ends)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < 5:
        pairs.append(_pair(ends))
    for one in ends:
        one.send(None)
    for process in processes:
        process.join()
    plain_times, own_times = zip(*pairs, strict=True)
    ratio = statistics.median(p / o for p, o in pairs)
    return statistics.median(plain_times), statistics.median(own_times), ratio, len(pairs)


def _pair(ends: list[Connection]) -> list[float]:
    times = []
    for one in ends:
        try:
            one.send("step")
            times.append(float(one.recv()))
        except (EOFError, OSError):
            raise SystemExit("a process of the benchmark died: its error is above") from None
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="the smallest and the largest size for a moment each")
    args = parser.parse_args()
    shapes, seconds = ((SHAPES[0], SHAPES[-1]), 0.0) if args.smoke else (SHAPES, args.seconds)
    print("N         layers x d_model   plain tokens/s   ours tokens/s   ratio   pairs")
    for n_layer, d_model, n_heads in shapes:
        plain, own, ratio, pairs = compare((n_layer, d_model, n_heads), seconds, args.threads)
        n = spec_of(n_layer, d_model, n_heads).n_params
        speeds = f"{BATCH_TOKENS / plain:14,.0f}  {BATCH_TOKENS / own:14,.0f}"
        print(f"{n:<9} {n_layer}x{d_model:<16} {speeds}   {ratio:5.2f}   {pairs}", flush=True)


if __name__ == "__main__":
    main()
