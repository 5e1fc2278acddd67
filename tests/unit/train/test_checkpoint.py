"""Checkpoints: equal bytes, damaged files noticed and the one before used, a full disk named."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError
from scalinglaws.train import checkpoint, sealed

TENSORS = {"params": torch.arange(50.0), "exp_avg": torch.full((50,), 1 / 3)}


def saved(folder: Path, step: int, spec_id: str = "run") -> Path:
    path = folder / f"checkpoint-{step}.safetensors"
    checkpoint.save(path, TENSORS, {"id": spec_id, "step": step, "loss_sum": 0.1 + 0.2})
    return path


def test_a_state_comes_back_exactly(tmp_path: Path) -> None:
    tensors, state = checkpoint.load(saved(tmp_path, 3), "run")
    assert state["step"] == 3 and state["loss_sum"] == 0.1 + 0.2
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_files_are_plain_safetensors_and_repeat(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "a", 3), saved(tmp_path / "b", 3)
    assert one.read_bytes() == other.read_bytes()
    assert torch.equal(safetensors.torch.load_file(one)["params"], TENSORS["params"])
    with safetensors.safe_open(one, "pt") as file:
        assert json.loads(file.metadata()["scalinglaws"])["id"] == "run"
    assert [path.name for path in one.parent.iterdir()] == [one.name]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other run"])
def test_a_damaged_file_is_noticed_and_the_one_before_is_used(tmp_path: Path, damage: str, capsys: Any) -> None:
    saved(tmp_path, 9)
    last = saved(tmp_path, 10, "another" if damage == "other run" else "run")
    data = bytearray(last.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[-5] ^= 1
    elif damage == "empty":
        data = bytearray()
    last.write_bytes(data)
    state = checkpoint.latest(tmp_path, "checkpoint-", "run")
    assert state is not None and state[1]["step"] == 9
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1 and str(last) in warning


def test_latest_obeys_its_bound_and_order(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        saved(tmp_path, step)
    (tmp_path / "checkpoint-best.safetensors").touch()
    (tmp_path / ".checkpoint-11.safetensors.123.tmp").touch()
    steps = {most: checkpoint.latest(tmp_path, "checkpoint-", "run", most) for most in (None, 9, 8, 1)}
    assert [state and state[1]["step"] for state in steps.values()] == [10, 9, 2, None]
    assert checkpoint.latest(tmp_path / "absent", "checkpoint-", "run") is None
    checkpoint.prune(tmp_path, "checkpoint-", keep=2)
    assert [step for step, _ in checkpoint.found(tmp_path, "checkpoint-")] == [9, 10]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, 3)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StudyError, match=r"no space left to write .*checkpoint-3"):
        saved(tmp_path, 3)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_json_refuses_what_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_every_byte_of_a_file_is_covered(tmp_path: Path) -> None:
    """A bit that flips anywhere, in the header or in the tensors, is noticed, and never ends in anything but ValueError."""
    path = saved(tmp_path, 3)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert not sealed.is_whole(path)
        if place % 7 == 0:
            with pytest.raises(ValueError):
                checkpoint.load(path, "run")


def test_a_file_of_an_earlier_version_is_read_by_the_sum_of_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-3.safetensors"
    total = hashlib.sha256(b"".join(TENSORS[name].numpy().tobytes() for name in sorted(TENSORS))).hexdigest()
    text = json.dumps({"id": "run", "step": 3, "sha256": total})
    data = safetensors.torch.save(TENSORS, metadata={"scalinglaws": text})
    path.write_bytes(data)
    assert checkpoint.load(path, "run")[1]["step"] == 3
    path.write_bytes(data[:-1] + b"\xff")
    with pytest.raises(ValueError, match="its contents do not match its sha256"):
        checkpoint.load(path, "run")
