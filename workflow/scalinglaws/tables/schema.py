"""The schemas of the Parquet tables. Columns of runs, curves and timings follow from the records of a run: its spec, its metrics,
its curve's rows and its timing; their types are the fields' types."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NewType

import pyarrow as pa

from scalinglaws.common.errors import StudyError
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, Options, RunSpec, TokenizerSpec
from scalinglaws.train.metrics import CurveRow, Flop, RunMetrics, RunTiming, types_of

Column = tuple[str, pa.DataType]
INT, FLOAT, TEXT, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()
# A part of a run appears as its id; options and plug-ins are JSON text, null where a run has none; FLOP outgrow 64 bits.
KINDS: dict[Any, pa.DataType] = {int: INT, float: FLOAT, str: TEXT, bool: BOOL, Flop: FLOAT}
KINDS |= {CorpusSpec | MixtureSpec: TEXT, TokenizerSpec: TEXT, Options: TEXT, tuple[str, ...]: TEXT}


def column(kind: Any) -> pa.DataType:
    """Return the type of the column that holds a field of type ``kind``; every column can hold null.

    Raises
    ------
    TypeError
        No column is known for the type: a field was added to a record and needs a line in KINDS.
    """
    if kind in KINDS:
        return KINDS[kind]
    if isinstance(kind, types.UnionType):
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
        return column(kind)
    if typing.get_origin(kind) is list:
        return pa.list_(column(typing.get_args(kind)[0]))
    raise TypeError(f"no column is known for a field of type {kind.__name__ if isinstance(kind, NewType) else kind}")


def columns(record: type, *first: str, without: tuple[str, ...] = ()) -> list[Column]:
    """Return a column for each field of a record, those named ``first`` before the others, which keep their order."""
    kinds = types_of(record)
    order = [*first, *(name for name in kinds if name not in first)]
    return [(name, column(kinds[name])) for name in order if name not in without]


# RunMetrics' tokens, dataset_tokens and learning_rate take the place of the spec's; its positions and loss_tokens become rows of
# ``evals``.
MEASURED = columns(
    RunMetrics,
    *("n_params", "n_params_total", "n_params_active", "n_vocab", "steps", "flops_6nd", "flops_last_layer", "flops_attention"),
    *("loss", "loss_stderr", "loss_train", "bits_per_byte", "best_step", "status"),
    without=("id", "tokens", "dataset_tokens", "learning_rate", "loss_tokens", "positions", "version"),
)
POINT = columns(CurveRow, "step", "tokens")
TIMED = columns(RunTiming, without=("id", "version"))

RUNS = pa.schema(
    [
        ("run", TEXT),
        ("trunk", TEXT),
        ("experiments", pa.list_(TEXT)),
        ("fitted", BOOL),
        *columns(RunSpec),
        ("corpus_name", TEXT),
        ("corruption", FLOAT),
        ("mixture", TEXT),
        ("dataset_limited", BOOL),
        ("stopped", TEXT),
        *MEASURED,
    ]
)
CURVES = pa.schema(
    [
        ("run", TEXT),
        ("trunk", TEXT),
        ("n_layer", INT),
        ("n_params", INT),
        ("n_params_total", INT),
        ("batch_tokens", INT),
        *POINT[:2],
        ("flops_6nd", FLOAT),
        *POINT[2:],
    ]
)
EVALS = pa.schema(
    [
        ("run", TEXT),
        ("step", INT),
        ("corpus", TEXT),
        ("corpus_name", TEXT),
        ("position", INT),
        ("loss", FLOAT),
        ("stderr", FLOAT),
        ("nats_per_byte", FLOAT),
        ("n_tokens", INT),
    ]
)
TIMINGS = pa.schema([("run", TEXT), *TIMED])
FITS = pa.schema(
    [
        ("law", TEXT),
        ("parameter", TEXT),
        ("estimate", FLOAT),
        ("stderr", FLOAT),
        ("ci_low", FLOAT),
        ("ci_high", FLOAT),
        ("unit", TEXT),
        ("n_points", INT),
        ("n_trunks", INT),
        ("objective", FLOAT),
        ("r2", FLOAT),
        ("held_out_error", FLOAT),
        ("flags", TEXT),
        ("published", FLOAT),
    ]
)
FORECASTS = pa.schema(
    [
        ("run", TEXT),
        ("law", TEXT),
        ("file", TEXT),
        ("late", BOOL),
        ("loss_forecast", FLOAT),
        ("low", FLOAT),
        ("high", FLOAT),
        ("loss", FLOAT),
        ("error", FLOAT),
        ("inside", BOOL),
        ("compute_factor", FLOAT),
        ("n_factor", FLOAT),
        ("tokens_factor", FLOAT),
        ("n_params", FLOAT),
        ("tokens", FLOAT),
        ("flops", FLOAT),
        ("flags", TEXT),
        ("fit_sha256", TEXT),
        ("table_sha256", TEXT),
    ]
)
SCHEMAS = {"runs": RUNS, "curves": CURVES, "evals": EVALS, "timings": TIMINGS, "fits": FITS, "forecasts": FORECASTS}


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Compare the columns of a study's table, which is named by its file, with those that aggregation writes now.

    Raises
    ------
    StudyError
        A column is missing, as in a table that another version of the package wrote.
    """
    wanted = SCHEMAS[path.stem].names if path.stem in SCHEMAS else []
    if missing := [name for name in wanted if name not in columns]:
        raise StudyError(f"{path} has no column {missing[0]}: it was written by another version of scalinglaws; aggregate again")
