"""Several processes train what one does; a smaller micro-batch after a full memory; stops that several agree on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures import together
from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.train import checkpoint
from scalinglaws.train.distributed import Processes
from scalinglaws.train.run import train
from scalinglaws.train.trainer import Trainer

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "c-0" / "bytes")


def stage(spec: Any, tokens: Path, out: Path, *more: str) -> list[str]:
    out.mkdir(parents=True)
    (out / "spec.json").write_text(spec.canonical)
    root = tokens.parents[1] / spec.tokens_id
    root.parent.mkdir(exist_ok=True)
    if not root.exists():
        root.symlink_to(tokens)
    given = ["--spec", str(out / "spec.json"), "--tokens", str(tokens.parents[1]), "--out", str(out), "--device", "cpu"]
    return [sys.executable, "-m", "scalinglaws", "train", *given, *more]


def test_two_processes_are_one_in_float64(tokens: Path, tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {"plain": {}, "micro": {"micro_batch_tokens": 16}, "noise": {"noise_every": 2}}
    changes |= {"uneven": {"batch_tokens": 80}, "decay": {"weight_decay": 0.1}, "sgd": {"optimizer": "sgd"}}
    changes |= {"muon": {"optimizer": "muon"}}
    specs = {name: small_spec(grad_clip=0.0, **more) for name, more in changes.items()}
    (tmp_path / "specs").mkdir()
    for name, spec in specs.items():
        (tmp_path / "specs" / f"{name}.json").write_text(spec.canonical)
    script = Path(together.__file__)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    subprocess.run([*launch, str(tmp_path / "specs"), str(tokens), str(tmp_path / "out.pt")], env=ENVIRONMENT, check=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, spec in specs.items():
        two, one = found[name], together.steps(spec, tokens)
        # Muon's iterations are in bfloat16.
        tight, loose = (1e-14, 1e-9) if name != "muon" else (1e-3, 1e-2)
        assert torch.allclose(one["grad"], two["grad"], rtol=0, atol=tight)
        assert one["state"].keys() == two["state"].keys()
        for key, ours in one["state"].items():
            # AdamW divides by the gradient's size: where that is rounding alone, so is the weight's step.
            assert torch.allclose(ours, two["state"][key], rtol=0, atol=loose), (name, key)
        assert torch.allclose(one["noise"], two["noise"], rtol=1e-9)
        for ours, theirs in zip(one["rows"], two["rows"], strict=True):
            assert ours["loss_test"] == pytest.approx(theirs["loss_test"], rel=1e-6)
            assert ours["loss_train"] == pytest.approx(theirs["loss_train"], rel=1e-12)


def test_accumulation_is_a_large_batch_in_float64(tokens: Path) -> None:
    whole, parts = (together.steps(small_spec(grad_clip=0.0, **more), tokens) for more in ({}, {"micro_batch_tokens": 16}))
    assert torch.allclose(whole["grad"], parts["grad"], rtol=0, atol=1e-14)
    assert torch.allclose(whole["state"]["params"], parts["state"]["params"], rtol=0, atol=1e-9)


def test_a_run_of_two_processes_ends_as_that_of_one(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec(stop="early", patience=3, tokens=64 * 120)
    train(spec, tokens, tmp_path / "one", device="cpu")
    subprocess.run(stage(spec, tokens, tmp_path / "two", "--processes", "2"), env=ENVIRONMENT, check=True)
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["steps"] == two["steps"] and one["best_step"] == two["best_step"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    assert json.loads((tmp_path / "two" / "timing.json").read_text())["processes"] == 2
    assert not list((tmp_path / "two").glob("progress.json"))


def test_two_processes_save_together_when_one_is_told_to_stop(tokens: Path, tmp_path: Path) -> None:
    spec, out = small_spec(tokens=64 * 100_000), tmp_path / "run"
    command = stage(spec, tokens, out, "--processes", "2", "--checkpoint-seconds", "0.5")
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(out.glob("checkpoint-*.safetensors")):
        time.sleep(0.05)
    before = {step for step, _ in checkpoint.states(out, "checkpoint-")}
    # The workers' command line ends as ours does; the second of them is told.
    found = subprocess.check_output(["pgrep", "-f", f"scalinglaws train .*{out}"], text=True).split()
    workers = [int(pid) for pid in found if "LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_text().split("\0")]
    os.kill(workers[0], signal.SIGUSR1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "is saved" in errors
    newest, paths = checkpoint.states(out, "checkpoint-")[-1]
    assert newest > max(before, default=0) and checkpoint.load_state(paths, spec.id)[1]["step"] == newest
    assert [path.name for path in paths] == [f"checkpoint-{newest}.part{part}of2.safetensors" for part in (1, 2)]


class Small:
    """A GPU in whose memory only so many contexts fit."""

    def __init__(self, trainer: Trainer, most: int):
        self.backward, self.most = trainer.model.backward, most
        trainer.model.backward = self  # type: ignore[method-assign]  # a callable object in place of a method

    def __call__(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        if len(tokens) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.backward(tokens, targets, weight)


def test_a_full_memory_halves_the_micro_batch(tokens: Path) -> None:
    full, given = Trainer(small_spec(), tokens), Trainer(small_spec(micro_batch_tokens=16), tokens)
    Small(full, 1)
    for _ in range(10):
        full.update()
        given.update()
    assert full.gradient.per_micro == 1
    assert torch.equal(full.model.flat, given.model.flat)
    assert full.rows == given.rows
    none = Trainer(small_spec(), tokens)
    Small(none, 0)
    with pytest.raises(StudyError, match="needs a larger one"):
        none.update()


def test_training_stops_before_its_time_limit_and_goes_on(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec()
    train(spec, tokens, tmp_path / "whole", device="cpu")
    with pytest.raises(SystemExit):
        train(spec, tokens, tmp_path / "cut", device="cpu", end=time.time())
    ((step, _),) = checkpoint.found(tmp_path / "cut", "checkpoint-")
    assert step == 1
    train(spec, tokens, tmp_path / "cut", device="cpu")
    for name in ("metrics.json", "curve.jsonl", "model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_shares_cover_a_batch_once() -> None:
    for rows, count in ((8, 1), (8, 3), (5, 4), (2, 2)):
        for cut in (Processes.windows, Processes.share):
            taken = [row for rank in range(count) for row in list(range(rows))[cut(Processes(rank, count), rows)]]
            assert taken == list(range(rows))


def test_more_processes_than_contexts_are_refused(tokens: Path) -> None:
    with pytest.raises(StudyError, match="5 processes cannot share a batch of 4 contexts"):
        Trainer(small_spec(), tokens, "cpu", Processes(0, 5))
