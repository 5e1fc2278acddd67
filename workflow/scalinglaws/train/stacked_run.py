"""Train many runs and rungs of one shape at once, as a stack, with the files and logs of runs that are trained alone.

A chain is the trainings that follow each other in a row of the stack, such as the rungs of a trunk and then its runs. Where one
ends, its files are written and the next one takes its row; where a chain ends, one that waits does. Every training begins, saves
and ends by the functions of run.py, so that it may go on alone or in another stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.train.checkpoint import Checkpoints
from scalinglaws.train.metrics import COMPILED
from scalinglaws.train.stack import Stack
from scalinglaws.train.training import Training

LOOK_SECONDS = 1.0  # time between looks at whether checkpoints and lines of progress are due


@dataclass(frozen=True)
class Stage:
    """A training of a chain.

    Attributes
    ----------
    begin
        A function of the number of rows that returns the training, or None where its files are there.
    log
        What redirects standard error to the log of this training, while it is active.
    """

    begin: Callable[[int], Training | None]
    log: Callable[[], AbstractContextManager[None]]


@dataclass
class Row:
    """A row of the stack: the stages that are left of its chain, and the one whose training is there."""

    stages: Iterator[Stage]
    stage: Stage | None = None
    training: Training | None = None


class StackedRun:
    """Chains of trainings in the rows of one stack; ``train`` trains them all.

    Parameters
    ----------
    chains
        The chains, whose trainings all have the same shape. A training that cannot begin (StudyError) ends its chain; the reason
        is told, and whoever makes what is missing afterwards meets it again.
    most
        The largest number of rows, which is that of the trainings at the same time.
    steps
        About the number of updates that the stack will make, by which it is decided whether compilation pays.
    """

    def __init__(self, chains: Sequence[Sequence[Stage]], most: int, steps: int):
        self.size, self.steps = min(most, len(chains)), steps
        self.waiting = iter(chains)
        self.rows = [Row(iter(())) for _ in range(self.size)]
        self.looked = time.monotonic()

    @property
    def live(self) -> list[tuple[Row, Training]]:
        """Return the rows that have a training, with it."""
        return [(row, row.training) for row in self.rows if row.training]

    def train(self) -> None:
        """Train until no chain is left.

        Raises
        ------
        StudyError
            A state could not be written, or the device's memory is too small.
        SystemExit
            With status 143, or 130 after Ctrl-C, after all trainings are saved, where the process was told to stop or its end
            is near.
        """
        for row in self.rows:
            self._fill(row)
        if not self.live:
            return
        listener = self.live[0][1].kept  # a signal reaches the others by ``_stop``, also when this training has ended
        with listener.listening():
            try:
                while self.live:
                    self.rows = [row for row, _ in self.live]
                    self._train_in(Stack(len(self.rows), self.live[0][1].trainer), listener)
            finally:
                for _, training in self.live:
                    training.progress.close()

    def _train_in(self, stack: Stack, listener: Checkpoints) -> None:
        """Train in a new stack, until no more than half of its rows are of use; one that is compiled is kept to the end."""
        stack.gradient.compile(self.steps)
        for place, (_, training) in enumerate(self.live):
            stack.put(training.trainer, place)
        print(f"stack: {counted(len(self.rows), 'training')} of one shape at once", file=sys.stderr, flush=True)
        while 2 * len(self.live) > len(self.rows) or (self.live and stack.gradient.compiled == COMPILED):
            stack.update()
            self._tend(listener)
            for place, row in enumerate(self.rows):
                if row.training and row.training.ended:
                    self._end(row)
                    stack.take(place)
                    self._fill(row)
                    if row.training:
                        stack.put(row.training.trainer, place)

    def _fill(self, row: Row) -> None:
        """Give an empty row its next training that has steps to make, of its own chain or of one that waits, if there is one."""
        while row.training is None:
            row.stage = next(row.stages, None)
            if row.stage is None:
                chain = next(self.waiting, None)
                if chain is None:
                    return
                row.stages = iter(chain)
                continue
            try:
                with row.stage.log():
                    row.training = row.stage.begin(self.size)
                if row.training:
                    row.training.trainer.feed.windows = None  # a GPU has the tokens once, for all rows
            except StudyError as error:
                print(f"stack: left out: {error}", file=sys.stderr, flush=True)
                row.stages = iter(())
            if row.training and row.training.ended:
                self._end(row)

    def _end(self, row: Row) -> None:
        """Write the files of a row's training, whose last step is done, and leave the row empty."""
        assert row.training and row.stage
        training, row.training = row.training, None
        with row.stage.log(), training.progress:
            training.kept.saver.wait()
            training.tell()
            training.finish(training)

    def _tend(self, listener: Checkpoints) -> None:
        """Save checkpoints and say the progress where that is due. Raises SystemExit where the process is told to stop."""
        costs = sum(training.kept.saver.cost for _, training in self.live)
        if not listener.reason and time.time() > listener.end - costs:
            listener.reason = "the end of its time limit"
        if listener.reason:
            self._stop(listener)
        if listener.seconds and time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        for row, training in self.live:
            assert row.stage
            with row.stage.log():
                training.kept.tick(training.trainer)
                if training.progress.due():
                    training.tell()

    def _stop(self, listener: Checkpoints) -> None:
        """Save all trainings and raise SystemExit, or the error of one that could not be saved."""
        raised: list[BaseException] = []
        for row, training in self.live:
            kept = training.kept
            kept.reason, kept.told, kept.told_at = listener.reason, listener.told, listener.told_at
            assert row.stage
            with row.stage.log():
                try:
                    kept.tick(training.trainer)
                except (SystemExit, StudyError) as error:
                    raised.append(error)
        raise next((error for error in raised if isinstance(error, StudyError)), raised[0])
