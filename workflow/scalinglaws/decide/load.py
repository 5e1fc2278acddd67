"""Read the study of a config file, and check the laws and figures that it names and what each run needs."""

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
        The folder of results, which has the exact sizes of corpora once these are tokenized.

    Raises
    ------
    StudyError
        The file cannot be read, or something in it cannot be run. It is raised before anything is trained.
    """
    return of_config(config_model.load(configfile), results)


def of_config(config: Config, results: Path = Path("results"), in_job: bool = False) -> Study:
    """Return the study of a config that has been read already. Raises StudyError as ``load`` does.

    A job on a cluster node (``in_job``) does not look at the tables of external_runs, which it may not need or see.
    """
    laws.asked(config.fits.laws)
    registry.asked(config.figures)
    if config.external_runs and not in_job:
        from scalinglaws.tables import external  # few studies have such tables, and pyarrow takes time to import

        external.check([(table.path, table.columns) for table in config.external_runs])
    found = study_model.build(config, results / "tokens")
    plugins.keep(results)
    return found
