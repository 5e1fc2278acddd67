"""The machine that jobs run on, as a profile describes it: one kind of GPU or of CPU node, and what its partition allows.

The description stands in a Snakemake profile as ``config: [device={…}]``. Without one every job asks for little, as on a laptop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.study.config import explain


class Device(BaseModel):
    """One kind of GPU, or of CPU node where gpus_per_node is 0, and what its partition allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        description="A part of the name that the driver reports, such as H100. Speeds measured on a device of this name correct "
        "the predicted times."
    )
    bfloat16: PositiveFloat = Field(description="Peak speed in bfloat16 without sparsity, in FLOP/s, such as 989e12.")
    float32: PositiveFloat = Field(description="Peak speed in float32, in FLOP/s, such as 67e12.")
    utilisation: float = Field(
        gt=0,
        le=1,
        description="Share of the peak speed that training reaches, such as 0.35. It is used until speeds have been measured.",
    )
    memory_gib: PositiveFloat = Field(description="Memory in GiB of one GPU, or of one node where there are no GPUs, such as 80.")
    gpus_per_node: int = Field(default=8, ge=0, description="Number of GPUs in a node; 0 for nodes that have only CPUs.")
    gres: str = Field(
        default="gpu", description="Name of the GPUs in Slurm's GRES syntax, with a type where it has one: gpu:h100."
    )
    most_gpus: PositiveInt = Field(
        default=1,
        description="Largest number of GPUs for one run. A number above gpus_per_node allows runs on several whole nodes.",
    )
    hours: PositiveFloat = Field(default=24.0, description="Hours that a run may take before it gets more GPUs, up to most_gpus.")
    max_minutes: PositiveInt = Field(default=1440, description="Time limit of the partition for one job, in minutes.")
    allocations: PositiveInt = Field(
        default=1, description="Number of jobs in a row that may train one run: the profile's retries and the first attempt."
    )
    runs_per_gpu: int = Field(
        default=0,
        ge=0,
        description="Number of runs that share each GPU of a single machine; 0 where a cluster gives each job GPUs of its own.",
    )
    small_minutes: float = Field(
        default=0.0,
        ge=0,
        description="Minutes up to which a trunk with all its runs, or a run without a trunk, is trained in a bundle with "
        "others; 0 gives each rung and each run a job of its own.",
    )
    bundle_minutes: PositiveFloat = Field(
        default=60.0, description="Minutes that a bundle is expected to take when it is filled up."
    )
    at_once: PositiveInt = Field(default=8, description="Largest number of processes of a bundle that share its GPU.")

    def peak(self, precision: str) -> float:
        """Return the speed that training reaches before it was measured, in FLOP/s."""
        return self.utilisation * (self.bfloat16 if precision == "bfloat16" else self.float32)


def parse_device(value: Any) -> Device | None:
    """Return the device that a profile describes. Raises StudyError that names the key that is wrong."""
    if value is None:
        return None
    try:
        return Device.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"the profile's device cannot be used:\n{explain(error, 'device')}") from None


def device_of_profile(path: Path) -> Device | None:
    """Return the device of a Snakemake profile, given its folder or its file. Raises StudyError where that cannot be read."""
    names = [path] if path.is_file() else [path / "config.yaml", path / "profile.yaml"]
    file = next((name for name in names if name.exists()), path)
    try:
        entries = (yaml.safe_load(file.read_text()) or {}).get("config") or []
        given = [entry.partition("=")[2] for entry in entries if entry.startswith("device=")]
        return parse_device(yaml.safe_load(given[0])) if given else None
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise StudyError(f"{file} cannot be read as a profile: {error}") from None
