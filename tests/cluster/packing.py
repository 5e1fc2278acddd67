"""What sharing allocations saves, on a real one-node Slurm (Debian, as root): tiny runs, each a job of its own; several in a job,
one after another; all in one job that has the node, by profiles/local-gpu.

PYTHONPATH=workflow:tests python tests/cluster/packing.py [--runs 200] [--together 20]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from cluster import conftest, studies
from workflow.conftest import copy_workflow

Way = Callable[[conftest.Cluster, int], None]


def alone(cluster: conftest.Cluster, together: int) -> None:
    cluster.profile("small_minutes: 0", jobs=100)
    cluster.submit("--until", "train", study=studies.SEEDS, seconds=7200)


def grouped(cluster: conftest.Cluster, together: int) -> None:
    cluster.profile("small_minutes: 60", jobs=100, **{"group-components": {"small": together}})
    cluster.submit("--until", "train", study=studies.SEEDS, seconds=7200)


def node(cluster: conftest.Cluster, together: int) -> None:
    path = cluster.folder / "profiles/local-gpu/profile.yaml"
    data = yaml.safe_load(path.read_text())
    data |= {"cores": 6, "resources": {"processes": 4}, "config": [f"device={{{conftest.DEVICE}, runs_per_gpu: 1}}"]}
    path.write_text(yaml.safe_dump(data))
    snakemake = shlex.join([sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/local-gpu", "--until", "train"])
    job = ["sbatch", "--wait", "--gres", "gpu:4", "--cpus-per-task", "6", "--time", "120", "--output", "node.log", "--wrap"]
    cluster.call(*job, f"{snakemake} --configfile {studies.SEEDS}")


def measure(prepared: Path, folder: Path, runs: int, together: int, way: Way) -> tuple[int, float]:
    """(Slurm jobs, seconds from submission until every run is there)."""
    cluster = conftest.Cluster(conftest.copy(prepared, folder))
    studies.write_seeds(cluster, runs, 20_000)
    began = time.monotonic()
    way(cluster, together)
    seconds = time.monotonic() - began
    made = len(list(cluster.folder.glob("results/runs/*/metrics.json")))
    assert made == runs, f"{made} of {runs} runs were made"
    return len(cluster.slurm_jobs()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--together", type=int, default=20, help="runs in a group")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, conftest.started():
        prepared = conftest.prepare(copy_workflow(Path(name, "prepared")))
        for way in (node, grouped, alone):
            jobs, seconds = measure(prepared, Path(name, way.__name__), args.runs, args.together, way)
            print(f"{args.runs} runs, {way.__name__}: {jobs} allocations, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
