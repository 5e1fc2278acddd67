"""Where a study stands, on folders made by hand that hold each state of a run, damaged files, and results of other studies."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from printed import printed, validator

from fixtures.standing import (
    CONFIG,
    RESULTS,
    STARTS,
    WANTED,
    finish,
    heartbeat,
    make_rung,
    narrow,
    own,
    read_by_snakemake,
    stands,
    state_of,
    wide,
    write,
)
from scalinglaws.cli import status_page
from scalinglaws.cli.app import main
from scalinglaws.cluster.cost import CORE, step_seconds
from scalinglaws.cluster.queue import QueuedJob
from scalinglaws.common import processes
from scalinglaws.decide.standing import Standing
from scalinglaws.decide.status import status
from scalinglaws.study import config
from scalinglaws.study.paths import bundle_path, log_path, owner_path
from scalinglaws.study.study import Study, build


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Give the test a working directory in which Snakemake has read the study."""
    monkeypatch.chdir(tmp_path)
    return read_by_snakemake()


@pytest.fixture
def training() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that looks like a training."""
    with subprocess.Popen([sys.executable, "-c", "input()", "scalinglaws", "train"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_json_is_that_of_the_schema(made: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """What lacks a part, or has another, does not meet it."""
    CONFIG.write_text(json.dumps(WANTED))
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no space left\n")
    assert main(["status", "--configfile", str(CONFIG), "--json"]) == 0
    found, kept = printed("status", capsys.readouterr().out), validator("status")
    assert Standing(**found).total.failed == 1
    for name in found:
        assert not kept.is_valid({key: value for key, value in found.items() if key != name})
    assert not kept.is_valid(found | {"more": 1})
    assert not kept.is_valid(found | {"runs": [found["runs"][0] | {"state": "lost"}]})


def test_a_study_that_nobody_started_waits_for_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = build(config.parse(WANTED))
    found = stands(study)
    assert found.total.waiting == found.total.wanted == 4 and found.workflow is None and not found.at_work
    assert {run.because for run in found.runs} == {"a start of snakemake: none has read this config yet"}
    assert found.seconds_left is None and found.failures == []


def test_runs_are_counted_in_each_experiment_that_asks_for_them(made: Study) -> None:
    """Done, diverged, and a run of another study. The test loss of a run that is done is its final one."""
    runs = narrow(made)
    finish(runs[2_000_000])
    finish(wide(made), status="diverged", loss=None)
    finish("gpt-of-another-study")
    heartbeat("runs", "gpt-of-another-study")
    found = stands(made)
    counts = {each.experiment: (each.wanted, each.done, each.diverged, each.waiting) for each in found.experiments}
    assert counts == {"size": (3, 1, 0, 2), "long": (2, 1, 0, 1), "wide": (1, 0, 1, 0)}
    assert (found.total.wanted, found.total.done, found.total.diverged) == (4, 1, 1) and not found.at_work
    assert {run.test_loss for run in found.runs if run.state == "done"} == {2.5}
    write(RESULTS / "runs" / runs[2_000_000] / "metrics.json", '{"loss": 1e999, "status": 3}')
    assert state_of(made, runs[2_000_000])[0] == "done", "its damage is told by scalinglaws verify"


def test_a_run_that_trains_says_step_losses_speed_and_time_left(made: Study, training: subprocess.Popen[bytes]) -> None:
    run = narrow(made)[1_000_000]
    heartbeat("runs", run, pid=training.pid, started=processes.started(training.pid))
    (found,) = [each for each in stands(made).runs if each.state == "running"]
    assert (found.run, found.step, found.steps, found.loss, found.test_loss) == (run, 200, 488, 2.25, 2.5)
    assert found.seconds_left == pytest.approx(488 - 200, abs=5) and found.host == socket.gethostname()
    # All that is left takes as long as this training's speed says: one batch of 2048 tokens a second.
    left = status(made, RESULTS).work_left / step_seconds(made.runs[run], CORE)
    assert stands(made).seconds_left == pytest.approx(left, rel=1e-6)
    heartbeat("runs", run, pid=training.pid, started="another boot 17")
    assert state_of(made, run)[0] == "stopped", "another process has the number by now"


@pytest.mark.parametrize(("age", "within", "state"), [(20, 30, "running"), (40, 30, "stopped"), (200, 300, "running")])
def test_a_heartbeat_of_another_machine_counts_as_long_as_it_says(made: Study, age: int, within: int, state: str) -> None:
    run = narrow(made)[1_000_000]
    make_rung(made.trunk_ids[run], STARTS[1_000_000])
    heartbeat("runs", run, host="n7", time=time.time() - age, next_within=within)
    found, step, because = state_of(made, run)
    assert found == state
    if state == "stopped":
        assert (step, because) == (STARTS[1_000_000], "no heartbeat has come from n7 for 40 s")


def test_a_killed_run_goes_on_from_its_last_checkpoint(made: Study) -> None:
    run = narrow(made)[1_000_000]
    heartbeat("runs", run, pid=2**22 + 1)
    assert state_of(made, run) == ("stopped", 0, f"its process {2**22 + 1} was killed")
    make_rung(made.trunk_ids[run], STARTS[1_000_000])
    assert state_of(made, run)[1] == STARTS[1_000_000]
    for step in (395, 410):
        write(RESULTS / "runs" / run / f"checkpoint-{step}.safetensors", b"state")
    assert state_of(made, run)[1] == 410
    (RESULTS / "runs" / run / "progress.json").unlink()
    assert state_of(made, run) == ("stopped", 410, "it was told to stop, and saved")
    assert stands(made).seconds_left is None and not stands(made).at_work
    write(RESULTS / "runs" / run / ".finished-metrics.json" / ".sums", "")
    assert state_of(made, run) == ("stopped", 488, "it had ended, and the next start puts its files in place")


def test_a_trunk_trains_to_one_rung_after_the_other(made: Study, training: subprocess.Popen[bytes]) -> None:
    runs = narrow(made)
    trunk = made.trunk_ids[runs[1_000_000]]
    make_rung(trunk, 195)
    heartbeat("trunks", trunk, pid=training.pid, step=300, steps=390)
    (standing,) = [each for each in stands(made).trunks if each.trunk == trunk]
    assert (standing.state, standing.step, standing.steps) == ("running", 300, 390)
    assert (standing.rungs_made, standing.rungs, standing.runs) == (1, 3, 2)
    training.kill()
    training.wait()
    write(RESULTS / "trunks" / trunk / "partial-390-250.safetensors", b"state")
    write(RESULTS / "trunks" / trunk / "partial-195-190.safetensors", b"state")
    (standing,) = [each for each in stands(made).trunks if each.trunk == trunk]
    assert (standing.state, standing.step) == ("stopped", 250)


def test_a_run_waits_for_what_is_missing_first(made: Study) -> None:
    run = wide(made)
    make_rung(made.trunk_ids[run], STARTS[1_000_000])
    assert state_of(made, run) == ("waiting", STARTS[1_000_000], "a start of snakemake")
    own(made)
    assert state_of(made, run)[2] == "its turn"
    rates = dataclasses.replace(made.runs[run], rate_sweep="0123456789")
    swept = dataclasses.replace(made, runs={**made.runs, run: rates}, sweeps={"0123456789": made})  # type: ignore[dict-item]
    assert state_of(swept, run)[2] == "the learning rate of sweep 0123456789, which follows from 4 runs, 0 of them trained"
    forecast = dataclasses.replace(made, forecasts=frozenset([run]), fitted=made.fitted - {run})
    assert state_of(forecast, run)[2] == "its forecast, which follows from 3 runs, 0 of them trained"
    write(RESULTS / "studies/test/forecasts" / f"{run}.json", "{}")
    assert state_of(forecast, run)[2] == "its turn"
    (RESULTS / "tokens" / made.runs[run].tokens_id / "meta.json").unlink()
    assert state_of(made, run)[2] == f"the tokens of {made.runs[run].tokens_id}"


def test_the_jobs_of_slurm_tell_what_waits_in_its_queue(made: Study) -> None:
    """A job that runs alone trains its run also before the first heartbeat; in a bundle, a run may have its turn later."""
    runs = narrow(made)
    run, trunk = wide(made), made.trunk_ids[runs[1_000_000]]
    waits, trains = QueuedJob("7", "PENDING", "Priority"), QueuedJob("8", "RUNNING", "None")
    write(log_path(RESULTS, "train", run), "scalinglaws train: no\n")
    assert state_of(made, run, {f"train_wildcards_{run}": waits}) == ("waiting", 0, "Slurm job 7, PENDING (Priority)")
    assert state_of(made, run, {f"train_wildcards_{run}": trains}) == ("running", 0, None)
    found = stands(made, {f"rung_wildcards_{trunk}_195": trains})
    assert {each.trunk: each.state for each in found.trunks}[trunk] == "running" and found.at_work
    write(bundle_path(RESULTS, "b"), json.dumps({"members": [{"name": trunk, "rungs": [195], "runs": [run]}]}))
    assert state_of(made, run, {"bundle_wildcards_b": trains}) == ("waiting", 0, "its turn in Slurm job 8, RUNNING")
    assert state_of(made, run, {"bundle_wildcards_b": waits}) == ("waiting", 0, "Slurm job 7, PENDING (Priority)")


def test_the_clock_is_that_of_the_work_that_is_done(made: Study) -> None:
    """A run of 98 steps behind its rung is done in the 100 s since the Snakemake of the study began."""
    for trunk in made.trunks:
        for step in STARTS.values():
            make_rung(trunk, step)
    for path in RESULTS.glob("tokens/*/*/meta.json"):
        os.utime(path, (0, 0))
    own(made)
    before = status(made, RESULTS).work_left
    finish(narrow(made)[2_000_000])
    after = status(made, RESULTS).work_left
    assert stands(made).seconds_left == pytest.approx(100 * after / (before - after), rel=0.05)
    own(made, pid=2**22 + 1, work_left=before)
    found = stands(made)
    assert found.seconds_left is None and found.workflow is not None and found.workflow.state == "gone"
    own(made, study="another", work_left=before)
    found = stands(made)
    assert found.seconds_left is None and not found.at_work
    assert "runs snakemake, on study another." in next(status_page.page(found))
    own(made, host="n7")
    found = stands(made)
    assert found.workflow is not None and found.workflow.state == "gone"
    write(Path(".snakemake/locks/0.input.lock"), "")
    assert stands(made).at_work


@pytest.mark.parametrize("text", ["", "[]", '{"host": 3}', '{"pid": 1e999, "time": NaN}', "\xff", "[" * 100_000])
def test_damaged_files_are_left_out(made: Study, text: str) -> None:
    run = wide(made)
    write(owner_path(RESULTS), text.encode("latin-1"))
    write(RESULTS / "runs" / run / "progress.json", text.encode("latin-1"))
    write(bundle_path(RESULTS, "b"), text.encode("latin-1"))
    assert stands(made).total.waiting == 4


@pytest.mark.parametrize("said", [{"step": -5}, {"step": 10**30}, {"tokens_per_second": -1.0}, {"time": 0}, {"loss": None}])
def test_a_heartbeat_with_strange_numbers_harms_nothing(
    made: Study, training: subprocess.Popen[bytes], said: dict[str, Any]
) -> None:
    run = wide(made)
    heartbeat("runs", run, pid=training.pid, **said)
    assert state_of(made, run)[0] == "running"
    write(RESULTS / "runs" / run / "progress.json", '{"step": 3}')  # without a host
    assert state_of(made, run)[0] == "stopped"


def test_a_page_has_what_is_asked_for_in_80_columns(made: Study, training: subprocess.Popen[bytes]) -> None:
    """Plain lines for a pipe, and tables as rich draws them on a terminal, of which no line is broken."""
    from rich.console import Console

    runs = narrow(made)
    heartbeat("runs", runs[1_000_000], pid=training.pid)
    heartbeat("runs", runs[500_000], pid=2**22 + 1)
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no space left\n")
    found = stands(made)
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(status_page.drawn_page(found))
    drawn = console.export_text()
    assert max(map(len, drawn.splitlines())) <= 80
    for text in ("0 of 4 runs trained", runs[1_000_000], "200/488", "2.250", "2,048", "0/244", "no space left"):
        assert text in drawn
    (command,) = [part for part in status_page.page(found) if isinstance(part, str) and "FAILED" in part]
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {command.partition('again: ')[2]}"], capture_output=True, text=True)
    assert words.stdout.splitlines() == shlex.split(found.failures[0].command)


def test_long_lists_are_cut_on_the_page(made: Study) -> None:
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no\n")
    found = stands(made)
    many = found.model_copy(update={"failures": found.failures * 8, "runs": found.runs * 30})
    told = "\n".join(part for part in status_page.page(many) if isinstance(part, str))
    assert told.count("FAILED") == 5 and "and 3 more failures: --json has all of them" in told
    (failed,) = [each for each in found.experiments if each.failed]
    many = found.model_copy(update={"experiments": [failed] + [each for each in found.experiments if not each.failed] * 10})
    tables = [part for part in status_page.page(many, brief=True) if not isinstance(part, str)]
    assert [row[0] for row in tables[0].rows] == ["wide", "(all runs)"]
    assert "Of 20 more experiments nothing runs: scalinglaws status | cat has them." in status_page.page(many, brief=True)
    assert len(next(part for part in status_page.page(many) if not isinstance(part, str)).rows) == 22


def test_a_terminal_shows_it_until_ctrl_c(made: Study, training: subprocess.Popen[bytes]) -> None:
    """As long as something works on the study. The status is then 130, without a traceback."""
    CONFIG.write_text(json.dumps(WANTED))
    heartbeat("runs", wide(made), pid=training.pid)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "scalinglaws", "status", "--configfile", str(CONFIG)]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        told = b""
        while b"its turn" not in told and b"snakemake" not in told:
            told += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 4096):
                told += more
        assert process.wait(timeout=60) == 130
    os.close(ours)
    assert b"scalinglaws status: stopped" in told and b"Traceback" not in told
    training.kill()
    training.wait()
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("study test: 0 of 4 runs trained") and "\x1b" not in done.stdout
