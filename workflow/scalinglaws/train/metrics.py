"""The typed records of a finished run: what it measured (metrics.json), its curve (curve.jsonl) and its speed (timing.json).

The columns of the tables of runs follow from the fields of these classes. A field that is added later needs a default that means
"as before the field existed", so that files of older runs can still be read. No torch here: planning and aggregation read these.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NewType, Self

from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import parse_json, read_json, read_text

VERSION = 1  # raised when fields get another meaning
# Fields that are left out of the files at these values, so that their bytes are as before the fields existed.
NEUTRAL = {"version": 1, "n_params_active": None, "compiled": None, "deterministic": None, "learning_rate": None}
NEUTRAL |= {"device_asked": None, "driver": None, "gpus_visible": None, "stacked": None}
# What to do about a file that is whole and of another form than this version reads.
AGAIN = "delete its folder and run snakemake again"
# What ``RunTiming.compiled`` is where the step was compiled, and how it begins where that was wanted and could not be.
COMPILED, NOT_COMPILED = "yes", "failed: "
# A count of FLOP: whole, and too large for the 64 bits of an integer column.
Flop = NewType("Flop", int)


class Record:
    """The base of all records: they are written as JSON and read from it, with every type checked on reading."""

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON values, in their order, without those of NEUTRAL at their neutral values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if name not in NEUTRAL or value != NEUTRAL[name]}

    @classmethod
    def from_plain(cls, values: Any, source: Path | str) -> Self:
        """Return the record of JSON values that come from the file ``source``.

        Raises
        ------
        StudyError
            The values are no object, lack a field, have an unknown one, have one of another type, or have an unknown version.
        """
        if not isinstance(values, dict):
            raise StudyError(f"{source} holds no JSON object: {AGAIN}")
        if (version := values.get("version", VERSION)) != VERSION:
            raise StudyError(
                f"{source} has version {version}, and this scalinglaws reads version {VERSION}: "
                f"use the one that wrote it, or {AGAIN}"
            )
        wanted = types_of(cls)  # type: ignore[arg-type]
        if unknown := [name for name in values if name not in wanted]:
            raise StudyError(f"{source} has the unknown field {unknown[0]}: another version of scalinglaws wrote it; {AGAIN}")
        found = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name in values:
                found[field.name] = _checked(values[field.name], wanted[field.name], field.name, source)
            elif field.default is dataclasses.MISSING:
                raise StudyError(f"{source} has no field {field.name}: {AGAIN}")
        return cls(**found)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record in a JSON file. Raises StudyError where the file is missing, damaged or of another form."""
        return cls.from_plain(read_json(path), path)


@dataclass(frozen=True)
class RunMetrics(Record):
    """What a finished run measured. Losses are means on the test split, in nats per token; None for a run that diverged."""

    id: str
    status: str  # ok, diverged
    steps: int  # optimizer steps made
    tokens: int  # tokens processed in them
    best_step: int  # the step of the weights kept: the last, or that of the best validation loss under ``stop: early``
    loss: float | None
    loss_stderr: float | None  # standard error of ``loss``, clustered by passage
    loss_train: float | None  # mean over the batches before ``best_step``
    bits_per_byte: float | None  # None also where the tokenizer does not give the text back
    n_params: int  # without embeddings; every expert of a mixture counts
    n_params_total: int
    dataset_tokens: int  # distinct tokens of the training set
    n_vocab: int
    flops_6nd: Flop
    flops_last_layer: Flop
    flops_attention: Flop
    loss_tokens: int | None = None  # targets that ``loss`` is a mean of
    positions: dict[str, list[float | None]] | None = None  # "loss" and "stderr" at each position of the context
    n_params_active: int | None = None  # the part of n_params that a token meets; None: all of it
    learning_rate: float | None = None  # the rate that a sweep gave; None: that of the spec
    version: int = VERSION


@dataclass(frozen=True)
class CurveRow(Record):
    """A point of a learning curve: losses after so many steps, in nats per token; None where a loss is no finite number."""

    step: int
    tokens: int
    phase: str  # the phase of the step before: warmup, stable, decay or that of another schedule
    learning_rate: float
    loss_train: float | None  # mean over the batches since the row before
    loss_test: float | None
    loss_validation: float | None  # None where this step is no validation step
    grad_norm: float | None
    loss_by_position: list[float | None] | None = None  # means over octaves of positions
    noise_square: float | None = None  # smoothed |G|^2 of the gradient noise scale
    noise_trace: float | None = None  # smoothed tr(Σ)

    @classmethod
    def read_all(cls, path: Path) -> list[CurveRow]:
        """Read the rows of a curve.jsonl. Raises StudyError that names the line that is wrong."""
        found = [(line, f"{path}, line {number},") for number, line in enumerate(read_text(path).splitlines(), 1)]
        return [cls.from_plain(parse_json(line, where), where) for line, where in found]


@dataclass(frozen=True)
class RunTiming(Record):
    """How fast a run was trained, and by what. A field is None for runs that were trained before it was recorded."""

    id: str
    seconds: float  # time of the last process, from its start to the last file written
    tokens_per_second: float
    device: str
    torch: str
    python: str
    threads: int
    attempts: int  # processes that trained it one after the other, each from the checkpoint of the one before
    processes: int | None = None  # processes that trained it together
    micro_batch_tokens: int | None = None  # tokens of a forward pass, after what memory left
    at_once: int | None = None  # processes that shared the GPU
    device_asked: str | None = None  # auto, cpu, cuda or mps: what the training was told to use
    driver: str | None = None  # version of the GPU's driver; None also on CPUs
    gpus_visible: int | None = None  # GPUs that the first process saw; 0 on CPUs
    compiled: str | None = None  # on a GPU: COMPILED, or why its code was not compiled (train/compilation.py)
    deterministic: bool | None = None  # on a GPU: whether operations whose bits may differ each time were refused
    stacked: int | None = None  # rows of the stack that it was trained in (train/stack.py); None: it was in none
    version: int = VERSION


@functools.cache
def types_of(record: type) -> dict[str, Any]:
    """Return field -> type of a record; a NewType appears as it is written."""
    return {name: kind for name, kind in typing.get_type_hints(record).items() if not name.startswith("_")}


def _checked(value: Any, kind: Any, name: str, source: Path | str) -> Any:
    """Return the value, a whole number as float where a float is wanted. Raises StudyError where it is of another type."""
    if isinstance(kind, NewType):
        kind = kind.__supertype__
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    container, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if container is float and type(value) is int:
        return float(value)
    # bool is a kind of int in Python, and no number here.
    if type(value) is not container:
        raise StudyError(f"{source} has {name} = {json.dumps(value)[:60]}, which is no {_named(kind)}: {AGAIN}")
    if container is list:
        return [_checked(item, inner[0], f"{name}[{i}]", source) for i, item in enumerate(value)]
    if container is dict:
        return {key: _checked(item, inner[1], f"{name}.{key}", source) for key, item in value.items()}
    return value


def _named(kind: Any) -> str:
    words = {int: "whole number", float: "number", str: "text", bool: "truth value"}
    return words.get(kind, "list" if typing.get_origin(kind) is list else "object")
