"""Training states on disk: safetensors files of which a truncated or damaged one is never taken for a good one.

A state is flat float32 tensors and a JSON object. The object is a single metadata entry, because the safetensors writer orders
several entries at random and two trainings of one spec must give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scalinglaws.common import asked, stopping
from scalinglaws.common.files import write_bytes
from scalinglaws.study.spec import RunSpec
from scalinglaws.train import parts, sealed
from scalinglaws.train.distributed import Processes
from scalinglaws.train.saver import Saver

SAVE, LATER, STOP = 1, 2, 3  # what a process asks for after a step; the largest of what all ask for is done
SHARE = 30  # checkpoints are so many times as far apart as one takes


class Saveable(Protocol):
    """What a checkpoint asks of a training."""

    spec: RunSpec
    step: int
    processes: Processes

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the training goes on from: flat tensors and JSON values."""
        ...

    def part(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what this process saves of that as one of several, without asking the others (parts.py)."""
        ...


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors to a safetensors file, without metadata."""
    write_bytes(path, safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def save(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write flat tensors and their state, which holds id and step, with a sha256 of the whole file."""
    host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({sealed.FIELD: sealed.BLANK, **state}, allow_nan=False)
    if any(tensor.dtype != torch.float32 for tensor in host.values()):  # the state of a plug-in's optimizer
        sealed.write(path, safetensors.torch.save(host, metadata={sealed.KEY: text}))
        return
    header, order = header_of(host, {sealed.KEY: text})
    # Python's lock is free while these are hashed and written, so that training goes on.
    sealed.write(path, header, [host[name].numpy().reshape(-1).view(np.uint8) for name in order if host[name].numel()])


def header_of(tensors: dict[str, Tensor], metadata: dict[str, str]) -> tuple[bytes, list[str]]:
    """Return the beginning of a safetensors file of float32 tensors, and their names in the order in which they follow it.

    The bytes are those of ``safetensors.torch.save``, which holds Python's lock while it copies all tensors twice.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    order, start = sorted(tensors), 0
    for name in order:
        stop = start + 4 * tensors[name].numel()
        entries[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order


def load(path: Path, spec_id: str, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read one file.

    Parameters
    ----------
    path
        The file.
    spec_id
        The id of the run or trunk that it must belong to.
    sha256
        The sha256 that it must hold, of ``sealed.digest``; None for any.

    Returns
    -------
    tuple
        Tensors by name, on the CPU, and the state.

    Raises
    ------
    ValueError
        If the file cannot be read, is damaged or belongs to another run; the message says which.
    """
    try:
        digest = sealed.digest(path)
        if digest is None:
            raise ValueError("its contents do not match its sha256")
        if sha256 is not None and digest != sha256:
            raise ValueError(f"its sha256 is {digest}, not {sha256}")
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[sealed.KEY])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, not a dict
        found = state["id"]
        if type(state["step"]) is not int:
            raise ValueError("its step is no whole number")
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if found != spec_id:
        raise ValueError(f"it belongs to {found}, not to {spec_id}")
    return tensors, state


def found(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return (step, path) of each file {prefix}{step}.safetensors of a folder, by step."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.safetensors")
    names = sorted(folder.glob(f"{prefix}*.safetensors")) if folder.is_dir() else []
    return sorted((int(match[1]), path) for path in names if (match := pattern.fullmatch(path.name)))


def states(folder: Path, prefix: str) -> list[tuple[int, tuple[Path, ...]]]:
    """Return (step, paths) of each state of a folder, by step: of one file, or of all the parts that several processes saved."""
    single: list[tuple[int, tuple[Path, ...]]] = [(step, (path,)) for step, path in found(folder, prefix)]
    return sorted(single + parts.found(folder, prefix)[0])


def load_state(paths: Sequence[Path], spec_id: str, sha256: Sequence[str] | None = None) -> parts.State:
    """Read a state of one file or of several parts.

    Parameters
    ----------
    paths
        The file, or the parts in order.
    spec_id
        The id of the run or trunk that each must belong to.
    sha256
        The sha256 that each must hold; None for any.

    Returns
    -------
    tuple
        What ``load`` returns, of the whole state.

    Raises
    ------
    ValueError
        As ``load`` does, or where the files are no parts of one state.
    """
    if len(paths) == 1:
        return load(paths[0], spec_id, sha256[0] if sha256 else None)
    loaded = []
    for number, path in enumerate(paths):
        try:
            loaded.append(load(path, spec_id, sha256[number] if sha256 else None))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
    return parts.join(loaded)


def named(paths: Sequence[Path]) -> str:
    """Return the files of a state in words."""
    return str(paths[0]) + (f" with the other parts of {len(paths)}" if len(paths) > 1 else "")


def latest(
    folder: Path, prefix: str, spec_id: str, most: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Any], tuple[Path, ...]] | None:
    """Return the valid state with the largest step.

    A state that is not valid is named by a line on stderr, and the one before it is tried. One without all of its parts is
    passed over: the processes that saved it were killed in between.

    Parameters
    ----------
    folder, prefix
        Where the files {prefix}{step}.safetensors are.
    spec_id
        The id of the run or trunk that the file must belong to.
    most
        The largest step that is taken; None for any.

    Returns
    -------
    tuple or None
        Tensors by name, the JSON values and the paths; None where there is no valid state.
    """
    for step, paths in reversed(states(folder, prefix)):
        if most is not None and step > most:
            continue
        try:
            return (*load_state(paths, spec_id), paths)
        except ValueError as error:
            print(f"warning: {named(paths)} is not used: {error}", file=sys.stderr)
    return None


def prune(folder: Path, prefix: str, keep: int) -> None:
    """Delete the states of a prefix but the last ``keep`` whole ones, and parts of others that are older than these."""
    whole = states(folder, prefix)
    old = whole[: max(0, len(whole) - keep)]
    if not old and keep:
        return
    parts.remove(path for _, paths in old for path in paths)
    oldest = whole[-keep][0] if keep else math.inf
    parts.remove(path for step, path in parts.found(folder, prefix)[1] if step < oldest)


def clear(folder: Path, prefix: str) -> None:
    """Delete the parts of states that are not whole. No process of the training may be saving."""
    parts.remove(path for _, path in parts.found(folder, prefix)[1])


def to_device(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy a loaded flat tensor into ``like`` and return that. Raises ValueError where their sizes differ."""
    if tensor.shape != like.shape:
        raise ValueError(f"a state of {tensor.numel()} numbers does not fit a model of {like.numel()}")
    with torch.no_grad():
        return like.copy_(tensor)


class Checkpoints:
    """Checkpoints inside a run: one every so many seconds, and a last one before the process is stopped.

    They are written while training goes on (saver.py), and so seldom that they take a thirtieth of the time at most. A process
    that is told to stop while it trains saves and ends; where it is told after its last step, it writes its results
    first (``listening``). Of several processes each saves a part of its own (parts.py). The last two states are kept.

    Parameters
    ----------
    folder, prefix
        Where the files {prefix}{step}.safetensors are written, or, by several processes, their parts.
    seconds
        Wall time between checkpoints at the least; 0 saves after every step, and training waits for it.
    end
        The time, as of time.time(), at which this process will be stopped by its scheduler.

    Attributes
    ----------
    launch
        A word that the processes of this start of the training share, and no other start; empty for one process.
    """

    def __init__(self, folder: Path, prefix: str, seconds: float, end: float = math.inf):
        self.folder, self.prefix, self.seconds, self.end = folder, prefix, seconds, end
        self.attempts, self.saved, self.launch = 1, time.monotonic(), ""
        self.reason, self.told, self.told_at, self.interrupted = "", 0, math.inf, False
        self.saver = Saver(self._write)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Remember signals that tell the process to stop, until the block ends; those that it ignores, it goes on to ignore.

        A signal that no step of the block has heeded is then handed to the handler that the caller had set, if there is one. The
        default handlers would end a process that has just written its results.
        """
        with stopping.handled(self.on_signal) as before:
            yield
        handler = before.get(self.told)
        if callable(handler) and handler != signal.default_int_handler:
            handler(self.told, None)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember, as a signal handler, that the process has been told to stop; a second Ctrl-C ends it at once."""
        if number == signal.SIGINT and self.interrupted:
            raise KeyboardInterrupt
        self.interrupted |= number == signal.SIGINT
        self.told, self.reason = self.told or number, self.reason or signal.Signals(number).name
        self.told_at = min(self.told_at, time.monotonic())

    def tick(self, trainer: Saveable) -> None:
        """Save a checkpoint where it is time for one. All processes of a training must call this after the same step.

        Raises
        ------
        StudyError
            If the checkpoint before this step could not be written.
        SystemExit
            With status 143, or 130 after Ctrl-C, after saving, where any of the processes was told to stop or its end is near.
        """
        self.saver.check()
        if not self.reason and time.time() > self.end - self.saver.cost:
            self.reason = "the end of its time limit"
        processes = trainer.processes
        # A process that still saves, or whose last part took long, has the others wait with the next one.
        wish = processes.most(STOP if self.reason else SAVE if self._due() else LATER)
        if wish == SAVE:
            self._save(trainer)
        elif wish == STOP:
            self._stop(trainer)

    def _due(self) -> bool:
        interval = max(self.seconds, SHARE * self.saver.cost) if self.seconds else 0.0
        return not self.saver.busy and time.monotonic() - self.saved >= interval

    def _save(self, trainer: Saveable) -> None:
        """Begin to save the state of a training, or, where every step is saved, wait until it is."""
        self.saved = time.monotonic()
        together = trainer.processes.count > 1
        tensors, values = trainer.part() if together else trainer.state()
        more = {"attempts": self.attempts} | ({parts.LAUNCH: self.launch} if together else {})
        path = self.folder / parts.name_of(self.prefix, trainer.step, trainer.processes)
        self.saver.save(path, tensors, values | more, self.saved)
        if not self.seconds:
            self.saver.wait()

    def _stop(self, trainer: Saveable) -> None:
        """End the process, with its state saved where the time suffices, else with the one before. Raises SystemExit."""
        processes, step = trainer.processes, trainer.step
        self.saver.wait()
        left = min(self.told_at, time.monotonic()) + asked.grace_seconds() - time.monotonic()
        late = bool(self.told) and self.saver.step is not None and left < self.saver.cost
        if processes.most(int(late)):
            kept = f"which takes {self.saver.cost:.0f} s to save, so that it goes on from step {self.saver.step}"
        else:
            self._save(trainer)
            self.saver.wait()
            kept = "which is saved"
        why = self.reason or "another process"
        print(f"{trainer.spec.id}: stopped by {why} at step {step}, {kept}", file=sys.stderr, flush=True)
        processes.most(0)  # none leaves before the parts of all are there
        stopping.leave(self.told, None)

    def _write(self, path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        save(path, tensors, values)
        prune(self.folder, self.prefix, keep=2)
