"""Checkpoints that a thread writes while training goes on: what they hold, when they are due, and a stop in the middle of one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from fixtures.small_runs import same_run, small_spec, write_tokens
from scalinglaws.common import asked
from scalinglaws.common.errors import StudyError
from scalinglaws.train import checkpoint, sealed
from scalinglaws.train.checkpoint import Checkpoints
from scalinglaws.train.distributed import ALONE
from scalinglaws.train.run import train
from scalinglaws.train.saver import Saver


class Training:
    """A training whose state is its step, in a tensor and in a list that change in place."""

    def __init__(self) -> None:
        self.spec, self.processes, self.step = small_spec(), ALONE, 0
        self.params, self.rows = torch.zeros(1000), [{"step": 0}]

    def update(self) -> None:
        self.step += 1
        self.params.fill_(self.step)
        self.rows[0]["step"] = self.step

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"params": self.params}, {"id": self.spec.id, "step": self.step, "rows": self.rows}

    def part(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        raise AssertionError("one process saves the whole state")


class Slow:
    """A disk on which a file stays unfinished until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.began, self.released, self.write = threading.Event(), threading.Event(), sealed.write
        monkeypatch.setattr(sealed, "write", self)

    def __call__(self, *given: Any) -> None:
        self.began.set()
        assert self.released.wait(20)
        self.write(*given)


def loaded(folder: Path, training: Training) -> dict[int, tuple[float, int]]:
    """Return step -> (value of the tensor, value in the list) of each checkpoint of a folder."""
    found = {}
    for step, path in checkpoint.found(folder, "checkpoint-"):
        tensors, values = checkpoint.load(path, training.spec.id)
        assert bool((tensors["params"] == tensors["params"][0]).all())
        found[step] = (float(tensors["params"][0]), values["rows"][0]["step"])
    return found


def test_training_goes_on_while_its_state_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, kept, slow = Training(), Checkpoints(tmp_path, "checkpoint-", 1e-9), Slow(monkeypatch)
    for _ in range(5):
        training.update()
        kept.tick(training)  # the first begins to save, and no other one is due before it has ended
    assert slow.began.wait(20) and kept.saver.busy and not list(tmp_path.glob("checkpoint-*"))
    slow.released.set()
    kept.saver.wait()
    assert loaded(tmp_path, training) == {1: (1.0, 1)} and kept.saver.step == 1 and kept.saver.cost > 0


def test_a_stop_during_a_save_saves_the_last_step_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    training, kept, slow = Training(), Checkpoints(tmp_path, "checkpoint-", 1e-9), Slow(monkeypatch)
    training.update()
    kept.tick(training)
    training.update()
    with kept.listening(), pytest.raises(SystemExit) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Timer(0.2, slow.released.set).start()
        kept.tick(training)
    assert stopped.value.code == 143 and loaded(tmp_path, training) == {1: (1.0, 1), 2: (2.0, 2)}
    assert "stopped by SIGTERM at step 2, which is saved" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("grace", "saved"), [("30", [1, 2]), ("0.5", [1])])
def test_a_state_that_takes_longer_than_the_grace_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, grace: str, saved: list[int]
) -> None:
    monkeypatch.setenv(asked.GRACE, grace)
    training, kept = Training(), Checkpoints(tmp_path, "checkpoint-", 1e-9)
    training.update()
    kept.tick(training)
    kept.saver.wait()
    kept.saver.cost = 10.0
    training.update()
    kept.on_signal(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        kept.tick(training)
    assert list(loaded(tmp_path, training)) == saved
    said = "which is saved" if grace == "30" else "which takes 10 s to save, so that it goes on from step 1"
    assert said in capsys.readouterr().err


def test_the_grace_is_what_the_profile_says() -> None:
    given = {"5": 5.0, "0": 0.0} | dict.fromkeys(("", "soon", "-1", "inf", "nan"), asked.USUAL_GRACE)
    assert {text: asked.grace_seconds({asked.GRACE: text}) for text in given} == given


def test_a_large_state_is_saved_seldom_and_before_the_time_limit(tmp_path: Path) -> None:
    training, kept = Training(), Checkpoints(tmp_path, "checkpoint-", 1e-9, end=time.time() + 1000)
    training.update()
    kept.tick(training)
    kept.saver.wait()
    kept.saver.cost, kept.saved = 2.0, time.monotonic() - 59
    training.update()
    kept.tick(training)
    assert list(loaded(tmp_path, training)) == [1]
    kept.saved -= 2  # 61 s ago, and the state took 2 s
    kept.tick(training)
    kept.saver.wait()
    assert list(loaded(tmp_path, training)) == [1, 2]
    kept.saver.cost = 2000.0
    with pytest.raises(SystemExit):
        kept.tick(training)
    assert kept.reason == "the end of its time limit"


def test_a_full_disk_is_told_by_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise StudyError("no space left to write checkpoint-1")

    monkeypatch.setattr(sealed, "write", full)
    training, kept = Training(), Checkpoints(tmp_path, "checkpoint-", 1e-9)
    training.update()
    kept.tick(training)
    with pytest.raises(StudyError, match="no space left to write checkpoint-1"):
        for _ in range(500):
            time.sleep(0.01)
            kept.tick(training)


def test_the_memory_of_a_state_is_used_again(tmp_path: Path) -> None:
    seen = []
    saver = Saver(lambda path, tensors, values: seen.append((tensors["params"].data_ptr(), float(tensors["params"][0]))))
    for step in (1, 2):
        saver.save(tmp_path / "a", {"params": torch.full((3,), float(step))}, {"step": step}, time.monotonic())
    saver.wait()
    assert seen[0][0] == seen[1][0] and [value for _, value in seen] == [1.0, 2.0]


@pytest.mark.parametrize("metadata", ["{}", 'ünï "quoted" \\ \n', "x" * 11])
def test_the_bytes_are_those_of_safetensors(metadata: str) -> None:
    tensors = {"params": torch.arange(5.0), "layer0.b": torch.ones(2, 3), "a": torch.zeros(0), "Z": torch.tensor(7.0)}
    header, order = checkpoint.header_of(tensors, {"scalinglaws": metadata})
    whole = header + b"".join(tensors[name].numpy().tobytes() for name in order)
    assert whole == safetensors.torch.save(tensors, metadata={"scalinglaws": metadata})


def test_a_run_that_is_stopped_while_it_saves_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, spec, write, calls = write_tokens(tmp_path / "tokens"), small_spec(tokens=64 * 200, dropout=0.1), sealed.write, []
    train(spec, tokens, tmp_path / "whole", device="cpu")

    def slow(*given: Any) -> None:
        calls.append(given[0].name)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # it reaches the thread that trains in the middle of the save
            time.sleep(0.1)
        write(*given)

    monkeypatch.setattr(sealed, "write", slow)
    with pytest.raises(SystemExit) as stopped:
        train(spec, tokens, tmp_path / "stopped", device="cpu", checkpoint_seconds=1e-9)
    assert stopped.value.code == 143 and len(calls) == 2
    assert [path.name for _, path in checkpoint.found(tmp_path / "stopped", "checkpoint-")] == calls
    train(spec, tokens, tmp_path / "stopped", device="cpu", checkpoint_seconds=0.05)
    same_run(tmp_path / "whole", tmp_path / "stopped")
