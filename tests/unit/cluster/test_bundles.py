"""Small runs share jobs: each is in one bundle, a bundle takes about the time asked for, and what is there is in none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from scalinglaws.cluster import bundles, cost, needs
from scalinglaws.cluster.bundle import Member, read
from scalinglaws.cluster.device import Device, device_of_profile, parse_device
from scalinglaws.common.errors import StudyError
from scalinglaws.study import config, study
from scalinglaws.study.paths import bundle_marker, bundle_path, evaluation_path, rung_path

ROOT = Path(__file__).parents[3]
H100 = {"name": "H100", "bfloat16": "989e12", "float32": 67e12, "utilisation": 0.4, "memory_gib": 80}


def device(**changes: Any) -> Device:
    found = parse_device(H100 | {"small_minutes": 20} | changes)
    assert found is not None
    return found


def seeds(count: int = 100, model: Any = "2x16", tokens: Any = ("1M", "4M"), **more: Any) -> study.Study:
    """Build a study with one trunk for each seed, two budgets for each trunk, and evaluations on another corpus."""
    corpora = {name: {"sources": [{"kind": "files", "files": [f"{name}.txt"]}]} for name in ("books", "poems")}
    defaults = {"corpus": "books", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 0.01} | more
    models = model if isinstance(model, list) else [model]
    grid = {"model": models, "tokens": list(tokens), "seed": list(range(count))}
    experiments = {"size": {"grid": grid, "evaluate": ["poems"]}}
    data = {"study": "s", "corpora": corpora, "defaults": defaults, "experiments": experiments}
    return study.build(config.parse(data | {"ladder": {"base": 800_000, "ratio": 2}}))


def done(results: Path, run: str) -> None:
    (results / "runs" / run).mkdir(parents=True)
    (results / "runs" / run / "metrics.json").touch()


def test_each_run_is_in_one_bundle_and_bundles_take_the_time_asked_for(tmp_path: Path) -> None:
    made, on = seeds(150), device(bundle_minutes=5)
    found = bundles.bundle_up(made, tmp_path, on)
    runs = [run for bundle in found.values() for run in bundle.runs]
    assert sorted(runs) == sorted(made.runs)
    pairs = [pair for bundle in found.values() for pair in bundle.evaluations]
    assert sorted(pairs) == sorted(made.evaluations.items())
    # Each seed has rungs up to 3.2M tokens, where the decay of 4M starts, what is left of both budgets, and two evaluations.
    spec = next(iter(made.runs.values()))
    steps = 3_200_000 // 512 + (1_000_000 - 800_000) // 512 + (4_000_000 - 3_200_000) // 512
    steps += 2 * -(-spec.eval_tokens // 512)
    member = math.ceil(cost.MEMBER_SECONDS + steps * cost.step_seconds(spec, on))
    for bundle in found.values():
        assert {member.seconds for member in bundle.members} == {member}
        assert bundle.seconds == pytest.approx(60 + max(1, len(bundle.members) / bundle.at_once) * member)
        assert bundle.seconds <= 300 and bundle.needs(on).minutes == -(-bundle.seconds * 1.5 // 60)
    # There are as few bundles as can be: all but the last are full.
    assert all(bundle.seconds + member / bundle.at_once > 300 for bundle in list(found.values())[:-1])
    assert len(found) > 2 and len(bundles.bundle_up(made, tmp_path, device(bundle_minutes=60))) == 1


def test_processes_leave_room_for_each_other(tmp_path: Path) -> None:
    """A model whose kernels compute for a third of the time that they take to start shares its GPU with two others."""
    made, on = seeds(10), device()
    spec = next(iter(made.runs.values()))
    third = cost.compute_seconds(spec, on) / cost.launch_seconds(spec) * 3.03
    (bundle,) = bundles.bundle_up(made, tmp_path, device(float32=67e12 * third, bandwidth=1e18)).values()
    assert bundle.at_once == 3
    # So does one whose kernels move data for a third of that time.
    slow = 3 * cost.pass_bytes(spec) / cost.launch_seconds(spec)
    (bundle,) = bundles.bundle_up(made, tmp_path, device(bandwidth=1.03 * slow)).values()
    assert bundle.at_once == 3
    (bundle,) = bundles.bundle_up(made, tmp_path, device(at_once=4)).values()
    assert bundle.at_once == 4 and bundle.processes() == 4 and bundle.processes(attempt=3) == 1
    # Two fit the memory with micro-batches that are whole batches; more of them fit with smaller micro-batches.
    small = 2.5 * needs.process_bytes(spec, tokens=spec.batch_tokens) / 2**30
    (bundle,) = bundles.bundle_up(made, tmp_path, device(memory_gib=small)).values()
    assert bundle.at_once == 2
    (one,) = bundles.bundle_up(made, tmp_path, device(memory_gib=small / 2)).values()
    assert one.at_once == 1
    # A wide model takes more than its context.
    shape: dict[str, Any] = {"model": "4x512", "n_ctx": 512, "batch_tokens": 2**17, "tokens": ("2M", "4M")}
    large = next(iter(seeds(1, **shape).runs.values()))
    room = {"memory_gib": 2.5 * needs.process_bytes(large, tokens=large.batch_tokens) / 2**30, "bandwidth": 1e18, "float32": 1e18}
    (whole,) = bundles.bundle_up(seeds(10, **shape), tmp_path, device(**room)).values()
    (parts,) = bundles.bundle_up(seeds(10, micro_batch_tokens=512, **shape), tmp_path, device(**room)).values()
    assert whole.at_once == 2 < 4 < parts.at_once
    with pytest.raises(StudyError, match="GiB on each of 1 GPUs"):
        bundles.bundle_up(made, tmp_path, device(memory_gib=needs.process_bytes(spec) / 2**31))
    assert bundle.needs(on).gpus == 1 and bundle.needs(on).mem_mb >= 2 * (needs.PROCESS_MB + needs.CUDA_MB)
    for most in (5, 7):
        (bundle,) = bundles.bundle_up(made, tmp_path, device(gpus_per_node=0, at_once=most, float32=1e12)).values()
        assert bundle.at_once == most
    assert bundle.threads == 1 and bundle.needs(device(gpus_per_node=0)).gpus == 0
    # On CPUs a process takes its threads; with a GPU it takes one core.
    wide = seeds(4, threads=6)
    on_cpus, on_gpu = device(gpus_per_node=0, float32=1e12), device()
    assert [bundle.threads for made in (on_cpus, on_gpu) for bundle in bundles.bundle_up(wide, tmp_path, made).values()] == [6, 1]


def test_the_table_tells_what_is_left(tmp_path: Path) -> None:
    made, on = seeds(3, ["2x16", "12x768"], ("1M", "400M")), device(max_minutes=10**6)
    large = {trunk: spec for trunk, spec in made.trunks.items() if spec.d_model == 768}
    lines = bundles.table(made, tmp_path, on)
    assert lines[-1] == "jobs left: 16 (1 bundles of 6 small runs; alone: 3 trunks, 6 runs, 0 rungs, 6 evaluations)"
    (bundle,) = [bundle for bundle in bundles.bundle_up(made, tmp_path, on).values() if bundle.runs]
    shared = sum(member.seconds for member in bundle.members) / bundle.at_once
    spec = next(iter(large.values()))
    steps = sum(made.rungs[trunk][-1] for trunk in large) + 6 * -(-spec.eval_tokens // 512)
    steps += sum(spec.steps - made.starts[run] for run, spec in made.runs.items() if spec.d_model == 768)
    starts = 12 * cost.START_SECONDS + 3 * cost.MEMBER_SECONDS
    alone = steps * cost.step_seconds(spec, on) + starts
    assert [line.split()[1:3] for line in lines[1:3]] == [["6", "1/3"], ["6", "1"]]
    hours = [float(line.split()[-1]) for line in lines[1:4]]
    assert hours == pytest.approx([shared / 3600, alone / 3600, (shared + alone) / 3600], abs=0.051)
    for run in made.runs:
        done(tmp_path, run)
    assert bundles.table(made, tmp_path, on)[-1].startswith("jobs left: 1 (1 bundles of 0 small runs")  # the evaluations are left


def test_large_members_have_jobs_of_their_own(tmp_path: Path) -> None:
    made = seeds(3, ["2x16", "12x768"], ("1M", "400M"))
    bundled = {run for bundle in bundles.bundle_up(made, tmp_path, device()).values() for run in bundle.runs}
    assert bundled == {run for run, spec in made.runs.items() if spec.d_model == 16}
    assert bundles.bundle_up(made, tmp_path, device(small_minutes=0)) == {}


def test_the_rungs_of_a_large_trunk_are_one_job(tmp_path: Path) -> None:
    made = seeds(1, "12x768", ("1M", "400M"), threads=6)
    ((trunk, steps),) = made.rungs.items()
    (bundle,) = bundles.bundle_up(made, tmp_path, device()).values()
    assert bundle.rungs == [(trunk, step) for step in steps] and not bundle.runs and not bundle.evaluations
    assert (bundle.at_once, bundle.threads, bundle.needs(device()).gpus) == (1, 6, 1)
    alone = steps[-1] * cost.step_seconds(made.trunks[trunk], device())
    assert bundle.seconds == pytest.approx(cost.START_SECONDS + cost.MEMBER_SECONDS + alone, abs=1)
    # Rungs that are there are not made again. Where one rung is missing, the rule of rungs makes it.
    for step in steps[:-2]:
        rung_path(tmp_path, trunk, step).parent.mkdir(parents=True, exist_ok=True)
        rung_path(tmp_path, trunk, step).touch()
    (bundle,) = bundles.bundle_up(made, tmp_path, device()).values()
    assert bundle.rungs == [(trunk, step) for step in steps[-2:]]
    rung_path(tmp_path, trunk, steps[-2]).touch()
    assert bundles.bundle_up(made, tmp_path, device()) == {}
    # Each rung is a job of its own where the trunk takes several GPUs, or longer than a job may.
    again = tmp_path / "nothing"
    assert bundles.bundle_up(made, again, device(most_gpus=8, hours=0.01)) == {}
    assert bundles.bundle_up(made, again, device(max_minutes=int(1.4 * alone / 60))) == {}
    assert len(bundles.bundle_up(made, again, device(max_minutes=int(1.6 * alone / 60) + 5))) == 1


def test_what_is_there_is_in_no_bundle(tmp_path: Path) -> None:
    made = seeds(2)
    runs = {(spec.seed, spec.tokens): run for run, spec in made.runs.items()}
    trunk = made.trunk_ids[runs[0, 1_000_000]]
    first, second, third = made.rungs[trunk]

    def member(seed: int) -> Member:
        found = {f.name: f for bundle in bundles.bundle_up(made, tmp_path, device()).values() for f in bundle.members}
        return found[made.trunk_ids[runs[seed, 1_000_000]]]

    assert member(0).rungs == (first, second, third)
    untouched = member(1)
    rung_path(tmp_path, trunk, second).parent.mkdir(parents=True)
    rung_path(tmp_path, trunk, second).touch()
    assert member(0).rungs == (first, third)  # the budget of 1M starts from the first
    done(tmp_path, runs[0, 1_000_000])
    assert (member(0).rungs, member(0).runs) == ((third,), (runs[0, 4_000_000],))
    assert len(member(0).evaluations) == 2
    done(tmp_path, runs[0, 4_000_000])
    run = runs[0, 4_000_000]
    made_evaluation = evaluation_path(tmp_path, run, made.evaluations[run])
    made_evaluation.parent.mkdir(parents=True)
    made_evaluation.touch()
    left = member(0)
    assert (left.rungs, left.runs, left.evaluations) == ((), (), ((runs[0, 1_000_000], made.evaluations[run]),))
    assert member(1) == untouched


def test_a_bundle_is_named_by_its_content_and_made_again_where_its_results_were_deleted(tmp_path: Path) -> None:
    made = seeds(2)
    ((name, bundle),) = bundles.bundle_up(made, tmp_path, device()).items()
    assert bundles.bundle_up(made, tmp_path, device()) == {name: bundle}
    path = bundle_path(tmp_path, name)
    path.parent.mkdir()
    path.write_text(bundle.canonical)
    assert read(path) == bundle
    bundle_marker(tmp_path, name).touch()
    ((again, same),) = bundles.bundle_up(made, tmp_path, device()).items()
    assert again != name and same == bundle
    path.write_text(json.dumps({"members": []}))
    with pytest.raises(StudyError, match="is not a list of runs to train together"):
        read(path)


def test_speeds_of_shared_gpus_are_their_own() -> None:
    made, on = seeds(1), device()
    spec = next(iter(made.runs.values()))
    alone = cost.step_seconds(spec, on)
    both = {(spec.n_params, "float32", False): 2.0, (spec.n_params, "float32", True): 5.0}
    assert cost.step_seconds(spec, on, 1, both) == pytest.approx(2 * alone)
    assert cost.step_seconds(spec, on, 1, both, shared=True) == pytest.approx(5 * alone)
    assert cost.step_seconds(spec, on, 1, {(spec.n_params, "float32", True): 5.0}) == pytest.approx(alone)
    assert cost.step_seconds(spec, on, 1, {(10**9, "float32", False): 3.0}, shared=True) == pytest.approx(3 * alone)


def test_the_profile_bundles(tmp_path: Path) -> None:
    found = device_of_profile(ROOT / "profiles" / "slurm")
    assert found is not None and found.bundle_minutes <= found.max_minutes
    made = bundles.bundle_up(seeds(250), tmp_path, found).values()
    assert sum(len(bundle.runs) for bundle in made) == 500 and {bundle.at_once for bundle in made} == {found.at_once}
    # Each allocation does what its time allows after a minute's start, in eight processes at once; one more holds the rest.
    whole = sum(member.seconds for bundle in made for member in bundle.members) / found.at_once
    assert 0 <= len(made) - whole / (60 * found.bundle_minutes - 60) < 1.2
    rules = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())["set-resources"]
    assert {"bundle", "rung", "train", "evaluate"} == rules.keys()
