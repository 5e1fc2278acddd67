"""Experiments with forecast: true: which runs are forecast, which rungs wait for a forecast, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
from scalinglaws.laws.registry import forecasting
from scalinglaws.study import config
from scalinglaws.study.study import Study, build


def with_forecast(**experiment: Any) -> dict[str, Any]:
    given = {"forecast": True, "points": [{"model": "4x64", "tokens": "8M"}]} | experiment
    return changed(experiments=STUDY["experiments"] | {"ahead": given})


def built(**experiment: Any) -> Study:
    return build(config.parse(with_forecast(**experiment)))


def test_the_runs_of_a_forecast_experiment_are_in_no_fit() -> None:
    made, before = built(), build(config.parse(STUDY))
    (run,) = made.forecasts
    assert made.experiments[run] == ("ahead",) and run not in made.fitted
    assert made.fitted == before.fitted and made.fitted_kinds == before.fitted_kinds
    assert made.kinds == before.kinds | {"forecast"} and not before.forecasts
    entries = {entry["run"]: entry for entry in map(json.loads, made.manifest)}
    assert {name for name, entry in entries.items() if entry["forecast"]} == {run} and not entries[run]["fit"]
    assert forecasting(made)[:2] == ("chinchilla", "overtraining") and forecasting(before) == ()


def test_rungs_wait_for_the_forecasts_of_the_runs_that_alone_need_them() -> None:
    data = with_forecast(points=[{"model": "4x64", "tokens": tokens} for tokens in ("2M", "8M")])
    data["experiments"]["start"] = {"points": [{"model": "4x64", "tokens": "1M"}]}
    made = build(config.parse(data))
    short, long = sorted(made.forecasts, key=lambda run: made.runs[run].tokens)
    assert {trunk for trunk, _ in made.forecasts_of_rungs} == {made.trunk_ids[long]}
    # The rungs lie at 400k·2^k tokens. Those at 0.4M and 0.8M are on the way of the fitted run, too.
    found = {round(step * 2048 / 4e5): set(runs) for (_, step), runs in made.forecasts_of_rungs.items()}
    assert found == {4: {short, long}, 8: {long}, 16: {long}}


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        ({"fit": True}, "experiments.ahead: fit: true and forecast: true contradict each other"),
        (
            {"points": [{"model": "2x32", "tokens": "8M"}]},
            "experiments.ahead and experiments.size both ask for run gpt-n24.6k-t8.0M",
        ),
        ({"points": [{"model": "4x64", "tokens": "20M"}]}, "its budget is 2.11 times the training text"),
        ({"dataset_tokens": "1M"}, "its dataset is limited; give dataset_tokens: all"),
        ({"schedule": "constant"}, "its learning rate does not decay"),
        (
            {"stop": "early", "points": [{"model": "4x64"}], "max_tokens": "1M", "schedule": "constant"},
            "it is stopped early; give stop: budget",
        ),
    ],
)
def test_what_no_law_can_forecast_is_refused(experiment: dict[str, Any], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        built(**experiment)


def test_a_study_without_a_law_that_forecasts_is_refused() -> None:
    for data in (
        with_forecast() | {"fits": {"laws": ["power-n"]}},
        changed(experiments={"ahead": with_forecast()["experiments"]["ahead"]}),
    ):
        with pytest.raises(StudyError, match="no law that states it is fitted to other runs: name one of power-c"):
            of_config(config.parse(data))
    of_config(config.parse(with_forecast(fit=False)))  # says twice that no law is fitted to it
