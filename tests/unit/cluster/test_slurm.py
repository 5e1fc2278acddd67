"""A job ends before its limit: by what Slurm says, else by the limit with which it was submitted."""

from __future__ import annotations

import math
import os
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from scalinglaws.cluster import slurm


@pytest.fixture(autouse=True)
def in_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Run in a job, on a node without Slurm's clients."""
    for name in ("SLURM_JOB_END_TIME", slurm.BEGAN):
        monkeypatch.setenv(name, "")  # so that what a test leaves there is gone after it
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    return monkeypatch


def squeue(folder: Path, text: str) -> None:
    (folder / "squeue").write_text(f"#!/bin/sh\n[ \"$*\" = '-h -j 7 -o %e' ] && echo {text}\n")
    (folder / "squeue").chmod(0o755)


def test_slurm_says_when_the_job_ends(tmp_path: Path) -> None:
    end = int(time.time()) + 3600
    squeue(tmp_path, datetime.fromtimestamp(end).isoformat())
    assert slurm.stop_time() == pytest.approx(end - 120)
    squeue(tmp_path, datetime.fromtimestamp(end - 3600 + 300).isoformat())
    assert slurm.stop_time(600) == pytest.approx(end - 3600 + 300 - 15, abs=1)  # a twentieth of five minutes
    squeue(tmp_path, "NONE")
    assert slurm.stop_time() == math.inf


def test_without_its_clients_the_limit_of_the_submission_counts(in_job: pytest.MonkeyPatch) -> None:
    assert slurm.stop_time(60) == math.inf  # nobody has said when the job began
    slurm.note_start()
    began = psutil.Process().create_time()
    assert slurm.stop_time(60 + (time.time() - began) / 60) == pytest.approx(time.time() + 3600 - 120, abs=2)
    assert slurm.stop_time() == math.inf
    # What starts later in the job keeps the note; another job, submitted by this one, does not.
    in_job.setenv(slurm.BEGAN, "7:1000")
    slurm.note_start()
    assert os.environ[slurm.BEGAN] == "7:1000"
    in_job.setenv("SLURM_JOB_ID", "8")
    assert slurm.stop_time(60) == math.inf
    slurm.note_start()
    assert os.environ[slurm.BEGAN] == f"8:{began:.0f}"


def test_newer_versions_of_slurm_say_it_by_a_variable(in_job: pytest.MonkeyPatch) -> None:
    end = int(time.time()) + 7200
    in_job.setenv("SLURM_JOB_END_TIME", str(end))
    assert slurm.stop_time(5) == pytest.approx(end - 120)


def test_outside_of_a_job_there_is_no_limit(in_job: pytest.MonkeyPatch) -> None:
    in_job.delenv("SLURM_JOB_ID")
    slurm.note_start()
    assert slurm.BEGAN not in os.environ and slurm.stop_time(1) == math.inf
