"""Checkpoints that are written while training goes on: a state is copied to the host's memory, and a thread does the rest."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# (path, tensors by name, JSON values): writes one file, whole or not at all
Write = Callable[[Path, dict[str, Tensor], dict[str, Any]], None]


class Saver:
    """Saves one state at a time in a thread.

    A GPU copies its state to pinned memory in the order of its work, so that training does not wait, and the thread begins to
    write when the copy is there. The memory is used again for the next state.

    Parameters
    ----------
    write
        The function that writes a file.

    Attributes
    ----------
    cost
        Seconds that the last state took from the call until it was on the disk; 0 before the first one.
    step
        The step of the last state that is on the disk; None before the first one.
    """

    def __init__(self, write: Write):
        self.write = write
        self.cost = 0.0
        self.step: int | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._host: dict[str, Tensor] = {}

    @property
    def busy(self) -> bool:
        """Tell whether a state is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> None:
        """Raise the error with which the last state could not be written, such as StudyError where the disk is full."""
        if self._error:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until the state is on the disk. Raises what ``check`` does."""
        if self._thread:
            self._thread.join()
        self.check()

    def save(self, path: Path, tensors: dict[str, Tensor], values: dict[str, Any], began: float) -> None:
        """Save a state, which may change as soon as this returns; a state before it is waited for.

        Parameters
        ----------
        path
            The file.
        tensors, values
            The state; the value ``step`` is its step.
        began
            When, by time.monotonic(), the work for this state began, which ``cost`` counts from.
        """
        self.wait()
        copied = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors.values()) else None
        host = {name: self._copy(name, tensor.detach()) for name, tensor in tensors.items()}
        if copied:
            copied.record()
        arguments = (path, host, copy.deepcopy(values), copied, began)
        # A second Ctrl-C ends the process at once, and this thread with it: the file is then not there.
        self._thread = threading.Thread(target=self._write, args=arguments, name="checkpoint", daemon=True)
        self._thread.start()

    def _copy(self, name: str, tensor: Tensor) -> Tensor:
        """Copy a tensor to the host's memory, into what the state before it lay in where that fits."""
        place = self._host.get(name)
        if place is None or place.shape != tensor.shape or place.dtype != tensor.dtype:
            place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._host[name] = place
        return place.copy_(tensor, non_blocking=tensor.is_cuda)

    def _write(
        self, path: Path, host: dict[str, Tensor], values: dict[str, Any], copied: torch.cuda.Event | None, began: float
    ) -> None:
        try:
            if copied:
                copied.synchronize()
            self.write(path, host, values)
            self.step = values["step"]
        except Exception as error:  # the thread that trains raises it
            self._error = error
        self.cost = time.monotonic() - began
