"""The study of a config file, checked against everything that it names: laws, figures and what each run needs."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.figures import registry
from scalinglaws.laws import registry as laws
from scalinglaws.study import config as config_model
from scalinglaws.study import study as study_model
from scalinglaws.study.config import Config
from scalinglaws.study.study import Study


def load(configfile: Path, results: Path = Path("results")) -> Study:
    """The study of a config file. Raises StudyError for whatever in it cannot be run, before anything is."""
    return of_config(config_model.load(configfile), results)


def of_config(config: Config, results: Path = Path("results")) -> Study:
    """The study of a config that is read already. Raises StudyError as ``load`` does."""
    laws.asked(config.fits.laws)
    registry.asked(config.figures)
    return study_model.build(config, results / "tokens")
