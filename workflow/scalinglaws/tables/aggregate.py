"""The tables of a study, from the files of its runs: the manifest says which.

python -m scalinglaws aggregate --manifest results/studies/STUDY/tables/manifest-X.jsonl --out results/studies/STUDY/tables
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes, look
from scalinglaws.common.numbers import counted, round_float
from scalinglaws.common.read import parse_json, read_object
from scalinglaws.common.sums import REWRITTEN, read_named
from scalinglaws.study.forecasts import beyond_the_laws
from scalinglaws.study.plugins import read_run
from scalinglaws.study.spec import OPTIONS, RunSpec
from scalinglaws.tables import schema
from scalinglaws.tables.curves import Curve, curve_table
from scalinglaws.tables.external import External
from scalinglaws.tables.read import SUMS, SUMS_OF_TIMINGS, WARNINGS
from scalinglaws.tables.write import write
from scalinglaws.train.metrics import AGAIN, NOT_COMPILED, CurveRow, Flop, RunMetrics, RunTiming, types_of

Row = dict[str, Any]
TIMING = "timing.json"
OF_MANIFEST: dict[str, type | tuple[type, ...]] = {
    "run": str,
    "experiments": list,
    "fit": bool,
    "forecast": bool,
    "evaluations": (str, type(None)),
}
FLOPS = tuple(name for name, kind in types_of(RunMetrics).items() if kind is Flop)


@dataclass(frozen=True)
class Aggregated:
    """Rows of the tables runs, curves, evals and timings by the table's name, and warnings: sentences about the runs."""

    tables: dict[str, list[Row]]
    warnings: list[str]


def read_manifest(path: Path) -> list[Row]:
    """Read the lines of a manifest. Raises StudyError where it is missing or damaged."""
    entries = []
    for number, line in enumerate(read_named(path).splitlines(), 1):
        entry = parse_json(line, f"{path}, line {number},", REWRITTEN)
        if not isinstance(entry, dict) or any(not isinstance(entry.get(name), kind) for name, kind in OF_MANIFEST.items()):
            raise StudyError(f"{path}, line {number}, is no entry of a list of runs: {REWRITTEN}")
        entries.append(entry)
    return entries


def check_files(folder: Path) -> None:
    """Compare the files of a run with their sums.

    A run may lack timing.json, which only plans read: no run is trained again for it. Raises StudyError where a file is
    damaged, or the curve is missing beside the metrics.
    """
    if (folder / "metrics.json").exists() and not (folder / "curve.jsonl").exists():  # Snakemake asks for the metrics alone
        raise StudyError(f"{folder / 'curve.jsonl'} is missing beside metrics.json: {sums.REPAIR}")
    sums.require(folder / sums.LIST, ["metrics.json", "curve.jsonl"])
    sums.require_own(folder / TIMING)


def checked_spec(folder: Path) -> RunSpec:
    """Read the spec of a run's folder. Raises StudyError where it does not hash to the folder's name."""
    spec = read_run(folder / "spec.json", folder.parent.parent)
    if spec.id != folder.name:
        raise StudyError(
            f"{folder}/spec.json hashes to {spec.id}, not to its folder: it was edited by hand; delete the folder and run again"
        )
    return spec


def checked_metrics(folder: Path) -> RunMetrics:
    """Read the metrics of a run's folder. Raises StudyError where they are missing, damaged or those of another run."""
    metrics = RunMetrics.read(folder / "metrics.json")
    if metrics.id != folder.name:
        raise StudyError(f"{folder}/metrics.json is that of run {metrics.id}: delete the folder and run snakemake again")
    lengths = [len(metrics.positions.get(name, [])) for name in ("loss", "stderr")] if metrics.positions else [1]
    if min(lengths) != max(lengths) or not lengths[0]:
        raise StudyError(f"{folder}/metrics.json has positions of other lengths than each other: {AGAIN}")
    return metrics


def run_row(spec: RunSpec, metrics: RunMetrics, experiments: list[str], fitted: bool) -> Row:
    """Return a row of ``runs``: the spec, then what the run measured; tokens, dataset and learning rate are those really used."""
    row: Row = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    row |= {name: json.dumps(spec.plain[name], sort_keys=True) if name in spec.plain else None for name in (*OPTIONS, "plugins")}
    row |= {
        "corpus": spec.corpus.id,
        "tokenizer": spec.tokenizer.id,
        "corruption": round_float(sum(corpus.corruption * share for corpus, share in spec.corpus.shares.items())),
        "mixture": {corpus.id: share for corpus, share in spec.corpus.shares.items()} if len(spec.corpus.shares) > 1 else None,
        "dataset_limited": spec.dataset_tokens is not None,
        "stopped": what_stopped(spec, metrics),
    }
    row |= {"tokens": metrics.tokens, "dataset_tokens": metrics.dataset_tokens}
    row |= {"rate_sweep": spec.rate_sweep or None}
    if spec.rate_sweep:
        row["learning_rate"] = metrics.learning_rate
    row |= {name: getattr(metrics, name) for name, _ in schema.MEASURED}
    row["n_params_active"] = metrics.n_params if metrics.n_params_active is None else metrics.n_params_active
    # A float holds no whole number above 2^53 exactly, and pyarrow refuses to round.
    row |= {name: float(row[name]) for name in FLOPS}
    return row | {"run": spec.id, "trunk": spec.trunk.id, "experiments": experiments, "fitted": fitted}


def what_stopped(spec: RunSpec, metrics: RunMetrics) -> str | None:
    """Return what ended a run with ``stop: early``: "patience" or, where the budget ended first, "max_tokens".

    It is None for runs that end at a budget, and for those that diverged.
    """
    if spec.stop != "early" or metrics.status != "ok":
        return None
    return "patience" if metrics.steps < spec.steps else "max_tokens"


def timing_row(run: str, timing: RunTiming) -> Row:
    """Return a row of ``timings``."""
    return {"run": run} | {name: getattr(timing, name) for name, _ in schema.TIMED}


def own_corpus_rows(spec: RunSpec, metrics: RunMetrics) -> list[Row]:
    """Return rows of ``evals`` for the test split of a run's own corpus, as the run measured them when it ended.

    There are none for a diverged run and for one that was trained before positions were measured.
    """
    if not metrics.positions or metrics.loss_tokens is None:
        return []
    per_byte = None if metrics.bits_per_byte is None else metrics.bits_per_byte * math.log(2)
    fixed = {"run": spec.id, "step": metrics.best_step, "corpus": spec.corpus.id}
    losses, errors = metrics.positions["loss"], metrics.positions["stderr"]
    mean = {"position": None, "loss": metrics.loss, "stderr": metrics.loss_stderr}
    mean |= {"nats_per_byte": per_byte, "n_tokens": metrics.loss_tokens}
    each = {"nats_per_byte": None, "n_tokens": metrics.loss_tokens // len(losses)}
    by_position = enumerate(zip(losses, errors, strict=True))
    return [fixed | mean, *(fixed | each | {"position": i, "loss": loss, "stderr": error} for i, (loss, error) in by_position)]


def evaluation_rows(run: str, path: Path) -> list[Row]:
    """Return the rows of ``evals`` that the stage ``evaluate`` has measured; older files of it have no nats_per_byte.

    Raises StudyError where the file is missing or damaged.
    """
    sums.require_own(path)
    measured = read_object(path)
    try:
        rows = [{"run": run, "step": measured["step"], "nats_per_byte": None, **row} for row in measured["rows"]]
        if not all(isinstance(row["corpus"], str) for row in rows):
            raise TypeError("a corpus is no text")
        return rows
    except (KeyError, TypeError) as error:
        raise StudyError(f"{path} is not an evaluation ({error!r}): {sums.REPAIR}") from None


def lossy_tokenizers(rows: list[Row]) -> list[str]:
    """Return a sentence for each tokenizer that does not give the text back, from the rows of ``runs``."""
    lossy = Counter(row["tokenizer"] for row in rows if row["status"] == "ok" and row["bits_per_byte"] is None)
    return [
        f"Tokenizer {name} does not give the text back, so {count} of the runs with it have no bits per byte: lossy_example in "
        "the meta.json of its token files shows a text."
        for name, count in sorted(lossy.items())
    ]


def name_corpora(rows: list[Row], names: dict[str, str]) -> None:
    """Set ``corpus_name``: what the config calls a corpus, its id where it has no name there.

    The shares of a mixture become JSON text with the corpora by these names.
    """
    for row in rows:
        row["corpus_name"] = names.get(row["corpus"], row["corpus"])
        if isinstance(row.get("mixture"), dict):  # in a table made elsewhere it is a text
            row["mixture"] = json.dumps(
                {names.get(corpus, corpus): share for corpus, share in row["mixture"].items()}, sort_keys=True
            )


def aggregate(manifest: Path, results: Path, external: list[Row], names: dict[str, str], basis_alone: bool = False) -> Aggregated:
    """Return the tables of the runs that the manifest names, in its order, and of runs made elsewhere.

    Parameters
    ----------
    manifest
        A JSON object a line: run, experiments, fit, and evaluations, the name of the run's file of evaluations or null.
    external
        Tables made elsewhere: objects with path and columns, see ``external_rows``.
    names
        Names of corpora by their ids.
    basis_alone
        Whether only runs that forecasts follow from are taken, those that the laws of forecasts can be fitted to, without their
        evaluations, which no law takes.

    Raises
    ------
    StudyError
        A file of a run is missing, damaged or that of another run, or an external table cannot be used.
    """
    rows: dict[str, list[Row]] = {"runs": [], "curves": [], "evals": [], "timings": []}
    curves = []
    for entry in [entry for entry in read_manifest(manifest) if entry["fit"] or not basis_alone]:
        folder, evaluations = results / "runs" / entry["run"], results / "evals" / entry["run"]
        for place in (folder, evaluations):
            look(place)
        spec = checked_spec(folder)
        if basis_alone and beyond_the_laws(spec):
            continue
        check_files(folder)
        metrics = checked_metrics(folder)
        rows["runs"].append(run_row(spec, metrics, entry["experiments"], entry["fit"]))
        curves.append(Curve(spec, metrics.n_params_total, CurveRow.read_all(folder / "curve.jsonl")))
        if (folder / TIMING).exists():
            rows["timings"].append(timing_row(spec.id, RunTiming.read(folder / TIMING)))
        evaluated = entry["evaluations"] and not basis_alone
        found = evaluation_rows(spec.id, evaluations / f"{entry['evaluations']}.json") if evaluated else []
        if spec.corpus.id not in {row["corpus"] for row in found}:
            found += own_corpus_rows(spec, metrics)
        rows["evals"] += found
    rows["curves"], warnings = curve_table(curves)
    warnings += without_timing(rows["runs"], rows["timings"]) + without_error(rows["runs"]) + lossy_tokenizers(rows["runs"])
    warnings += with_experts(rows["runs"]) + not_compiled(rows["timings"])
    elsewhere = External(rows["runs"])
    for table in external:
        rows["runs"] += elsewhere.rows(Path(table["path"]), table["columns"])
    warnings += elsewhere.sentences
    for name in ("runs", "evals"):
        name_corpora(rows[name], names)
    return Aggregated(rows, warnings)


def without_timing(runs: list[Row], timings: list[Row]) -> list[str]:
    """Return a sentence about runs whose timing.json is missing; none where all have one."""
    timed = {row["run"] for row in timings}
    lacking = [row["run"] for row in runs if row["run"] not in timed]
    if not lacking:
        return []
    missing = counted(len(lacking), "run")
    return [f"No timing.json is there for {missing} ({lacking[0]} is the first): plans do not know the speed."]


def not_compiled(timings: list[Row]) -> list[str]:
    """Return a sentence for each reason for which runs were not compiled on a GPU, though that pays; none where there is none."""
    found: dict[str, list[str]] = {}
    for row in timings:
        if (row["compiled"] or "").startswith(NOT_COMPILED):
            found.setdefault(row["compiled"].removeprefix(NOT_COMPILED), []).append(row["run"])
    return [
        f"{counted(len(runs), 'run')} trained on a GPU without compiled code ({runs[0]} is the first), which is slower: {reason}."
        for reason, runs in sorted(found.items())
    ]


def with_experts(runs: list[Row]) -> list[str]:
    """Return a sentence about runs whose N counts experts that a token does not meet; none where there are no such runs."""
    found = [row["run"] for row in runs if row["n_params_active"] < row["n_params"]]
    if not found:
        return []
    return [
        f"In {counted(len(found), 'run')} ({found[0]} is the first) n_params counts every expert, and n_params_active those that "
        "a token meets. Laws take n_params: scalinglaws fit --columns n_params=n_params_active takes the other."
    ]


def without_error(runs: list[Row]) -> list[str]:
    """Return a sentence about finished runs whose loss has no standard error, by corpus; none where all have one."""
    lacking: dict[str, list[str]] = {}
    for row in runs:
        if row["status"] == "ok" and row["loss"] is not None and row["loss_stderr"] is None:
            lacking.setdefault(row["corpus"], []).append(row["run"])
    return [
        f"The losses of {counted(len(found), 'run')} on corpus {corpus} have no standard error ({found[0]} is the first): its "
        "test split holds no two contexts of different passages, so nothing tells how far chance moves them. A larger share "
        "under test, or more text, gives one."
        for corpus, found in sorted(lacking.items())
    ]


def write_tables(
    manifest: Path, results: Path, out: Path, external: list[Row], names: dict[str, str], basis_alone: bool = False
) -> list[str]:
    """Write the tables and the warnings to the folder ``out``, and return lines for the log.

    The manifests of other lists of runs beside this one are deleted. Other parameters and errors are those of ``aggregate``.
    """
    made = aggregate(manifest, results, external, names, basis_alone)
    delete_other_manifests(manifest)
    for name, rows in made.tables.items():
        write(rows, schema.SCHEMAS[name], out / f"{name}.parquet")
    others = [out / f"{name}.parquet" for name in made.tables if name != "timings"]
    sums.record(out / SUMS_OF_TIMINGS, [out / "timings.parquet"])
    sums.finish(out / SUMS, others, out / WARNINGS, json_bytes(made.warnings))
    delete_other_manifests(manifest)
    lines = [f"{name}: {len(rows)} rows" for name, rows in made.tables.items()]
    return lines + [f"warning: {sentence}" for sentence in made.warnings]


def delete_other_manifests(manifest: Path) -> None:
    """Delete the manifests of other lists of runs of the study.

    A manifest that is there is then either that of the tables or newer than they are: a list of runs that comes back after
    another one is aggregated again.

    This is done before the tables are written, for they may be interrupted, and after, for another list may have come meanwhile.
    """
    for other in manifest.parent.glob("manifest-*.jsonl"):
        if other.name != manifest.name:
            other.unlink(missing_ok=True)
