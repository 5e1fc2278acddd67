"""Processes that train one run together, data parallel.

Each process has the whole model, a share of every batch and, where the optimizer works by element, a share of its state. The
batch, its order and the accumulation are those of one process, so that losses differ by rounding alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from scalinglaws.models.cuda import require
from scalinglaws.train.ranks import meeting, wanted

# How long a process waits for another: the first one measures losses and saves alone, and the others wait until it is done.
PATIENCE = timedelta(minutes=20)


@dataclass(frozen=True)
class Processes:
    """This process among ``count`` of them; the first one, which has rank 0, measures losses and writes files."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that measures and writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Return this process's part of so many rows: parts are in order of rank and differ by one row at most."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

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

    def spread(self, flat: Tensor) -> None:
        """Give every process all shares of a flat tensor, of which each has changed its own."""
        for rank in range(self.count if self.count > 1 else 0):
            torch.distributed.broadcast(flat[Processes(rank, self.count).share(len(flat))], src=rank)

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
            torch.distributed.send(own.cpu(), dst=0)
            return own
        whole = torch.empty(length, dtype=own.dtype)
        whole[self.share(length)] = own.cpu()
        for rank in range(1, self.count):
            torch.distributed.recv(whole[Processes(rank, self.count).share(length)], src=rank)
        return whole

    def from_first(self, value: Any) -> Any:
        """Return the first process's value, an object that can be pickled, in every process; those of the others are ignored."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


ALONE = Processes()


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
