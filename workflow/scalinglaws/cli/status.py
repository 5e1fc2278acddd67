"""The command ``status``: where a study stands."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scalinglaws.cli.options import CONFIG, RESULTS, ConfigFile, Json

SECONDS = 2.0  # time between two looks at the files
QUEUE_SECONDS = 30.0  # time between two questions to Slurm, which many users ask


def status(configfile: ConfigFile = CONFIG, as_json: Json = False) -> None:
    """Show where a study stands: its runs by state, the losses and times left of those that train, and what failed.

    It reads files alone, so it works beside any snakemake, also on a cluster. On a terminal it shows them anew every two seconds
    as long as something works on the study; Ctrl-C ends it. Elsewhere it prints them once.

    \b
    Examples:
      scalinglaws status
      scalinglaws status --configfile workflow/studies/smoke.yaml
      scalinglaws status --json
    """
    from scalinglaws.cli import status_page
    from scalinglaws.cli.output import print_json
    from scalinglaws.cluster.queue import queued
    from scalinglaws.decide.load import of_config
    from scalinglaws.decide.overview import overview
    from scalinglaws.study import config

    study = of_config(config.load(configfile), RESULTS)  # the files of text that it names do not matter here
    asked, jobs = time.monotonic(), queued(Path.cwd())
    now = overview(study, RESULTS, configfile, jobs)
    if as_json:
        print_json(now.model_dump())
        return
    if not sys.stdout.isatty():
        status_page.show(now)
        return
    from rich.live import Live

    with Live(status_page.drawn_page(now), auto_refresh=False) as live:
        while now.at_work:
            time.sleep(SECONDS)
            if time.monotonic() - asked > QUEUE_SECONDS:
                asked, jobs = time.monotonic(), queued(Path.cwd())
            now = overview(study, RESULTS, configfile, jobs)
            live.update(status_page.drawn_page(now), refresh=True)
