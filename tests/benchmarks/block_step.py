"""Compare the processor time of a training step of the llama blocks with a plain eager loop of the same block on the same core.

    PYTHONPATH=workflow:tests python tests/benchmarks/block_step.py [--seconds 12] [--threads 1] [--smoke]

The plain loop is the block as it is usually written, with a plain AdamW; it has the same kernels of PyTorch to choose from. Steps
take turns as in train_step.py.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fixtures.small_runs import model_fields, small_spec
from fixtures.steps import own_step, plain_step
from fixtures.turns import Step, compare, ratio
from scalinglaws.models.device import prepare
from scalinglaws.study.spec import RunSpec

SHAPES = ((1, 16), (2, 32), (3, 48), (4, 64), (5, 128))
BLOCKS = ("llama-2", "llama-3", "qwen3", "olmo-2")
N_CTX, BATCH_TOKENS, N_VOCAB = 128, 2048, 256


def spec_of(block: str, n_layer: int, d_model: int) -> RunSpec:
    """Return the spec of a model; two heads of queries share one of keys in the blocks that have grouped queries."""
    n_heads = max(2, d_model // 16)
    grouped = {"n_kv_heads": n_heads // 2} if block in ("llama-3", "qwen3") else {}
    fields = model_fields("llama", n_layer, d_model, block=block, n_heads=n_heads - n_heads % 2, **grouped)
    return small_spec(**fields, n_ctx=N_CTX, batch_tokens=BATCH_TOKENS, grad_clip=1.0)


def half_turned(x: Tensor) -> Tensor:
    """Return the second half with a minus sign before the first half."""
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-second, first), dim=-1)


class PlainBlock(nn.Module):
    """A layer of Llama, Qwen3 or OLMo-2 as it is usually written."""

    def __init__(self, spec: RunSpec):
        super().__init__()
        self.options, width, self.head = dict(spec.options), spec.d_model, spec.d_attn // spec.n_heads
        self.groups, d_kv = spec.n_heads // spec.n_kv_heads, self.head * spec.n_kv_heads
        self.q, self.k, self.v = (nn.Linear(width, n, bias=False) for n in (spec.d_attn, d_kv, d_kv))
        self.o = nn.Linear(spec.d_attn, width, bias=False)
        self.gate, self.up = (nn.Linear(width, spec.d_ff, bias=False) for _ in range(2))
        self.down = nn.Linear(spec.d_ff, width, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(width, 1e-5), nn.RMSNorm(width, 1e-5)
        if (kind := self.options["qk_norm"]) != "none":
            self.q_norm, self.k_norm = (nn.RMSNorm(self.head if kind == "head" else n, 1e-6) for n in (spec.d_attn, d_kv))

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.options["qk_norm"] == "all":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.view(b, t, -1, self.head) for part in (q, k, v))
        if self.options["qk_norm"] == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = q * cos + half_turned(q) * sin, k * cos + half_turned(k) * sin
        if self.groups > 1:
            k, v = (part.repeat_interleave(self.groups, dim=1) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(1, 2).contiguous().view(b, t, -1))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if self.options["norm"] == "post":
            x = x + self.norm1(self.attention(x, cos, sin))
            return x + self.norm2(self.feed_forward(x))
        x = x + self.attention(self.norm1(x), cos, sin)
        return x + self.feed_forward(self.norm2(x))


class Plain(nn.Module):
    """A model of such layers."""

    def __init__(self, spec: RunSpec):
        super().__init__()
        self.tokens = nn.Embedding(N_VOCAB, spec.d_model)
        self.blocks = nn.ModuleList(PlainBlock(spec) for _ in range(spec.n_layer))
        self.norm, self.head = nn.RMSNorm(spec.d_model, 1e-5), nn.Linear(spec.d_model, N_VOCAB, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)
        width = spec.d_attn // spec.n_heads
        angle = torch.arange(N_CTX)[:, None] * dict(spec.options)["rope_base"] ** (-torch.arange(0, width, 2) / width)
        self.cos, self.sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.cross_entropy(self.head(self.norm(x)).view(-1, N_VOCAB), targets.reshape(-1))


def step_of(kind: str, spec: RunSpec, threads: int) -> Step:
    """Set this process up for a kind of step, and return the step."""
    prepare(threads, "cpu")
    torch.manual_seed(0)
    step = plain_step(Plain(spec)) if kind == "plain" else own_step(spec, N_VOCAB)
    batch = torch.randint(N_VOCAB, (BATCH_TOKENS // N_CTX, N_CTX + 1))
    return partial(step, batch[:, :-1], batch[:, 1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=12.0, help="time for each block and size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="the smallest size of one block for a moment")
    args = parser.parse_args()
    blocks, shapes, seconds = (BLOCKS[:1], SHAPES[:1], 0.0) if args.smoke else (BLOCKS, SHAPES, args.seconds)
    print("block     N         layers x d_model   plain tokens/s   ours tokens/s   ours/plain time   turns")
    for block in blocks:
        for n_layer, d_model in shapes:
            spec = spec_of(block, n_layer, d_model)
            turns = compare({kind: partial(step_of, kind, spec, args.threads) for kind in ("plain", "ours")}, seconds)
            plain, own = (BATCH_TOKENS / statistics.median(times[kind] for times in turns) for kind in ("plain", "ours"))
            speeds = f"{plain:14,.0f}  {own:14,.0f}   {ratio(turns, 'ours', 'plain'):15.2f}"
            print(f"{block:<9} {spec.n_params:<9} {n_layer}x{d_model:<16} {speeds}   {len(turns)}", flush=True)


if __name__ == "__main__":
    main()
