"""Where the results of runs and of studies lie below ``results/``, and whether they are there.

What belongs to a run is shared by all studies. What belongs to a study lies in the study's own folder: ``tables/``, ``fits/``,
``figures/``, ``report.md``. This module imports the standard library only.
"""

from __future__ import annotations

from pathlib import Path


def study_folder(results: Path, study: str) -> Path:
    """Return the folder of a study: its tables, fits, figures and report."""
    return results / "studies" / study


def partial_folder(results: Path, study: str) -> Path:
    """Return the folder of the tables, fits and figures of a study whose runs are not all there yet."""
    return study_folder(results, study) / "partial"


def manifest_path(folder: Path, manifest_id: str) -> Path:
    """Return the file that lists the runs of the tables in ``folder``/tables; a hash of the list is part of its name."""
    return folder / "tables" / f"manifest-{manifest_id}.jsonl"


def run_folder(results: Path, run: str) -> Path:
    """Return the folder of a run: its spec, weights, curve and metrics."""
    return results / "runs" / run


def has_run(results: Path, run: str) -> bool:
    """Tell whether a run is trained: its metrics are written last."""
    return (run_folder(results, run) / "metrics.json").exists()


def weights_folder(results: Path, weights: str) -> Path:
    """Return the folder of published weights: their config.json, which is written last, and .safetensors files."""
    return results / "weights" / weights


def rung_path(results: Path, trunk: str, step: int) -> Path:
    """Return the checkpoint of a trunk at a step."""
    return results / "trunks" / trunk / f"step{step}.safetensors"


def has_rung(results: Path, trunk: str, step: int) -> bool:
    """Tell whether the checkpoint of a trunk at a step is there."""
    return rung_path(results, trunk, step).exists()


def evaluation_path(results: Path, run: str, name: str) -> Path:
    """Return the losses of a run on the set of token folders that has this name."""
    return results / "evals" / run / f"{name}.json"


def evaluation_set_path(results: Path, name: str) -> Path:
    """Return the file that lists the token folders of a set."""
    return results / "evals" / "sets" / f"{name}.txt"


def sweep_path(results: Path, sweep: str) -> Path:
    """Return the file that lists the runs of a sweep of the learning rate."""
    return results / "rates" / "sweeps" / f"{sweep}.json"


def rate_rule_path(results: Path, sweep: str) -> Path:
    """Return the file of the rule for the learning rate that is fitted to the runs of a sweep."""
    return results / "rates" / f"{sweep}.json"


def bundle_path(results: Path, name: str) -> Path:
    """Return the file that lists what a bundle makes."""
    return results / "bundles" / f"{name}.json"


def bundle_marker(results: Path, name: str) -> Path:
    """Return the empty file that is written when everything in a bundle is there."""
    return results / "bundles" / f"{name}.done"


def log_path(results: Path, stage: str, name: str) -> Path:
    """Return the log of a stage for one run, trunk, rung or bundle."""
    return results / "logs" / stage / f"{name}.log"


def events_folder(results: Path) -> Path:
    """Return the folder of the event files of training curves, one folder for each run or trunk (train/event_file.py)."""
    return results / "tensorboard"


def owner_path(results: Path) -> Path:
    """Return the file that says which Snakemake took the lock of the working directory last (dag/locks.py)."""
    return results / "logs" / "owner.json"
