"""Registered forecasts beside the losses that their runs came out with: the table ``forecasts``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.laws.registered import FACTORS, files_of, read, register
from scalinglaws.study.paths import run_folder
from scalinglaws.study.plugins import read_run
from scalinglaws.tables.aggregate import read_manifest
from scalinglaws.tables.read import read_own
from scalinglaws.tables.schema import FORECASTS
from scalinglaws.tables.write import write


def write_scores(
    manifest: Path, results: Path, runs: Path, fitted: Path, fits: Path, laws: Sequence[str], folder: Path, out: Path,
    with_sums: bool = False,
) -> list[Path]:  # fmt: skip
    """Register what the fits say by now, where no forecast says it yet, write the table of forecasts, and return the new ones.

    Parameters
    ----------
    manifest
        The list of runs, which tells those that are forecast.
    results
        The folder of results.
    runs
        The table of all runs, which tells how they came out.
    fitted, fits, laws, folder
        See ``registered.register``; ``fitted`` is the table of runs that the laws were fitted to.
    out
        The Parquet table to write.
    with_sums
        Whether a list of sums is left beside it.

    Raises
    ------
    StudyError
        A file is missing, or a forecast was changed since it was written.
    """
    if not runs.is_file():
        raise StudyError(f"{runs} does not exist: aggregate the runs first (python -m scalinglaws aggregate, or snakemake)")
    table = read_own(runs)
    if missing := {"run", "loss"} - set(table.columns):
        raise StudyError(f"{runs} has no column {min(missing)}: give the table of all runs, runs.parquet")
    losses = dict(zip(table["run"], table["loss"], strict=True))
    rows: list[dict[str, Any]] = []
    new: list[Path] = []
    for run in [entry["run"] for entry in read_manifest(manifest) if entry["forecast"]]:
        spec = read_run(run_folder(results, run) / "spec.json", results)
        if written := register(spec, results, fitted, fits, laws, folder):
            new.append(written)
        rows += scores(run, losses.get(run), folder)
    with sums.listing(sums.beside(out), [out], with_sums):
        write(rows, FORECASTS, out)
    return new


def scores(run: str, loss: float | None, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table ``forecasts`` (tables/schema.py) of a run: one for each law of each of its forecasts.

    Parameters
    ----------
    run
        The run.
    loss
        The loss that it came out with, in nats per token; None where it is not trained or diverged.
    folder
        The folder of the study's forecasts.

    Raises
    ------
    StudyError
        A forecast was changed since it was written, see ``read``.
    """
    for path in files_of(folder, run):
        found = read(path)
        for law, item in found["laws"].items():
            stated, low, high = item["loss"], item["low"], item["high"]
            yield {
                "run": run,
                "law": law,
                "file": path.name,
                "late": found["late"],
                "loss_forecast": stated,
                "low": low,
                "high": high,
                "loss": loss,
                "error": None if loss is None or stated is None else stated / loss - 1,
                "inside": None if loss is None or low is None or high is None else low <= loss <= high,
                **{name: item[name] for name in FACTORS},
                **{name: found[name] for name in ("n_params", "tokens", "flops")},
                "flags": "; ".join(item["flags"]),
                "fit_sha256": item["fit"],
                "table_sha256": found["table"],
            }
