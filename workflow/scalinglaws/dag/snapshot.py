"""The config and the measured speeds as they were when a job was submitted, kept in a file for the job to read.

The job then asks for what it was given and belongs to the study that it was submitted for, whatever config.yaml says by then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalinglaws.cluster.cost import Speeds
from scalinglaws.common.read import parse_json
from scalinglaws.common.sums import REWRITTEN, read_named
from scalinglaws.study import study as study_model

# The environment variable that tells a job where its snapshot lies: Snakemake's executors hand the environment on.
VARIABLE = "SCALINGLAWS_STUDY"


@dataclass(frozen=True)
class Snapshot:
    """A config, the speeds that were measured on the device by then, and the file that holds both."""

    config: Mapping[str, Any]
    speeds: Speeds
    path: Path


def keep(config: Mapping[str, Any], speeds: Speeds, results: Path) -> Path:
    """Write a snapshot to a file named by its content, where it is not there yet, and return that file."""
    config = dict(config)
    kept = {"config": config, "speeds": [[*key, factor] for key, factor in sorted(speeds.items())]}
    return study_model.keep(kept, results / "logs" / "study")


def load(path: Path) -> Snapshot:
    """Read a snapshot from its file. Raises StudyError where the file is missing or damaged."""
    kept = parse_json(read_named(path), path, REWRITTEN)
    speeds = {(n_params, precision, shared): factor for n_params, precision, shared, factor in kept["speeds"]}
    return Snapshot(kept["config"], speeds, path)


def of_job() -> Snapshot | None:
    """Return the snapshot of the job that this process runs; None for a job that was started by hand, without one."""
    path = Path(os.environ.get(VARIABLE, ""))
    return load(path) if path.is_file() else None
