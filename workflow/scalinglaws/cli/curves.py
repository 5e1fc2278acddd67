"""The command ``curves``: the curves that runs were measured with, for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Results, folder_to_write


def curves(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Ids of runs, or beginnings of ids that no other run has.")],
    tensorboard: Annotated[
        Path,
        typer.Option(
            "--tensorboard", metavar="DIR", callback=folder_to_write, help="Folder to write, with a folder for each run."
        ),
    ],
    results: Results = RESULTS,
) -> None:
    """Write the learning curves of runs as event files, which `tensorboard --logdir DIR` draws.

    Losses, learning rate, norm of the gradient and noise scale stand below by_step and, with the tokens processed in place of the
    steps, below by_tokens. A run that is still training has the rows of its last checkpoint. It needs the library tensorboard
    (pip install tensorboard). The command curve, which predicts a curve that was not measured, is another one.

    \b
    Example:
      scalinglaws curves gpt-n25.1k-t1.0M-s0-0123456789 --tensorboard curves
    """
    from scalinglaws.common.numbers import counted
    from scalinglaws.decide.curves import write_events

    for path, rows in write_events(runs, results, tensorboard).items():
        print(f"{path}: {counted(rows, 'row')}")
