"""The schemas of the Parquet tables of runs, checked on write and on read. Written through pyarrow: same rows, same bytes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scalinglaws.common.errors import StudyError
from scalinglaws.study.spec import RunSpec

INT, FLOAT, TEXT, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()


def _spec_columns() -> list[tuple[str, pa.DataType]]:
    """A column for each field of a run's spec; its corpus and tokenizer by id; tokens and dataset_tokens are what was used.

    Options and plug-ins are JSON text, null where a run has none.
    """
    kinds = {"int": INT, "int | None": INT, "float": FLOAT, "str": TEXT, "CorpusSpec": TEXT, "TokenizerSpec": TEXT}
    kinds |= {"Options": TEXT, "tuple[str, ...]": TEXT}
    return [(field.name, kinds[str(field.type)]) for field in dataclasses.fields(RunSpec)]


RUNS = pa.schema(
    [
        ("run", TEXT),
        ("trunk", TEXT),
        ("experiments", pa.list_(TEXT)),
        ("fitted", BOOL),
        *_spec_columns(),
        ("corpus_name", TEXT),
        ("corruption", FLOAT),
        ("dataset_limited", BOOL),
        ("n_params", INT),
        ("n_params_total", INT),
        ("n_vocab", INT),
        ("steps", INT),
        ("flops_6nd", FLOAT),
        ("flops_last_layer", FLOAT),
        ("flops_attention", FLOAT),
        ("loss", FLOAT),
        ("loss_stderr", FLOAT),
        ("loss_train", FLOAT),
        ("bits_per_byte", FLOAT),
        ("best_step", INT),
        ("status", TEXT),
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
        ("step", INT),
        ("tokens", INT),
        ("flops_6nd", FLOAT),
        ("phase", TEXT),
        ("learning_rate", FLOAT),
        ("loss_train", FLOAT),
        ("loss_test", FLOAT),
        ("loss_validation", FLOAT),
        ("grad_norm", FLOAT),
        ("loss_by_position", pa.list_(FLOAT)),
        ("noise_square", FLOAT),
        ("noise_trace", FLOAT),
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
TIMINGS = pa.schema(
    [
        ("run", TEXT),
        ("seconds", FLOAT),
        ("tokens_per_second", FLOAT),
        ("device", TEXT),
        ("torch", TEXT),
        ("python", TEXT),
        ("threads", INT),
        ("attempts", INT),
        ("processes", INT),
        ("micro_batch_tokens", INT),
        ("at_once", INT),
    ]
)
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
SCHEMAS = {"runs": RUNS, "curves": CURVES, "evals": EVALS, "timings": TIMINGS, "fits": FITS}


def write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write rows as Parquet, atomically. Raises StudyError for a row that has other columns or types than the schema."""
    names = set(schema.names)
    if strange := [row for row in rows if set(row) != names]:
        differing = sorted(set(strange[0]) ^ names)
        raise StudyError(f"{path}: a row's columns are not the table's ({', '.join(differing)})")
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StudyError(f"{path}: a value does not fit its column: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table, part, compression="zstd")
    os.replace(part, path)


def read(path: Path, schema: pa.Schema) -> pl.DataFrame:
    """A table as a frame. Raises StudyError where it is missing, damaged or of another schema."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run snakemake, which makes it") from None
    except pa.ArrowInvalid as error:
        raise StudyError(f"{path} is damaged ({error}): delete it and run again") from None
    if not table.schema.equals(schema):
        raise StudyError(f"{path} was written by another version of scalinglaws: delete it and run again")
    return pl.DataFrame(pl.from_arrow(table))
