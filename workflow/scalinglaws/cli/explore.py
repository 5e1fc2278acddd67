"""The command ``explore``: a page on which a reader looks through a study."""

from __future__ import annotations

from scalinglaws.cli.options import CONFIG, RESULTS, ConfigFile, Results


def explore(configfile: ConfigFile = CONFIG, results: Results = RESULTS) -> None:
    """Write results/studies/STUDY/explore.html: the runs and fits of a study to look through in a browser.

    The page is one file that loads nothing from a network: losses against N, D and C with the fitted laws and their intervals,
    runs by experiment, a slider of compute that moves the forecast, and a table of the runs that its headers sort.

    \b
    Example:
      scalinglaws explore --configfile config.yaml
    """
    from scalinglaws.decide.explore import write
    from scalinglaws.study import config
    from scalinglaws.study.paths import study_folder

    found = config.load(configfile)
    print(write(study_folder(results, found.study), found.study, found.fits.bootstrap, found.fits.seed))
