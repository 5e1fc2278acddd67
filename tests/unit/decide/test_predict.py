"""What jobs take, with speeds that are made up: the arithmetic of a job, and when the last of several ends."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.cluster.cost import CORE, step_seconds
from scalinglaws.decide import predict
from scalinglaws.decide.predict import Job, wall_seconds
from scalinglaws.decide.speeds import Speeds, interpolated, kind_of
from scalinglaws.study import config, study
from scalinglaws.train.steps import is_eval_step, is_validation_step

EARLY = {"stop": "early", "max_tokens": "4M", "schedule": "constant"}
STUDY: dict[str, Any] = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"]}], "bytes": "10M"}},
    "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "warmup_tokens": "50k"},
    "ladder": {"base": "400k"},
    "experiments": {
        "size": {"grid": {"model": ["2x16"], "tokens": ["0.5M", "1M", "2M"]}},
        "data": {
            "stop": "early",
            "max_tokens": "4M",
            "schedule": "constant",
            "grid": {"model": ["2x16"], "dataset_tokens": ["64k"]},
        },
    },
    "figures": [],
    "fits": {"laws": ["power-n"]},
}
START = 10.0


def made() -> study.Study:
    return study.build(config.parse(STUDY))


def speeds_of(one: study.Study, seconds: float) -> Speeds:
    """Return speeds at which a step of the study's only size takes so many seconds."""
    spec = next(iter(one.runs.values()))
    return Speeds({kind_of(spec): {spec.n_params: seconds / step_seconds(spec, CORE)}}, START, "timed steps")


def test_factors_are_interpolated_in_logs_and_held_beyond_the_sizes() -> None:
    factors = {1000: 1.0, 100_000: 4.0}
    found = [interpolated(factors, n) for n in (10, 1000, 10_000, 100_000, 10**9)]
    assert found == pytest.approx([1, 1, 2, 4, 4])
    assert interpolated({5: 3.0}, 5) == interpolated({5: 3.0}, 9) == 3.0


def test_a_kind_that_was_not_measured_takes_the_factor_of_the_one_most_like_it() -> None:
    spec = next(iter(made().runs.values()))
    architecture, precision, dropout, threads = kind_of(spec)
    own, other = (architecture, precision, dropout, threads + 1), ("lstm", "bfloat16", dropout, threads)
    speeds = Speeds({own: {10: 2.0}, other: {10: 5.0}})
    assert speeds.factor(spec) == 2.0 and Speeds().factor(spec) == 1.0
    assert not speeds.near(spec) and Speeds({kind_of(spec): {3 * spec.n_params: 1.0}}).near(spec)


@pytest.mark.parametrize(("first", "last"), [(0, 100), (195, 976), (0, 11_718)])
def test_the_points_of_a_curve_are_about_those_that_training_measures(first: int, last: int) -> None:
    spec = next(spec for spec in made().runs.values() if spec.stop == "early")
    steps = range(first + 1, last + 1)
    assert predict.curve_points(first, last) == pytest.approx(sum(map(is_eval_step, steps)), abs=1.5)
    validated = sum(is_validation_step(spec, step) for step in steps)
    assert predict.curve_points(first, last, predict.FIRST_VALIDATION_STEP) == pytest.approx(validated, abs=1.5)


def test_a_job_takes_its_start_its_steps_and_its_measurements() -> None:
    one = made()
    run, spec = next((run, spec) for run, spec in one.runs.items() if spec.tokens == 2_000_000)
    assert (one.starts[run], spec.steps) == (781, 976)
    measured = 4 * math.log2(976 / 781) * spec.curve_tokens + spec.eval_tokens
    seconds = predict.training_seconds(spec, 781, 976, speeds_of(one, 0.1))
    assert seconds == pytest.approx(START + 0.1 * (195 + 0.4 * measured / 2048))
    rung = predict.training_seconds(spec, 781, 976, speeds_of(one, 0.1), final=False)
    assert seconds - rung == pytest.approx(0.1 * 0.4 * spec.eval_tokens / 2048)


def test_runs_that_stop_early_end_after_as_many_epochs_as_others_did(tmp_path: Path) -> None:
    one = made()
    run, spec = next((run, spec) for run, spec in one.runs.items() if spec.stop == "early")
    budget = next(spec for spec in one.runs.values() if spec.stop == "budget")
    assert predict.expected_steps(budget, 3.0) == budget.steps
    # 64,000 tokens for 6,144 parameters: some ten for each.
    assert predict.expected_steps(spec, 0.8) == round(0.8 * 64_000 / 6144 * 64_000 / 2048)
    assert predict.expected_steps(spec, 0.0) == 4 * 64_000 // 2048 and predict.expected_steps(spec, 1e6) == spec.steps
    assert predict.epochs_at_end(one, tmp_path) == predict.EPOCHS
    (tmp_path / "runs" / run).mkdir(parents=True)
    for tokens, epochs in (
        (64_000 * 11, 11 * 6144 / 64_000),
        (spec.steps * 2048, predict.EPOCHS),
    ):
        (tmp_path / "runs" / run / "metrics.json").write_text(json.dumps({"tokens": tokens}))
        assert predict.epochs_at_end(one, tmp_path) == pytest.approx(epochs)


def test_two_cores_take_the_longest_path_or_half_of_the_work() -> None:
    apart = [Job(f"{k}", 1.0) for k in range(6)]
    assert (wall_seconds(apart, 1), wall_seconds(apart, 2), wall_seconds(apart, 10)) == (6, 3, 1)
    chain = [Job("a", 2.0), Job("b", 3.0, ("a",)), Job("c", 1.0), Job("d", 1.0, ("there already",))]
    assert wall_seconds(chain, 2) == 5 and wall_seconds(chain, 1) == 7 and wall_seconds([], 4) == 0
    # The longest path starts first, unless a job of a smaller rank is there.
    late = [Job("short", 4.0), Job("other", 4.0), Job("first", 4.0), Job("then", 4.0, ("first",))]
    assert wall_seconds(late, 2) == 8
    last = [Job("first", 4.0, rank=1), Job("then", 4.0, ("first",), rank=1), *late[:2]]
    assert wall_seconds(last, 2) == 12
    # A job of two threads waits for both cores, and one of more than there are takes all.
    assert wall_seconds([Job("wide", 2.0, threads=2), Job("x", 1.0), Job("y", 1.0)], 2) == 3
    assert wall_seconds([Job("wide", 2.0, threads=64), Job("x", 1.0)], 2) == 3


def test_no_schedule_is_shorter_than_its_bounds_or_longer_than_twice_them() -> None:
    """Graham 1966: jobs that start as soon as they can take at most twice the larger of path and work over cores."""
    for cores, width in itertools.product((1, 2, 3), (2, 5)):
        jobs = [Job(f"{k}", 1 + k % width, (f"{k - width}",), k % 2) for k in range(40)]
        path = max(sum(1 + j % width for j in range(k, -1, -width)) for k in range(40))
        bound = max(path, sum(job.seconds for job in jobs) / cores)
        assert bound <= wall_seconds(jobs, cores) <= 2 * bound


def test_the_jobs_of_a_study_are_those_of_the_workflow(tmp_path: Path) -> None:
    one = made()
    ends = {run: predict.expected_steps(spec, 0.5) for run, spec in one.runs.items()}
    jobs = {job.name: job for job in predict.jobs_left(one, tmp_path, speeds_of(one, 0.1), ends)}
    (trunk,) = one.trunks
    text = next(name for name in jobs if name.startswith("text "))
    rungs = [f"rung {trunk} {step}" for step in (195, 390, 781)]
    assert jobs.pop("workflow").after == () and all("workflow" in job.after for job in jobs.values())
    jobs = {name: dataclasses.replace(job, after=job.after[:-1]) for name, job in jobs.items()}
    assert set(jobs) == {text, *rungs, *(f"run {run}" for run in one.runs), "tables", "fit power-n", "report"}
    assert [jobs[rung].after for rung in rungs] == [(text,), (text, rungs[0]), (text, rungs[1])]
    by_tokens = {spec.tokens: jobs[f"run {run}"] for run, spec in one.runs.items()}
    assert by_tokens[2_000_000].after == (text, rungs[2]) and by_tokens[4_000_000].after == (text,)
    assert len(jobs["tables"].after) == 8
    # What is there is no job, and a finished study with its report has none.
    for run in one.runs:
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "metrics.json").write_text("{}")
    left = [job.name for job in predict.jobs_left(one, tmp_path, speeds_of(one, 0.1), ends)]
    assert left == ["workflow", "tables", "fit power-n", "report"]
    (tmp_path / "studies" / "test").mkdir(parents=True)
    (tmp_path / "studies" / "test" / "report.md").touch()
    assert predict.jobs_left(one, tmp_path, speeds_of(one, 0.1), ends) == []
