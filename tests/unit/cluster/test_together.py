"""In a Slurm job, srun starts the processes of a training and tells them their ranks; elsewhere torchrun does.

The srun here is made up: it starts its tasks on this machine with the variables that Slurm gives them. A real one is in
tests/cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.cluster import gpus, together
from scalinglaws.common.errors import StudyError
from scalinglaws.train.ranks import PORT
from scalinglaws.train.run import train

SRUN = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
options = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
at = next(i for i, word in enumerate(sys.argv[1:], 1) if not word.startswith("--"))
pathlib.Path(os.environ["SRUN_CALLS"]).write_text(json.dumps(sys.argv[1:]))
count, on_node = int(options["ntasks"]), int(options["ntasks-per-node"])
tasks = []
for rank in range(count):
    own = {{"SLURM_PROCID": rank, "SLURM_NTASKS": count, "SLURM_LOCALID": rank % on_node, "SLURM_STEP_NODELIST": "n[1-2]"}}
    own["SLURM_LAUNCH_NODE_IPADDR"] = "127.0.0.1"
    tasks.append(subprocess.Popen(sys.argv[at:], env={{**os.environ, **{{k: str(v) for k, v in own.items()}}}}))
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture
def slurm_job(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a job on a node whose srun is the made-up one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    found = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    return found | {"OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "7", "SRUN_CALLS": str(tmp_path / "calls")}


def test_two_nodes_train_a_run_without_torchrun(tmp_path: Path, slurm_job: dict[str, str]) -> None:
    spec = small_spec(tokens=640)
    tokens = write_tokens(tmp_path / "tokens" / spec.tokens_id)
    train(spec, tokens, tmp_path / "one", device="cpu")
    (tmp_path / "spec.json").write_text(spec.canonical)
    given = ["--spec", str(tmp_path / "spec.json"), "--tokens", str(tmp_path / "tokens"), "--out", str(tmp_path / "two")]
    call = [sys.executable, "-m", "scalinglaws", "train", *given, "--device", "cpu", "--processes", "2", "--nodes", "2"]
    done = subprocess.run(call, env=slurm_job, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["steps"] == two["steps"] and one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    timing = json.loads((tmp_path / "two" / "timing.json").read_text())
    assert (timing["processes"], timing["device_asked"], timing["gpus_visible"]) == (2, "cpu", 0) and "driver" not in timing
    assert "asked for --device cpu and --processes 2" in done.stderr
    told = json.loads((tmp_path / "calls").read_text())
    assert told[:3] == ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1"] and "torch.distributed.run" not in told
    assert {"--kill-on-bad-exit=1", "--gpu-bind=none", "--cpu-bind=none", "--overlap", "--wait=0"} <= set(told)


def called(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> list[tuple[list[str], dict[str, str]]]:
    """Note what is started, in place of starting it."""
    found: list[Any] = []
    monkeypatch.setattr(os, "environ", environment)

    def call(command: list[str], environment: dict[str, str]) -> int:
        found.append((command, environment))
        return 0

    monkeypatch.setattr(together, "_call", call)
    return found


def test_the_launcher_follows_from_where_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = called(monkeypatch, {"SLURM_JOB_ID": "7"})
    assert together.together(8, 2, "cpu", ["train"])
    ((command, environment),) = found
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4"]
    assert command[-4:] == [sys.executable, "-m", "scalinglaws", "train"] and 1024 <= int(environment[PORT]) < 2**16
    # A machine whose GPUs are divided among runs has torchrun, and so has one without Slurm.
    for alone in ({"SLURM_JOB_ID": "7", gpus.PLACES: "4x1"}, {}):
        found = called(monkeypatch, dict(alone))
        assert together.together(4, 1, "cpu", ["train"])
        assert found[0][0][1:5] == ["-m", "torch.distributed.run", "--nproc-per-node=4", "--standalone"]
        assert PORT not in found[0][1]
    # One process trains itself, and so do those that were started.
    assert not together.together(1, 1, "cpu", ["train"]) and not together.together(0, 1, "cpu", ["train"])
    called(monkeypatch, {PORT: "29501", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "7"})
    assert not together.together(2, 1, "cpu", ["train"])


def test_what_cannot_be_started_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = called(monkeypatch, {})
    with pytest.raises(StudyError, match="3 processes cannot be shared by 2 nodes: take a multiple"):
        together.start(3, 2, "cpu", [])
    with pytest.raises(StudyError, match="2 nodes are asked for outside of a Slurm job"):
        together.start(4, 2, "cpu", [])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(StudyError, match="4 GPUs are asked for and this process sees 2"):
        together.start(8, 2, "cuda", [])
    assert found == []
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="srun is not on the path of this node"):
        together._call(together.srun(1, 2), {"PATH": str(tmp_path)})
