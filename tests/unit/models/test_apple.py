"""A training that must use a Mac's GPU is refused where PyTorch can use none, with the reason, and ``auto`` never takes one."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.cluster import together
from scalinglaws.cluster.device import Device, parse_device
from scalinglaws.common import asked
from scalinglaws.common.errors import StudyError
from scalinglaws.models import apple, device
from scalinglaws.models.cuda import is_used

KEYS = {
    "name": "Apple",
    "backend": "mps",
    "bfloat16": 1e13,
    "float32": 1e13,
    "utilisation": 0.3,
    "memory_gib": 21,
    "gpus_per_node": 1,
}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let this machine be a Mac whose PyTorch can use its GPU."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.2", ("", "", ""), "arm64"))
    for name in ("is_built", "is_available"):
        monkeypatch.setattr(torch.backends.mps, name, lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: (major, minor) <= (15, 2))
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M2 Max")
    return monkeypatch


def test_a_machine_that_is_no_mac_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(StudyError, match=r"--device mps, but this machine runs Linux and has no GPU of Apple.*use --device cpu"):
        device.prepare(1, "mps")


def test_what_a_mac_lacks_is_named(mac: pytest.MonkeyPatch) -> None:
    assert apple.why_not() == ""
    mac.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "finds no GPU that it can use on macOS 15.2" in apple.why_not()
    mac.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    mac.setattr(platform, "mac_ver", lambda: ("13.6", ("", "", ""), "arm64"))
    assert apple.why_not() == "this is macOS 13.6, and macOS 14 or newer is needed: update it"
    mac.setattr(torch.backends.mps, "is_built", lambda: False)
    assert "is built without MPS: install the wheel for macOS on arm64" in apple.why_not()
    mac.setattr(platform, "machine", lambda: "x86_64")
    assert "this Python runs on x86_64: a Mac with Apple silicon" in apple.why_not()


def test_auto_goes_on_with_the_cpu_of_a_mac(mac: pytest.MonkeyPatch) -> None:
    mac.setattr(torch.cuda, "is_available", lambda: False)
    assert device.prepare(1, "auto") == "cpu" and device.prepare(1, "mps") == "mps"
    assert not is_used("mps")  # NVIDIA's service for several processes is not started


def test_what_timings_tell_of_a_mac(mac: pytest.MonkeyPatch) -> None:
    told = device.device_name("mps"), device.driver_version("mps"), device.gpus_visible("mps")
    assert told == ("Apple M2 Max", "macOS 15.2", 1)
    assert device.driver_version("cpu") is None and device.gpus_visible("cpu") == 0


def test_several_processes_and_equal_bits_are_refused(mac: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match="2 processes are asked for and a Mac has one GPU: take one process"):
        together.start(2, 1, "mps", [])
    mac.setenv(asked.DETERMINISTIC, "1")
    with pytest.raises(StudyError, match="deterministic: true is asked for, and no kernel of mps promises equal bits"):
        device.prepare(1, "mps")


def test_a_profile_names_the_gpu_of_a_mac() -> None:
    found = parse_device(KEYS)
    assert isinstance(found, Device) and found.backend == "mps"
    for key, value in (("gpus_per_node", 8), ("most_gpus", 2)):
        with pytest.raises(StudyError, match="set gpus_per_node: 1 and most_gpus: 1"):
            parse_device(KEYS | {key: value})
    with pytest.raises(StudyError, match="promises equal bits: set it to false"):
        parse_device(KEYS | {"deterministic": True})
    with pytest.raises(StudyError, match=r"device\.backend: "):
        parse_device(KEYS | {"backend": "metal"})


@pytest.mark.skipif(not apple.why_not(), reason="there is a GPU of Apple here")
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
    assert main([command, *given[command], "--device", "mps"]) == 1
    told = capsys.readouterr().err
    assert f"scalinglaws {command}: --device mps, but " in told and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()
