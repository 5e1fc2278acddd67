"""The processor or GPU that a process computes on, and how it is set up (determinism.py says when it gives the same bits)."""

from __future__ import annotations

import ctypes

import torch

from scalinglaws.common import asked
from scalinglaws.common.errors import StudyError
from scalinglaws.common.machine import processor_name
from scalinglaws.models import apple, cuda, determinism


def keep_memory() -> None:
    """Let glibc keep freed memory. Pages given back are faulted in again at each step, a fifth of a small model's time."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(trim_threshold, 2**31 - 1)
    # Some versions refuse what is above 32 MiB.
    if not mallopt(mmap_threshold, 2**30):
        mallopt(mmap_threshold, 2**25)


def require(device: str, count: int = 1) -> None:
    """Check that this process can compute as it is told to, on so many GPUs where it is told to use one.

    Raises
    ------
    StudyError
        If cuda or mps is asked for and PyTorch cannot use so many such GPUs, or if equal bits are asked for on mps. The message
        says why.
    """
    if device == "cuda":
        cuda.require(count)
    if device == "mps":
        apple.require(count)
        if asked.deterministic():
            raise StudyError("deterministic: true is asked for, and no kernel of mps promises equal bits: set it to false")


def prepare(threads: int, device: str) -> str:
    """Set up this process and return the device that it computes on.

    The same computation then gives the same bits on a CPU, and on a GPU where the profile asks for it.

    Parameters
    ----------
    threads
        CPU threads of one operation.
    device
        cpu, cuda, mps, or auto for a GPU of CUDA if there is one. ``auto`` does not take a Mac's GPU: a study that was begun on
        a Mac's CPU would go on with other bits.

    Returns
    -------
    str
        cpu, cuda or mps.

    Raises
    ------
    StudyError
        What ``require`` does.
    """
    require(device)
    device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    keep_memory()
    if device == "cuda":
        determinism.set_deterministic(asked.deterministic())
    return device


def float64_device(device: str) -> str:
    """Return where the numbers in float64 of a computation on a device lie: beside it, but on the CPU for mps, which has none."""
    return "cpu" if device == "mps" else device


def device_name(device: str) -> str:
    """Return the name of the GPU or of the processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device == "mps":
        return apple.gpu_name()
    return processor_name()


def driver_version(device: str) -> str | None:
    """Return the version of the GPU's driver, or that of macOS for mps; None on a CPU."""
    return {"cuda": cuda.driver_version, "mps": apple.driver_version}.get(device, lambda: None)()


def gpus_visible(device: str) -> int:
    """Return the number of GPUs of a kind of device that this process sees; 0 on a CPU."""
    return torch.cuda.device_count() if device == "cuda" else int(device == "mps")


def empty_cache(device: str) -> None:
    """Give memory that no tensor takes back to the GPU, for tensors of other sizes."""
    if device == "mps":
        torch.mps.empty_cache()
    else:
        torch.cuda.empty_cache()
