"""The battery of checks for a GPU (tests/gpu) proves something or fails; on a CPU, its quickest checks are made here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def battery(*words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/gpu", *words]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_its_quickest_checks_pass_on_a_cpu() -> None:
    done = battery("--device", "cpu", "-m", "quick")
    assert done.returncode == 0, done.stdout
    assert "PyTorch" in done.stdout and "passed  test_two_steps_are_those_of_the_papers[adamw]  error" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_fails_and_skips_nothing() -> None:
    done = battery()
    assert done.returncode == 1
    assert "the battery has run nothing: --device cuda, but PyTorch" in done.stdout + done.stderr
    assert "passed" not in done.stdout and "skipped" not in done.stdout
