"""The order in which a swept learning rate is made: the runs of the sweep, their rule, the runs that use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.dag import context, inputs, kept, order, targets
from scalinglaws.dag.context import Context
from scalinglaws.decide.plan import of_sweeps, plan_rows, rate_in_words
from scalinglaws.study import study as study_model
from unit.study.test_sweeps import OWN, SIZES, write_rule

DEVICE = {"name": "X", "bfloat16": 1e14, "float32": 1e14, "utilisation": 0.5, "memory_gib": 80, "gpus_per_node": 4}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(**more: Any) -> Context:
    data = changed(defaults__learning_rate={"sweep": OWN}, experiments={"size": SIZES})
    return context.read(data | more, "config.yaml", in_job=False)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_the_rule_waits_for_the_sweep_and_its_users_for_the_rule() -> None:
    one = made()
    ((name, sweep),) = one.study.sweeps.items()
    rule = f"results/rates/{name}.json"
    assert inputs.runs_of_sweep(one, name) == [f"results/runs/{run}/metrics.json" for run in sweep.runs]
    user = next(run for run, spec in one.study.runs.items() if spec.rate_sweep and one.study.starts[run])
    trunk, step = one.study.trunk_ids[user], one.study.starts[user]
    assert inputs.rate_of_run(one, user) == inputs.rate_of_trunk(one, trunk, step) == [rule]
    assert inputs.rate_of_run(one, sweep.runs[0]) == [] and set(targets.runs(one)) >= set(inputs.runs_of_sweep(one, name))

    touch(f"results/runs/{user}/metrics.json", f"results/trunks/{trunk}/step{step}.safetensors")
    assert inputs.rate_of_run(one, user) == inputs.rate_of_trunk(one, trunk, step) == []  # it keeps the rate that it had
    touch(rule)
    assert inputs.runs_of_sweep(one, name) == []


def test_a_queued_job_knows_the_rule_by_the_spec_of_its_run() -> None:
    one = made()
    kept.write(one)
    (name,) = one.study.sweeps
    user = next(run for run, spec in one.study.runs.items() if spec.rate_sweep)
    assert Path(f"results/rates/sweeps/{name}.json").read_text() == f"{one.study.sweeps[name].canonical}\n"
    job = Context(study_model.empty(), in_job=True)  # as in a job whose config has gone
    assert inputs.rate_of_run(job, user) == [f"results/rates/{name}.json"]
    assert inputs.runs_of_sweep(job, name) == [] and job.sweep(name) == one.study.sweeps[name]


def test_no_bundle_has_runs_of_a_sweep_and_runs_that_wait_for_it() -> None:
    one = made(device=DEVICE | {"small_minutes": 9999, "bundle_minutes": 100_000})
    (name,) = one.study.sweeps
    waits = {bundle: inputs.rates_of_bundle(one, bundle) for bundle in one.bundles}
    assert len(waits) == 2 and sorted(waits.values()) == [[], [f"results/rates/{name}.json"]]
    (first,) = (bundle for bundle, rules in waits.items() if not rules)
    assert set(one.bundles[first].runs) == one.study.swept
    assert inputs.runs_of_sweep(one, name) == [f"results/bundles/{first}.done"]
    (second,) = waits.keys() - {first}
    touch(f"results/bundles/{second}.done")
    assert inputs.rates_of_bundle(one, second) == []


def test_the_sweep_starts_first_and_its_rule_before_all_trainings() -> None:
    one = made()
    of_runs = {run: order.priority_of_run(one, run, 2) for run in one.study.runs}
    swept = [of_runs.pop(run) for run in one.study.swept]
    rungs = [order.priority_of_rung(one, one.study.trunk_ids[run], step, 2) for run in one.study.swept for step in [195]]
    assert min(swept) > max(of_runs.values()) and min(rungs) > max(of_runs.values())
    assert order.priority_of_rates(one, 2) > max(swept)
    assert order.priority_of_rates(context.read(STUDY, "config.yaml", in_job=False), 2) == 0


def test_the_plan_says_where_rates_come_from() -> None:
    one = made()
    (name,) = one.study.sweeps
    rows = {row["run"]: row for row in plan_rows(one.study, Path("results"))}
    user = max((run for run, spec in one.study.runs.items() if spec.rate_sweep), key=lambda run: one.study.runs[run].n_params)
    assert rate_in_words(rows[user]) == f"from sweep {name}" and rows[user]["learning_rate"] is None
    swept = rows[min(one.study.swept)]
    assert swept["experiments"] == ["learning-rate-sweep"] and float(rate_in_words(swept)) in OWN["rates"]
    (line,) = of_sweeps(one.study, Path("results"))
    assert line.startswith(
        f"learning rate: sweep {name}, 10 runs at 2 sizes up to N = 6,144, gives that of 6 runs with N up to 4 "
    )
    assert line.endswith("its rule is not known until its runs are trained")
    write_rule(Path("results"), name)
    row = next(row for row in plan_rows(one.study, Path("results")) if row["run"] == user)
    assert rate_in_words(row) == f"{0.5 * 24_576**-0.4:.3g} from sweep {name}"
    assert of_sweeps(one.study, Path("results"))[0].endswith("its rule is 0.5 · N^-0.4")
    assert of_sweeps(context.read(STUDY, "config.yaml", in_job=False).study, Path("results")) == []
    assert os.path.exists(f"results/rates/{name}.json")
