"""Processes that train one run together, data parallel.

Each process has the whole model, a part of every batch and, where the optimizer works by element, a share of its state. The
batch, its order and the accumulation are those of one process, so that losses differ by rounding alone.

A step of such an optimizer takes three collectives: ``reduce_scatter`` sums each share of the gradient in the process that owns
it, ``norm`` gathers a number from each process, and ``spread`` gathers the shares of the weights after the update.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from scalinglaws.models.cuda import require
from scalinglaws.train.ranks import meeting, wanted

# How long a process waits for another: the first one measures losses and saves alone, and the others wait until it is done.
PATIENCE = timedelta(minutes=20)
ALIGNED = 16  # numbers of a vector instruction; as many bytes are what NCCL and a GPU's kernels like to begin at


@dataclass(frozen=True)
class Processes:
    """This process among ``count`` of them; the first one, which has rank 0, measures losses and writes files."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that measures and writes."""
        return self.rank == 0

    def windows(self, rows: int) -> slice:
        """Return this process's part of so many windows: parts are in order of rank and differ by one window at most."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def share(self, length: int) -> slice:
        """Return this process's share of a flat tensor of so many entries.

        Shares are in order of rank and equally long, but for what the last ones lack where the length is no multiple (padding).
        Each begins at a multiple of ALIGNED, so that vector instructions round every weight as they do in one process.
        """
        each = self._each(length)
        return slice(min(length, each * self.rank), min(length, each * (self.rank + 1)))

    def padding(self, length: int) -> int:
        """Return the number of entries by which a flat tensor is too short for equal shares; 0 for one process."""
        return self.count * self._each(length) - length

    def _each(self, length: int) -> int:
        return math.ceil(length / (self.count * ALIGNED)) * ALIGNED if self.count > 1 else length

    def add(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def most(self, here: int) -> int:
        """Return the largest of the numbers of all processes. It is found by the CPUs, so that no GPU's queue is waited for."""
        if self.count == 1:
            return here
        told = torch.tensor(here)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return int(told)

    def reduce_scatter(self, flat: Tensor) -> None:
        """Replace this process's share of a buffer of ``FlatModel`` by its sum over all processes; the rest is then of no use."""
        if self.count > 1:
            whole, own = self._padded(flat)
            _renamed("reduce_scatter_single", "reduce_scatter_tensor")(own, whole)

    def spread(self, flat: Tensor) -> None:
        """Give every process all shares of a buffer of ``FlatModel``, of which each has changed its own."""
        if self.count > 1:
            whole, own = self._padded(flat)
            _renamed("all_gather_single", "all_gather_into_tensor")(whole, own)

    def norm(self, flat: Tensor) -> Tensor:
        """Return the norm (0-d) of a flat tensor of which each process has its own share, the same bits in each of them.

        It differs by rounding from the norm that one process takes of the whole tensor.
        """
        own = torch.linalg.vector_norm(flat[self.share(len(flat))])
        if self.count == 1:
            return own
        norms = own.new_empty(self.count)
        _renamed("all_gather_single", "all_gather_into_tensor")(norms, own.reshape(1))
        return torch.linalg.vector_norm(norms)

    def _padded(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return a buffer with the padding that lies behind its end, and this process's share of that; nothing is copied."""
        each = self._each(len(flat))
        whole = flat.as_strided((self.count * each,), (1,))
        return whole, whole[each * self.rank : each * (self.rank + 1)]

    def collect(self, own: Tensor, length: int) -> Tensor:
        """Bring the shares of a flat tensor together in the first process.

        Parameters
        ----------
        own
            This process's share, 1-d.
        length
            The number of entries of the whole tensor.

        Returns
        -------
        Tensor
            In the first process the whole tensor, on the CPU where there are several processes; elsewhere ``own``.
        """
        if self.count == 1:
            return own
        if not self.first:
            if len(own):
                torch.distributed.send(own.cpu(), dst=0)
            return own
        whole = torch.empty(length, dtype=own.dtype)
        whole[self.share(length)] = own.cpu()
        for rank in range(1, self.count):
            if len(share := whole[Processes(rank, self.count).share(length)]):
                torch.distributed.recv(share, src=rank)
        return whole

    def from_first(self, value: Any) -> Any:
        """Return the first process's value, an object that can be pickled, in every process; those of the others are ignored."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


ALONE = Processes()


def _renamed(name: str, before: str) -> Callable[..., Any]:
    """Return a collective of PyTorch by its name, or by the name ``before`` that versions below 2.13 know."""
    found: Callable[..., Any] = getattr(torch.distributed, name, None) or getattr(torch.distributed, before)
    return found


def join(device: str) -> Processes:
    """Meet the other processes of this run, if there are any; on GPUs each takes that of its rank on its node.

    Parameters
    ----------
    device
        cpu or cuda.

    Raises
    ------
    StudyError
        If a node has fewer GPUs than processes. The message says what hides them.
    """
    rank, count, local = wanted(os.environ)
    if count == 1:
        return ALONE
    if device == "cuda":
        require(local + 1)
        torch.cuda.set_device(local)
    if not torch.distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, meeting(os.environ), PATIENCE, world_size=count, rank=rank)
    return Processes(rank, count)


def leave() -> None:
    """Part from the other processes, after which the first may go on alone."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
