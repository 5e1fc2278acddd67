"""Several processes: two that train one run, and four tiny runs that share the device against one that has it alone."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.on_a_gpu import N_VOCAB, command, environment, sized, zipf_text
from fixtures.small_runs import write_tokens
from scalinglaws.cluster.bundle import Bundle, Member
from scalinglaws.study.paths import bundle_marker, bundle_path, run_folder
from scalinglaws.study.spec import RunSpec

SECONDS = 240  # within which a command must end
# Losses of two ranks differ from those of one by the order of sums, and so do those of a GPU from one time to the next.
RANKS, AGAIN = 2e-3, 5e-3


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def test_two_ranks_train_what_one_does(device: str, tmp_path: Path, record_property: Any) -> None:
    """They use NCCL where the machine has two GPUs, and Gloo on its CPU otherwise."""
    where = "cuda" if device == "cuda" and torch.cuda.device_count() > 1 else "cpu"
    record_property("ranks on", "two GPUs, NCCL" if where == "cuda" else "the CPU, Gloo")
    spec = sized(1, 64, n_ctx=32, batch_tokens=256, tokens=256 * 100, schedule="cosine")
    write_tokens(tmp_path / "tokens" / spec.tokens_id, train=50_000, held_out=2000, n_vocab=N_VOCAB, text=zipf_text)
    for count in (1, 2):
        line = command(spec, tmp_path / "tokens", tmp_path / str(count), where, "--processes", str(count))
        done = subprocess.run(line, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr[-2000:]
        assert read(tmp_path / str(count), "timing.json")["processes"] == count
    one, two = (read(tmp_path / str(count), "metrics.json") for count in (1, 2))
    assert one["steps"] == two["steps"] and two["loss"] == pytest.approx(one["loss"], rel=RANKS)


def bundled(results: Path, specs: list[RunSpec], device: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Train runs beside each other in a bundle; return their timings, their metrics, and how they shared a GPU."""
    for spec in specs:
        folder = run_folder(results, spec.id)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec.canonical)
    members = tuple(Member(spec.id, (), (spec.id,), (), 10) for spec in specs)
    path = bundle_path(results, "battery")
    path.parent.mkdir(exist_ok=True)
    path.write_text(Bundle(members, len(specs), 1, 100).canonical)
    given = ["--list", str(path), "--results", str(results), "--out", str(bundle_marker(results, "battery")), "--device", device]
    line = [sys.executable, "-m", "scalinglaws", "bundle", *given]
    done = subprocess.run(line, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    sharing = re.search(r"share the GPU by MPS|take turns on the GPU.*|takes one process at a time.*", done.stderr)
    folders = [run_folder(results, spec.id) for spec in specs]
    timings, metrics = ([read(folder, name) for folder in folders] for name in ("timing.json", "metrics.json"))
    return timings, metrics, sharing[0] if sharing else "no GPU to share"


def test_four_tiny_runs_beside_each_other(device: str, tmp_path: Path, record_property: Any) -> None:
    """Each ends with the loss that it has alone; their speed together over that of one alone is measured, and no bound is set."""
    steps = 2000 if device == "cuda" else 200
    first = sized(1, 64, n_ctx=64, batch_tokens=512, tokens=512 * steps, schedule="cosine")
    specs = [dataclasses.replace(first, seed=seed) for seed in range(4)]
    for name in ("alone", "four"):
        folder = tmp_path / name / "tokens" / first.tokens_id
        write_tokens(folder, train=100_000, held_out=2000, n_vocab=N_VOCAB, text=zipf_text)
    (alone,), (exact,), _ = bundled(tmp_path / "alone", specs[:1], device)
    timings, metrics, sharing = bundled(tmp_path / "four", specs, device)
    speed = sum(timing["tokens_per_second"] for timing in timings)
    record_property("tokens/s", f"{speed:,.0f} together, {alone['tokens_per_second']:,.0f} alone ({sharing})")
    assert metrics[0]["loss"] == pytest.approx(exact["loss"], rel=AGAIN if device == "cuda" else 1e-12)
    assert [found["status"] for found in metrics] == ["ok"] * 4
    assert len({found["loss"] for found in metrics}) == 4
    assert all(timing["at_once"] == 4 or "one process" in sharing for timing in timings)
