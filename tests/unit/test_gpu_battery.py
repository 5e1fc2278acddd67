"""The battery of checks for a GPU (tests/gpu) can be imported, refuses to run without a GPU, and passes what is fast on a CPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fixtures.on_a_gpu import WORKSPACE
from gpu import conftest, test_optimizers
from scalinglaws.optim.registry import OPTIMIZERS

BATTERY = Path(conftest.__file__).parent


@pytest.mark.parametrize("name", conftest.ORDER)
def test_a_file_of_checks_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"gpu.test_{name}")
    assert any(each.startswith("test_") for each in vars(module))


def test_each_file_has_its_place_in_the_order() -> None:
    assert sorted(path.stem for path in BATTERY.glob("test_*.py")) == sorted(f"test_{name}" for name in conftest.ORDER)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_two_steps_of_an_optimizer(kind: str, record_property: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test_optimizers.test_two_steps_are_those_of_the_papers(kind, "cpu", record_property, monkeypatch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_fails_and_skips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    config = SimpleNamespace(getoption=lambda name, default: default)
    with pytest.raises(pytest.exit.Exception, match="the battery has run nothing: --device cuda, but PyTorch") as told:
        conftest.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert told.value.returncode == 1
