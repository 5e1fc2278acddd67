"""Inputs that are newer than the clock: a clock that was set back, a file server or a node with another clock, a copied file.

After each job Snakemake 9.27 (``DAG.check_output_mtime``) compares its outputs with its inputs. Where an input is newer, it takes
the job for failed and deletes what the job made, each time anew. Nothing is wrong with such outputs: here, the time of the input
is mended instead.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OF_STUDY = (
    "tables",
    "basis",
    "fits",
    "forecasts",
    "figures",
)  # folders of results of a study, which its later results follow from


def forgive() -> None:
    """Have Snakemake mend the times of inputs in place of its check, in this process."""
    import snakemake.api  # noqa: F401, snakemake.dag cannot be imported before it
    from snakemake.dag import DAG

    DAG.check_output_mtime = _checked


async def _checked(dag: Any, job: Any, outputs: Iterable[Any]) -> None:
    settle([str(path) for path in job.input], [str(path) for path in outputs])


def settle(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Give each input that is newer than the oldest output the time of that output, and say so in a line on stderr.

    Where an input belongs to another user, the outputs are given its time instead: they must not be older than it, or they would
    be made again by each run of the workflow.
    """
    there = [path for path in outputs if os.path.exists(path)]
    oldest = latest = min((os.stat(path).st_mtime_ns for path in there), default=sys.maxsize)
    newer = [(path, found) for path in inputs if (found := _stat(path)) and found.st_mtime_ns > oldest]
    if newer:
        several = f" and {len(newer) - 1} more files" if len(newer) > 1 else ""
        print(
            f"warning: {newer[0][0]}{several} had a time after that of what was made of it: a clock is wrong somewhere. "
            "Nothing is made again for it",
            file=sys.stderr,
        )
    for path, found in newer:
        try:
            os.utime(path, ns=(found.st_atime_ns, oldest))
        except OSError:  # it is not ours, or lies on a filesystem that cannot be written to
            latest = max(latest, found.st_mtime_ns)
    for path in there if latest > oldest else ():
        os.utime(path, ns=(latest, latest))


def settle_results(folder: Path) -> None:
    """Give results in the folder of a study that have a time in the future times just before this moment, in the same order.

    These are its tables, fits, figures and report. Otherwise a fit from before the clock was set back would count as newer than
    tables that are made now, and would stay as it is where the workflow is killed between the two.
    """
    now = time.time_ns()
    paths = [folder / "report.md", *(path for name in OF_STUDY for path in (folder / name).glob("*"))]
    future = {path: found for path in paths if (found := _stat(path)) and found.st_mtime_ns > now}
    times = sorted({found.st_mtime_ns for found in future.values()})
    for path, found in future.items():
        with contextlib.suppress(OSError):
            os.utime(path, ns=(found.st_atime_ns, now - 1000 * (len(times) - times.index(found.st_mtime_ns))))


def _stat(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
