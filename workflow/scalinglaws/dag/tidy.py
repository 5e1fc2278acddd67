"""What is cleared away when the workflow starts and ends: leftovers of killed jobs, and results that a study has no more."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from scalinglaws.common import finished, leftovers, sums
from scalinglaws.dag import clock, targets
from scalinglaws.dag.context import RESULTS, Context

# The names that train/run.py and train/parts.py give to checkpoints inside a training.
_END = r"\d+(\.part\d+of\d+)?\.safetensors"
RUN_CHECKPOINT, RUNG_CHECKPOINT = re.compile(rf"checkpoint-{_END}"), re.compile(rf"partial-(\d+)-{_END}")
BUCKETS = ".buckets"  # data/corpus.py sorts passages there
NOT_LOOKED_AT = {"logs"}


def begin(context: Context) -> None:
    """Clear leftovers away before the first jobs start."""
    sweep(RESULTS)
    clock.settle_results(context.folder)


def end(context: Context) -> None:
    """Clear leftovers away after the last jobs, and the results of laws and figures that the study no longer asks for."""
    sweep(RESULTS)
    for path in spent(context):
        try:
            path.unlink(missing_ok=True)
            sums.beside(path).unlink(missing_ok=True)
        except OSError as error:
            print(f"warning: study {context.study.name} no longer has {path}, which cannot be deleted: {error}", file=sys.stderr)


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


def spent(context: Context) -> Iterator[Path]:
    """Yield the files in the study's folder of laws that it no longer fits and of figures that it no longer draws."""
    own = {*targets.fits(context), *targets.figures(context)}
    for pattern in ("fits/*.json", "figures/*.svg", "figures/*.png"):
        yield from (path for path in sorted(context.folder.glob(pattern)) if str(path) not in own)
    if not targets.exponents(context):
        yield from (context.folder / "tables" / name for name in targets.EXPONENTS)
    if not context.study.forecasts:  # forecasts themselves are kept: what was registered stays
        yield from (path for path in sorted((context.folder / "basis").glob("*")) if path.is_file())
        yield context.folder / "tables" / "forecasts.parquet"
    if not targets.report(context):
        yield context.folder / "report.md"
