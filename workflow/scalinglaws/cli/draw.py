"""The command ``html``, which works on what a study has made."""

from __future__ import annotations

from scalinglaws.cli.options import CONFIG, RESULTS, ConfigFile


def html(configfile: ConfigFile = CONFIG) -> None:
    """Write the figures, exponents and report of a study with their captions as one page, results/studies/STUDY/report.html.

    The page holds everything that it shows, so that it can be sent as one file. The study must be finished.

    \b
    Example:
      scalinglaws html --configfile workflow/studies/smoke.yaml
    """
    from scalinglaws.dag import launch

    print(launch.html(configfile, RESULTS))
