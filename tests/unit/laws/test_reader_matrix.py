"""One table in every kind of file, under its own, exchanged and odd names, through ``fit`` and through ``external_runs``."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from printed import printed

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import read_table
from scalinglaws.tables.external import External, check
from scalinglaws.tables.schema import RUNS
from scalinglaws.tables.write import write

NAMES = {
    "own": {},
    "exchanged": {"n_params": "tokens", "tokens": "n_params"},
    "beside": {"loss": "val_loss"},
    "odd": {"n_params": 'N, "millions"', "tokens": "D = tokens seen", "loss": "Verlust (nats)"},
}


def rows(kind: str, bad: bool) -> pl.DataFrame:
    """Return sixteen runs under the names of a kind; one that is ``bad`` has no loss, and one no tokens. Losses are quarters."""
    n = np.tile([1_000_000, 4_000_000, 20_000_000, 90_000_000], 4)
    d = np.repeat([100_000_000, 500_000_000, 3_000_000_000, 20_000_000_000], 4)
    loss = np.round((1.5 + 4e4 / n**0.7 + 2e4 / d**0.5) * 256) / 256
    table = pl.DataFrame({"name": [f"r{k:02d}" for k in range(16)], "n_params": n, "tokens": d, "loss": loss})
    if bad:
        place = pl.int_range(pl.len())
        table = table.with_columns(
            pl.when(place == 3).then(None).otherwise("loss").alias("loss"),
            pl.when(place == 8).then(None).otherwise("tokens").alias("tokens"),
        )
    if kind == "beside":
        table = table.with_columns(pl.col("loss").alias("val_loss"), pl.lit(9.0).alias("loss"))
    return table.rename(NAMES[kind] if kind != "beside" else {})


def text(separator: str, encoding: str, comma: bool = False) -> Callable[[pl.DataFrame, Path], Path]:
    """Return a function that writes a table as CSV."""

    def written(table: pl.DataFrame, folder: Path) -> Path:
        found = table.write_csv(separator=separator, null_value="NaN", decimal_comma=comma)
        (folder / "runs.csv").write_bytes(found.encode(encoding))
        return folder / "runs.csv"

    return written


def lines(table: pl.DataFrame, folder: Path) -> Path:
    """Write a table as JSON lines as Python does, NaN for what is missing."""
    rows = [{name: float("nan") if value is None else value for name, value in row.items()} for row in table.to_dicts()]
    (folder / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "runs.jsonl"


def parquet(whole: pa.DataType, number: pa.DataType) -> Callable[[pl.DataFrame, Path], Path]:
    """Return a function that writes a table as Parquet with these types of whole numbers and of losses."""

    def column(values: list[Any], kind: pa.DataType) -> pa.Array:
        exact = Decimal if pa.types.is_decimal(kind) else (lambda value: value)
        return pa.array([None if value is None else exact(value) for value in values], kind)

    def written(table: pl.DataFrame, folder: Path) -> Path:
        kinds = {pl.Int64: whole, pl.Float64: number, pl.String: pa.string()}
        columns = {each.name: column(each.to_list(), kinds[type(each.dtype)]) for each in table.iter_columns()}
        pq.write_table(pa.table(columns), folder / "runs.parquet")
        return folder / "runs.parquet"

    return written


KINDS = {
    "comma": text(",", "utf-8"),
    "semicolon": text(";", "utf-8"),
    "decimal comma": text(";", "utf-8", comma=True),
    "tab": text("\t", "utf-8"),
    "bom": text(",", "utf-8-sig"),
    "utf-16": text("\t", "utf-16"),
    "json lines": lines,
    "int64, double": parquet(pa.int64(), pa.float64()),
    "uint64, float": parquet(pa.uint64(), pa.float32()),
    "double, half": parquet(pa.float64(), pa.float16()),
    "decimal": parquet(pa.decimal128(20, 0), pa.decimal128(12, 8)),
    "wide decimal": parquet(pa.decimal256(60, 4), pa.decimal256(60, 8)),
}


def option(names: dict[str, str]) -> list[str]:
    """Return --columns for names of columns, each quoted as in CSV."""
    quoted = (name.replace('"', '""') for name in names.values())
    return ["--columns", ",".join(f'{ours}="{theirs}"' for ours, theirs in zip(names, quoted, strict=True))] if names else []


def essence(fit: dict[str, Any], sentences: list[str]) -> str:
    """Return the bytes of a fit without the names of runs, and with the sentences about the table apart."""
    points = [{name: value for name, value in point.items() if name not in ("run", "trunk")} for point in fit["points"]]
    left = {name: value for name, value in fit.items() if name not in ("points", "excluded", "table", "flags")}
    flags = [flag for flag in fit["flags"] if flag not in sentences]
    return json.dumps([left, points, flags, sentences])


@pytest.fixture(scope="module")
def expected() -> dict[bool, str]:
    """Return the essence of the fit of the table itself, without and with two bad rows."""
    found = {}
    for bad in (False, True):
        fit = fit_table(rows("own", bad).rename({"name": "run"}), "chinchilla", n_bootstrap=0)
        found[bad] = essence(fit, fit.get("table", []))
    return found


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_fit(
    kind: str, names: str, expected: dict[bool, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = kind not in ("int64, double", "wide decimal")
    path, columns = KINDS[kind](rows(names, bad), tmp_path), NAMES[names] | {"run": "name"}
    told = [*(["1 row left out: loss is missing (row 4).", "1 row left out: tokens is missing (row 9)."] if bad else [])]

    assert main(["fit", "--law", "chinchilla", "--table", str(path), "--bootstrap", "0", "--json", *option(columns)]) == 0
    done = capsys.readouterr()
    fit = printed("fit", done.out)
    assert sorted(fit.get("table", [])) == sorted(told) and all(sentence in done.err for sentence in told)
    assert essence(fit, fit.get("table", [])) == expected[bad]

    check([(str(path), columns)])
    elsewhere = External()
    write(elsewhere.rows(path, columns), RUNS, tmp_path / "tables" / "runs.parquet")
    fit = fit_table(read_table(tmp_path / "tables" / "runs.parquet"), "chinchilla", n_bootstrap=0)
    sentences = [sentence.removeprefix(f"external_runs: {path}: ") for sentence in elsewhere.sentences]
    assert sorted(sentences) == sorted(told) and "table" not in fit
    assert essence(fit, json.loads(expected[bad])[3]) == expected[bad]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_refusal(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](rows("own", False).drop("loss"), tmp_path)
    said = []
    for call in (
        lambda: fit_table(read_table(path), "chinchilla", n_bootstrap=0),
        lambda: check([(str(path), {})]),
        lambda: External().rows(path, {}),
    ):
        with pytest.raises(StudyError, match=r"has no column '?loss'?: it has name, n_params, tokens") as refused:
            call()
        said.append(str(refused.value))
    assert said[1] == said[2]
