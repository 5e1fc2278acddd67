"""Learning curves of runs as event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalinglaws.common import files, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.export import find_run
from scalinglaws.study.paths import has_run, run_folder
from scalinglaws.train import checkpoint, event_file
from scalinglaws.train.metrics import CurveRow

CURVE = "curve.jsonl"


def write_events(runs: Sequence[str], results: Path, to: Path) -> dict[Path, int]:
    """Write the curve of each run to an event file in a folder of its name.

    Parameters
    ----------
    runs
        Ids of runs, or beginnings of them that no other id has.
    results
        The folder of results.
    to
        The folder of all event files, which ``tensorboard --logdir`` is given.

    Returns
    -------
    dict
        The number of rows of each file that was written, by its path, in the order of ``runs``.

    Raises
    ------
    StudyError
        There is no such run, it has no curve yet, a file is damaged, the library tensorboard is not installed, or a file at the
        place of an event file was not written by this command. Then nothing is written.
    """
    names = dict.fromkeys(find_run(run, results) for run in runs)
    curves = {event_file.path_of(to, name): rows_of(name, results) for name in names}
    for path in curves:
        event_file.check_ours(path)
    for path, rows in curves.items():
        files.write_bytes(path, event_file.content(rows))
    return {path: len(rows) for path, rows in curves.items()}


def rows_of(run: str, results: Path) -> list[Mapping[str, Any]]:
    """Return the rows of a run's curve: all of them where it is finished, else those of its last checkpoint.

    Raises StudyError where it has neither, or where the curve is damaged.
    """
    folder = run_folder(results, run)
    if has_run(results, run):
        sums.require(folder / sums.LIST, [CURVE])
        return [row.plain() for row in CurveRow.read_all(folder / CURVE)]
    if (state := checkpoint.latest(folder, "checkpoint-", run)) is None:
        raise StudyError(f"run {run} has no curve yet, neither {folder / CURVE} nor a checkpoint: run snakemake, which trains it")
    return list(state[1]["rows"])
