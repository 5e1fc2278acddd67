"""What failed, by the ends of logs, and the commands that repeat it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fixtures.standing import CONFIG, RESULTS, narrow, own, read_by_snakemake, stands, state_of, wide, write
from scalinglaws.dag import locks
from scalinglaws.decide.failures import TAIL_BYTES, Job, command, error_of
from scalinglaws.study.paths import log_path
from scalinglaws.study.study import Study

PROGRESS = "{}: step 5/488, loss 2.1, 3 tokens/s, 4 s left\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Give the test a working directory in which Snakemake has read the study."""
    monkeypatch.chdir(tmp_path)
    return read_by_snakemake()


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        ("scalinglaws train: no space left\n", 1),
        (PROGRESS + "Traceback (most recent call last):\n  File a\nRuntimeError: b\n", 3),
        ("Traceback (most recent call last):\n" + "  frame\n" * 50 + "ValueError: c\n", 8),
        (PROGRESS + "srun: error: n1: task 1: Exited with exit code 1\n", 1),
        ("/usr/bin/bash: line 1: python: command not found\n", 1),
        (b"\xff\x00\x1b[2J" * TAIL_BYTES + b"\nscalinglaws train: \x1b[31mred\xff\n", 1),
        # These are no failures: a run that is tried again, one that was told to stop, one that was killed.
        ("scalinglaws member: no space left\n" + PROGRESS, 0),
        (PROGRESS + "scalinglaws train: stopped\n", 0),
        (PROGRESS + "srun: error: n1: task 1: Exited with exit code 143\n", 0),
        ("/bin/bash: warning: setlocale: LC_ALL: cannot change locale\n", 0),
        (PROGRESS, 0),
        (b"\xff" * 3 * TAIL_BYTES, 0),
        ("", 0),
    ],
)
def test_a_run_has_failed_where_its_log_ends_with_an_error(made: Study, log: str | bytes, lines: int) -> None:
    run = wide(made)
    path = write(log_path(RESULTS, "train", run), log.format(run) if isinstance(log, str) else log)
    found = error_of(path, run)
    assert len(found) == lines and all(line.isprintable() for line in found)
    standing = stands(made)
    assert standing.total.failed == len(standing.failures) == (1 if lines else 0)
    for failure in standing.failures:
        assert (failure.stage, failure.name, failure.log, failure.lines) == ("train", run, str(path), found)
        words = ["snakemake", f"results/runs/{run}/metrics.json", "--cores", "1", "--configfile", str(CONFIG)]
        assert shlex.split(failure.command) == words


def test_the_command_runs_where_the_failed_job_ran(made: Study) -> None:
    """The profile with which Snakemake was started is in it."""
    arguments = ["snakemake", "--workflow-profile", "profiles/my slurm", "-n", "--executor=slurm", "--cores", "4"]
    own(made, options=locks.places(arguments))
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no\n")
    (failure,) = stands(made).failures
    assert shlex.split(failure.command)[-3:] == ["--workflow-profile", "profiles/my slurm", "--executor=slurm"]
    assert command(Job("fit", "a", Path("b c"), Path("d")), Path("e")) == "snakemake 'b c' --cores 1 --configfile e"


def test_a_failed_rung_and_other_stages_are_among_the_failures(made: Study) -> None:
    """What failed is told once, by its own log; what waits for it waits."""
    runs, error = narrow(made), "Traceback (most recent call last):\nMemoryError\n"
    trunk = made.trunk_ids[runs[1_000_000]]
    write(log_path(RESULTS, "rung", f"{trunk}-step195"), error)
    write(RESULTS / "studies/test/logs/fit/power-n.log", error)
    write(RESULTS / "studies/test/logs/fit/power-c.log", error)
    write(RESULTS / "studies/test/fits/power-c.json", "{}")
    found = stands(made)
    assert [(each.stage, each.name) for each in found.failures] == [("rung", trunk), ("fit", "power-n")]
    assert f"results/trunks/{trunk}/step195.safetensors" in found.failures[0].command
    (standing,) = [each for each in found.trunks if each.trunk == trunk]
    assert (standing.state, standing.steps, standing.rungs_made, standing.rungs, standing.runs) == ("failed", 195, 0, 3, 3)
    assert state_of(made, runs[1_000_000]) == ("waiting", 0, f"rung 390 of {trunk}")
