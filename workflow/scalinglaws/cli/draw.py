"""The commands ``draw`` and ``html``, which work on what a study has made."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from scalinglaws.cli.options import CONFIG, MOST_PROCESSES, RESULTS, ConfigFile, Results


def draw(
    configfile: ConfigFile = CONFIG,
    partial: Annotated[
        bool, typer.Option("--partial", help="Draw what the runs that are there can feed, into results/studies/STUDY/partial.")
    ] = False,
    cores: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="CPU cores that all jobs share.")] = os.cpu_count() or 1,
) -> None:
    """Draw the figures of a study again, or, with --partial, those of a study that is not finished.

    Without --partial all runs must be there: their tables, fits and figures are made where they are missing or older than what
    they follow from. With it, each picture says how many runs it shows, and the study's own tables, fits and figures are left
    alone. What was drawn so before is replaced. It may be called while the study runs.

    \b
    Examples:
      scalinglaws draw
      scalinglaws draw --partial --configfile workflow/studies/paper.yaml
    """
    from scalinglaws.dag import launch
    from scalinglaws.decide.load import load
    from scalinglaws.decide.partial import draw_partial

    if not partial:
        launch.draw(configfile, cores, RESULTS)
        return
    made = draw_partial(load(configfile, RESULTS), RESULTS)
    for sentence in made.warnings:
        print(f"scalinglaws draw: {sentence}", file=sys.stderr)
    print(f"{len(made.figures)} figures of {made.runs_done} of {made.runs} runs are in {made.folder}/figures")


def html(configfile: ConfigFile = CONFIG, results: Results = RESULTS) -> None:
    """Write the report of a study as a page to send, results/studies/STUDY/report.html: figures with captions, and tables.

    The page is one file that holds everything that it shows. The study must be finished.

    \b
    Example:
      scalinglaws html --configfile workflow/studies/smoke.yaml
    """
    from scalinglaws.report import html_page
    from scalinglaws.study import config
    from scalinglaws.study.paths import study_folder

    print(html_page.write(study_folder(results, config.load(configfile).study)))
