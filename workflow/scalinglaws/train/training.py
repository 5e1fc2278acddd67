"""A training on its way: what moves it on, what saves it, what tells of it, and what writes its files at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scalinglaws.train.checkpoint import Checkpoints
from scalinglaws.train.progress import Progress
from scalinglaws.train.trainer import Trainer


@dataclass
class Training:
    """A training between its first step and its last one.

    Attributes
    ----------
    trainer, kept, progress
        Its state, its checkpoints and what it says.
    last
        The step at which it ends, unless it is finished before.
    finish
        What measures it and writes its files once it has ended.
    """

    trainer: Trainer
    kept: Checkpoints
    progress: Progress
    last: int
    finish: Callable[[Training], None]

    @property
    def ended(self) -> bool:
        """Tell whether it has made its last step."""
        return self.trainer.step >= self.last or self.trainer.finished

    def tell(self) -> None:
        """Say how far it is."""
        self.progress.show(self.trainer.step, self.trainer.last_loss, self.trainer.test_loss)

    def complete(self) -> None:
        """Train to the end and write the files. Raises SystemExit after a checkpoint: see ``advance``."""
        with self.kept.listening(), self.progress:
            self.advance()
            self.finish(self)

    def advance(self) -> None:
        """Train to the last step or until the run is finished, and save checkpoints and say the progress on the way.

        Raises
        ------
        SystemExit
            After a checkpoint, where ``kept`` has heard a signal or its end is near: see ``Checkpoints.tick``.
        """
        self.trainer.gradient.compile(self.last - self.trainer.step)
        self.tell()
        while not self.ended:
            self.trainer.update()
            self.kept.tick(self.trainer)
            if self.progress.due():
                self.tell()
        self.kept.saver.wait()
        self.tell()
