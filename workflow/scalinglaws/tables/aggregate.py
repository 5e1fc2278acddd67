"""The tables of a study, from the files of its runs: the manifest says which.

python -m scalinglaws aggregate --manifest results/tables/manifest-X.jsonl --results results
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import look
from scalinglaws.models.count import flops_6nd
from scalinglaws.study.ladder import has_ladder
from scalinglaws.study.spec import OPTIONS, RunSpec, read_spec
from scalinglaws.tables import schema as tables

Row = dict[str, Any]
# Columns of ``curves`` that runs trained before they were measured do not have.
MEASURED = ("loss_by_position", "noise_square", "noise_trace")


def read_json(path: Path) -> Any:
    """Raises StudyError where a file of a run is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run snakemake, which makes it") from None
    except json.JSONDecodeError as error:
        raise StudyError(f"{path} is damaged ({error}): delete its folder and run snakemake again") from None


def read_lines(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise StudyError(f"{path} is missing or damaged ({error}): delete its folder and run snakemake again") from None


def checked_spec(folder: Path) -> RunSpec:
    """The spec of a run's folder. Raises StudyError where it does not hash to the folder's name."""
    spec: RunSpec = read_spec(folder / "spec.json")
    if spec.id != folder.name:
        raise StudyError(
            f"{folder}/spec.json hashes to {spec.id}, not to its folder: it was edited by hand; delete the folder and run again"
        )
    return spec


def run_row(spec: RunSpec, metrics: Row, experiments: list[str], fitted: bool) -> Row:
    """A row of ``runs``: the spec, then what the run measured; tokens and dataset_tokens are those really used."""
    row: Row = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    row |= {name: json.dumps(spec.plain[name], sort_keys=True) if name in spec.plain else None for name in (*OPTIONS, "plugins")}
    row |= {
        "corpus": spec.corpus.id,
        "tokenizer": spec.tokenizer.id,
        "corruption": spec.corpus.corruption,
        "dataset_limited": spec.dataset_tokens is not None,
    }
    row |= {name: metrics[name] for name in tables.RUNS.names if name in metrics and name != "trunk"}
    return row | {"run": spec.id, "trunk": spec.trunk.id, "experiments": experiments, "fitted": fitted}


def curve_rows(spec: RunSpec, curve: list[Row], metrics: Row) -> list[Row]:
    """Rows of ``curves``: those of the stable phase belong to the trunk (run is null), for all its budgets are in them."""
    fixed = {
        "trunk": spec.trunk.id,
        "n_layer": spec.n_layer,
        "n_params": spec.n_params,
        "batch_tokens": spec.batch_tokens,
    }
    fixed["n_params_total"] = metrics["n_params_total"]
    shared = has_ladder(spec)
    return [
        {**fixed, "run": None if shared and row["phase"] != "decay" else spec.id}
        | {"flops_6nd": float(flops_6nd(spec.shape(0), row["tokens"]))}
        | dict.fromkeys(MEASURED)
        | {name: row[name] for name in tables.CURVES.names if name in row}
        for row in curve
    ]


def own_corpus_rows(spec: RunSpec, metrics: Row) -> list[Row]:
    """Rows of ``evals`` for the test split of a run's own corpus, as it measured them when it ended; none for a diverged run
    or for one trained before positions were measured."""
    if not metrics.get("positions"):
        return []
    fixed = {"run": spec.id, "step": metrics["best_step"], "corpus": spec.corpus.id}
    losses, errors = metrics["positions"]["loss"], metrics["positions"]["stderr"]
    mean = {"position": None, "loss": metrics["loss"], "stderr": metrics["loss_stderr"]}
    mean |= {"nats_per_byte": metrics["bits_per_byte"] * math.log(2), "n_tokens": metrics["loss_tokens"]}
    each = {"nats_per_byte": None, "n_tokens": metrics["loss_tokens"] // len(losses)}
    by_position = enumerate(zip(losses, errors, strict=True))
    return [fixed | mean, *(fixed | each | {"position": i, "loss": loss, "stderr": error} for i, (loss, error) in by_position)]


def _filled(row: Row, other: Row) -> Row:
    """A row of ``curves`` with what it has not measured from another."""
    return row | {name: other[name] for name in MEASURED if row[name] is None}


def distinct_curves(rows: list[Row]) -> list[Row]:
    """One row a (trunk, run, step). Raises StudyError where budgets of one trunk disagree on its stable phase.

    A budget trained before a column was measured agrees with one that has it.
    """
    seen: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        key = (row["trunk"], row["run"] or "", row["step"])
        known = _filled(seen.get(key, row), row)
        if known != _filled(row, known):
            raise StudyError(
                f"results/trunks/{row['trunk']}: runs of this trunk disagree at step {row['step']}: they were trained on "
                "different machines or by different code; delete the folders of its runs and train them again"
            )
        seen[key] = known
    return [seen[key] for key in sorted(seen)]


def external_rows(path: Path, columns: dict[str, str]) -> list[Row]:
    """Runs made elsewhere: n_params, loss and tokens or flops_6nd are needed, other columns of ``runs`` are taken if there.

    Raises StudyError where the file can't be read, or a column is missing or holds something else.
    """
    readers: dict[str, Callable[..., pl.DataFrame]] = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}
    if path.suffix not in readers:
        raise StudyError(f"external_runs: {path} is none of {', '.join(readers)}")
    try:
        frame = readers[path.suffix](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StudyError(f"external_runs: {path} can't be read: {error}") from None
    if missing := [theirs for theirs in columns.values() if theirs not in frame.columns]:
        raise StudyError(f"external_runs: {path} has no column {missing[0]}; it has {', '.join(frame.columns)}")
    frame = frame.rename({theirs: ours for ours, theirs in columns.items()})
    if "tokens" not in frame.columns and {"flops_6nd", "n_params"} <= set(frame.columns):
        frame = frame.with_columns(tokens=pl.col("flops_6nd") / (6 * pl.col("n_params")))
    for needed in ("n_params", "tokens", "loss"):
        if needed not in frame.columns:
            raise StudyError(f"external_runs: {path} has no column {needed}: name it under columns")
    if "flops_6nd" not in frame.columns:
        frame = frame.with_columns(flops_6nd=6.0 * pl.col("n_params") * pl.col("tokens"))
    kept = [name for name in frame.columns if name in tables.RUNS.names and name not in ("experiments", "fitted", "run", "trunk")]
    rows = []
    for i, row in enumerate(frame.iter_rows(named=True)):
        run = str(row.get("run", row.get("id", i)))
        values = {name: row[name] for name in kept}
        values |= {"n_params": int(row["n_params"]), "tokens": int(row["tokens"]), "status": row.get("status", "ok")}
        name = {
            "run": f"{path.stem}-{run}-{i}",
            "trunk": f"{path.stem}-{row.get('trunk', run)}",
            "experiments": ["external"],
            "fitted": True,
        }
        rows.append(dict.fromkeys(tables.RUNS.names) | values | name)
    return rows


def name_corpora(rows: list[Row], names: dict[str, str]) -> None:
    """Set ``corpus_name``: what the config calls a corpus, its id where it has no name there."""
    for row in rows:
        row["corpus_name"] = names.get(row["corpus"], row["corpus"])


def aggregate(manifest: Path, results: Path, external: list[Row], names: dict[str, str]) -> dict[str, list[Row]]:
    """Rows of the tables runs, curves, evals and timings for the runs that the manifest names, sorted by id.

    ``external``: tables made elsewhere, path and columns; ``names``: of corpora, by id.
    """
    rows: dict[str, list[Row]] = {"runs": [], "curves": [], "evals": [], "timings": []}
    for entry in read_lines(manifest):
        folder, evaluations = results / "runs" / entry["run"], results / "evals" / entry["run"]
        for place in (folder, evaluations):
            look(place)
        spec, metrics = checked_spec(folder), read_json(folder / "metrics.json")
        rows["runs"].append(run_row(spec, metrics, entry["experiments"], entry["fit"]))
        rows["curves"] += curve_rows(spec, read_lines(folder / "curve.jsonl"), metrics)
        timing = read_json(folder / "timing.json")
        rows["timings"].append({"run": spec.id} | {name: timing.get(name) for name in tables.TIMINGS.names if name != "run"})
        evaluated: set[str] = set()
        if entry["evaluations"]:
            measured = read_json(evaluations / f"{entry['evaluations']}.json")
            rows["evals"] += [
                {"run": spec.id, "step": measured["step"], "nats_per_byte": None, **row} for row in measured["rows"]
            ]
            evaluated = {row["corpus"] for row in measured["rows"]}
        if spec.corpus.id not in evaluated:
            rows["evals"] += own_corpus_rows(spec, metrics)
    rows["curves"] = distinct_curves(rows["curves"])
    for table in external:
        rows["runs"] += external_rows(Path(table["path"]), table["columns"])
    for table_of_corpora in ("runs", "evals"):
        name_corpora(rows[table_of_corpora], names)
    return rows


def delete_other_manifests(manifest: Path) -> None:
    """Delete the manifests of other lists of runs, so that a study whose tables are replaced is aggregated anew.

    This is done before the tables are written, for they may be interrupted, and after, for another list may have come meanwhile.
    """
    for other in manifest.parent.glob("manifest-*.jsonl"):
        if other.name != manifest.name:
            other.unlink(missing_ok=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--manifest", type=Path, required=True, help="a line of JSON a run")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--external", nargs="*", default=[], metavar="JSON", help='{"path": …, "columns": {ours: theirs}}')
    parser.add_argument("--corpora", type=json.loads, default={}, metavar="JSON", help="names of corpora: {id: name}")


def main(args: argparse.Namespace) -> None:
    """Write results/tables/*.parquet and delete manifests of other lists of runs."""
    rows = aggregate(args.manifest, args.results, [json.loads(text) for text in args.external], args.corpora)
    delete_other_manifests(args.manifest)
    for name, table in rows.items():
        tables.write(table, tables.SCHEMAS[name], args.results / "tables" / f"{name}.parquet")
        print(f"{name}: {len(table)} rows")
    delete_other_manifests(args.manifest)
