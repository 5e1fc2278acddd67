"""Which jobs there are: what squeue prints, and the processes that a Snakemake of this machine has started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scalinglaws.cluster.queue import QueuedJob, parsed, queued, started_here

TOLD = """12|PENDING|Priority|{here}|rule_train_wildcards_gpt-n1.5k-t64.0k-s0-0123456789
13|RUNNING|None|{here}|rule_rung_wildcards_gpt-n1.5k-trunk-s0-0123456789_50
14|RUNNING|None|/elsewhere|rule_train_wildcards_gpt-n9.9k-t64.0k-s0-0123456789
15|RUNNING|None|{here}|(null)
16|COMPLETING
"""


def test_the_jobs_of_this_folder_are_known_by_rule_and_wildcards(tmp_path: Path) -> None:
    found = parsed(TOLD.format(here=tmp_path), tmp_path)
    assert found == {
        "train_wildcards_gpt-n1.5k-t64.0k-s0-0123456789": QueuedJob("12", "PENDING", "Priority"),
        "rung_wildcards_gpt-n1.5k-trunk-s0-0123456789_50": QueuedJob("13", "RUNNING", "None"),
    }
    waits, runs = found.values()
    assert (waits.runs, waits.words, runs.runs, runs.words) == (
        False,
        "Slurm job 12, PENDING (Priority)",
        True,
        "Slurm job 13, RUNNING",
    )


@pytest.mark.parametrize("script", ["echo '12|RUNNING|None|'\"$PWD\"'|rule_fit'", "echo no answer >&2; exit 1", None])
def test_a_slurm_that_does_not_answer_has_no_jobs(script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if script:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "squeue").chmod(0o755)
    assert queued(tmp_path) == ({"fit": QueuedJob("12", "RUNNING", "None")} if script and "RUNNING" in script else {})


def test_a_training_that_was_started_is_known_by_its_spec() -> None:
    words = ["-c", "input()", "-m", "scalinglaws", "train", "--spec", "results/runs/gpt-a/spec.json"]
    with subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE) as process:
        assert started_here(os.getpid()) == {"gpt-a"} and started_here(process.pid) == set()
        process.kill()
    assert started_here(os.getpid()) == set() == started_here(2**22 + 1)
