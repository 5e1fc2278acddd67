"""Tensors of one shape as one tensor, so that a GPU starts as many kernels for all layers of a model as for one.

On a CPU, tensors are updated one after another by PyTorch's functions; in a stack sums are rounded otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 2**26  # numbers of a stack: its copies take memory beside the model's


def pays(flat: Tensor) -> bool:
    """Tell whether an optimizer should work on stacks, from the flat buffer of its model."""
    return flat.device.type != "cpu"


@dataclass(frozen=True)
class Stack:
    """Parameters of one shape, by name."""

    names: tuple[str, ...]
    size: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return the number of entries of one of its tensors."""
        return math.prod(self.size)

    def of(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Return its tensors among those of a model."""
        return [tensors[name] for name in self.names]

    def stacked(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return a copy of its tensors as one of a dimension more, (len(names), *size)."""
        return torch.stack(self.of(tensors))

    def scale(self, factors: Tensor) -> Tensor:
        """Return factors (len(names),) in the form in which they multiply what ``stacked`` returns."""
        return factors.view(-1, *[1] * len(self.size))

    def norms(self, tensors: Tensor) -> Tensor:
        """Return the norm of each tensor of a stack, (len(names),)."""
        return torch.linalg.vector_norm(tensors.flatten(1), dim=1)


def stacks(sizes: Mapping[str, tuple[int, ...]], names: Iterable[str]) -> list[Stack]:
    """Return the named parameters in stacks of one shape and of ``MOST`` numbers at the most, but of one tensor at the least."""
    by_size: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        by_size.setdefault(sizes[name], []).append(name)
    found = []
    for size, alike in by_size.items():
        count = max(1, MOST // math.prod(size))
        found += [Stack(tuple(alike[start : start + count]), size) for start in range(0, len(alike), count)]
    return found
