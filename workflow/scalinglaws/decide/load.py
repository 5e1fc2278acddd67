"""Read the study of a config file and check it against everything that it names: laws, figures and what each run needs."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.figures import registry
from scalinglaws.laws import registry as laws
from scalinglaws.study import config as config_model
from scalinglaws.study import plugins
from scalinglaws.study import study as study_model
from scalinglaws.study.config import Config
from scalinglaws.study.study import Study


def load(configfile: Path, results: Path = Path("results")) -> Study:
    """Return the study of a config file.

    Parameters
    ----------
    configfile
        The config, in YAML.
    results
        The folder of results, where the exact sizes of corpora stand once they are tokenized.

    Raises
    ------
    StudyError
        The file cannot be read, or something in it cannot be run. This is told before anything is trained.
    """
    return of_config(config_model.load(configfile), results)


def of_config(config: Config, results: Path = Path("results")) -> Study:
    """Return the study of a config that has been read already. Raises StudyError as ``load`` does."""
    laws.asked(config.fits.laws)
    registry.asked(config.figures)
    found = study_model.build(config, results / "tokens")
    plugins.keep(results)
    return found
