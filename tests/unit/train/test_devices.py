"""The same tests by device: of CUDA and of a Mac where they are there; and what a Mac's GPU lacks is asked of it nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.devices import DEVICES, GPUS, like_a_mac
from fixtures.small_runs import N_VOCAB, flat_model, killed_at, model_fields, small_spec, write_tokens
from scalinglaws.data.batches import Batches
from scalinglaws.evaluate.losses import token_losses
from scalinglaws.models.build import build
from scalinglaws.models.device import float64_device, prepare
from scalinglaws.optim import adamw
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.train.compilation import NOT_ON_MPS, out_of_memory
from scalinglaws.train.feed import Feed
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.run import train
from scalinglaws.train.saver import Saver
from scalinglaws.train.trainer import Trainer

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "transformer": {"n_heads": 2},
    "recurrent": {"n_heads": 2, "n_repeats": 2},
    "llama": {"n_heads": 2, "n_kv_heads": 1},
    "lstm": {},
    "moe": {"n_heads": 2, "n_experts": 4},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_on_a_device_is_that_of_float64(device: str, architecture: str) -> None:
    """The loss is in parts, as on GPUs, and the exact gradient is that of autograd on the CPU."""
    spec = small_spec(**model_fields(architecture, 2, 16, **ARCHITECTURES[architecture]))
    batch = torch.randint(N_VOCAB, (4, spec.n_ctx + 1), generator=torch.Generator().manual_seed(0))
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for at in (prepare(1, device), "cpu"):
        module = build(spec.shape(N_VOCAB), seed=1, device=at, by_hand=False)
        model = FlatModel(module if not found else module.double())
        if not found:
            model.loss_in_parts()
        tokens = batch.to(at)
        found.append((model.backward(tokens[:, :-1], tokens[:, 1:]).cpu().double(), model.grad.cpu().double()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_windows_on_a_device_are_those_of_the_batch(device: str) -> None:
    spec = small_spec(dataset_tokens=1000)
    batches = Batches(np.random.default_rng(0).integers(0, 2**16, 1500).astype("<u2"), spec)
    feed, part = Feed(batches, prepare(1, device)), slice(1, 4)
    for step in range(3):
        found = feed.rows(step, part)
        feed.prefetch(step + 1, part)
        assert found.dtype == torch.int64 and found.tolist() == batches.batch(step)[part].tolist()


@pytest.mark.parametrize("device", GPUS)
def test_a_run_on_a_gpu_ends_where_that_of_a_cpu_does(device: str, tmp_path: Path) -> None:
    """The run is killed and goes on. Both runs have the same losses but for rounding, and timing.json tells of the GPU."""
    spec, tokens = small_spec(noise_every=4), write_tokens(tmp_path / "tokens")
    with killed_at(20):
        train(spec, tokens, tmp_path / device, device=device, checkpoint_seconds=0)
    for at in (device, "cpu"):
        train(spec, tokens, tmp_path / at, device=at)
    losses = [json.loads((tmp_path / at / "metrics.json").read_text())["loss"] for at in (device, "cpu")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    timing = json.loads((tmp_path / device / "timing.json").read_text())
    assert timing["device_asked"] == device and timing["driver"] and timing["gpus_visible"] > 0
    assert timing["compiled"].startswith("no: ") and timing["deterministic"] is False


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("transformer", {"optimizer": "adamw", "dropout": 0.1, "noise_every": 4, "stop": "early", "schedule": "constant"}),
        ("llama", {"optimizer": "muon", "noise_every": 3}),
        ("recurrent", {"optimizer": "adafactor"}),
        ("transformer", {"optimizer": "sgd", "micro_batch_tokens": 32}),
    ],
    ids=lambda value: value if isinstance(value, str) else value["optimizer"],
)
def test_nothing_of_a_training_is_in_float64_on_mps(
    architecture: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates, points of the curve, the noise scale, states that are saved and restored: none puts float64 there."""
    spec = small_spec(**model_fields(architecture, 2, 16, **ARCHITECTURES[architecture]), **changes)
    tokens, saved = write_tokens(tmp_path / "tokens"), []
    with like_a_mac(monkeypatch):
        with pytest.raises(AssertionError, match="in float64"):
            torch.zeros(2, dtype=torch.float64, device="mps")
        trainer = Trainer(spec, tokens, "mps")
        assert trainer.model.flat.is_meta and trainer.gradient.compiled is None
        trainer.gradient.compile(10**9)
        for _ in range(9):
            trainer.update()
        trainer.add_row(final=True)
        saver = Saver(lambda path, tensors, values: saved.append((tensors, values)))
        saver.save(tmp_path / "state", *trainer.state(), began=0.0)
        saver.wait()
        trainer.restore(*saved[0])
        trainer.update()
    assert len(trainer.rows) == 3 and trainer.step == 10  # of steps 8, 9 and 10
    assert trainer.loss_sum.dtype == torch.float64 and trainer.loss_sum.device.type == "cpu"
    assert trainer.gradient.compiled == NOT_ON_MPS


def test_numbers_in_float64_lie_where_there_is_float64() -> None:
    assert [float64_device(device) for device in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]


def test_clipping_holds_where_the_kernel_of_adamw_does_not_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights after some updates are those of a kernel that scales gradients itself."""
    spec, batch = small_spec(grad_clip=0.1, weight_decay=0.1), torch.randint(N_VOCAB, (4, 17))
    flats = []
    for scaled_on in (("cpu", "cuda"), ()):
        monkeypatch.setattr(adamw, "SCALED_ON", scaled_on)
        model = flat_model(spec)
        optimizer = build_optimizer(model, spec)
        for step in range(5):
            model.grad.zero_()
            model.backward(batch[:, :-1], batch[:, 1:])
            norm = optimizer.update(0.01, step)
        assert norm > spec.grad_clip
        flats.append(model.flat)
    torch.testing.assert_close(flats[1], flats[0], rtol=0, atol=1e-6)


def test_a_full_memory_of_a_mac_is_known() -> None:
    told = "MPS backend out of memory (MPS allocated: 17.98 GB, other allocations: 80.00 MB, max allowed: 18.13 GB)."
    assert out_of_memory(RuntimeError(told)) and out_of_memory(RuntimeError("Invalid buffer size: 32.00 GiB"))


@pytest.mark.parametrize("device", GPUS)
def test_losses_on_a_gpu_are_those_of_a_cpu(device: str, tmp_path: Path) -> None:
    trainer = Trainer(small_spec(), write_tokens(tmp_path / "tokens"))
    there = build(trainer.spec.shape(N_VOCAB), seed=trainer.spec.seed, device=prepare(1, device))
    np.testing.assert_allclose(token_losses(there, trainer.curve), token_losses(trainer.model.module, trainer.curve), rtol=1e-4)
