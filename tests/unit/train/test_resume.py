"""The first of several processes chooses the state to go on from; the others take that file, or none of them trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures import resuming
from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.common import finished
from scalinglaws.train import checkpoint
from scalinglaws.train.distributed import Processes
from scalinglaws.train.run import put_back
from scalinglaws.train.trainer import Trainer

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def test_a_stale_listing_does_not_let_processes_go_on_from_different_steps(tmp_path: Path) -> None:
    spec, tokens = small_spec(), write_tokens(tmp_path / "tokens")
    (tmp_path / "spec.json").write_text(spec.canonical)
    trainer, sums = Trainer(spec, tokens), {}
    for step in (5, 10):
        while trainer.step < step:
            trainer.update()
        checkpoint.save(tmp_path / f"checkpoint-{step}.safetensors", *_counted(trainer))
        sums[step] = float(trainer.model.flat.double().sum())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", resuming.__file__]
    subprocess.run([*launch, str(tmp_path / "spec.json"), str(tokens), str(tmp_path)], env=ENVIRONMENT, check=True, timeout=120)
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").iterdir()}
    # The second process does not list the file of step 10, and in the second case it does not see it at once.
    whole = {"step": 10, "sum": sums[10], "attempts": 4, "error": ""}
    assert [found[f"{case}-{rank}"] for case in ("stale", "late") for rank in (0, 1)] == [whole] * 4
    assert sums[5] != sums[10]
    # Where it never sees the content that the first one has read, neither trains.
    first, second = (found[f"other-{rank}"] for rank in (0, 1))
    assert "checkpoint-10.safetensors, the state that this training goes on from, is not seen by each of its 2" in first["error"]
    assert "its sha256 is 000" in second["error"] and ", after 1 s" in second["error"]
    assert "all nodes share; run again" in first["error"] and "all nodes share; run again" in second["error"]


def _counted(trainer: Trainer) -> tuple:
    tensors, values = trainer.state()
    return tensors, values | {"attempts": 3}


def test_what_is_finished_is_looked_for_by_the_first_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stale listing, another one would train alone and wait for ever for the first."""
    asked: list[Path] = []
    told: list[bool] = []

    def restore(last: Path) -> bool:
        asked.append(last)
        return True

    def from_first(self: Processes, value: bool) -> bool:
        told.append(value)
        return True

    monkeypatch.setattr(finished, "restore", restore)
    monkeypatch.setattr(Processes, "from_first", from_first)
    for rank in (0, 1):
        assert put_back(Processes(rank, 2), tmp_path / "metrics.json", tmp_path, "checkpoint-")
    assert (asked, told) == ([tmp_path / "metrics.json"], [True, False])
