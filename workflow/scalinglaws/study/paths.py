"""Where the results of runs lie, and whether they are there. Standard library only."""

from __future__ import annotations

from pathlib import Path


def run_folder(results: Path, run: str) -> Path:
    return results / "runs" / run


def has_run(results: Path, run: str) -> bool:
    """Whether a run is trained: its metrics are written last."""
    return (run_folder(results, run) / "metrics.json").exists()


def rung_path(results: Path, trunk: str, step: int) -> Path:
    return results / "trunks" / trunk / f"step{step}.safetensors"


def evaluation_path(results: Path, run: str, name: str) -> Path:
    """Of a run on a set of token folders."""
    return results / "evals" / run / f"{name}.json"


def evaluation_set_path(results: Path, name: str) -> Path:
    """The file that names the token folders of a set."""
    return results / "evals" / "sets" / f"{name}.txt"


def bundle_path(results: Path, name: str) -> Path:
    """The list of what a bundle makes."""
    return results / "bundles" / f"{name}.json"


def bundle_marker(results: Path, name: str) -> Path:
    """The file that says that all of a bundle is there."""
    return results / "bundles" / f"{name}.done"


def log_path(results: Path, stage: str, name: str) -> Path:
    return results / "logs" / stage / f"{name}.log"
