"""A training that must use a GPU is refused where PyTorch can use none, with the reason; it never falls back to the CPU."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.models import cuda
from scalinglaws.models.device import prepare

PROC = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\nGCC version:  gcc 12.2.0\n"


class Library:
    """The functions of libcuda.so.1 that are called: its newest CUDA, and the status with which it starts."""

    def __init__(self, version: int, status: int = 0, name: bytes = b"CUDA_ERROR_NO_DEVICE"):
        self.version, self.status, self.name = version, status, name

    def cuDriverGetVersion(self, place: Any) -> int:
        place._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuGetErrorName(self, status: int, place: Any) -> int:
        place._obj.value = self.name
        return 0


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Let PyTorch be built for CUDA 13.0 and the kernel have a driver, of which no GPU can be used yet."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (tmp_path / "version").write_text(PROC)
    monkeypatch.setattr(cuda, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(13000, 100))
    return monkeypatch


def see(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_build_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(
        StudyError, match=r"--device cuda, but PyTorch .* is built for CPUs alone: install a wheel .*use --device cpu"
    ):
        prepare(1, "cuda")
    assert prepare(1, "auto") == "cpu"  # a person at a prompt takes what there is


def test_a_machine_without_a_driver_is_named(built: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    see(built, 0)
    built.setattr(ctypes, "CDLL", missing)
    assert "has no driver of NVIDIA (libcuda.so.1 cannot be loaded)" in cuda.why_not(1, {})


def test_a_driver_that_is_too_old_is_named_with_both_versions(built: pytest.MonkeyPatch) -> None:
    see(built, 0)
    built.setattr(ctypes, "CDLL", lambda name: Library(12040, 803))
    reason = cuda.why_not(1, {"CUDA_VISIBLE_DEVICES": "0"})
    assert "the driver 550.54.14 runs CUDA up to 12.4 and PyTorch" in reason
    assert "is built for CUDA 13.0: install a newer driver, or a wheel of PyTorch for CUDA 12" in reason
    # A driver of the same major version runs a wheel of a newer minor one.
    built.setattr(torch.version, "cuda", "12.8")
    assert "finds no GPU that it can use" in cuda.why_not(1, {})


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_are_named(built: pytest.MonkeyPatch, value: str) -> None:
    see(built, 0)
    assert f"CUDA_VISIBLE_DEVICES is '{value}', which hides every GPU" in cuda.why_not(1, {"CUDA_VISIBLE_DEVICES": value})


def test_what_the_driver_says_is_passed_on(built: pytest.MonkeyPatch) -> None:
    see(built, 0)
    assert "finds no GPU that it can use (CUDA_ERROR_NO_DEVICE; CUDA_VISIBLE_DEVICES is '7')" in cuda.why_not(
        1, {"CUDA_VISIBLE_DEVICES": "7"}
    )


def test_fewer_gpus_than_asked_for_are_refused(built: pytest.MonkeyPatch) -> None:
    see(built, 2)
    assert cuda.why_not(2, {}) == ""
    cuda.require(2, {})
    assert "4 GPUs are asked for and this process sees 2 (CUDA_VISIBLE_DEVICES is '0,1')" in cuda.why_not(
        4, {"CUDA_VISIBLE_DEVICES": "0,1"}
    )
    with pytest.raises(StudyError, match=r"3 GPUs are asked for and this process sees 2 \(CUDA_VISIBLE_DEVICES is not set\)"):
        cuda.require(3, {})


def test_the_version_of_the_driver_is_read(built: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cuda.driver_version() == "550.54.14"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n")
    assert cuda.driver_version() == "535.104.05"
    built.setattr(cuda, "DRIVER", tmp_path / "none")
    assert cuda.driver_version() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("command", ["train", "bundle"])
def test_jobs_are_refused_before_they_train(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = small_spec()
    write_tokens(tmp_path / "tokens" / spec.tokens_id)
    (tmp_path / "spec.json").write_text(spec.canonical)
    given = {
        "train": ["--spec", "spec.json", "--tokens", "tokens", "--out", "runs/r"],
        "bundle": ["--list", "b", "--out", "b.done"],
    }
    assert main([command, *given[command], "--device", "cuda"]) == 1
    told = capsys.readouterr().err
    assert f"scalinglaws {command}: --device cuda, but PyTorch" in told and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()
