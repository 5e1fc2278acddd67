"""Runs of one machine share its GPUs out among themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalinglaws.cluster import gpus
from scalinglaws.common.errors import StudyError

HOLD = "import sys; from pathlib import Path; from scalinglaws.cluster import gpus; gpus.take(1, folder=Path(sys.argv[1])); "
HOLD += "print('held', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    while gpus._held:
        gpus._held.pop().close()


def taken(count: int, places: str, folder: Path, **more: str) -> str:
    environment = {gpus.PLACES: places, **more}
    gpus.take(count, environment, folder)
    return environment["CUDA_VISIBLE_DEVICES"]


def test_the_emptiest_gpu_comes_first_and_one_run_gets_different_ones(tmp_path: Path) -> None:
    assert [taken(1, "2x2", tmp_path) for _ in range(4)] == ["0", "1", "0", "1"]
    assert taken(2, "2x3", tmp_path) == "0,1"
    assert taken(1, "4x1", tmp_path / "own", CUDA_VISIBLE_DEVICES="6,7") == "6"


def test_a_place_is_waited_for_and_freed_by_a_kill(tmp_path: Path) -> None:
    environment = {**os.environ, gpus.PLACES: "1x1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert gpus._places(1, ["0"], 1, tmp_path) == {}
        subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -9 {holder.pid}"])
        began = time.monotonic()
        assert taken(1, "1x1", tmp_path) == "0"
        assert time.monotonic() - began > 0.5
    finally:
        holder.kill()
        holder.communicate()


def test_nothing_is_held_where_too_few_are_free(tmp_path: Path) -> None:
    assert taken(1, "2x1", tmp_path) == "0"
    assert gpus._places(2, ["0", "1"], 1, tmp_path) == {}
    assert taken(1, "2x1", tmp_path) == "1"
    with pytest.raises(StudyError, match="3 GPUs are asked for and there are 2: lower most_gpus"):
        taken(3, "2x1", tmp_path)


def test_without_places_the_environment_stays(tmp_path: Path) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "3"}
    gpus.take(1, environment, tmp_path)
    assert environment == {"CUDA_VISIBLE_DEVICES": "3"} and not list(tmp_path.iterdir())
