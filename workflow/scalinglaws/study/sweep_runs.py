"""The runs of the sweeps of the learning rate that a config asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.optim.swept import SweptRate
from scalinglaws.study.config import Config, Settings
from scalinglaws.study.explain import explain
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.sweeps import Sweep

EXPERIMENT = "learning-rate-sweep"  # what the runs of sweeps are listed under
# Settings that a sweep does not take from the runs that use it; they have no part in which rate is best, or sizes and budget.
OWN: dict[str, Any] = {"max_tokens": None, "dataset_tokens": "all", "stop": "budget", "patience": 4, "noise_every": 0, "seed": 0}
VARIED = {*OWN, "model", "tokens", "learning_rate"}


@dataclass
class Sweeps:
    """The sweeps of a study, as its points ask for them one by one: points that agree in all but ``VARIED`` share one.

    ``found`` has the sweeps by id, and ``runs`` the runs of all of them.
    """

    found: dict[str, Sweep] = field(default_factory=dict)
    runs: dict[str, RunSpec] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def of(self, s: Settings, where: str, resolve: Callable[[Settings, str], RunSpec]) -> str:
        """Return the id of the sweep that gives a point its rate; empty where a number or a rule of the config does.

        Parameters
        ----------
        s
            The settings of the point.
        where
            Their place in the config, for errors.
        resolve
            Makes the spec of a run from settings and their place.

        Raises
        ------
        StudyError
            A run of the sweep cannot be run, or its rates are impossible.
        """
        if not isinstance(s.learning_rate, SweptRate):
            return ""
        key = s.learning_rate.model_dump_json() + s.model_dump_json(exclude=VARIED)
        if key not in self._known:
            made = {spec.id: spec for spec in _runs(s, f"{where}: learning_rate.sweep", resolve)}
            sweep = Sweep(tuple(sorted(made)))
            self.found[sweep.id] = sweep
            self.runs |= made
            self._known[key] = sweep.id
        return self._known[key]


def _runs(s: Settings, where: str, resolve: Callable[[Settings, str], RunSpec]) -> Iterator[RunSpec]:
    """Yield the runs of the sweep that a point asks for."""
    assert isinstance(s.learning_rate, SweptRate)
    options = s.learning_rate.sweep
    if foreign := sorted(VARIED & options.settings.keys()):
        raise StudyError(f"{where}.settings.{foreign[0]}: a sweep says this by keys of its own, or has one value of it alone")
    for i, size in enumerate(options.sizes):
        at = f"{where}.sizes[{i}]"
        # The rate stands in: the runs of a size differ in rate and seed alone.
        own = {**s.model_dump(), **options.settings, **OWN, "model": size, "tokens": options.tokens, "learning_rate": 1.0}
        try:
            one = resolve(Settings.model_validate(own), at)
            rates = options.at(one.n_params, one.optimizer)
        except ValidationError as error:
            raise StudyError(f"the settings of a sweep are not valid:\n{explain(error, Settings, at)}") from None
        except StudyError as error:
            raise StudyError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
        yield from (replace(one, learning_rate=rate, seed=seed) for rate in rates for seed in options.seeds)


def check(config: Config, sweeps: Sweeps, forecasts: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse what sweeps and the rest of a study cannot both have.

    Parameters
    ----------
    config
        The config of the study.
    sweeps
        Its sweeps.
    forecasts
        Run -> its experiments, for the runs that are forecast.

    Raises
    ------
    StudyError
        An experiment has the name that the runs of sweeps are listed under, or a forecast waits for runs that wait for it.
    """
    if sweeps.found and EXPERIMENT in config.experiments:
        raise StudyError(f"experiments.{EXPERIMENT}: the runs of the study's sweeps are listed under this name: choose another")
    for run in sorted(forecasts.keys() & sweeps.runs.keys()):
        raise StudyError(
            f"experiments.{forecasts[run][0]}: forecast: true, and run {run} of it is one of a sweep of the learning rate, which "
            "other runs wait for: leave it out of the experiment, or give the sweep other rates or another budget"
        )
