"""What the tests see of a cluster and of its results, beside those of a local run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cluster.conftest import STATE, Cluster
from scalinglaws.decide.status import heartbeats
from workflow.conftest import Workflow

BYTES = ("runs/*/metrics.json", "runs/*/curve.jsonl", "runs/*/model.safetensors", "trunks/*/step*.safetensors")
CHEAP = tuple(f"studies/*/{name}" for name in ("tables/[!t]*", "fits/*", "figures/*", "report.md"))


def local_copy(cluster: Cluster, folder: Path) -> Workflow:
    """Copy the workflow and its tokens, to be run without the cluster."""
    ignored = shutil.ignore_patterns("runs", "trunks", ".snakemake")
    return Workflow(Path(shutil.copytree(cluster.folder, folder, copy_function=shutil.copy2, ignore=ignored)))


def local_run(cluster: Cluster, folder: Path, study: str, *arguments: str) -> Workflow:
    made = local_copy(cluster, folder)
    made.run("--cores", "2", *arguments, study=study)
    return made


def same_bytes(cluster: Cluster, local: Workflow, *names: str) -> dict[str, bytes]:
    """Assert that both made the same bytes; return the files of the cluster."""
    ours, theirs = cluster.bytes_of(*names), local.bytes_of(*names)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    return ours


def timings(cluster: Cluster) -> dict[str, dict]:
    return {run.name: json.loads((run / "timing.json").read_text()) for run in runs_of(cluster)}


def times(cluster: Cluster) -> dict[str, int]:
    """Return run -> when its metrics were written, for the runs that are done."""
    return {run.name: (run / "metrics.json").stat().st_mtime_ns for run in runs_of(cluster) if (run / "metrics.json").exists()}


def runs_of(cluster: Cluster) -> list[Path]:
    return sorted((cluster.folder / "results/runs").iterdir())


def training(cluster: Cluster) -> dict[str, int]:
    """Return run -> the step in its heartbeat, for the runs that train now."""
    return {run: beat["step"] for run, beat in heartbeats(cluster.folder / "results").items()}


def process_of(cluster: Cluster, run: str) -> int | None:
    """Return the process that trains a run, by its last heartbeat."""
    return heartbeats(cluster.folder / "results").get(run, {}).get("pid")


def daemon(name: str) -> int:
    """Return the process of one of Slurm's daemons."""
    return int(Path(STATE, "run", f"{name}.pid").read_text().split()[0])


def job_of(cluster: Cluster, run: str) -> str:
    """Return the newest Slurm job that trains a run."""
    return [row["id"] for row in cluster.slurm_jobs() if row["rule"].startswith("rule_train_") and run in row["rule"]][-1]
