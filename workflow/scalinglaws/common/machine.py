"""What this machine is: the name of its processor, and whether it has a GPU. Plans ask it without a wait for torch."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Return the name of the processor, as timings of runs have it."""
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def has_gpu() -> bool:
    """Tell whether NVIDIA's driver is loaded, which then gives trainings a GPU."""
    return Path("/dev/nvidiactl").exists()
