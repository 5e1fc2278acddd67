"""The plan, pruning and the progress line on folders made by hand."""

import copy
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from scalinglaws.common import processes
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import launch, locks
from scalinglaws.decide import plan
from scalinglaws.decide.status import status
from scalinglaws.laws.registry import laws_of
from scalinglaws.study import config, study
from scalinglaws.study.ladder import rungs
from scalinglaws.study.paths import rung_path
from scalinglaws.train.progress import Progress

STUDY = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"]}], "bytes": "10M"}},
    "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "warmup_tokens": "50k"},
    "ladder": {"base": "400k"},
    "experiments": {"size": {"grid": {"model": ["2x16", "2x32"], "tokens": ["0.5M", "1M", "2M"]}}},
}


@pytest.fixture
def made():
    return study.build(config.parse(STUDY))


def finish(results, run):
    (results / "runs" / run).mkdir(parents=True)
    (results / "runs" / run / "metrics.json").write_text("{}")


def make_rungs(results, made):
    for trunk, spec in made.trunks.items():
        for step in rungs(made.ladder, spec.batch_tokens, 781):
            path = rung_path(results, trunk, step)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"rung")


def test_status_counts_what_is_left(made, tmp_path):
    before = status(made, tmp_path)
    # Budgets of 244, 488 and 976 steps with stable phases of 195, 390 and 781, for each of two sizes.
    assert before.tokens_left == 2 * 2048 * (781 + 49 + 98 + 195)
    assert (before.runs_done, before.runs, before.rungs_done, before.rungs) == (0, 6, 0, 6)
    make_rungs(tmp_path, made)
    assert status(made, tmp_path).tokens_left == 2 * 2048 * (49 + 98 + 195)
    for run in made.runs:
        finish(tmp_path, run)
    after = status(made, tmp_path)
    assert after.finished
    assert (after.tokens_left, after.work_left) == (0, 0)


def test_prune_keeps_what_an_unfinished_run_needs(made, tmp_path, monkeypatch, capsys):
    make_rungs(tmp_path, made)
    longest = sorted(run for run in made.runs if "t2.0M" in run)
    for run in made.runs:
        if run != longest[0]:
            finish(tmp_path, run)
    monkeypatch.setattr("scalinglaws.cli.study.RESULTS", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(STUDY))
    from scalinglaws.cli.app import main

    assert main(["prune", "--configfile", str(path)]) == 0
    assert "could be deleted" in capsys.readouterr().out
    assert main(["prune", "--configfile", str(path), "--yes"]) == 0
    left = sorted(path.parent.name for path in tmp_path.glob("trunks/*/*"))
    assert set(left) == {made.trunk_ids[longest[0]]}


def test_progress_line(made, tmp_path):
    first = status(made, tmp_path)
    run = next(iter(made.runs))
    folder = tmp_path / "runs" / run
    folder.mkdir(parents=True)
    beat = {"id": run, "step": 230, "start_step": 195, "steps": 244, "loss": 2.3456, "tokens_per_second": 1234.0}
    (folder / "progress.json").write_text(json.dumps({**beat, "time": time.time(), "pid": 1}))
    for other in list(made.runs)[1:]:
        finish(tmp_path, other)
    text = launch.line(made, status(made, tmp_path), first, 60.0, tmp_path)
    for part in ("5/6 runs", "230/244", "loss 2.346", "1,234 tokens/s", "min left"):
        assert part in text


def test_describe_names_the_saving(made, tmp_path):
    text = "\n".join(plan.sentences(plan.plan_totals(made, tmp_path)))
    alone, ladder = 2 * 2048 * (244 + 488 + 976), 2 * 2048 * (781 + 49 + 98 + 195)
    assert f"{alone / ladder:.2f} times fewer" in text


def test_the_plan_says_which_budgets_exceed_one_epoch(tmp_path):
    small: Any = copy.deepcopy(STUDY)
    small["corpora"]["books"]["bytes"] = "1.5M"
    made = study.build(config.parse(small))
    beyond = [run for run, spec in made.runs.items() if spec.tokens == 2_000_000]
    assert list(made.epochs) == beyond and len(beyond) == 2
    first, *_ = plan.sentences(plan.plan_totals(made, tmp_path))
    assert first.startswith("beyond one epoch: 2 runs with budgets of up to 1.4 times the training text") and beyond[0] in first
    assert "repetition" in made.kinds and "repetition" in laws_of(made)
    small["fits"] = {"laws": ["power-n"]}
    assert laws_of(study.build(config.parse(small))) == ("power-n",)
    small["corpora"]["books"]["bytes"] = "10M"
    whole = study.build(config.parse(small))
    assert whole.epochs == {} and "repetition" not in whole.kinds
    assert not any("epoch" in line for line in plan.sentences(plan.plan_totals(whole, tmp_path)))


def test_the_lock_of_another_machine_is_left_alone(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = tmp_path / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    locks.begin(made, tmp_path)
    owner = json.loads(locks.OWNER.read_text())
    locks.OWNER.write_text(json.dumps(owner | {"host": "login2"}))
    with pytest.raises(StudyError, match=f"process {os.getpid()} on login2 runs snakemake in this directory.*--unlock"):
        locks.clear_stale()
    assert lock.exists()
    locks.begin(made, tmp_path)
    locks.clear_stale()
    assert not lock.exists()


def test_what_is_trained_already_is_not_trained_twice(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trunk = next(iter(made.trunks))
    Progress(trunk, tmp_path / "trunks" / trunk, 0, 10, 64).show(1, 2.0)
    path = tmp_path / "trunks" / trunk / "progress.json"
    beat = json.loads(path.read_text())

    def begins(**changes):
        path.write_text(json.dumps(beat | changes))
        try:
            locks.begin(made, tmp_path)
        except StudyError as error:
            assert f"{trunk} is being trained already, by process" in str(error)
            return False
        return True

    assert begins()  # this process is pytest, not a training
    training = [sys.executable, "-c", "import time; time.sleep(60)", "scalinglaws", "rung"]
    with subprocess.Popen(training) as process:
        started = processes.started(process.pid)
        assert not begins(pid=process.pid, started=started)
        assert begins(pid=process.pid)  # another process had this number when the heartbeat was written
        process.kill()
    assert begins(pid=process.pid, started=started)
    # The processes of another machine are not seen: only the time tells.
    assert not begins(host="n7")
    assert begins(host="n7", time=time.time() - 60)
    other = tmp_path / "runs" / "of-another-study"
    Progress(other.name, other, 0, 10, 64).show(1, 2.0)
    (other / "progress.json").write_text(json.dumps(beat | {"host": "n7"}))
    assert begins(host="n7", time=0)
