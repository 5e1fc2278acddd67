"""The workflow on a real Slurm: what its jobs ask for, that its results are those of a local run, and what faults cost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from cluster.conftest import STATE, Cluster, control, slurm, wait_for
from cluster.seen import (
    BYTES,
    CHEAP,
    daemon,
    job_of,
    local_copy,
    local_run,
    process_of,
    runs_of,
    same_bytes,
    times,
    timings,
    training,
)
from cluster.studies import SEEDS, write_seeds
from workflow.conftest import SMOKE, status_of


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
    ours = same_bytes(cluster, local, *BYTES, *CHEAP)
    assert len(ours) > 60
    # A second invocation, with points added, submits what is new and nothing else.
    cluster.edit(lambda data: data["experiments"]["data"]["grid"]["dataset_tokens"].append("8k"))
    before = len(jobs)
    cluster.submit("--until", "train", "evaluate", study=SMOKE)
    added = cluster.slurm_jobs()[before:]
    assert sorted(row["rule"].split("_wildcards")[0] for row in added) == ["rule_train"] * 2
    assert cluster.bytes_of(*BYTES).items() >= {name: ours[name] for name in ours if name.startswith(("runs", "trunks"))}.items()


def bundle_small(cluster: Cluster, minutes: float) -> None:
    """Bundle into jobs of so many minutes, two members at once, on a device so fast that only starts take time."""
    device = f"float32: 1e12, small_minutes: 60, bundle_minutes: {minutes}, at_once: 2"
    cluster.profile(device, "aggregate, exponents, fit, report_md")


def test_small_runs_share_an_allocation(cluster: Cluster, tmp_path: Path) -> None:
    write_seeds(cluster, 8, 20_000)
    bundle_small(cluster, 2.2)  # a bundle has room for four of half a minute each, after a minute of starts
    cluster.submit(study=SEEDS)
    jobs = cluster.slurm_jobs()
    assert [row["rule"].split("_wildcards")[0] for row in jobs] == ["rule_bundle"] * 2
    assert {row["gres"] for row in jobs} == {"gres:gpu:1"}
    same_bytes(cluster, local_run(cluster, tmp_path / "local", SEEDS), *BYTES, *CHEAP)
    assert {timing["at_once"] for timing in timings(cluster).values()} == {2}
    # Everything is there, so nothing is to be done, on the cluster or without it. One more seed is a bundle of one member.
    for dry in (cluster.submit("--dry-run", study=SEEDS), cluster.run("--cores", "1", "--dry-run", study=SEEDS)):
        assert "Nothing to be done" in dry.stdout + dry.stderr
    write_seeds(cluster, 9, 20_000)
    before = times(cluster)
    cluster.submit(study=SEEDS)
    (job,) = cluster.slurm_jobs()[len(jobs) :]
    assert job["rule"].startswith("rule_bundle") and len(runs_of(cluster)) == 9
    assert times(cluster).items() >= before.items()


def test_the_rungs_of_a_large_trunk_are_one_job(cluster: Cluster, tmp_path: Path) -> None:
    """The runs of the trunk start when that job has ended. A larger budget adds one job for two more rungs, and its own."""
    write_seeds(cluster, 1, 20_000)

    def set_tokens(*tokens: str) -> None:
        experiments = {"size": {"grid": {"model": ["2x16"], "tokens": list(tokens)}}}
        cluster.edit(lambda data: data.update(experiments=experiments), SEEDS)

    set_tokens("64k", "128k")
    cluster.profile("small_minutes: 0.001")
    cluster.submit("runs", study=SEEDS)
    jobs = cluster.slurm_jobs()
    assert [row["rule"].split("_wildcards")[0] for row in jobs] == ["rule_bundle", "rule_train", "rule_train"]
    local = local_run(cluster, tmp_path / "local", SEEDS, "--until", "train")
    ours = same_bytes(cluster, local, *BYTES)
    assert len([name for name in ours if name.startswith("trunks")]) == 3
    set_tokens("64k", "128k", "512k")
    before = times(cluster)
    cluster.submit("runs", study=SEEDS)
    added = cluster.slurm_jobs()[len(jobs) :]
    assert [row["rule"].split("_wildcards")[0] for row in added] == ["rule_bundle", "rule_train"]
    assert times(cluster).items() >= before.items() and len(times(cluster)) == 3


def test_a_fault_in_a_shared_allocation_costs_that_run_alone(cluster: Cluster, speed: float, tmp_path: Path) -> None:
    """One of four runs in a job is killed: the job is tried again and continues that run; then an urgent job takes the node."""
    write_seeds(cluster, 4, round(20 * speed))
    bundle_small(cluster, 60)
    process = cluster.start("--until", "bundle", study=SEEDS)
    try:
        wait_for(lambda: len(training(cluster)) == 2 and min(training(cluster).values()) > 0, 600)
        killed = min(training(cluster))
        pid = process_of(cluster, killed)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: process_of(cluster, killed) not in (None, pid), 600)
        done = times(cluster)
        assert len(done) == 3
        urgent = slurm("sbatch", "--parsable", "-p", "urgent", "-c", "6", "--output", "/dev/null", "--wrap", "sleep 3").strip()
        assert process.wait(timeout=2400) == 0, cluster.log()
    finally:
        process.terminate()
    rows = {row["id"]: row for row in cluster.slurm_jobs()}
    assert rows.pop(urgent)["state"] == "COMPLETED"
    first, second = rows.values()
    assert (first["state"], second["state"]) == ("FAILED", "COMPLETED")
    assert second["restarts"] == "1"
    assert times(cluster).items() >= done.items()
    found = timings(cluster)
    # The first attempt of the killed run saved nothing; the attempt that was preempted saved a checkpoint.
    assert {run: timing["attempts"] for run, timing in found.items()} == {run: 1 + (run == killed) for run in found}
    same_bytes(cluster, local_run(cluster, tmp_path / "local", SEEDS, "--until", "train"), *BYTES)


def test_faults_cost_nothing_that_was_saved(cluster: Cluster, speed: float, tmp_path: Path) -> None:
    """slurmd is killed and started again; then one job is cancelled, one training killed and one job requeued. One is spared."""
    write_seeds(cluster, 4, round(40 * speed))  # each takes 40 s alone; four share two cores
    cluster.profile(local="aggregate, exponents, fit, report_md")
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: len(training(cluster)) == 4 and min(training(cluster).values()) > 0, 600)
        cancelled, killed, requeued, spared = sorted(training(cluster))
        first = {run: job_of(cluster, run) for run in (cancelled, requeued, spared)}
        os.kill(daemon("slurmd.n1"), signal.SIGKILL)
        time.sleep(2)
        control("up", STATE)
        slurm("scancel", first[cancelled])
        pid = process_of(cluster, killed)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        slurm("scontrol", "requeue", first[requeued])
        assert process.wait(timeout=2400) == 0, cluster.log()
    finally:
        process.terminate()
    attempts = {run: timing["attempts"] for run, timing in timings(cluster).items()}
    assert attempts[spared] == 1 and attempts[cancelled] == attempts[requeued] == 2
    rows = {row["id"]: row for row in cluster.slurm_jobs()}
    assert rows[first[cancelled]]["state"] == "CANCELLED" and rows[first[requeued]]["state"] == "COMPLETED"
    assert job_of(cluster, cancelled) != first[cancelled]
    same_bytes(cluster, local_run(cluster, tmp_path / "local", SEEDS, "--until", "train"), *BYTES)


def test_a_time_limit_is_outlived_by_going_on(cluster: Cluster, speed: float, tmp_path: Path) -> None:
    write_seeds(cluster, 1, round(200 * speed))  # longer than its job may run, also where the machine is faster by then
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
    same_bytes(cluster, local, *BYTES)


def test_a_job_that_waits_trains_the_run_in_its_id(cluster: Cluster) -> None:
    """config.yaml is edited while jobs wait: they train what was submitted, and the tables are those of that study."""
    write_seeds(cluster, 2, 20_000)
    slurm("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: len(cluster.slurm_jobs()) == 2)
        wanted = {row["rule"].split("_wildcards_")[1] for row in cluster.slurm_jobs()}
        jobs = {row["id"] for row in cluster.slurm_jobs()}
        told = {run["run"]: (run["state"], run["because"]) for run in status_of(cluster, SEEDS)["runs"]}
        assert told.keys() == wanted and {state for state, _ in told.values()} == {"waiting"}
        assert {" ".join(because.split()[:4]) for _, because in told.values()} == {f"Slurm job {job}, PENDING" for job in jobs}
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
        line.split('"')[3]
        for path in cluster.folder.glob("results/studies/*/tables/manifest-*")
        for line in path.read_text().splitlines()
    }
    assert names == wanted
    later = status_of(cluster, SEEDS)  # the config asks for other runs by now, which the snakemake that has ended knew nothing of
    assert (later["total"]["wanted"], later["total"]["waiting"], later["workflow"]["state"]) == (2, 2, "gone")


def test_a_second_snakemake_is_refused(cluster: Cluster) -> None:
    """The lock refuses it. After a kill -9 it is refused while a job that was left behind trains what would be trained twice."""
    write_seeds(cluster, 1, 10_000_000)
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: training(cluster), 600)
        second = cluster.submit(study=SEEDS, check=False)
        assert second.returncode != 0 and "lock" in (second.stdout + second.stderr).lower()
        wait_for(lambda: min(training(cluster).values()) > 0, 600)
        told = status_of(cluster, SEEDS)
        assert told["workflow"]["state"] == "running" and told["seconds_left"] > 0
        assert told["runs"][0]["state"] == "running" and told["runs"][0]["step"] > 0 and told["runs"][0]["loss"] > 0
    finally:
        (snakemake,) = psutil.Process(process.pid).children()
        snakemake.kill()
        process.wait(timeout=120)
    (run,), (job,) = training(cluster), cluster.slurm_jobs()
    assert job["state"] == "RUNNING"
    told = status_of(cluster, SEEDS)  # the job goes on without its snakemake
    assert told["workflow"]["state"] == "gone" and told["runs"][0]["state"] == "running"
    cluster.submit("--unlock", study=SEEDS)
    third = cluster.submit(study=SEEDS, check=False)
    assert third.returncode != 0 and len(cluster.slurm_jobs()) == 1
    assert f"{run} is being trained already, by process" in third.stdout + third.stderr
    assert "Traceback" not in third.stdout + third.stderr
    slurm("scancel", job["id"])
    wait_for(lambda: not training(cluster))
    wait_for(lambda: cluster.slurm_jobs()[0]["state"] == "CANCELLED")
    (stopped,) = status_of(cluster, SEEDS)["runs"]
    saved = [path.stem.removeprefix("checkpoint-") for path in cluster.folder.glob(f"results/runs/{run}/checkpoint-*")]
    assert (stopped["state"], stopped["because"]) == ("stopped", "it was told to stop, and saved")
    assert stopped["step"] == max(map(int, saved))
    process = cluster.start(study=SEEDS)
    try:
        wait_for(lambda: training(cluster), 600)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)


def test_a_controller_that_was_away_costs_a_second_call_at_most(cluster: Cluster, speed: float) -> None:
    """The plugin waits for ever where the controller did not answer. Its jobs end, and a second call finds what they made."""
    write_seeds(cluster, 1, round(20 * speed))
    process = cluster.start("--until", "train", study=SEEDS)
    try:
        wait_for(lambda: training(cluster), 600)
        os.kill(daemon("slurmctld"), signal.SIGTERM)  # it saves: killed, it would forget what it started in the last seconds
        time.sleep(10)
        control("up", STATE)
        wait_for(lambda: times(cluster), 600)
        (snakemake,) = psutil.Process(process.pid).children()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        if process.poll() is None:
            snakemake.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    finally:
        process.kill()
    done = times(cluster)
    cluster.submit("--until", "train", study=SEEDS)
    assert times(cluster) == done and len(cluster.slurm_jobs()) == 1


def test_a_lost_node_costs_what_was_not_saved(cluster: Cluster, two_nodes: None, speed: float, tmp_path: Path) -> None:
    """A node dies with all that runs on it and does not come back: its job continues on the other node."""
    write_seeds(cluster, 2, round(75 * speed))
    # A run ends within a minute where it is faster than its speed was measured, and must have saved before.
    cluster.save_every(10)
    # Each node has room for one job.
    cluster.profile("gpus_per_node: 1", "aggregate, exponents, fit, report_md", train={"cpus_per_task": 4})
    process = cluster.start("--until", "train", study=SEEDS)
    try:
        wait_for(lambda: len(training(cluster)) == 2 and min(training(cluster).values()) > 0, 600)
        (lost,) = [row for row in cluster.slurm_jobs() if row["node"] == "n2"]
        (run,) = [run for run in training(cluster) if run in lost["rule"]]
        wait_for(lambda: list(cluster.folder.glob(f"results/runs/{run}/checkpoint-*")), 600)
        os.kill(daemon("slurmd.n2"), signal.SIGKILL)
        subprocess.run(["pkill", "-KILL", "-f", rf"^slurmstepd: \[{lost['id']}\."], check=True)
        subprocess.run(["pkill", "-KILL", "-f", f"{cluster.folder}.*{run}|scalinglaws train .*{run}"], check=True)
        assert process.wait(timeout=2400) == 0, cluster.log()
    finally:
        process.terminate()
    assert {row["node"] for row in cluster.slurm_jobs()} == {"n1"}
    assert sorted(timing["attempts"] for timing in timings(cluster).values()) == [1, 2]
    same_bytes(cluster, local_run(cluster, tmp_path / "local", SEEDS, "--until", "train"), *BYTES)
