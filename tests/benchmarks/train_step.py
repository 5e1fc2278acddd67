"""Tokens per second of a training step against a plain eager PyTorch loop of the same model on the same core.

    PYTHONPATH=workflow:tests python tests/benchmarks/train_step.py [--seconds 6] [--threads 1]

The two take turns within one process, step by step, and processor time is counted, not wall time, so that other processes
on the machine disturb the ratio little; it is the median over pairs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from unit.small_runs import small_spec

from scalinglaws.models.count import n_params
from scalinglaws.models.transformer import build
from scalinglaws.optim import AdamW

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
    """A step of the plain loop: loss, gradients, clipping, AdamW."""
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


def own_step(n_layer: int, d_model: int, n_heads: int) -> Callable[[Tensor, Tensor], float]:
    """A step as scalinglaws.train takes it."""
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": n_heads, "d_ff": 4 * d_model, "d_attn": d_model}
    spec = small_spec(**shape, n_ctx=N_CTX, batch_tokens=BATCH_TOKENS, grad_clip=1.0)
    model = build(spec, N_VOCAB)
    optimizer = AdamW(model, spec)
    count = 0

    def step(tokens: Tensor, targets: Tensor) -> float:
        nonlocal count
        model.grad.zero_()
        loss = model.backward(tokens, targets)
        optimizer.update(RATE, count)
        count += 1
        return loss.item()

    return step


def compare(n_layer: int, d_model: int, n_heads: int, seconds: float) -> tuple[float, float, float, int]:
    """Median seconds of a plain step and of ours, the median of the pairs' ratios, and the number of pairs."""
    steps = plain_step(n_layer, d_model, n_heads), own_step(n_layer, d_model, n_heads)
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, N_CTX + 1))
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        pair = []
        for step in steps:
            began = time.process_time()
            step(batch[:, :-1], batch[:, 1:])
            pair.append(time.process_time() - began)
        times.append((pair[0], pair[1]))
    times = times[2:]
    plain, own = zip(*times, strict=True)
    return statistics.median(plain), statistics.median(own), statistics.median(p / o for p, o in times), len(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each size")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    print("N         layers x d_model   plain tokens/s   ours tokens/s   ratio   pairs")
    for n_layer, d_model, n_heads in SHAPES:
        plain, own, ratio, pairs = compare(n_layer, d_model, n_heads, args.seconds)
        n = n_params(n_layer, d_model, 4 * d_model, d_model)
        speeds = f"{BATCH_TOKENS / plain:14,.0f}  {BATCH_TOKENS / own:14,.0f}"
        print(f"{n:<9} {n_layer}x{d_model:<16} {speeds}   {ratio:5.2f}   {pairs}", flush=True)


if __name__ == "__main__":
    main()
