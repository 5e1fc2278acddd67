"""The processor or GPU that a process computes on, and how it is set up (determinism.py says when it gives the same bits)."""

from __future__ import annotations

import ctypes

import torch

from scalinglaws.common import asked
from scalinglaws.common.machine import processor_name
from scalinglaws.models import determinism
from scalinglaws.models.cuda import require


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


def prepare(threads: int, device: str) -> str:
    """Set up this process and return the device that it computes on.

    The same computation then gives the same bits on a CPU, and on a GPU where the profile asks for it.

    Parameters
    ----------
    threads
        CPU threads of one operation.
    device
        cpu, cuda, or auto for a GPU if there is one.

    Returns
    -------
    str
        cpu or cuda.

    Raises
    ------
    StudyError
        If cuda is asked for and PyTorch can use no GPU. The message says why.
    """
    if device == "cuda":
        require()
    device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    keep_memory()
    if device == "cuda":
        determinism.set_deterministic(asked.deterministic())
    return device


def device_name(device: str) -> str:
    """Return the name of the GPU or of the processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return processor_name()
