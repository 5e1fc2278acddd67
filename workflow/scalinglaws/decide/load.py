"""Read the study of a config file, and check the laws and figures that it names and what each run needs."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.decide import named_files
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
        The folder of results, which has the exact sizes of corpora once these are tokenized.

    Raises
    ------
    StudyError
        The file cannot be read, something in it cannot be run, or a file that it names is missing or is another one. It is
        raised before anything is trained.
    """
    found = of_config(config_model.load(configfile), results)
    named_files.check(found, results)
    return found


def of_config(config: Config, results: Path = Path("results")) -> Study:
    """Return the study of a config that has been read already, without a look at the files that it names.

    Raises StudyError as ``load`` does.
    """
    laws.asked(config.fits.laws)
    registry.asked(config.figures)
    found = study_model.build(config, results / "tokens")
    laws.forecasting(found)
    plugins.keep(results)
    return found
