"""The GPU's memory: what a training takes against what is planned for it, and a training for which it is too small."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.on_a_gpu import N_VOCAB, sized, trainer_on, with_micro
from fixtures.small_runs import CORPUS, write_tokens
from scalinglaws.cluster.needs import gpu_bytes
from scalinglaws.study.spec import RunSpec, TokenizerSpec
from scalinglaws.train.trainer import Trainer

FACTOR = 1.5
LARGE = 32768  # words
# Layers, width, contexts of a micro-batch, words, and further fields. Each takes a GiB or more, beside which rounding is small.
SHAPES: dict[str, tuple[int, int, int, int, dict[str, Any]]] = {
    "activations": (4, 512, 64, N_VOCAB, {"precision": "bfloat16"}),
    "activations in float32": (4, 512, 32, N_VOCAB, {"precision": "float32"}),
    "weights": (8, 1536, 2, N_VOCAB, {"precision": "bfloat16"}),
    "words": (2, 768, 16, LARGE, {"precision": "bfloat16"}),
    "adafactor": (6, 1536, 4, N_VOCAB, {"precision": "bfloat16", "optimizer": "adafactor"}),
}


@pytest.fixture(autouse=True)
def all_of_it() -> Iterator[None]:
    """Give the process all of the GPU's memory again after a test."""
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


def token_folder(folder: Path, n_vocab: int) -> Path:
    return write_tokens(folder, train=300_000, held_out=5000, n_vocab=n_vocab)


def spec_of(n_layer: int, d_model: int, contexts: int, n_vocab: int, **changes: Any) -> RunSpec:
    """Return a spec of contexts of 512 tokens whose batch is one micro-batch."""
    tokenizer = TokenizerSpec("bytes") if n_vocab == N_VOCAB else TokenizerSpec("bpe", n_vocab, CORPUS)
    sizes = {"n_ctx": 512, "batch_tokens": 512 * contexts, "tokens": 512 * contexts * 40, "curve_tokens": 512}
    return with_micro(sized(n_layer, d_model, tokenizer=tokenizer, **sizes, **changes), contexts)


@pytest.mark.needs_gpu("the memory is that which its allocator has given")
@pytest.mark.parametrize(("name", "compiled"), [*((name, False) for name in SHAPES), ("activations", True)])
def test_the_peak_is_that_of_the_plan(name: str, compiled: bool, device: str, tmp_path: Path, record_property: Any) -> None:
    *sizes, more = SHAPES[name]
    n_layer, d_model, contexts, n_vocab = sizes
    spec = spec_of(n_layer, d_model, contexts, n_vocab, **more)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    trainer = trainer_on(spec, token_folder(tmp_path, n_vocab), device, compiled)
    for _ in range(2):
        trainer.update()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    planned = gpu_bytes(spec, tokens=spec.micro_batch_tokens)
    record_property("peak", f"{peak / 2**30:.2f} GiB, {peak / planned:.2f} of the plan")
    assert peak < FACTOR * planned
    # Compiled code keeps less than what is planned, by a factor that is the compiler's.
    assert compiled or peak > planned / FACTOR


def losses(trainer: Trainer, updates: int) -> list[float]:
    """Return the losses of so many updates."""
    found = []
    for _ in range(updates):
        trainer.loss_sum.zero_()
        trainer.update()
        found.append(float(trainer.loss_sum))
    return found


@pytest.mark.needs_gpu("the memory that runs out is its own; a CPU has a made-up one in unit/train/test_compilation.py")
def test_a_full_memory_halves_the_micro_batch(device: str, tmp_path: Path, record_property: Any, capsys: Any) -> None:
    folder, spec = token_folder(tmp_path, N_VOCAB), spec_of(4, 256, 256, N_VOCAB, precision="float32")
    torch.cuda.reset_peak_memory_stats()
    whole = trainer_on(dataclasses.replace(spec, micro_batch_tokens=spec.batch_tokens // 4), folder, device, compiled=True)
    wanted = losses(whole, 3)
    needed = torch.cuda.max_memory_allocated()
    del whole
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    # Room for micro-batches of half the batch and not for the whole: what a quarter needs is nearly all activations.
    room = 3 * needed
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    torch.compiler.reset()
    trainer = trainer_on(spec, folder, device, compiled=True)
    found = losses(trainer, 3)
    apart = [abs(one - other) / other for one, other in zip(found, wanted, strict=True)]
    record_property("room", f"{room / 2**30:.2f} GiB, micro-batches of {trainer.gradient.per_micro} of 256 contexts")
    record_property("losses apart", " ".join(f"{each:.1e}" for each in apart))
    assert f"out of memory at micro-batches of {spec.micro_contexts} contexts" in capsys.readouterr().err
    assert trainer.gradient.per_micro == spec.micro_contexts // 2
    assert trainer.gradient.compiled == "yes" and trainer.model.compiled is not None, trainer.gradient.compiled
    # AdamW's first updates have the sign of each gradient, also where that is rounding.
    assert torch.cuda.max_memory_allocated() <= room and apart[0] < 1e-5 and max(apart) < 1e-4
