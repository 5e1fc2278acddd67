"""The order in which forecasts are made: fitted runs, their tables, fits, forecasts, the runs that are forecast, all tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.dag import context, inputs, order, targets, tidy
from scalinglaws.dag.context import Context

AHEAD = {"forecast": True, "points": [{"model": "4x64", "tokens": "2M"}, {"model": "4x64", "tokens": "8M"}]}
OWN = "results/studies/test"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(**more: object) -> Context:
    return context.read(changed(experiments=STUDY["experiments"] | {"ahead": AHEAD}) | more, "config.yaml", in_job=False)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_forecasts_wait_for_the_fits_of_their_laws_and_these_for_what_they_can_be_fitted_to() -> None:
    one, plain = made(), context.read(STUDY, "config.yaml", in_job=False)
    short, long = sorted(one.study.forecasts, key=lambda run: one.study.runs[run].tokens)
    fitted = targets.runs(one, one.study.fitted)
    assert fitted == targets.runs(plain) and len(targets.runs(one)) == len(fitted) + 2
    early = {run for run in one.study.fitted if one.study.runs[run].stop == "early"}
    assert early and one.study.basis == one.study.fitted - early
    assert str(one.tables_of_law("chinchilla")) == f"{OWN}/basis" and str(plain.tables_of_law("chinchilla")) == f"{OWN}/tables"
    assert str(one.tables_of_law("power-d")) == f"{OWN}/tables"
    fits = [f"{OWN}/fits/{law}.json" for law in ("chinchilla", "overtraining", "power-c", "power-c-offset")]
    forecast = f"{OWN}/forecasts/{long}.json"
    assert inputs.sources_of_forecast(one, long) == [f"{OWN}/basis/runs.parquet", *fits]
    assert inputs.forecast_of_run(one, long) == [forecast] and inputs.forecast_of_run(one, min(one.study.fitted)) == []
    trunk, steps = one.study.trunk_ids[long], one.study.rungs[one.study.trunk_ids[long]]
    assert inputs.forecasts_of_rung(one, trunk, steps[-1]) == [forecast]
    assert inputs.forecasts_of_rung(one, trunk, steps[0]) == [f"{OWN}/forecasts/{run}.json" for run in sorted((short, long))]
    assert set(targets.forecasts(one)) == {f"{OWN}/forecasts/{run}.json" for run in (short, long)}
    assert targets.forecasts(plain) == targets.scores(plain) == [] and "forecasts" not in plain.figures

    touch(forecast)  # a fit that is missing and made again does not make it again
    assert inputs.sources_of_forecast(one, long) == []
    touch(f"results/runs/{long}/metrics.json", f"results/trunks/{trunk}/step{steps[0]}.safetensors")
    assert inputs.forecast_of_run(one, long) == inputs.forecasts_of_rung(one, trunk, steps[0]) == []
    assert inputs.forecasts_of_rung(one, trunk, steps[-1]) == []


def test_fits_say_what_the_forecast_runs_will_come_out_with() -> None:
    one = made()
    places = inputs.places_of_law(one, "chinchilla")
    n = float(max(spec.n_params for spec in one.study.runs.values()))
    tokens = [one.study.runs[run].steps * 2048.0 for run in sorted(one.study.forecasts)]
    assert places == [f"--at=n_params={n},tokens={of}" for of in tokens]
    assert inputs.places_of_law(one, "power-c") == [f"--at=flops={6 * n * of}" for of in tokens]
    assert inputs.places_of_law(one, "power-n") == []


def test_no_bundle_has_a_run_that_is_forecast() -> None:
    device = {"name": "X", "bfloat16": 1e14, "float32": 1e14, "utilisation": 0.5, "memory_gib": 80, "gpus_per_node": 4}
    one = made(device=device | {"small_minutes": 9999, "bundle_minutes": 100_000})
    assert one.bundles and not one.study.forecasts & one.bundle_of_run.keys()
    fitted = targets.runs(one, one.study.fitted)
    assert fitted == [f"results/bundles/{name}.done" for name in one.bundles]
    assert targets.runs(one) == [*(f"results/runs/{run}/metrics.json" for run in sorted(one.study.forecasts)), *fitted]


def test_what_is_left_of_forecasts_that_are_no_longer_asked_for() -> None:
    plain = context.read(STUDY, "config.yaml", in_job=False)
    gone = [f"{OWN}/basis/runs.parquet", f"{OWN}/basis/aggregate.sha256", f"{OWN}/tables/forecasts.parquet"]
    kept = [f"{OWN}/forecasts/gpt.json", f"{OWN}/forecasts/gpt.sha256"]
    touch(*gone, *kept)
    assert set(gone) <= set(map(str, tidy.spent(plain))) and not set(gone) & set(map(str, tidy.spent(made())))
    assert not set(kept) & set(map(str, tidy.spent(plain)))


def test_what_a_forecast_waits_for_starts_first() -> None:
    aside = {"fit": False, "points": [{"model": "8x256", "tokens": "9M"}]}
    one = context.read(changed(experiments=STUDY["experiments"] | {"aside": aside, "ahead": AHEAD}), "config.yaml", in_job=False)
    (other,) = one.study.runs.keys() - one.study.fitted - one.study.forecasts
    of_runs = {run: order.priority_of_run(one, run, 2) for run in one.study.runs}
    forecast = [of_runs[run] for run in one.study.forecasts]
    assert min(*forecast, *(of_runs[run] for run in one.study.basis)) > of_runs[other] > 0
    assert order.priority_of_fit(one, "chinchilla", 2) == order.priority_of_forecasts(one, 2) > max(of_runs.values())
    assert order.priority_of_fit(one, "power-n", 2) == 0
    plain = context.read(STUDY, "config.yaml", in_job=False)
    assert order.priority_of_forecasts(plain, 2) == order.priority_of_fit(plain, "chinchilla", 2) == 0
