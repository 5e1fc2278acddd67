"""The workflow on a real Slurm: what it asks for, that its results are those of a local run, and what faults cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.conftest import STATE, Cluster, control, slurm, wait_for
from cluster.studies import SEEDS, write_seeds
from workflow.conftest import SMOKE, Workflow

BYTES = ("runs/*/metrics.json", "runs/*/curve.jsonl", "runs/*/model.safetensors", "trunks/*/step*.safetensors")
CHEAP = ("tables/[!t]*", "fits/*", "figures/*", "report.md")


def local_copy(cluster: Cluster, folder: Path) -> Workflow:
    """The same workflow and tokens, to be run without the cluster."""
    ignored = shutil.ignore_patterns("runs", "trunks", ".snakemake")
    return Workflow(Path(shutil.copytree(cluster.folder, folder, copy_function=shutil.copy2, ignore=ignored)))


def local_run(cluster: Cluster, folder: Path, study: str) -> Workflow:
    made = local_copy(cluster, folder)
    made.run("--cores", "2", study=study)
    return made


def runs_of(cluster: Cluster) -> list[Path]:
    return sorted((cluster.folder / "results/runs").iterdir())


def training(cluster: Cluster) -> dict[str, int]:
    """Run -> the step that its heartbeat tells, of runs that train now."""
    beats = {}
    for path in cluster.folder.glob("results/runs/*/progress.json"):
        try:
            beats[path.parent.name] = json.loads(path.read_text())["step"]
        except (OSError, ValueError):
            continue
    return beats


def job_of(cluster: Cluster, run: str) -> str:
    """The newest Slurm job that trains a run."""
    return [row["id"] for row in cluster.slurm_jobs() if row["rule"].startswith("rule_train_") and run in row["rule"]][-1]


def process_of(run: str) -> int:
    found = subprocess.check_output(["pgrep", "-f", f"^[^ ]*python[^ ]* -m scalinglaws train .*{run}"], text=True).split()
    return int(found[0])


def test_the_smoke_study_is_that_of_a_local_run(cluster: Cluster, tmp_path: Path) -> None:
    cluster.profile(local="aggregate, exponents, report_md")
    cluster.submit(study=SMOKE)
    jobs = cluster.slurm_jobs()
    trained = [row for row in jobs if row["rule"].startswith(("rule_train", "rule_rung", "rule_evaluate"))]
    assert len(trained) == 10 + 4 + 4
    assert {row["gres"] for row in trained} == {"gres:gpu:1"}
    others = [row for row in jobs if row not in trained]
    assert {row["rule"].split("_wildcards")[0] for row in others} == {"rule_fit", "rule_figure"}
    assert {row["gres"] for row in others} == {"N/A"}
    local = local_run(cluster, tmp_path / "local", SMOKE)
    ours, theirs = cluster.bytes_of(*BYTES, *CHEAP), local.bytes_of(*BYTES, *CHEAP)
    assert ours.keys() == theirs.keys() and len(ours) > 60
    assert [name for name in ours if ours[name] != theirs[name]] == []
    # A second invocation, with points added, submits what is new and nothing else.
    cluster.edit(lambda data: data["experiments"]["data"]["grid"]["dataset_tokens"].append("8k"))
    before = len(jobs)
    cluster.submit("--until", "train", "evaluate", study=SMOKE)
    added = cluster.slurm_jobs()[before:]
    assert sorted(row["rule"].split("_wildcards")[0] for row in added) == ["rule_train"] * 2
    assert cluster.bytes_of(*BYTES).items() >= {name: ours[name] for name in ours if name.startswith(("runs", "trunks"))}.items()


def test_small_runs_share_an_allocation(cluster: Cluster) -> None:
    write_seeds(cluster, 8, 20_000)
    cluster.profile(
        "small_minutes: 60",
        "aggregate, exponents, fit, report_md",
        **{"group-components": {"small": 4}},
    )
    cluster.submit(study=SEEDS)
    jobs = cluster.slurm_jobs()
    assert len(runs_of(cluster)) == 8 and all((run / "metrics.json").exists() for run in runs_of(cluster))
    assert len(jobs) == 2
    assert {row["gres"] for row in jobs} == {"gres:gpu:1"}


def test_faults_cost_nothing_that_was_saved(cluster: Cluster, speed: float, tmp_path: Path) -> None:
    """slurmd is killed and started again, then one job cancelled, one training killed, one job requeued; one is left alone."""
    write_seeds(cluster, 4, round(40 * speed))  # so many seconds alone; four share two cores
    cluster.profile(local="aggregate, exponents, fit, report_md")
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: len(training(cluster)) == 4 and min(training(cluster).values()) > 0, 600)
        cancelled, killed, requeued, spared = sorted(training(cluster))
        first = {run: job_of(cluster, run) for run in (cancelled, requeued, spared)}
        (pid,) = [int(path.read_text().split()[0]) for path in Path(STATE, "run").glob("slurmd.n1.pid")]
        os.kill(pid, signal.SIGKILL)
        time.sleep(2)
        control("up", STATE)
        slurm("scancel", first[cancelled])
        os.kill(process_of(killed), signal.SIGKILL)
        slurm("scontrol", "requeue", first[requeued])
        assert process.wait(timeout=2400) == 0, cluster.log()
    finally:
        process.terminate()
    attempts = {run.name: json.loads((run / "timing.json").read_text())["attempts"] for run in runs_of(cluster)}
    assert attempts[spared] == 1 and attempts[cancelled] == attempts[requeued] == 2
    rows = {row["id"]: row for row in cluster.slurm_jobs()}
    assert rows[first[cancelled]]["state"] == "CANCELLED" and rows[first[requeued]]["state"] == "COMPLETED"
    assert job_of(cluster, cancelled) != first[cancelled]
    local = local_run(cluster, tmp_path / "local", SEEDS)
    ours, theirs = cluster.bytes_of(*BYTES), local.bytes_of(*BYTES)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_time_limit_is_outlived_by_going_on(cluster: Cluster, speed: float, tmp_path: Path) -> None:
    write_seeds(cluster, 1, round(150 * speed))
    cluster.profile("max_minutes: 2, allocations: 100", "aggregate, exponents, fit, report_md", 0, retries=9)
    local = local_copy(cluster, tmp_path / "local")
    with ThreadPoolExecutor() as beside:
        other = beside.submit(local.run, "--cores", "1", study=SEEDS)
        cluster.submit("--until", "train", study=SEEDS)
        other.result()
    (run,) = runs_of(cluster)
    jobs = [row for row in cluster.slurm_jobs() if row["rule"].startswith("rule_train")]
    assert len(jobs) >= 2 and {row["limit"] for row in jobs} == {"2:00"}
    assert {row["state"] for row in jobs[:-1]} == {"FAILED"} and jobs[-1]["state"] == "COMPLETED"
    assert json.loads((run / "timing.json").read_text())["attempts"] == len(jobs)
    ours, theirs = cluster.bytes_of(*BYTES), local.bytes_of(*BYTES)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_job_that_waits_trains_the_run_in_its_id(cluster: Cluster) -> None:
    """config.yaml is edited while jobs are held: they train what they were submitted for, and the tables are that study's."""
    write_seeds(cluster, 2, 20_000)
    slurm("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: len(cluster.slurm_jobs()) == 2)
        wanted = {row["rule"].split("_wildcards_")[1] for row in cluster.slurm_jobs()}
        cluster.edit(lambda data: data["defaults"].update(learning_rate=0.003), SEEDS)
        slurm("scontrol", "update", "NodeName=n1", "State=RESUME")
        assert process.wait(timeout=1200) == 0, cluster.log()
    finally:
        process.terminate()
    assert {run.name for run in runs_of(cluster)} == wanted
    specs = [json.loads((run / "spec.json").read_text()) for run in runs_of(cluster)]
    assert {spec["learning_rate"] for spec in specs} == {0.01}
    assert {row["rule"].split("_wildcards")[0] for row in cluster.slurm_jobs()} >= {"rule_train", "rule_aggregate"}
    names = {
        line.split('"')[3] for path in cluster.folder.glob("results/tables/manifest-*") for line in path.read_text().splitlines()
    }
    assert names == wanted


def test_a_second_snakemake_is_refused(cluster: Cluster) -> None:
    write_seeds(cluster, 1, 10_000_000)
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: training(cluster))
        second = cluster.submit(study=SEEDS, check=False)
        assert second.returncode != 0 and "lock" in (second.stdout + second.stderr).lower()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)


def test_a_run_takes_two_nodes(cluster: Cluster, tmp_path: Path) -> None:
    control("up", STATE, "--nodes", "2")
    try:
        write_seeds(cluster, 1, 60_000)
        cluster.profile("gpus_per_node: 1, most_gpus: 2, hours: 0.00001", "aggregate, exponents, fit, report_md")
        cluster.submit("--until", "train", study=SEEDS)
    finally:
        control("up", STATE, "--nodes", "1")
    (job,) = cluster.slurm_jobs()
    assert (job["nodes"], job["gres"], job["state"]) == ("2", "gres:gpu:1", "COMPLETED")
    (run,) = runs_of(cluster)
    assert json.loads((run / "timing.json").read_text())["processes"] == 2
    local = local_copy(cluster, tmp_path / "local")
    local.run("--cores", "2", "--until", "train", study=SEEDS)
    two, one = (json.loads((made.folder / "results/runs" / run.name / "metrics.json").read_text()) for made in (cluster, local))
    assert two["steps"] == one["steps"] and abs(two["loss"] / one["loss"] - 1) < 1e-3
