"""The GPUs and the driver that this process has, and why CUDA cannot be used where it cannot."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from scalinglaws.common.errors import StudyError

DRIVER = Path("/proc/driver/nvidia/version")  # where the kernel's module says its version
LIBRARY = "libcuda.so.1"  # the part of the driver that programs load
HIDDEN = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that hide every GPU


def require(count: int = 1, environment: Mapping[str, str] = os.environ) -> None:
    """Check that PyTorch can use so many GPUs in this process. Raises StudyError that says why it cannot."""
    if reason := why_not(count, environment):
        raise StudyError(
            f"--device cuda, but {reason}. Without a GPU, use --device cpu; --device auto takes one where there is one"
        )


def is_used(device: str) -> bool:
    """Tell whether a process that is told to compute on ``device`` (auto, cpu, cuda or mps) uses a GPU of CUDA."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def why_not(count: int = 1, environment: Mapping[str, str] = os.environ) -> str:
    """Return the reason for which PyTorch cannot use so many GPUs in this process; empty where it can."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found >= count:
        return ""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    told = "is not set" if visible is None else f"is {visible!r:.200}"
    if found:
        return f"{count} GPUs are asked for and this process sees {found} (CUDA_VISIBLE_DEVICES {told}): ask for as many"
    built = torch.version.cuda
    if not built:
        return f"PyTorch {torch.__version__} is built for CPUs alone: install a wheel that is built for CUDA"
    if visible is not None and visible.strip() in HIDDEN:
        return f"CUDA_VISIBLE_DEVICES {told}, which hides every GPU: ask the scheduler for GPUs, or unset it"
    runs = _driver_cuda()
    if runs is None:
        return f"this machine has no driver of NVIDIA ({LIBRARY} cannot be loaded): install it, or take a machine that has it"
    if runs[0] < int(built.partition(".")[0]):
        return (
            f"the driver{_spaced(driver_version())} runs CUDA up to {runs[0]}.{runs[1]} and PyTorch {torch.__version__} is built "
            f"for CUDA {built}: install a newer driver, or a wheel of PyTorch for CUDA {runs[0]}"
        )
    return f"the driver{_spaced(driver_version())} finds no GPU that it can use ({_fault()}; CUDA_VISIBLE_DEVICES {told})"


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, such as 550.54.14; None where there is none."""
    try:
        match = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", DRIVER.read_text())
    except OSError:
        return None
    return match[0] if match else None


def _spaced(version: str | None) -> str:
    return f" {version}" if version else ""


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


def _driver_cuda() -> tuple[int, int] | None:
    """Return the newest version of CUDA that the driver runs, such as (12, 4); None where there is no driver."""
    library, number = _library(), ctypes.c_int()
    if library is None or library.cuDriverGetVersion(ctypes.byref(number)):
        return None
    return number.value // 1000, number.value % 1000 // 10


def _fault() -> str:
    """Return the name of the error with which the driver starts."""
    library, name = _library(), ctypes.c_char_p()
    status = library.cuInit(0) if library else 0
    if library and status and not library.cuGetErrorName(status, ctypes.byref(name)) and name.value:
        return name.value.decode()
    return f"cuInit returns {status}"
