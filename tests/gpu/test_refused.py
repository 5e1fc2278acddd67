"""A training that must use a GPU is refused where the GPU is hidden from it, with the reason, and trains nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fixtures.on_a_gpu import command, environment
from fixtures.small_runs import small_spec, write_tokens


def test_a_hidden_gpu_that_is_asked_for(device: str, tmp_path: Path) -> None:
    spec = small_spec()
    write_tokens(tmp_path / "tokens" / spec.tokens_id)
    line = command(spec, tmp_path / "tokens", tmp_path / "run", "cuda")
    done = subprocess.run(line, env=environment(CUDA_VISIBLE_DEVICES=""), capture_output=True, text=True)
    reason = "which hides every GPU" if device == "cuda" else ""  # a PyTorch for CPUs has another reason
    assert done.returncode == 1 and "scalinglaws train: --device cuda, but " in done.stderr and reason in done.stderr
    assert done.stderr.count("\n") == 1 and [path.name for path in (tmp_path / "run").iterdir()] == ["spec.json"]
