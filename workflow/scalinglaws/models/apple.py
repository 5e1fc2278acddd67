"""The GPU of a Mac, which PyTorch calls mps, after Metal's Performance Shaders, and why it cannot be used where it cannot.

It is taken where it is asked for and never by ``auto``: see docs/gpu.md. NVIDIA's service of the same name is in cluster/mps.py.
"""

from __future__ import annotations

import platform

import torch

from scalinglaws.common.errors import StudyError

OLDEST = (14, 0)  # macOS: the first one whose GPUs have bfloat16


def require(count: int = 1) -> None:
    """Check that PyTorch can use so many GPUs of a Mac in this process. Raises StudyError that says why it cannot."""
    if reason := why_not(count):
        raise StudyError(f"--device mps, but {reason}. Without Apple's GPU, use --device cpu, or --device cuda for one of NVIDIA")


def why_not(count: int = 1) -> str:
    """Return the reason for which PyTorch cannot use so many GPUs of a Mac in this process; empty where it can."""
    system, version, machine = platform.system(), platform.mac_ver()[0], platform.machine()
    if system != "Darwin":
        return f"this machine runs {system} and has no GPU of Apple: mps is that of a Mac"
    if machine != "arm64":
        return f"this Python runs on {machine}: a Mac with Apple silicon and a Python built for arm64 are needed"
    if not torch.backends.mps.is_built():
        return f"PyTorch {torch.__version__} is built without MPS: install the wheel for macOS on arm64"
    if not torch.backends.mps.is_macos_or_newer(*OLDEST):
        return f"this is macOS {version}, and macOS {OLDEST[0]} or newer is needed: update it"
    if not torch.backends.mps.is_available():
        return f"PyTorch {torch.__version__} finds no GPU that it can use on macOS {version}, as in most virtual machines"
    return f"{count} processes are asked for and a Mac has one GPU: take one process" if count > 1 else ""


def gpu_name() -> str:
    """Return the name of the Mac's GPU, such as Apple M2 Max."""
    return str(torch.backends.mps.get_name())


def driver_version() -> str:
    """Return what stands in for the version of a driver: that of macOS, of which Metal is a part."""
    return f"macOS {platform.mac_ver()[0]}"
