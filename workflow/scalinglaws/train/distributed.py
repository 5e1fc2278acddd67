"""Processes that train one run together: data parallel, each with the whole model, a share of every batch, and, where the
optimizer works by element, a share of its state.

A stage that is asked for several starts itself again under torchrun. The batch, its order and the accumulation stay those of
one process, so losses differ by rounding alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from scalinglaws.common.errors import StudyError

# The first process measures losses alone, and the others wait for it.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process among ``count``; the first, of rank 0, measures and writes."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This process's part of so many rows: all parts are equal within one row, and in order."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def most(self, here: int) -> int:
        """The largest of every process's number. Over the CPU: no GPU's queue is waited for."""
        if self.count == 1:
            return here
        told = torch.tensor(here)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return int(told)

    def spread(self, flat: Tensor) -> None:
        """Give every process every share of a flat tensor, of which each has changed its own."""
        for rank in range(self.count if self.count > 1 else 0):
            torch.distributed.broadcast(flat[Processes(rank, self.count).share(len(flat))], src=rank)

    def collect(self, own: Tensor, length: int) -> Tensor:
        """In the first process the whole flat tensor, on the CPU, of which each has its share; elsewhere only that share."""
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
        """The first process's value, any object that pickles; no other's is looked at."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


ALONE = Processes()


def wanted(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """(rank, count, rank on this node) from torchrun's variables; one process where there are none."""
    values = [environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(value.isdigit() for value in values):
        return 0, 1, 0
    rank, count, local = map(int, values)
    return rank, count, local


def join(device: str) -> Processes:
    """Meet the other processes of this run, if there are any; with a GPU each takes the one of its rank on its node.

    Raises StudyError where there are fewer GPUs than processes.
    """
    rank, count, local = wanted(os.environ)
    if count == 1:
        return ALONE
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise StudyError(f"process {local} of this node has no GPU: PyTorch finds {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
    if not torch.distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, rank=rank, world_size=count, timeout=PATIENCE)
    return Processes(rank, count)


def leave() -> None:
    """Part from the other processes; the first may go on alone."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
