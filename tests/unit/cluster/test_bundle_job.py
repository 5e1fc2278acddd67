"""Members of a bundle train at the same time and make the bytes of runs trained alone; a fault of one costs no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.small_runs import same_run, small_spec, write_tokens
from scalinglaws.cluster import member_job
from scalinglaws.cluster.bundle import Bundle, Member
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.failures import error_of
from scalinglaws.evaluate.evaluate import evaluate
from scalinglaws.study.paths import bundle_marker, bundle_path, evaluation_path, log_path
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import evalset_id
from scalinglaws.train import checkpoint
from scalinglaws.train.run import train, train_rung
from scalinglaws.train.stack import Stack

SET = evalset_id((small_spec().tokens_id,)) or ""
RUNGS = (10, 20)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def specs(results: Path, seed: int, tokens: tuple[int, ...] = (1280, 2560)) -> list[RunSpec]:
    """Write the specs of two budgets of one trunk, whose stable phases end behind the two rungs, and return the runs."""
    found = [small_spec(seed=seed, tokens=budget) for budget in tokens]
    for spec in (*found, found[0].trunk):
        folder = results / ("runs" if spec.tokens else "trunks") / spec.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(spec.canonical)
    return found


def member(found: list[RunSpec], seconds: int = 10) -> Member:
    runs = tuple(spec.id for spec in found)
    return Member(found[0].trunk.id, RUNGS, runs, tuple((run, SET) for run in runs), seconds)


def write(results: Path, members: list[Member], at_once: int = 2) -> Path:
    path = bundle_path(results, "p")
    path.parent.mkdir(exist_ok=True)
    path.write_text(Bundle(tuple(members), at_once, 1, 100).canonical)
    return path


def prepare(results: Path) -> Path:
    """Write tokens and an evaluation set that names them; return the tokens' folder."""
    tokens = write_tokens(results / "tokens" / small_spec().tokens_id)
    sets = results / "evals" / "sets" / f"{SET}.txt"
    sets.parent.mkdir(parents=True)
    sets.write_text(f"{small_spec().tokens_id}\n")
    return tokens


def command(results: Path, path: Path, *more: str) -> list[str]:
    out = bundle_marker(results, "p")
    given = ["--list", str(path), "--results", str(results), "--out", str(out)]
    return [sys.executable, "-m", "scalinglaws", "bundle", *given, *more]


def call(results: Path, path: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(results, path, *more), env=ENVIRONMENT, capture_output=True, text=True)


def alone(results: Path, found: list[RunSpec], tokens: Path) -> None:
    """Make in another folder what the rules make: each stage alone, one after the other."""
    trunk = found[0].trunk
    for step in RUNGS:
        train_rung(trunk, tokens, step, results / "trunks" / trunk.id / f"step{step}.safetensors", device="cpu")
    for spec in found:
        train(spec, tokens, results / "runs" / spec.id, trunk=results / "trunks" / trunk.id, device="cpu")
        evaluate(results / "runs" / spec.id, [tokens], evaluation_path(results, spec.id, SET))


def same(one: Path, other: Path, found: list[RunSpec]) -> None:
    trunk = found[0].trunk.id
    for step in RUNGS:
        name = f"trunks/{trunk}/step{step}.safetensors"
        assert (one / name).read_bytes() == (other / name).read_bytes()
    for spec in found:
        same_run(one / "runs" / spec.id, other / "runs" / spec.id)
        assert evaluation_path(one, spec.id, SET).read_bytes() == evaluation_path(other, spec.id, SET).read_bytes()


def files_of(results: Path, found: list[RunSpec]) -> dict[Path, int]:
    """Return path -> when it was written, for every file of a trunk and its runs."""
    folders = [results / "trunks" / found[0].trunk.id, *(results / "runs" / spec.id for spec in found)]
    return {path: path.stat().st_mtime_ns for folder in folders for path in sorted(folder.iterdir())}


def wait_for_training(runs: list[Path], count: int) -> list[int]:
    """Wait until so many of these runs are trained at the same time, and return their processes."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        beats = [run / "progress.json" for run in runs if (run / "progress.json").exists()]
        if len(beats) == count:
            return [json.loads(beat.read_text())["pid"] for beat in beats]
        time.sleep(0.02)
    raise AssertionError(f"{count} of {runs} are not trained at once")


def test_a_bundle_makes_what_its_runs_make_alone(tmp_path: Path) -> None:
    results = tmp_path / "results"
    tokens = prepare(results)
    every = [specs(results, seed) for seed in (1, 2, 3)]
    done = call(results, write(results, [member(found) for found in every]))
    assert done.returncode == 0, done.stderr
    assert bundle_marker(results, "p").exists()
    for found in every:
        alone(tmp_path / "alone", found, tokens)
        same(results, tmp_path / "alone", found)
        for spec in found:
            timing = json.loads((results / "runs" / spec.id / "timing.json").read_text())
            assert timing["at_once"] == 2 and timing["attempts"] == 1
            assert f"{spec.id}: ok" in (results / "logs" / "train" / f"{spec.id}.log").read_text()
    # The same job once more finds everything there and writes nothing.
    before = files_of(results, every[0])
    assert call(results, bundle_path(results, "p")).returncode == 0
    assert files_of(results, every[0]) == before


def test_members_of_one_shape_in_a_process_make_what_they_make_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stack trains the rungs and then the runs of three trunks; what it leaves is made afterwards."""
    results = tmp_path / "results"
    tokens = prepare(results)
    every = [specs(results, seed) for seed in (1, 2, 3)]
    path = write(results, [member(found) for found in every])
    (results / "runs" / every[2][0].id / "spec.json").unlink()  # its other run is trained all the same
    stages = member_job.Stages(results, device="cpu", checkpoint_seconds=60.0)
    with pytest.raises(StudyError, match=every[2][0].id):
        member_job.train_named(path, [found[0].trunk.id for found in every], stages)
    assert "stack: 3 trainings of one shape at once" in capsys.readouterr().err
    for found in every:
        alone(tmp_path / "alone", found, tokens)
        for step in RUNGS:
            name = f"trunks/{found[0].trunk.id}/step{step}.safetensors"
            first, second = (checkpoint.load(folder / name, found[0].trunk.id)[1] for folder in (results, tmp_path / "alone"))
            assert first["step"] == second["step"] == step
            losses, wanted = ([row["loss_test"] for row in state["rows"]] for state in (first, second))
            assert losses == pytest.approx(wanted, abs=1e-4)
        for spec in found:
            if spec is every[2][0]:
                continue
            loss, timing = (
                json.loads((results / "runs" / spec.id / f"{name}.json").read_text()) for name in ("metrics", "timing")
            )
            reference = json.loads((tmp_path / "alone" / "runs" / spec.id / "metrics.json").read_text())
            assert loss["loss"] == pytest.approx(reference["loss"], abs=1e-4)
            assert timing.get("stacked") == (None if found is every[2] else 3)
            assert f"{spec.id}: ok" in (results / "logs" / "train" / f"{spec.id}.log").read_text()
            assert evaluation_path(results, spec.id, SET).exists()
    before = files_of(results, every[0])
    member_job.train_named(path, [found[0].trunk.id for found in every[:2]], stages)
    assert files_of(results, every[0]) == before
    with pytest.raises(StudyError, match="has no member elsewhere"):
        member_job.train_named(path, ["elsewhere"], stages)
    other = small_spec(beta2=0.9, schedule="constant", decay=0.0)
    (results / "runs" / other.id).mkdir(parents=True)
    (results / "runs" / other.id / "spec.json").write_text(other.canonical)
    path = write(results, [member(every[0]), Member(other.id, (), (other.id,), (), 10)])
    with pytest.raises(StudyError, match=f"run {other.id} differs in shape from .*: train its member without others"):
        member_job.train_named(path, [every[0][0].trunk.id, other.id], stages)


def test_a_stack_that_fails_leaves_its_trainings_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def update(stack: Stack) -> None:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(Stack, "update", update)
    results = tmp_path / "results"
    tokens = prepare(results)
    every = [specs(results, seed) for seed in (1, 2)]
    path = write(results, [member(found) for found in every])
    member_job.train_named(path, [found[0].trunk.id for found in every], member_job.Stages(results, device="cpu"))
    assert "trainings go on one by one, because of RuntimeError('no kernel image" in capsys.readouterr().err
    for found in every:
        alone(tmp_path / "alone", found, tokens)
        same(results, tmp_path / "alone", found)


def test_a_killed_member_costs_the_others_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    tokens = prepare(results)
    long = specs(results, 9, (1280, 64 * 8_000))
    short = [specs(results, seed) for seed in (1, 2)]
    path = write(results, [member(long, seconds=100), *(member(found) for found in short)])
    process = subprocess.Popen(command(results, path), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    (pid,) = wait_for_training([results / "runs" / long[1].id], 1)
    os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"1 of 3 members failed: {long[0].trunk.id}" in errors
    assert not bundle_marker(results, "p").exists()
    before = {path: time for found in short for path, time in files_of(results, found).items()}
    assert all((results / "runs" / spec.id / "metrics.json").exists() for found in short for spec in found)
    first = (results / "runs" / long[0].id / "metrics.json").stat().st_mtime_ns
    assert call(results, path).returncode == 0
    assert {path: time for found in short for path, time in files_of(results, found).items()} == before
    assert (results / "runs" / long[0].id / "metrics.json").stat().st_mtime_ns == first
    alone(tmp_path / "alone", long, tokens)
    same(results, tmp_path / "alone", long)


def test_a_stopped_bundle_saves_and_goes_on(tmp_path: Path) -> None:
    results = tmp_path / "results"
    tokens = prepare(results)
    every = [specs(results, seed, (1280, 64 * 8_000)) for seed in (1, 2, 3)]
    path = write(results, [member(found) for found in every])
    process = subprocess.Popen(command(results, path), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    runs = [results / "runs" / found[1].id for found in every]
    wait_for_training(runs, 2)
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert sum(len(list(run.glob("checkpoint-*"))) for run in runs) == 2
    assert sum((run / "progress.json").exists() for run in runs) == 0
    # The third run was not started.
    assert sum((results / "runs" / found[0].id / "metrics.json").exists() for found in every) == 2
    assert call(results, path).returncode == 0
    attempts = [json.loads((run / "timing.json").read_text())["attempts"] for run in runs]
    assert sorted(attempts) == [1, 2, 2]
    for found in every[:2]:
        alone(tmp_path / "alone", found, tokens)
        same(results, tmp_path / "alone", found)


def test_a_run_that_cannot_be_trained_is_told_and_left_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    prepare(results)
    good, bad = small_spec(schedule="constant", decay=0.0), small_spec(schedule="constant", decay=0.0, micro_batch_tokens=48)
    for spec in (good, bad):
        (results / "runs" / spec.id).mkdir(parents=True)
        (results / "runs" / spec.id / "spec.json").write_text(spec.canonical)
    members = [Member(spec.id, (), (spec.id,), ((spec.id, SET),), 10) for spec in (good, bad)]
    done = call(results, write(results, members), "--at-once", "1")
    assert done.returncode == 1
    assert "micro_batch_tokens = 48" in done.stderr and f"1 of 2 members failed: {bad.id}" in done.stderr
    assert "Traceback" not in done.stderr
    (told,) = error_of(log_path(results, "train", bad.id), bad.id)
    assert told.startswith("scalinglaws train: ") and "micro_batch_tokens = 48" in told
    assert evaluation_path(results, good.id, SET).exists() and not evaluation_path(results, bad.id, SET).exists()


@pytest.mark.parametrize("text", ["", "{}"])
def test_a_damaged_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    done = call(tmp_path, path)
    assert done.returncode == 1 and "is not a list of runs to train together" in done.stderr
