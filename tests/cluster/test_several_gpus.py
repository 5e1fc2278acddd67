"""Runs of several processes on a real Slurm: srun starts them on one node and on two, without torchrun."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import psutil

from cluster.conftest import Cluster, slurm, wait_for
from cluster.seen import job_of, local_run, runs_of, timings, training
from cluster.studies import SEEDS, write_seeds


def losses_agree(cluster: Cluster, folder: Path) -> None:
    """Assert that the only run of the cluster has the steps and nearly the loss of one that a single process trains here."""
    local = local_run(cluster, folder, SEEDS, "--until", "train")
    (run,) = runs_of(cluster)
    two, one = (json.loads((made.folder / "results/runs" / run.name / "metrics.json").read_text()) for made in (cluster, local))
    assert two["steps"] == one["steps"] and abs(two["loss"] / one["loss"] - 1) < 1e-3


def train_here(cluster: Cluster, run: Path, out: Path, processes: int) -> None:
    """Train a run of the cluster from nothing on this machine, by so many processes that nothing stops."""
    out.mkdir(parents=True)
    shutil.copy2(run / "spec.json", out)
    options = {"spec": out / "spec.json", "tokens": "results/tokens", "trunks": out.parent / "none", "out": out}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    cluster.call(sys.executable, "-m", "scalinglaws", "train", *words, "--processes", str(processes), "--device", "cpu")


def test_a_run_takes_two_nodes(cluster: Cluster, two_nodes: None, tmp_path: Path) -> None:
    write_seeds(cluster, 1, 60_000)
    cluster.profile("gpus_per_node: 1, most_gpus: 2, hours: 0.00001", "aggregate, exponents, fit, report_md")
    cluster.submit("--until", "train", study=SEEDS)
    (job,) = cluster.slurm_jobs()
    assert (job["nodes"], job["gres"], job["state"]) == ("2", "gres:gpu:1", "COMPLETED")
    (timing,) = timings(cluster).values()
    assert timing["processes"] == 2
    losses_agree(cluster, tmp_path / "local")


def test_srun_starts_a_process_for_each_gpu_and_tells_them_to_stop(cluster: Cluster, tmp_path: Path) -> None:
    """Two processes of one node train a run without torchrun. They save where their job is started again, and go on.

    The run then has the bytes of one that two processes of torchrun train here, undisturbed.
    """
    write_seeds(cluster, 1, 4_000_000)
    more = {"mem_mb": 3000}
    cluster.profile("most_gpus: 2, hours: 0.00001", "aggregate, exponents, fit, report_md", train=more)
    process = cluster.start("--until", "train", study=SEEDS)
    try:
        wait_for(lambda: max(training(cluster).values(), default=0) > 50, 600)
        (run,) = training(cluster)
        found = [each for each in psutil.process_iter(["cmdline"]) if run in " ".join(each.info["cmdline"] or [])]
        ranks = [each for each in found if each.info["cmdline"][1:4] == ["-m", "scalinglaws", "train"]]
        assert sorted(each.environ().get("SLURM_PROCID", "") for each in ranks) == ["", "0", "1"]  # the first starts the others
        assert not [each for each in found if "torch.distributed.run" in each.info["cmdline"]]
        slurm("scontrol", "requeue", job_of(cluster, run))
        assert process.wait(timeout=1200) == 0, cluster.log()
    finally:
        process.terminate()
    (job,) = cluster.slurm_jobs()
    assert (job["nodes"], job["gres"], job["state"], job["restarts"]) == ("1", "gres:gpu:2", "COMPLETED", "1")
    (timing,) = timings(cluster).values()
    assert (timing["processes"], timing["attempts"]) == (2, 2)
    theirs, ours = cluster.folder / "results/runs" / run, tmp_path / "here" / run
    train_here(cluster, theirs, ours, processes=2)
    for name in ("metrics.json", "curve.jsonl", "model.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
