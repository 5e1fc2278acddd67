"""Where a study stands, on folders made by hand that hold each state of a run, damaged files, and results of other studies."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from scalinglaws.cli import status_page
from scalinglaws.cli.app import main
from scalinglaws.cluster.cost import CORE, step_seconds
from scalinglaws.cluster.queue import QueuedJob
from scalinglaws.common import processes
from scalinglaws.dag import kept, locks
from scalinglaws.decide.failures import TAIL_BYTES, Job, command, error_of
from scalinglaws.decide.overview import overview
from scalinglaws.decide.standing import STATES, Standing, schema
from scalinglaws.decide.status import status
from scalinglaws.study import config
from scalinglaws.study.paths import bundle_path, log_path, owner_path
from scalinglaws.study.study import Study, build
from unit.decide.test_status import STARTS, STUDY, beat, by_budget, make_rung

SCHEMA = Path(__file__).parents[3] / "docs" / "status.schema.json"
RESULTS, CONFIG = Path("results"), Path("my config.yaml")
# Two experiments; batches of 2048 tokens, so that the runs of 1M tokens have 488 steps.
WANTED = STUDY | {
    "experiments": STUDY["experiments"]
    | {"long": {"grid": {"model": ["2x16"], "tokens": ["1M", "2M"]}}, "wide": {"grid": {"model": ["2x32"], "tokens": ["1M"]}}}
}
PROGRESS = "{}: step 5/488, loss 2.1, 3 tokens/s, 4 s left\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Give the test a working directory, in which Snakemake has read the study and has made its tokens."""
    monkeypatch.chdir(tmp_path)
    study = build(config.parse(WANTED))
    for name, text in kept.of_study(study):
        kept.write_absent(name, text)
    for spec in study.runs.values():
        write(RESULTS / "tokens" / spec.tokens_id / "meta.json", '{"splits": {}}')
    return study


@pytest.fixture
def training() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that looks like a training."""
    with subprocess.Popen([sys.executable, "-c", "input()", "scalinglaws", "train"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def finish(run: str, **metrics: Any) -> None:
    write(RESULTS / "runs" / run / "metrics.json", json.dumps({"status": "ok", "loss": 2.5} | metrics))


def heartbeat(kind: str, name: str, **changes: Any) -> None:
    said = {"id": name, "step": 200, "steps": 488, "loss": 2.25, "test_loss": 2.5, "tokens_per_second": 2048.0}
    said |= {"time": time.time(), "pid": os.getpid(), "host": socket.gethostname(), "started": None, "next_within": 30.0}
    write(RESULTS / kind / name / "progress.json", json.dumps(said | changes))


def own(study: Study, /, **changes: Any) -> None:
    """Write that this process is the Snakemake of the study, which began 100 s ago."""
    begun = {"study": study.name, "time": time.time() - 100, "work_left": status(study, RESULTS).work_left, "options": []}
    write(owner_path(RESULTS), json.dumps(processes.identity() | begun | changes))


def stands(study: Study, jobs: dict[str, QueuedJob] | None = None) -> Standing:
    """Return where the study stands; what holds of any study is checked on the way."""
    found = overview(study, RESULTS, CONFIG, jobs)
    assert Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(found.model_dump())
    assert [run.run for run in found.runs] == list(study.runs)
    for counts in (found.total, *found.experiments):
        assert counts.wanted == sum(getattr(counts, state) for state in STATES)
    return found


def state_of(study: Study, run: str, jobs: dict[str, QueuedJob] | None = None) -> tuple[str, int, str | None]:
    """Return state, step and reason of a run."""
    (found,) = [each for each in stands(study, jobs).runs if each.run == run]
    return found.state, found.step, found.because


def wide(study: Study) -> str:
    (run,) = study.experiments.keys() - by_budget(build(config.parse(STUDY))).values()
    return run


def test_the_kept_schema_is_that_of_the_types() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), "write it again with scalinglaws.decide.standing.write_schema"


def test_the_json_is_that_of_the_schema(made: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """What lacks a part, or has another, does not meet it."""
    CONFIG.write_text(json.dumps(WANTED))
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no space left\n")
    assert main(["status", "--configfile", str(CONFIG), "--json"]) == 0
    found, validator = json.loads(capsys.readouterr().out), Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert validator.is_valid(found) and Standing(**found).total.failed == 1
    for name in found:
        assert not validator.is_valid({key: value for key, value in found.items() if key != name})
    assert not validator.is_valid(found | {"more": 1})
    assert not validator.is_valid(found | {"runs": [found["runs"][0] | {"state": "lost"}]})


def test_a_study_that_nobody_started_waits_for_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = build(config.parse(WANTED))
    found = stands(study)
    assert found.total.waiting == found.total.wanted == 4 and found.workflow is None and not found.at_work
    assert {run.because for run in found.runs} == {"a start of snakemake: none has read this config yet"}
    assert found.seconds_left is None and found.failures == []


def test_runs_are_counted_in_each_experiment_that_asks_for_them(made: Study) -> None:
    """Done, diverged, and a run of another study. The test loss of a run that is done is its final one."""
    runs = by_budget(made)
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
    run = by_budget(made)[1_000_000]
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
    run = by_budget(made)[1_000_000]
    make_rung(RESULTS, made.trunk_ids[run], STARTS[1_000_000])
    heartbeat("runs", run, host="n7", time=time.time() - age, next_within=within)
    found, step, because = state_of(made, run)
    assert found == state
    if state == "stopped":
        assert (step, because) == (STARTS[1_000_000], "no heartbeat has come from n7 for 40 s")


def test_a_killed_run_goes_on_from_its_last_checkpoint(made: Study) -> None:
    run = by_budget(made)[1_000_000]
    heartbeat("runs", run, pid=2**22 + 1)
    assert state_of(made, run) == ("stopped", 0, f"its process {2**22 + 1} was killed")
    make_rung(RESULTS, made.trunk_ids[run], STARTS[1_000_000])
    assert state_of(made, run)[1] == STARTS[1_000_000]
    for step in (395, 410):
        write(RESULTS / "runs" / run / f"checkpoint-{step}.safetensors", b"state")
    assert state_of(made, run)[1] == 410
    (RESULTS / "runs" / run / "progress.json").unlink()
    assert state_of(made, run) == ("stopped", 410, "it was told to stop, and saved")
    assert stands(made).seconds_left is None and not stands(made).at_work
    write(RESULTS / "runs" / run / ".finished-metrics.json" / ".sums", "")
    assert state_of(made, run) == ("stopped", 488, "it had ended, and the next start puts its files in place")


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
    runs, error = by_budget(made), "Traceback (most recent call last):\nMemoryError\n"
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


def test_a_trunk_trains_to_one_rung_after_the_other(made: Study, training: subprocess.Popen[bytes]) -> None:
    runs = by_budget(made)
    trunk = made.trunk_ids[runs[1_000_000]]
    make_rung(RESULTS, trunk, 195)
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
    make_rung(RESULTS, made.trunk_ids[run], STARTS[1_000_000])
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
    runs = by_budget(made)
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
            make_rung(RESULTS, trunk, step)
    for path in RESULTS.glob("tokens/*/*/meta.json"):
        os.utime(path, (0, 0))
    own(made)
    before = status(made, RESULTS).work_left
    finish(by_budget(made)[2_000_000])
    after = status(made, RESULTS).work_left
    assert stands(made).seconds_left == pytest.approx(100 * after / (before - after), rel=0.05)
    own(made, pid=2**22 + 1, work_left=before)
    found = stands(made)
    assert found.seconds_left is None and found.workflow is not None and found.workflow.state == "gone"
    own(made, study="another", work_left=before)
    assert stands(made).seconds_left is None
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
    beat(RESULTS, "runs", run, 3)  # without a host
    assert state_of(made, run)[0] == "stopped"


def test_a_page_has_what_is_asked_for_in_80_columns(made: Study, training: subprocess.Popen[bytes]) -> None:
    """Plain lines for a pipe, and tables as rich draws them on a terminal, of which no line is broken."""
    from rich.console import Console

    runs = by_budget(made)
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
    assert shlex.split(command.partition("again: ")[2]) == shlex.split(found.failures[0].command)


def test_long_lists_are_cut_on_the_page(made: Study) -> None:
    write(log_path(RESULTS, "train", wide(made)), "scalinglaws train: no\n")
    found = stands(made)
    many = found.model_copy(update={"failures": found.failures * 8, "runs": found.runs * 30})
    told = "\n".join(part for part in status_page.page(many) if isinstance(part, str))
    assert told.count("FAILED") == 5 and "and 3 more failures: --json has all of them" in told
