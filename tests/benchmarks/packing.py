"""What sharing allocations saves: tiny runs on a real one-node Slurm, each a job of its own and packed. Debian, as root.

python tests/benchmarks/packing.py [--runs 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from cluster import conftest, studies
from workflow.conftest import copy_workflow


def measure(prepared: Path, folder: Path, runs: int, packed: bool) -> tuple[int, float]:
    """(Slurm jobs, seconds from submission until every run is there)."""
    cluster = conftest.Cluster(conftest.copy(prepared, folder))
    studies.write_seeds(cluster, runs, 20_000)
    groups = {"group-components": {"small": 20}, "resources": {"slots": 2}} if packed else {"group-components": {}}
    cluster.profile(f"small_minutes: {60 if packed else 0}", jobs=100, **groups)
    began = time.monotonic()
    cluster.submit("--until", "train", study=studies.SEEDS, seconds=3600)
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
        for packed in (True, False):
            jobs, seconds = measure(prepared, Path(name, f"packed-{packed}"), runs, packed)
            print(f"{runs} runs, {'packed' if packed else 'each alone'}: {jobs} allocations, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
