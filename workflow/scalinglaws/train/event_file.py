"""Event files of learning curves, which TensorBoard draws; they are written with TensorBoard's own records and messages.

A file has the numbers of each row of a curve twice: below by_step/ at the step, and below by_tokens/ at the tokens processed,
since TensorBoard has one axis for whole numbers. A curve has no times, so the time of an event is its step, in seconds: equal
rows give equal bytes. The bytes of the first rows are the beginning of those of all rows, so that a file grows at its end.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalinglaws.common import asked, files
from scalinglaws.common.errors import StudyError, shown
from scalinglaws.train.metrics import CurveRow, types_of
from scalinglaws.train.progress import Progress
from scalinglaws.train.trainer import Trainer

NAME = "events.out.tfevents.0.scalinglaws"  # TensorBoard reads each file whose name has "tfevents" in it
VERSION = "brain.Event:2"  # TensorFlow's name of the format, in the first event of a file
# The numbers of a row of a curve, in the order of its fields.
NUMBERS = [name for name, kind in types_of(CurveRow).items() if kind in (float, float | None)]


def path_of(folder: Path, name: str) -> Path:
    """Return the event file of a run or trunk: ``tensorboard --logdir FOLDER`` shows it by the name of its own folder."""
    return folder / name / NAME


def content(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the bytes of an event file.

    Parameters
    ----------
    rows
        The rows of a curve, with the fields of ``CurveRow``. A number that is None, as a loss that is not finite, has no point.

    Returns
    -------
    bytes
        The file. Its numbers have 32 bits, as all scalars of TensorBoard.

    Raises
    ------
    StudyError
        The library tensorboard is not installed.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise StudyError(
            f"event files are written by the library tensorboard, which cannot be imported ({error}): pip install tensorboard"
        ) from None
    made = io.BytesIO()
    records = RecordWriter(made)
    first = Event(wall_time=0.0, file_version=VERSION, source_metadata=SourceMetadata(writer="scalinglaws"))
    records.write(first.SerializeToString(deterministic=True))
    for row in rows:
        for group, place in (("by_step", row["step"]), ("by_tokens", row["tokens"])):
            points = [(name, row[name]) for name in NUMBERS if row.get(name) is not None]
            values = [Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in points]
            event = Event(wall_time=float(row["step"]), step=place, summary=Summary(value=values))
            records.write(event.SerializeToString(deterministic=True))
    return made.getvalue()


def check_ours(path: Path) -> None:
    """Check that a file which is to be replaced is an event file of this package, if there is one.

    Raises StudyError where another program has written it, and what ``content`` raises.
    """
    files.check_replaceable(path)
    first = content([])
    if path.exists():
        with path.open("rb") as file:
            found = file.read(len(first))
        if not first.startswith(found):  # a process that was killed may have written a part of it
            raise StudyError(f"{shown(path)} was not written by scalinglaws: move it away, or name another folder")


def grow(path: Path, data: bytes) -> None:
    """Have an event file hold ``data``, by adding to its end where that suffices.

    TensorBoard keeps a file open while it looks for more of it, and would not see a file that takes its place. A file that holds
    more already is left as it is: its training goes on from a checkpoint and makes these rows again. Where those come out with
    other numbers, as on a GPU, the file is replaced.

    Raises StudyError where another program has written the file, and OSError or StudyError where it cannot be written.
    """
    check_ours(path)
    there = path.read_bytes() if path.exists() else b""
    if not there or not (data.startswith(there) or there.startswith(data)):
        files.write_bytes(path, data)
    elif len(data) > len(there):
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab") as file:
            file.write(data[len(there) :])


class LiveCurve:
    """Keeps the event file of a training as long as its curve. What fails is told in one line, and training goes on without."""

    def __init__(self, path: Path, progress: Progress):
        self.path, self.progress, self.works = path, progress, True

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of the curve so far."""
        if not self.works:
            return
        try:
            grow(self.path, content(rows))
        except Exception as error:  # no fault of what only shows a training may end it
            self.works = False
            self.progress.say(f"{self.progress.name}: warning: its curve is not shown in TensorBoard: {error}")


def watch(trainer: Trainer, progress: Progress) -> None:
    """Have a training write its curve to an event file as it goes, where the profile asks for it, in its first process."""
    folder = asked.tensorboard()
    if folder is not None and trainer.processes.first:
        trainer.show_rows = LiveCurve(path_of(folder, trainer.spec.id), progress).show
        trainer.show_rows(trainer.rows)
