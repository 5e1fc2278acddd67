"""The machine that jobs run on, as a profile describes it: one kind of GPU or of CPU node, and what its partition allows.

The description stands in a Snakemake profile as ``config: [device={…}]``. Without one every job asks for little, as on a laptop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER
from scalinglaws.study import plain, read_yaml
from scalinglaws.study.explain import explain

# Numbers of a device, each with a bound beyond which it is a slip. A profile's values reach this room as texts.
Speed = Annotated[float, Field(ge=1e6, le=1e21, allow_inf_nan=False), NUMBER]
Memory = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False), NUMBER]
Hours = Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False), NUMBER]
Minutes = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False), NUMBER]
Number = Annotated[int, Field(gt=0, le=100_000), NUMBER]
NumberOrZero = Annotated[int, Field(ge=0, le=1000), NUMBER]

PLACEHOLDER = "CHANGE_ME"  # the value of what the user of a profile has yet to set
FLOP_PER_BYTE = 300  # of an H100: its peak speed in bfloat16 over the bandwidth of its memory


class Device(BaseModel):
    """One kind of GPU, or of CPU node where gpus_per_node is 0, and what its partition allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1,
        max_length=100,
        description="A part of the name that the driver reports, such as H100. Speeds measured on a device of this name correct "
        "the predicted times.",
    )
    bfloat16: Speed = Field(description="Peak speed in bfloat16 without sparsity, in FLOP/s, such as 989e12.")
    float32: Speed = Field(description="Peak speed in float32, in FLOP/s, such as 67e12.")
    utilisation: Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False), NUMBER] = Field(
        description="Share of the peak speed that training reaches, such as 0.35. It is used until speeds have been measured.",
    )
    memory_gib: Memory = Field(description="Memory in GiB of one GPU, or of one node where there are no GPUs, such as 80.")
    bandwidth: Speed | None = Field(
        default=None,
        description="Bandwidth of a GPU's memory in bytes/s, such as 3.35e12. Without it, 1 byte for each 300 FLOP of the peak "
        "speed in bfloat16, as an H100 has.",
    )
    gpus_per_node: NumberOrZero = Field(default=8, description="Number of GPUs in a node; 0 for nodes that have only CPUs.")
    backend: Literal["cuda", "mps"] = Field(
        default="cuda", description="What PyTorch calls the GPUs: cuda, or mps for the one GPU of a Mac with Apple silicon."
    )
    gres: str = Field(
        default="gpu",
        max_length=100,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$",
        description="Name of the GPUs in Slurm's GRES syntax, with a type where it has one: gpu:h100.",
    )
    constraint: str = Field(
        default="",
        max_length=200,
        pattern=r"^[A-Za-z0-9_.:&|*,()\[\]-]*$",
        description="Features of nodes that Slurm must give to jobs with GPUs, such as h100; jobs on CPUs do not ask for them.",
    )
    qos: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9_.:-]*$",
        description="Slurm's quality of service for jobs with GPUs; jobs on CPUs do not ask for it.",
    )
    cpus_per_node: Annotated[int, Field(ge=0, le=100_000), NUMBER] = Field(
        default=0, description="CPUs of a node, more of which no job asks for; 0 where no limit is known."
    )
    most_gpus: Number = Field(
        default=1,
        description="Largest number of GPUs for one run. A number above gpus_per_node allows runs on several whole nodes.",
    )
    hours: Hours = Field(default=24.0, description="Hours that a run may take before it gets more GPUs, up to most_gpus.")
    max_minutes: Annotated[int, Field(gt=0, le=10**7), NUMBER] = Field(
        default=1440, description="Time limit of the partition for one job, in minutes."
    )
    allocations: Number = Field(
        default=1, description="Number of jobs in a row that may train one run: the profile's retries and the first attempt."
    )
    runs_per_gpu: NumberOrZero = Field(
        default=0,
        description="Number of runs that share each GPU of a single machine; 0 where a cluster gives each job GPUs of its own.",
    )
    small_minutes: Minutes = Field(
        default=0.0,
        description="Minutes up to which a trunk with all its runs, or a run without a trunk, is trained in a bundle with "
        "others; 0 gives each rung and each run a job of its own.",
    )
    bundle_minutes: Annotated[Minutes, Field(gt=0)] = Field(
        default=60.0, description="Minutes that a bundle is expected to take when it is filled up."
    )
    deterministic: bool = Field(
        default=False,
        description="Whether GPUs give equal bits each time, which makes them slower: a run that is trained again, or killed and "
        "resumed, then ends with the same bytes on the same kind of GPU.",
    )
    grace_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False), NUMBER] = Field(
        default=30.0,
        description="Seconds from the signal to stop until a job is killed (Slurm's KillWait). A training whose checkpoint takes "
        "longer keeps the last one that it has.",
    )
    at_once: Number = Field(default=8, description="Largest number of processes of a bundle that share its GPU.")
    price_per_hour: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), NUMBER] | None = Field(
        default=None,
        description="Price of an hour of one GPU, or of one node where there are no GPUs, in any currency: plans tell what a "
        "study costs.",
    )

    @model_validator(mode="after")
    def _of_a_mac(self) -> Device:
        """Refuse what the GPU of a Mac cannot have."""
        if self.backend == "mps" and (self.gpus_per_node, self.most_gpus) != (1, 1):
            raise ValueError("backend: mps is the one GPU of a Mac: set gpus_per_node: 1 and most_gpus: 1")
        if self.backend == "mps" and self.deterministic:
            raise ValueError("deterministic: no kernel of backend: mps promises equal bits: set it to false")
        return self

    @property
    def bytes_per_second(self) -> float:
        """Return the bandwidth of a GPU's memory, estimated from its speed where it is not given."""
        return self.bandwidth or self.bfloat16 / FLOP_PER_BYTE

    def peak(self, precision: str) -> float:
        """Return the speed that training reaches before it was measured, in FLOP/s."""
        return self.utilisation * (self.bfloat16 if precision == "bfloat16" else self.float32)


def parse_device(value: Any) -> Device | None:
    """Return the device that a profile describes. Raises StudyError that names the key that is wrong."""
    if value is None:
        return None
    plain.check({"device": value}, "the profile")
    try:
        return Device.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"the profile's device cannot be used:\n{explain(error, Device, 'device')}") from None


def _profile(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file of a Snakemake profile, given its folder or its file, and its keys. Raises StudyError."""
    names = [path] if path.is_file() else [path / "config.yaml", path / "profile.yaml"]
    file = next((name for name in names if name.exists()), path)
    data = read_yaml.read(file, "it cannot be read as a profile of Snakemake").data
    if not isinstance(data, dict):
        raise StudyError(f"{file} cannot be read as a profile: a mapping with options of Snakemake is expected")
    return file, data


def placeholders(path: Path) -> list[str]:
    """Return the resources of a Snakemake profile that its user has yet to set. Raises StudyError where it cannot be read."""
    data = _profile(path)[1]
    of_rules = data.get("set-resources")
    places = [data.get("default-resources"), *(of_rules.values() if isinstance(of_rules, dict) else ())]
    found = [name for place in places if isinstance(place, dict) for name, value in place.items() if PLACEHOLDER in str(value)]
    return list(dict.fromkeys(map(str, found)))


def device_of_profile(path: Path) -> Device | None:
    """Return the device of a Snakemake profile, given its folder or its file. Raises StudyError where that cannot be read."""
    file, data = _profile(path)
    entries = data.get("config") or []
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise StudyError(f"{file}: config: a list of texts is expected, such as device={{…}}")
    given = [entry.partition("=")[2] for entry in entries if entry.startswith("device=")]
    return parse_device(read_yaml.parse(given[0], f"{file}: device").data) if given else None
