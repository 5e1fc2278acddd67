"""Measure what bundles save on a real one-node Slurm (Debian, as root): tiny runs as jobs of their own, and in bundles.

PYTHONPATH=workflow:tests python tests/cluster/bundling.py [--runs 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from cluster import conftest, studies
from workflow.conftest import copy_workflow

# The device is so fast that a run is expected to take the half minute of its start: 100 runs, two at a time, fill half an hour.
DEVICE = "float32: 1e12, at_once: 2, bundle_minutes: 27"
WAYS = {"in bundles": ("small_minutes: 20", "bundle"), "a job each": ("small_minutes: 0", "train")}


def measure(prepared: Path, folder: Path, runs: int, device: str, until: str) -> tuple[int, float]:
    """Return (number of Slurm jobs, seconds from submission until every run is there)."""
    cluster = conftest.Cluster(conftest.copy(prepared, folder))
    studies.write_seeds(cluster, runs, 20_000)
    cluster.profile(f"{DEVICE}, {device}", minutes=120, jobs=100)
    began = time.monotonic()
    cluster.submit("--until", until, study=studies.SEEDS, seconds=7200)
    seconds = time.monotonic() - began
    made = len(list(cluster.folder.glob("results/runs/*/metrics.json")))
    assert made == runs, f"{made} of {runs} runs were made"
    return len(cluster.slurm_jobs()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name, conftest.started():
        prepared = conftest.prepare(copy_workflow(Path(name, "prepared")))
        for number, (way, (device, until)) in enumerate(WAYS.items()):
            jobs, seconds = measure(prepared, Path(name, str(number)), runs, device, until)
            print(f"{runs} runs, {way}: {jobs} allocations, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
