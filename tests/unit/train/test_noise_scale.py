"""The gradient noise scale: planted covariances found, the training bits untouched, the same rows however a run came about."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.small_runs import small_spec, write_tokens
from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.study import config, study
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.noise_scale import DECAY, NoiseScale
from scalinglaws.train.run import train, train_rung
from scalinglaws.train.trainer import Trainer


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


def noisy_spec(**changes: Any) -> RunSpec:
    """Return a spec with 16 windows in a batch, two of them in its small part, measured every third step."""
    return small_spec(**{"batch_tokens": 256, "tokens": 256 * 40, "warmup_tokens": 512, "noise_every": 3} | changes)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def test_a_quadratic_gives_back_its_planted_noise_scale() -> None:
    # A token x of covariance diag(v) has the loss 1/2 (w - x)' H (w - x): gradient H (w - x), of mean H w and covariance H v H.
    generator, n = torch.Generator().manual_seed(0), 1000
    h, v, w = (torch.rand(n, generator=generator, dtype=torch.float64) + 0.5 for _ in range(3))
    square, trace = float((h * w).square().sum()), float((h * h * v).sum())
    spec = small_spec(n_ctx=1, batch_tokens=16, noise_every=1)
    noise = NoiseScale(spec, "cpu")
    assert (noise.small_tokens, noise.big_tokens) == (2, 16)
    for _ in range(60):
        x = torch.randn(16, n, generator=generator, dtype=torch.float64) * v.sqrt()
        gradients = h * (w - x)
        noise.add(gradients[:2].mean(0).norm(), gradients.mean(0).norm())
    found_square, found_trace = noise.smoothed()
    assert found_square is not None and found_trace is not None
    assert found_square == pytest.approx(square, rel=0.05) and found_trace == pytest.approx(trace, rel=0.05)
    assert found_trace / found_square == pytest.approx(trace / square, rel=0.05)


def test_the_average_is_a_weighted_mean_of_the_measurements() -> None:
    noise = NoiseScale(small_spec(n_ctx=1, batch_tokens=16, noise_every=1), "cpu")
    assert noise.smoothed() == (None, None)
    norms = np.random.default_rng(0).uniform(1, 2, size=(5, 2))
    for small, big in norms:
        noise.add(torch.tensor(small), torch.tensor(big))
    weights = DECAY ** np.arange(4, -1, -1)
    squares = [(16 * big**2 - 2 * small**2) / 14 for small, big in norms]
    traces = [(small**2 - big**2) / (1 / 2 - 1 / 16) for small, big in norms]
    wanted = (np.average(squares, weights=weights), np.average(traces, weights=weights))
    assert noise.smoothed() == pytest.approx(wanted, rel=1e-12)


def autograd_norm(trainer: Trainer, windows: Tensor) -> float:
    """Return the norm of the mean gradient of windows by autograd through ``model.loss``."""
    gradients = torch.autograd.grad(trainer.model.loss(windows[:, :-1], windows[:, 1:]), list(trainer.model.params.values()))
    return float(torch.cat([g.reshape(-1) for g in gradients]).double().norm())


@pytest.mark.parametrize("micro", [None, 16, 128])
def test_a_measurement_is_that_of_the_two_gradients(tokens: Path, micro: int | None) -> None:
    trainer = Trainer(noisy_spec(noise_every=1, micro_batch_tokens=micro), tokens)
    assert trainer.noise is not None
    trainer.update()
    assert trainer.noise.smoothed() == (None, None)  # the gradient of the initial weights is not measured
    batch = torch.from_numpy(trainer.batches.batch(1))
    small, big = autograd_norm(trainer, batch[:2]), autograd_norm(trainer, batch)
    trainer.update()
    wanted = ((256 * big**2 - 32 * small**2) / 224, (small**2 - big**2) / (1 / 32 - 1 / 256))
    assert trainer.noise.smoothed() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.1}, {"micro_batch_tokens": 64}])
def test_measuring_leaves_the_weights_as_they_are(tokens: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = noisy_spec(**changes)
    train(spec, tokens, tmp_path / "with", device="cpu")
    train(dataclasses.replace(spec, noise_every=0), tokens, tmp_path / "without", device="cpu")
    one, other = (tmp_path / name / "model.safetensors" for name in ("with", "without"))
    assert one.read_bytes() == other.read_bytes()
    measured, plain = curve(tmp_path / "with"), curve(tmp_path / "without")
    assert all(row["noise_trace"] > 0 and row["noise_square"] is not None for row in measured)
    assert all(row["noise_trace"] is None and row["noise_square"] is None for row in plain)
    blank = {"noise_square": None, "noise_trace": None}
    assert [row | blank for row in measured] == plain


def test_rows_are_the_same_from_a_rung_and_from_a_checkpoint(tokens: Path, tmp_path: Path) -> None:
    spec = noisy_spec()
    train(spec, tokens, tmp_path / "nothing", device="cpu")
    for step in (8, 25):
        train_rung(spec.trunk, tokens, step, tmp_path / "trunk" / f"step{step}.safetensors", device="cpu")
    train(spec, tokens, tmp_path / "rung", trunk=tmp_path / "trunk", device="cpu")
    first, second = Trainer(spec, tokens), Trainer(spec, tokens)
    while first.step < 20:
        first.update()
    tensors, values = first.state()
    second.restore({name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(values)))
    while second.step < spec.steps:
        second.update()
    rows = curve(tmp_path / "nothing")
    assert rows == curve(tmp_path / "rung") and rows[: len(second.rows)] == second.rows


def test_a_state_of_before_the_noise_scale_is_taken(tokens: Path) -> None:
    trainer, plain = Trainer(noisy_spec(), tokens), Trainer(noisy_spec(noise_every=0), tokens)
    plain.update()
    tensors, values = plain.state()
    assert "noise" not in values
    trainer.restore(tensors, values)
    trainer.update()
    assert trainer.step == 2 and torch.isfinite(trainer.model.flat).all()


def test_a_batch_of_one_window_is_refused() -> None:
    settings = {"defaults__noise_every": 8, "defaults__batch_tokens": 128}
    with pytest.raises(StudyError, match=r"noise_every: .* two contexts of n_ctx 128"):
        study.build(config.parse(changed(**settings)), Path("nowhere"))
    study.build(config.parse(changed(**settings | {"defaults__batch_tokens": 256})), Path("nowhere"))
