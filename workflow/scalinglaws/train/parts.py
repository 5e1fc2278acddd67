"""Training states of several processes: a file for each process, which together hold what one process saves as one file.

The flat tensors of a state are cut into ranges, one for each process. A part says which ranges it holds, so that any other number
of processes can go on from the whole. A state counts only where all of its parts are there, and were saved by one start of the
training: two starts that come by the same step could save weights that differ by rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalinglaws.train.distributed import Processes

State = tuple[dict[str, Tensor], dict[str, Any]]
PART, PARTS, LAUNCH, RANGES = "part", "parts", "launch", "ranges"  # fields that only a part has
_NAME = re.compile(r"(\d+)\.part(\d+)of(\d+)\.safetensors")


def name_of(prefix: str, step: int, processes: Processes) -> str:
    """Return the name of the file of a process: {prefix}{step}.part{k}of{n}.safetensors, or without a part of one process."""
    part = f".part{processes.rank + 1}of{processes.count}" if processes.count > 1 else ""
    return f"{prefix}{step}{part}.safetensors"


def cut(whole: dict[str, Tensor], own: dict[str, Tensor], length: int, values: dict[str, Any], processes: Processes) -> State:
    """Return the part of a state that a process saves.

    Parameters
    ----------
    whole
        Tensors that every process has. Of one that is not 1-d, the first process saves all.
    own
        Tensors of which this process has its share alone.
    length
        The number of entries of such a tensor in all processes.
    values
        The JSON values of the state, equal in all processes: the first one saves them.
    processes
        This process.
    """
    tensors: dict[str, Tensor] = {}
    ranges: dict[str, list[int]] = {}  # of each tensor the first entry, the one after the last, and how many there are in all
    for name, tensor in whole.items():
        if tensor.dim() == 1:
            share = processes.share(len(tensor))
            tensors[name], ranges[name] = tensor[share], [share.start, share.stop, len(tensor)]
        elif processes.first:
            tensors[name] = tensor
    share = processes.share(length)
    for name, tensor in own.items():
        tensors[name], ranges[name] = tensor, [share.start, share.stop, length]
    kept = values if processes.first else {name: values[name] for name in ("id", "step")}
    return tensors, kept | {PART: processes.rank + 1, PARTS: processes.count, RANGES: ranges}


def join(loaded: list[State]) -> State:
    """Return the whole state of its parts, given in order. Raises ValueError where they are not the parts of one state."""
    values = dict(loaded[0][1])
    try:
        for number, (_, each) in enumerate(loaded, 1):
            if (each[PART], each[PARTS]) != (number, len(loaded)):
                raise ValueError(f"part {number} of {len(loaded)} says that it is part {each[PART]} of {each[PARTS]}")
            if any(each[name] != values[name] for name in ("id", "step", LAUNCH)):
                raise ValueError(f"part {number} belongs to another state than part 1")
        tensors = {name: _joined(name, loaded) for name in loaded[0][0]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"its parts do not fit each other: {error!r}") from None
    for name in (PART, PARTS, LAUNCH, RANGES):
        del values[name]
    return tensors, values


def _joined(name: str, loaded: list[State]) -> Tensor:
    """Return a tensor of its ranges. Raises ValueError where one is missing."""
    if name not in loaded[0][1][RANGES]:
        return loaded[0][0][name]
    at = 0
    for tensors, values in loaded:
        start, stop, whole = values[RANGES][name]
        if start != at or stop - start != len(tensors[name]):
            raise ValueError(f"its parts do not hold all of {name}")
        at = stop
    if at != whole:
        raise ValueError(f"its parts do not hold all of {name}")
    return torch.cat([tensors[name] for tensors, _ in loaded])


def found(folder: Path, prefix: str) -> tuple[list[tuple[int, tuple[Path, ...]]], list[tuple[int, Path]]]:
    """Return the states in parts of a folder, by the names of its files.

    Returns
    -------
    tuple
        (step, paths of all parts in order) of each state whose parts are all there, by step; and (step, path) of each part of
        the others, which were killed in between or are still being saved.
    """
    states: dict[tuple[int, int], dict[int, Path]] = {}
    for path in sorted(folder.glob(f"{prefix}*.safetensors")) if folder.is_dir() else []:
        if match := _NAME.fullmatch(path.name.removeprefix(prefix)):
            step, part, count = map(int, match.groups())
            states.setdefault((step, count), {})[part] = path
    whole: list[tuple[int, tuple[Path, ...]]] = []
    rest: list[tuple[int, Path]] = []
    for (step, count), paths in sorted(states.items()):
        if sorted(paths) == list(range(1, count + 1)):
            whole.append((step, tuple(paths[part] for part in range(1, count + 1))))
        else:
            rest += [(step, path) for path in paths.values()]
    return whole, rest


def remove(paths: Iterable[Path]) -> None:
    """Delete files, of which another process may have deleted some."""
    for path in paths:
        path.unlink(missing_ok=True)
