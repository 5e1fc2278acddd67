"""The stages ``bundle`` and ``member``: jobs that train several runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import (
    MOST_PROCESSES,
    RESULTS,
    CheckpointSeconds,
    Device,
    LimitMinutes,
    Results,
    file_to_write,
    seconds,
)

Bundle = Annotated[Path, typer.Option("--list", help="Bundle to train, results/bundles/ID.json.")]


def bundle(
    path: Bundle,
    out: Annotated[Path, typer.Option(callback=file_to_write, help="File to write when all members are there.")],
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_PROCESSES, help="Processes that train beside each other; without it as many as the bundle says."
        ),
    ] = None,
    results: Results = RESULTS,
    device: Device = "auto",
    limit_minutes: LimitMinutes = 0.0,
) -> None:
    """Train the members of a bundle in one job, several at a time: runs too small to fill a GPU alone.

    What is there is not made again. A member that fails leaves the others alone and is named at the end.

    \b
    Example:
      scalinglaws bundle --list results/bundles/ID.json --out results/bundles/ID.done
    """
    from scalinglaws.cluster.bundle_job import train_bundle

    train_bundle(path, out, results, at_once, device, limit_minutes)


def member(
    path: Bundle,
    name: Annotated[
        list[str],
        typer.Option(
            help="Member to train: a trunk, or a run without one. Several of one shape, each with --name, are trained as a stack."
        ),
    ],
    results: Results = RESULTS,
    at_once: Annotated[
        int, typer.Option(min=1, max=MOST_PROCESSES, help="Processes that share this GPU, to be noted in timing.json.")
    ] = 1,
    device: Device = "auto",
    checkpoint_seconds: CheckpointSeconds = 60.0,
    end: Annotated[
        float, typer.Option(callback=seconds, help="Time, in seconds since 1970, at which to save and to exit with status 143.")
    ] = math.inf,
) -> None:
    """Train a member of a bundle, or several at once as a stack: the rungs of its trunk, its runs and their evaluations.

    \b
    Example:
      scalinglaws member --list results/bundles/ID.json --name TRUNK
    """
    import sys

    from scalinglaws.cluster.member_job import Stages, train_named

    train_named(path, name, Stages(results, at_once, device, end=end, checkpoint_seconds=checkpoint_seconds))
    print(f"{', '.join(name)}: done", file=sys.stderr)
