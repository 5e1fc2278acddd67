"""What is cleared away when the workflow starts and ends: leftovers of killed jobs, and the fits and figures of other studies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalinglaws.common import files, finished, leftovers, sums
from scalinglaws.dag import clock, targets
from scalinglaws.dag.context import RESULTS, Context
from scalinglaws.dag.kept import manifest_path

# The names that train/run.py gives to checkpoints inside a training.
RUN_CHECKPOINT, RUNG_CHECKPOINT = re.compile(r"checkpoint-\d+\.safetensors"), re.compile(r"partial-(\d+)-\d+\.safetensors")
BUCKETS = ".buckets"  # data/corpus.py sorts passages there
NOT_LOOKED_AT = {"logs"}
STUDY = RESULTS / "tables" / "study.json"  # the name of the study whose tables, fits and figures lie in results/


def begin(context: Context) -> None:
    """Clear leftovers away before the first jobs start, and say whose tables will be replaced, where they are another study's."""
    sweep(RESULTS)
    clock.settle_results(RESULTS)
    if told := of_another(context.study.name):
        print(told, file=sys.stderr, flush=True)


def end(context: Context) -> None:
    """Clear leftovers away after the last jobs, and what other studies left among the tables, fits and figures of this one."""
    sweep(RESULTS)
    if has_own_tables(context):
        for path in strangers(context):
            try:
                path.unlink(missing_ok=True)
                sums.beside(path).unlink(missing_ok=True)
            except OSError as error:
                print(f"warning: {path} is not of study {context.study.name} and cannot be deleted: {error}", file=sys.stderr)
        files.write_json(STUDY, {"study": context.study.name})


def sweep(results: Path) -> None:
    """Remove what killed jobs left beside results that are there, and temporary files whose writers are gone.

    The first are second copies of finished files, checkpoints inside a training, its heartbeat, and the sorted text of a corpus.
    """
    for place, folders, names in os.walk(results):
        folder = Path(place)
        if folder == results:
            folders[:] = sorted(set(folders) - NOT_LOOKED_AT)
        for name in [name for name in folders if name.startswith(".")]:
            folders.remove(name)
            if is_spent(name, names) or leftovers.is_left(folder / name):
                shutil.rmtree(folder / name, ignore_errors=True)
        for name in names:
            if is_spent(name, names) or leftovers.is_left(folder / name):
                with contextlib.suppress(OSError):  # it is another user's, or has gone
                    (folder / name).unlink()


def is_spent(name: str, names: list[str]) -> bool:
    """Tell whether a file or folder beside the files ``names`` served to make one that is among them."""
    if name.startswith(finished.PREFIX):
        return name.removeprefix(finished.PREFIX) in names
    if match := RUNG_CHECKPOINT.fullmatch(name):
        return f"step{match[1]}.safetensors" in names
    if name == BUCKETS:
        return "report.json" in names
    return "metrics.json" in names and (name == "progress.json" or bool(RUN_CHECKPOINT.fullmatch(name)))


def of_another(study: str) -> str | None:
    """Return a sentence where the tables in results/ are those of a study of another name."""
    try:
        before = json.loads(STUDY.read_text())["study"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if before == study:
        return None
    return (
        f"tables, fits and figures in {RESULTS}/ are those of study {before}; they are replaced by those of {study}. "
        "The runs of both are kept"
    )


def has_own_tables(context: Context) -> bool:
    """Tell whether the tables were made of the runs of this study: aggregation removes the lists of runs of all others."""
    lists = [str(path) for path in (RESULTS / "tables").glob("manifest-*.jsonl")]
    return lists == [manifest_path(context.study)] and all(map(os.path.exists, targets.tables()))


def refuse_reports_of_others(workflow: Any, context: Context) -> None:
    """Have ``snakemake --report`` refused where the tables in results/ are not of the runs of this study.

    The list of runs of another study is deleted with its tables, so that it is newer than these when it is written again.
    """
    whole = workflow.create_report

    def checked(*given: Any, **options: Any) -> None:
        from snakemake.exceptions import WorkflowError

        tables = [os.stat(path).st_mtime_ns for path in targets.tables() if os.path.exists(path)]
        if len(tables) < len(targets.tables()) or os.stat(manifest_path(context.study)).st_mtime_ns > min(tables):
            raise WorkflowError(
                f"the tables in {RESULTS}/ are not those of the runs of study {context.study.name}: run snakemake on it (or "
                "`make results`), then report"
            )
        whole(*given, **options)

    workflow.create_report = checked


def strangers(context: Context) -> Iterator[Path]:
    """Yield the fits and figures in results/ that are not of this study: of another one, or of a law that it no longer fits."""
    own = {*targets.fits(context), *targets.figures(context)}
    for pattern in ("fits/*.json", "figures/*.svg", "figures/*.png"):
        yield from (path for path in sorted(RESULTS.glob(pattern)) if str(path) not in own)
    if not targets.exponents(context):
        yield from (RESULTS / "tables" / name for name in targets.EXPONENTS)
    if not targets.report(context):
        yield RESULTS / "report.md"
