"""Measure the training step of a GPU: tokens/s, the share of its speed, and where the time goes, beside a plain compiled GPT-2.

    PYTHONPATH=workflow:tests python tests/benchmarks/gpu.py [--device auto] [--steps 12] [--json FILE] [--smoke]

The same call measures a product of 8192 x 8192 matrices and a copy within the device's memory. MFU is the share of the peak speed
that the FLOP of models/count.py make up: of the speed of that product, and of the datasheet's where the device is known.
"Expected" is the second of these as cluster/cost.py predicts it for our step. Shares are of the time of the kernels of a step, by
PyTorch's profiler: the head, run alone with its gradients; attention; products of matrices without the head's; and the rest,
which is norms, activations and the optimizer. On a CPU, operators stand in for kernels, and one small shape is measured. With
--smoke nothing is compiled.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fixtures.on_a_gpu import sized, trainer_on
from fixtures.plain_gpt2 import Plain
from fixtures.small_runs import CORPUS, write_tokens
from scalinglaws.cluster import cost
from scalinglaws.cluster.device import Device
from scalinglaws.common.errors import StudyError
from scalinglaws.models.device import device_name, prepare
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.study.spec import RunSpec, TokenizerSpec
from scalinglaws.train.head_loss import head_loss
from scalinglaws.train.steps import is_eval_step

SHAPES: tuple[tuple[int, int], ...] = ((4, 128), (8, 384), (12, 768))
HEAD_WIDTH, N_CTX, N_VOCAB, BATCH_TOKENS = 64, 1024, 32768, 2**16
RATE = 1e-3
ATTENTION = re.compile(r"flash|fmha|sdpa|scaled_dot_product", re.IGNORECASE)
# The names of kernels of cuBLAS and CUTLASS, and of operators of a CPU.
PRODUCT = re.compile(
    r"gemm|nvjet|cutlass|xmma|cublas|^aten::(mm|addmm|bmm|baddbmm|addmm_|mkldnn_linear)$|mkl_linear", re.IGNORECASE
)
# Peak speeds (bfloat16 without sparsity, float32) in FLOP/s, and the bandwidth of the memory in bytes/s, by the datasheets.
DATASHEETS = {"H100": (989e12, 67e12, 3.35e12), "H200": (989e12, 67e12, 4.8e12), "A100": (312e12, 19.5e12, 2.04e12)}


@dataclass(frozen=True)
class Measured:
    """What was measured of one kind of step at one shape; shares are of the time of a step."""

    shape: str
    kind: str
    compiled: str
    tokens_per_second: float
    mfu_of_product: float
    mfu_of_datasheet: float | None
    expected: float | None
    launches: int
    head: float
    attention: float
    products: float
    other: float


def wait(device: str) -> None:
    """Wait until the device has done what it was told to."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(function: Callable[[], object], device: str, times: int) -> float:
    """Return the median of so many timings of a function, after two calls that are not counted."""
    found = []
    for call in range(times + 2):
        wait(device)
        began = time.perf_counter()
        function()
        wait(device)
        if call >= 2:
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def product_speed(device: str, size: int, times: int) -> float:
    """Return the FLOP/s of a product of two square matrices, in bfloat16 on a GPU and in float32 on a CPU."""
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, times)


def copy_speed(device: str, count: int, times: int) -> float:
    """Return the bytes/s that a copy of so many bytes reads and writes."""
    a = torch.zeros(count, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * count / seconds(lambda: b.copy_(a), device, times)


def kernels(function: Callable[[], object], device: str) -> list[tuple[str, float]]:
    """Return the name and the seconds of each kernel of a call, or of each operator on a CPU without those that it calls."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    wait(device)
    with profile(activities=activities) as seen:
        function()
        wait(device)
    events: Any = seen.events()
    if device == "cuda":
        return [(e.name, 1e-6 * e.device_time_total) for e in events if e.device_type == DeviceType.CUDA and e.device_time_total]
    return [(e.name, 1e-6 * e.self_cpu_time_total) for e in events if e.device_type == DeviceType.CPU]


def share(found: list[tuple[str, float]], pattern: re.Pattern[str]) -> float:
    """Return the seconds of those whose name a pattern finds; attention is no product, whatever its name is."""
    return sum(spent for name, spent in found if pattern.search(name) and (pattern is ATTENTION or not ATTENTION.search(name)))


def spec_of(n_layer: int, d_model: int, precision: str, batch_tokens: int, n_vocab: int, n_ctx: int) -> RunSpec:
    """Return the spec of a shape."""
    tokenizer = TokenizerSpec("bpe", n_vocab, CORPUS)
    more = {"precision": precision, "n_ctx": n_ctx, "curve_tokens": n_ctx, "eval_tokens": n_ctx}
    return sized(
        n_layer, d_model, HEAD_WIDTH, batch_tokens=batch_tokens, tokens=10**5 * batch_tokens, tokenizer=tokenizer, **more
    )


@dataclass(frozen=True)
class Steps:
    """A step of training, and its last layer alone with the gradients of its inputs."""

    step: Callable[[], object]
    head: Callable[[], object]
    compiled: str


def ours(spec: RunSpec, tokens: Path, device: str, compile_it: bool) -> Steps:
    """Return a step of the trainer, without those in which it measures a point of the curve."""
    trainer = trainer_on(spec, tokens, device, compile_it)

    def step() -> None:
        while is_eval_step(trainer.step + 1):
            trainer.step += 1
        trainer.update()

    step()
    hidden, targets = last_hidden(spec, device)
    assert trainer.model.head is not None
    table, loss = trainer.model.head
    products = torch.bfloat16 if spec.precision == "bfloat16" else table.dtype

    def head() -> None:
        head_loss(hidden.flatten(0, 1), table, targets.flatten(), products, loss).backward()

    return Steps(step, head, trainer.gradient.compiled or "no")


def plain(spec: RunSpec, n_vocab: int, device: str, compile_it: bool) -> Steps:
    """Return a step of a plain loop: autocast, loss of all logits at once, clipping and fused AdamW."""
    torch.manual_seed(0)
    model = Plain(spec.n_layer, spec.d_model, spec.n_heads, n_vocab, spec.n_ctx).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), fused=True)
    whole, last = (torch.compile(each, dynamic=False) if compile_it else each for each in (model, model.loss))
    windows = torch.randint(n_vocab, (spec.batch_tokens // spec.n_ctx, spec.n_ctx + 1), device=device)
    cast = torch.autocast(device, torch.bfloat16, enabled=spec.precision == "bfloat16")

    def step() -> None:
        with cast:
            loss = whole(windows[:, :-1], windows[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    hidden, targets = last_hidden(spec, device)

    def head() -> None:
        with cast:
            loss = last(hidden, targets)
        loss.backward()

    return Steps(step, head, "yes" if compile_it else "no")


def last_hidden(spec: RunSpec, device: str) -> tuple[Tensor, Tensor]:
    """Return hidden states (B, T, C), in the type in which a layer norm gives them, and targets (B, T)."""
    shape = (spec.batch_tokens // spec.n_ctx, spec.n_ctx)
    return torch.randn(*shape, spec.d_model, device=device, requires_grad=True), torch.zeros(
        shape, dtype=torch.int64, device=device
    )


def measure(kind: str, spec: RunSpec, steps: Steps, device: str, times: int, product: float, sheet: Device | None) -> Measured:
    """Return the speed of a step and where its time goes."""
    for _ in range(3):  # compilation, and the choice of kernels
        steps.step()
    spent = seconds(steps.step, device, times)
    steps.head()
    whole, of_head = kernels(steps.step, device), kernels(steps.head, device)
    busy = sum(each for _, each in whole)
    attention = share(whole, ATTENTION) / busy
    products = max(0.0, share(whole, PRODUCT) - share(of_head, PRODUCT)) / busy
    head = sum(each for _, each in of_head) / busy
    flop = flops_per_step(spec) / spent
    peak = None if sheet is None else sheet.bfloat16 if spec.precision == "bfloat16" else sheet.float32
    return Measured(
        shape=f"{spec.n_layer}x{spec.d_model}",
        kind=kind,
        compiled=steps.compiled,
        tokens_per_second=spec.batch_tokens / spent,
        mfu_of_product=flop / product,
        mfu_of_datasheet=flop / peak if peak else None,
        expected=flops_per_step(spec) / cost.gpu_seconds(spec, sheet) / peak if sheet and peak and kind == "ours" else None,
        launches=len(whole),
        head=head,
        attention=attention,
        products=products,
        other=1 - attention - products - head,
    )


def line(found: Measured) -> str:
    """Return a row of the table."""
    compiled = found.compiled.partition(":")[0]
    known = (found.mfu_of_datasheet, found.expected)
    sheet, expected = ("-" if each is None else f"{100 * each:.1f} %" for each in known)
    shares = "  ".join(f"{100 * each:7.1f} %" for each in (found.head, found.attention, found.products, found.other))
    speeds = f"{found.tokens_per_second:12,.0f}  {100 * found.mfu_of_product:9.1f} %  {sheet:>9}  {expected:>8}"
    return f"{found.shape:<8} {found.kind:<6} {compiled:<8} {speeds}  {found.launches:8}  {shares}"


def datasheet(name: str) -> Device | None:
    """Return what the datasheet says of a GPU of this name, where it is known here."""
    for known, (bfloat16, float32, bandwidth) in DATASHEETS.items():
        if known in name:
            return cost.H100.model_copy(update={"name": known, "bfloat16": bfloat16, "float32": float32, "bandwidth": bandwidth})
    return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto takes a GPU where there is one")
    parser.add_argument("--steps", type=int, default=12, help="steps that are timed of each kind")
    parser.add_argument("--json", type=Path, help="file to which the numbers are written")
    parser.add_argument("--smoke", action="store_true", help="one tiny shape on the CPU, without compilation, in seconds")
    args = parser.parse_args()
    try:
        device = prepare(1, "cpu" if args.smoke else args.device)
    except StudyError as error:
        parser.error(str(error))
    precision = "bfloat16" if device == "cuda" else "float32"
    name, sheet = device_name(device), datasheet(device_name(device))
    shapes: tuple[tuple[int, int], ...] = SHAPES
    batch_tokens, n_vocab, n_ctx, times = BATCH_TOKENS, N_VOCAB, N_CTX, args.steps
    size, count = 8192, 2**32
    if device == "cpu":
        shapes, batch_tokens, n_vocab, n_ctx, times = SHAPES[:1], 4096, 4096, 256, min(times, 5)
        size, count = 2048, 2**28
    if args.smoke:
        shapes, batch_tokens, n_vocab, n_ctx, times = ((1, 64),), 256, 256, 64, 2
        size, count = 256, 2**22
    product, copied = product_speed(device, size, times), copy_speed(device, count, times)
    print(f"device {device} ({name}), PyTorch {torch.__version__}, {precision}")
    print(f"batches of {batch_tokens:,} tokens in contexts of {n_ctx:,}, {n_vocab:,} words, heads of {HEAD_WIDTH}")
    print(f"a product of {size} x {size}: {product / 1e12:.3g} TFLOP/s")
    print(f"a copy of {count / 2**30:.3g} GiB: {copied / 1e9:.4g} GB/s")
    told = f"{sheet.name}, large products at {sheet.utilisation:.0%} of the peak" if sheet else "not known of this device"
    print(f"expected by the datasheet: {told}")
    shares = "  ".join(f"{share:>9}" for share in ("head", "attention", "products", "other"))
    print(f"{'shape':<8} {'step':<6} {'compiled':<8} {'tokens/s':>12}  MFU product  datasheet  expected  launches  {shares}")
    kernels(lambda: None, device)  # what the profiler does at its first start alone
    found = []
    with tempfile.TemporaryDirectory() as folder:
        tokens = write_tokens(Path(folder), train=20 * batch_tokens, held_out=8192, n_vocab=n_vocab)
        for n_layer, d_model in shapes:
            spec = spec_of(n_layer, d_model, precision, batch_tokens, n_vocab, n_ctx)
            makers = {"ours": partial(ours, spec, tokens), "plain": partial(plain, spec, n_vocab)}
            for kind, make in makers.items():
                found.append(measure(kind, spec, make(device, not args.smoke), device, times, product, sheet))
                print(line(found[-1]), flush=True)
                torch.compiler.reset()
                if device == "cuda":
                    torch.cuda.empty_cache()
    if args.json:
        values = {"device": name, "torch": torch.__version__, "product_flop_per_second": product, "copy_bytes_per_second": copied}
        args.json.write_text(json.dumps({**values, "steps": [asdict(each) for each in found]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
