"""Batches on the device that trains: a process reads its own windows alone, and a GPU does not wait for them.

Where the tokens that a run can see are little beside the memory that is free, the GPU holds them all. Otherwise the windows of
the next step are read while the GPU computes this one, and copied from pinned memory in the two or four bytes a token that their
file has.
"""

from __future__ import annotations

import mmap
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# The GPU holds all tokens where they take at most this share of its free memory: several trainings may share it.
RESIDENT_SHARE = 1 / 16
# Of a file of at least so many bytes, the system reads the pages of windows alone. A smaller one is read ahead and is whole in
# memory soon.
LARGE = 2**26
SIGNED: dict[int, type[np.signedinteger]] = {2: np.int16, 4: np.int32}  # bytes of a token -> the type as which it is moved


def as_signed(tokens: np.ndarray) -> np.ndarray:
    """Return a view of tokens (uint16 or uint32) as signed numbers, for which every device has all operations."""
    return tokens.view(SIGNED[tokens.itemsize])


def token_ids(moved: Tensor) -> Tensor:
    """Return the token ids, int64, of tokens that ``as_signed`` has viewed as signed numbers."""
    return moved.long() & (0xFFFF if moved.dtype == torch.int16 else 0xFFFFFFFF)


def read_at_random(tokens: np.ndarray) -> None:
    """Tell the system that the windows of a mapped file are read in no order; otherwise it reads 32 pages for one."""
    mapped = getattr(tokens, "_mmap", None)
    if mapped is not None and tokens.nbytes >= LARGE:
        mapped.madvise(mmap.MADV_RANDOM)


class Windows(Protocol):
    """Windows of tokens, and which of them make the batch of a step: ``Batches``, or those of all members of a stack."""

    tokens: np.ndarray
    sequences: np.ndarray  # (windows, n_ctx + 1), a view of the tokens

    def index(self, step: int) -> np.ndarray:
        """Return the rows of ``sequences`` that make the batch of a step."""
        ...


class Feed:
    """The windows of a run's batches on its device, int64.

    Parameters
    ----------
    batches
        The batches of the run.
    device
        cpu, cuda or mps, whose memory is that of the CPU.
    resident
        Whether the device holds all tokens; None for a GPU of CUDA on which they take little memory.
    """

    def __init__(self, batches: Windows, device: str, resident: bool | None = None):
        self.batches, self.device = batches, device
        if resident is None:
            resident = device == "cuda" and batches.tokens.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info()[0]
        self.windows = self._on_device() if resident else None
        if self.windows is None:
            read_at_random(batches.tokens)
        self.ahead: tuple[int, slice, Tensor] | None = None
        self.pinned: list[tuple[Tensor, torch.cuda.Event]] = []  # two, of which the next one to use comes first

    def _on_device(self) -> Tensor:
        """Return all windows, (windows, n_ctx + 1), as a view of the tokens on the device."""
        count, width = self.batches.sequences.shape
        stream = torch.from_numpy(np.array(as_signed(self.batches.tokens))).to(self.device)
        return stream.as_strided((count, width), (width - 1, 1))

    def rows(self, step: int, part: slice) -> Tensor:
        """Return a part of the windows of a step's batch, (windows, n_ctx + 1)."""
        if self.ahead and self.ahead[:2] == (step, part):
            return self.ahead[2]
        return self._read(step, part)

    def prefetch(self, step: int, part: slice) -> None:
        """Read windows that ``rows`` will be asked for, while a GPU computes what it was told to."""
        if self.device == "cuda":
            self.ahead = (step, part, self._read(step, part))

    def _read(self, step: int, part: slice) -> Tensor:
        index = self.batches.index(step)[part]
        if self.windows is not None:
            return token_ids(self.windows[torch.from_numpy(index).to(self.device)])
        if self.device != "cuda":
            return torch.from_numpy(self.batches.sequences[index].astype(np.int64)).to(self.device)
        return token_ids(self._copied(as_signed(self.batches.sequences[index])))

    def _copied(self, windows: np.ndarray) -> Tensor:
        """Copy windows to the GPU without waiting for it, by one of two pieces of pinned memory in turns."""
        given = torch.from_numpy(windows)
        if not self.pinned:
            self.pinned = [(torch.empty_like(given, pin_memory=True), torch.cuda.Event()) for _ in range(2)]
        place, copied = self.pinned[0]
        if place.shape != given.shape:  # the small part of a batch that the noise scale measures
            return given.to(self.device)
        self.pinned.reverse()
        copied.synchronize()  # the copy before the last one has left this piece
        place.numpy()[...] = windows
        moved = place.to(self.device, non_blocking=True)
        copied.record()
        return moved
