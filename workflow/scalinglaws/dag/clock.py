"""Inputs that are newer than the clock: a clock that was set back, a file server or a node with another clock, a copied file.

After each job Snakemake 9.27 (``DAG.check_output_mtime``) compares its outputs with its inputs. Where an input is newer, it takes
the job for failed and deletes what the job made, each time anew. Nothing is wrong with such outputs: here, the time of the input
is mended instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import snakemake.api  # noqa: F401, snakemake.dag cannot be imported before it
from snakemake.dag import DAG


def forgive() -> None:
    """Have Snakemake mend the times of inputs in place of its check, in this process."""
    DAG.check_output_mtime = _checked


async def _checked(dag: DAG, job: Any, outputs: Iterable[Any]) -> None:
    settle([str(path) for path in job.input], [str(path) for path in outputs])


def settle(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Give each input that is newer than the oldest output the time of that output, and name it by a line on stderr.

    Where an input belongs to another user, the outputs are given its time instead: they must not be older than it, or they would
    be made again by each run of the workflow.
    """
    there = [path for path in outputs if os.path.exists(path)]
    if not there:
        return
    oldest = min(os.stat(path).st_mtime_ns for path in there)
    latest = oldest
    for path in inputs:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        if found.st_mtime_ns <= oldest:
            continue
        print(f"warning: {path} is newer than what was just made from it, so that a clock is wrong somewhere", file=sys.stderr)
        try:
            os.utime(path, ns=(found.st_atime_ns, oldest))
        except OSError:  # it is not ours, or lies on a filesystem that cannot be written to
            latest = max(latest, found.st_mtime_ns)
    for path in there if latest > oldest else ():
        os.utime(path, ns=(latest, latest))
