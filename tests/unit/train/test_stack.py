"""A stack trains many models of one shape at once; each of them as if it were alone, but for rounding."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.small_runs import flat_model, model_fields, small_spec, write_tokens
from scalinglaws.models.build import build
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim.adamw import AdamW
from scalinglaws.optim.base import OneProcess
from scalinglaws.optim.stacked_adamw import StackedAdamW
from scalinglaws.study.spec import RunSpec
from scalinglaws.train import checkpoint
from scalinglaws.train.run import begin_run, train
from scalinglaws.train.stack import Stack, StackedModel
from scalinglaws.train.stacked_run import StackedRun, Stage
from scalinglaws.train.trainer import Trainer
from scalinglaws.train.training import Training

MODELS: dict[str, dict[str, Any]] = {
    "transformer": {"n_layer": 2},
    "recurrent": model_fields("recurrent", 1, 8, n_heads=2, n_repeats=2),
    "llama": model_fields("llama", 2, 8, n_heads=4, block="llama-3", n_kv_heads=2),
    "qwen3": model_fields("llama", 1, 8, n_heads=2, block="qwen3", tied=False),
}
VARIED: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "learning_rate": 0.003, "dataset_tokens": 2000},
    {"seed": 3, "learning_rate": 0.02, "dataset_tokens": 700, "schedule": "cosine", "decay": 0.0, "tokens": 64 * 30},
]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


def stack_of(specs: list[RunSpec], tokens: Path, rows: int | None = None) -> Stack:
    trainers = [Trainer(spec, tokens) for spec in specs]
    stack = Stack(rows or len(specs), trainers[0])
    for row, trainer in enumerate(trainers):
        stack.put(trainer, row)
    return stack


def trainer_in(stack: Stack, row: int) -> Trainer:
    trainer = stack.rows[row]
    assert trainer is not None
    return trainer


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_each_member_is_that_of_its_model_alone(name: str) -> None:
    spec = small_spec(**MODELS[name])
    models = [flat_model(small_spec(**MODELS[name], seed=seed), by_hand=False) for seed in range(3)]
    stacked = StackedModel(build(spec.shape(32), by_hand=False), "float32", 3)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 32, (4, 3, 17)))
    wanted = []
    for row, model in enumerate(models):
        own = tokens[:, row]
        wanted.append((float(model.backward(own[:, :-1], own[:, 1:])), model.grad.clone(), model.flat.clone()))
        model.grad.zero_()
        stacked.place(model, row)
    for part in tokens.split(2):  # two micro-batches
        losses = stacked.backward(part[..., :-1], part[..., 1:], weight=0.5)
    assert losses.shape == (3,)
    for model, (_, gradient, flat) in zip(models, wanted, strict=True):
        assert torch.equal(model.flat, flat) and relative(model.grad, gradient) < 1e-6
    whole = stacked.losses(stacked.params, tokens[..., :-1], tokens[..., 1:]).tolist()
    assert whole == pytest.approx([loss for loss, _, _ in wanted], rel=1e-6)


def test_architectures_that_vmap_cannot_compute_say_so() -> None:
    able = {entry.name for entry in ARCHITECTURES.values() if entry.stacks}
    assert able == {"transformer", "recurrent", "llama"}
    for name, more in (("lstm", {}), ("moe", {"n_heads": 2, "n_experts": 4})):
        spec = small_spec(**model_fields(name, 1, 8, **more))
        stacked = StackedModel(build(spec.shape(32)), "float32", 2)
        tokens = torch.zeros(2, 2, 16, dtype=torch.int64)
        with pytest.raises(RuntimeError):
            stacked.backward(tokens, tokens)


MUP = (("base_depth", 1), ("base_head_width", 4), ("base_width", 4), ("name", "mup"))


@pytest.mark.parametrize("changes", [{"weight_decay": 0.1}, {"weight_decay": 0.1, "grad_clip": 0.0, "parametrization": MUP}])
def test_an_update_is_that_of_each_model_alone(changes: dict[str, Any]) -> None:
    spec = small_spec(**changes)
    models = [flat_model(small_spec(**changes, seed=seed), by_hand=False) for seed in range(3)]
    alone = [flat_model(small_spec(**changes, seed=seed), by_hand=False) for seed in range(3)]
    stacked = StackedModel(build(spec.shape(32), by_hand=False), "float32", 3)
    for row, model in enumerate(models):
        stacked.place(model, row)
    optimizer = StackedAdamW(stacked, spec)
    others = [AdamW(model, spec, OneProcess()) for model in alone]
    noise = torch.Generator().manual_seed(0)
    before = torch.stack([model.flat for model in alone])
    for update in range(3):
        for row, model in enumerate(alone):
            model.grad.copy_(torch.randn(model.grad.shape, generator=noise) * 10.0 ** (row - 1))
            models[row].grad.copy_(model.grad)
        rates, steps = [0.01, 0.1, 0.0], [update, update + 5, update]
        norms = optimizer.update(rates, steps)
        wanted = [other.update(rate, step) for other, rate, step in zip(others, rates, steps, strict=True)]
        assert relative(norms, torch.stack(wanted)) < 1e-5
    for row, other in enumerate(alone[:2]):
        assert relative(models[row].flat - before[row], other.flat - before[row]) < 1e-5
        assert relative(optimizer.exp_avg_sq[row, : len(other.flat)], others[row].exp_avg_sq) < 1e-6
    assert torch.equal(models[2].flat, before[2])


def test_a_member_does_not_depend_on_the_others(tokens: Path) -> None:
    """In stacks of 1, 3 and 5, in other places and at another update of the stack, it sees the same data, rates and gradients."""
    spec = small_spec(**VARIED[1])
    alone = Trainer(spec, tokens)
    for _ in range(20):
        alone.update()
    others = [small_spec(seed=seed, learning_rate=0.01 * seed) for seed in range(5, 9)]
    for place, specs in ((0, [spec]), (2, [*others[:2], spec]), (1, [others[0], spec, *others[1:]])):
        stack = stack_of([*specs[:place], others[3], *specs[place + 1 :]], tokens)
        for _ in range(3):
            stack.update()
        stack.take(place)
        member = Trainer(spec, tokens)
        stack.put(member, place)
        for _ in range(20):
            first = member.step == 0
            windows = stack.feed.rows(stack.updates, slice(None)).view(4, len(specs), 17)[:, place]
            assert np.array_equal(windows, member.batches.batch(member.step))
            stack.update()
            if first:
                fresh = flat_model(spec, by_hand=False)
                fresh.backward(windows[:, :-1], windows[:, 1:])
                scale = float(fresh.grad.norm().clamp(min=spec.grad_clip)) / spec.grad_clip
                assert relative(member.model.grad * scale, fresh.grad) < 1e-6
        assert member.step == 20 and [row["step"] for row in member.rows] == [row["step"] for row in alone.rows]
        for row, wanted in zip(member.rows, alone.rows, strict=True):
            assert row["learning_rate"] == wanted["learning_rate"]
            assert row["loss_train"] == pytest.approx(wanted["loss_train"], abs=1e-5)
            assert row["loss_test"] == pytest.approx(wanted["loss_test"], abs=1e-5)
            assert row["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-3)


def test_nan_in_one_row_reaches_no_other(tokens: Path) -> None:
    specs = [small_spec(seed=seed, weight_decay=0.1) for seed in (1, 2, 3)]
    sound, broken = stack_of(specs, tokens), stack_of(specs, tokens)
    for _ in range(9):
        sound.update()
        broken.update()
        trainer_in(broken, 1).model.flat[5] = float("nan")
    assert trainer_in(broken, 1).diverged and trainer_in(broken, 1).last_loss is None
    for row in (0, 2):
        assert torch.equal(trainer_in(broken, row).model.flat, trainer_in(sound, row).model.flat)
        assert trainer_in(broken, row).rows == trainer_in(sound, row).rows


def chains_of(specs: list[RunSpec], tokens: Path, out: Path, **options: Any) -> list[list[Stage]]:
    def stage(spec: RunSpec) -> Stage:
        def begin(rows: int) -> Training | None:
            return begin_run(spec, tokens, out / spec.id, device="cpu", stacked=rows, **options)

        return Stage(begin, contextlib.nullcontext)

    return [[stage(spec)] for spec in specs]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def close_to(one: Path, other: Path) -> None:
    """Assert that two folders of one run hold the same files, with the same numbers but for rounding."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    found, wanted = (json.loads((folder / "metrics.json").read_text()) for folder in (one, other))
    close = ("loss", "loss_train", "loss_stderr", "bits_per_byte", "positions")
    assert {key: value for key, value in found.items() if key not in close} == {k: v for k, v in wanted.items() if k not in close}
    assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-4)
    rows, others = rows_of(one), rows_of(other)
    exact = ("step", "tokens", "phase", "learning_rate")
    assert [[row[key] for key in exact] for row in rows] == [[row[key] for key in exact] for row in others]
    for key in ("loss_train", "loss_test"):
        assert [row[key] for row in rows] == pytest.approx([row[key] for row in others], abs=1e-4)
    assert [row["grad_norm"] for row in rows[:-1]] == pytest.approx([row["grad_norm"] for row in others[:-1]], rel=1e-3)


def test_runs_in_a_stack_are_those_alone(tokens: Path, tmp_path: Path) -> None:
    """Two rows train four runs, of which one diverges at once: other rates, data, schedules and budgets, one after the other."""
    specs = [small_spec(**changes) for changes in VARIED]
    specs.insert(1, small_spec(seed=9, learning_rate=1e9, warmup_tokens=0))
    for spec in specs:
        train(spec, tokens, tmp_path / "alone" / spec.id, device="cpu")
    StackedRun(chains_of(specs, tokens, tmp_path / "stack"), 2, 40).train()
    for spec in specs:
        if spec is not specs[1]:
            close_to(tmp_path / "stack" / spec.id, tmp_path / "alone" / spec.id)
            last, wanted = (rows_of(tmp_path / name / spec.id)[-1]["grad_norm"] for name in ("stack", "alone"))
            assert last == pytest.approx(wanted, rel=1e-3)
        timing = json.loads((tmp_path / "stack" / spec.id / "timing.json").read_text())
        assert timing["stacked"] == 2 and timing["attempts"] == 1
        assert "stacked" not in json.loads((tmp_path / "alone" / spec.id / "timing.json").read_text())
    one, other = (json.loads((tmp_path / name / specs[1].id / "metrics.json").read_text()) for name in ("stack", "alone"))
    assert (one["status"], one["loss"]) == ("diverged", None) == (other["status"], other["loss"])
    assert one["steps"] == other["steps"] == 8


def broken_off(monkeypatch: pytest.MonkeyPatch, at: int, action: Callable[[], object]) -> None:
    """Do something before the stack's update of this number, once."""
    whole = Stack.update

    def update(stack: Stack) -> None:
        if stack.updates == at:
            monkeypatch.setattr(Stack, "update", whole)
            action()
        whole(stack)

    monkeypatch.setattr(Stack, "update", update)


def killed() -> None:
    raise KeyboardInterrupt


def test_a_killed_stack_goes_on_in_a_stack_or_alone(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [small_spec(seed=seed) for seed in (1, 2)]
    folders = [tmp_path / spec.id for spec in specs]
    broken_off(monkeypatch, 12, killed)
    with pytest.raises(KeyboardInterrupt):
        StackedRun(chains_of(specs, tokens, tmp_path, checkpoint_seconds=0.0), 2, 1).train()
    assert [[step for step, _ in checkpoint.found(folder, "checkpoint-")] for folder in folders] == [[11, 12]] * 2
    broken_off(monkeypatch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        StackedRun(chains_of(specs, tokens, tmp_path, checkpoint_seconds=60.0), 2, 1).train()
    assert ended.value.code == 143
    # All are saved at the step at which the signal came, and nothing says that they are still trained.
    assert [checkpoint.found(folder, "checkpoint-")[-1][0] for folder in folders] == [20, 20]
    assert capsys.readouterr().err.count("stopped by SIGTERM at step 20, which is saved") == 2
    assert not list(tmp_path.glob("*/progress.json"))
    # The end of a time limit does the same.
    with pytest.raises(SystemExit):
        StackedRun(chains_of(specs, tokens, tmp_path, end=time.time() - 1), 2, 1).train()
    assert [checkpoint.found(folder, "checkpoint-")[-1][0] for folder in folders] == [21, 21]
    train(specs[0], tokens, folders[0], device="cpu")
    StackedRun(chains_of(specs[1:], tokens, tmp_path), 2, 1).train()
    for spec, folder in zip(specs, folders, strict=True):
        train(spec, tokens, tmp_path / "alone" / spec.id, device="cpu")
        close_to(folder, tmp_path / "alone" / spec.id)
        assert json.loads((folder / "timing.json").read_text())["attempts"] == 4


def test_a_run_that_was_begun_alone_goes_on_in_a_stack(tokens: Path, tmp_path: Path) -> None:
    """Members of a stack may be at different steps; what is done already makes no step."""
    specs = [small_spec(seed=seed) for seed in (1, 2, 3)]
    for spec, steps in zip(specs, (17, 0, 40), strict=True):
        trainer = Trainer(spec, tokens)
        for _ in range(steps):
            trainer.update()
        tensors, values = trainer.state()
        checkpoint.save(tmp_path / spec.id / f"checkpoint-{steps}.safetensors", tensors, values | {"attempts": 1})
        train(spec, tokens, tmp_path / "alone" / spec.id, device="cpu")
    StackedRun(chains_of(specs, tokens, tmp_path), 3, 40).train()
    for spec in specs:
        close_to(tmp_path / spec.id, tmp_path / "alone" / spec.id)
    one, other = (folder / specs[2].id / "model.safetensors" for folder in (tmp_path, tmp_path / "alone"))
    assert one.read_bytes() == other.read_bytes()


def test_a_full_memory_halves_the_micro_batch_of_all(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [small_spec(seed=seed) for seed in (1, 2)]
    whole, halved = stack_of(specs, tokens), stack_of(specs, tokens)
    backward = halved.model.backward

    def of_two(tokens: torch.Tensor, targets: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return backward(tokens, targets, weight)

    monkeypatch.setattr(halved.model, "backward", of_two)
    whole.update()
    halved.update()
    assert relative(halved.model.grad, whole.model.grad) < 1e-6
    for _ in range(7):
        whole.update()
        halved.update()
    assert trainer_in(halved, 1).gradient.per_micro == 2 and trainer_in(whole, 1).gradient.per_micro == 4
