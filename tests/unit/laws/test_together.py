"""Several forecasts as one, and the laws of files and of tables that are asked for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes
from scalinglaws.laws.fit import Objective
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.together import combined, compute_for, of_file, of_table
from scalinglaws.laws.tradeoffs import surface

EXAMPLE = Path(__file__).parents[3] / "docs" / "example.csv"


def one(loss: float, half: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a forecast with a half-width in log loss."""
    return np.array([loss]), np.array([loss * np.exp(-half)]), np.array([loss * np.exp(half)])


def test_one_forecast_together_is_itself() -> None:
    assert np.ravel(combined([one(2.0, 0.05)])) == pytest.approx(np.ravel(one(2.0, 0.05)))
    assert np.ravel(combined([one(2.0, 0.05)] * 3)) == pytest.approx(np.ravel(one(2.0, 0.05)))


def test_the_interval_of_several_is_that_of_samples_of_their_mixture() -> None:
    """Half-widths of 1.96 standard deviations; weights are inverse squares of half-widths, 0.8 and 0.2 here."""
    middle, low, high = (float(end[0]) for end in combined([one(2.0, 0.0392), one(2.2, 0.0784)]))
    rng = np.random.default_rng(0)
    first = rng.random(1_000_000) < 0.8
    drawn = np.where(first, rng.normal(np.log(2.0), 0.02, first.size), rng.normal(np.log(2.2), 0.04, first.size))
    assert np.log(middle) == pytest.approx(drawn.mean(), abs=2e-4)
    assert (np.log(high) - np.log(low)) / 2 == pytest.approx(1.96 * drawn.std(), rel=5e-3)


def test_forecasts_that_disagree_have_a_wide_interval() -> None:
    _, low, high = combined([one(1.4, 1e-4), one(1.2, 1e-4)])
    assert low[0] < 1.2 and high[0] > 1.4


def test_a_forecast_without_an_interval_leaves_none_together() -> None:
    middle, low, high = combined([one(2.0, 0.05), one(2.2, np.nan)])
    assert middle[0] == pytest.approx(np.sqrt(2.0 * 2.2))
    assert np.isnan(low[0]) and np.isnan(high[0])


def test_a_forecast_that_is_not_made_takes_no_part() -> None:
    assert np.ravel(combined([one(2.0, 0.05), one(np.nan, np.nan)])) == pytest.approx(np.ravel(one(2.0, 0.05)))


def test_the_compute_of_a_loss_inverts_the_forecast() -> None:
    def forecast(flops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        loss = 1.5 + (flops / 1e20) ** -0.15
        return loss, loss * 0.99, loss * 1.01

    found, low, high = compute_for(2.0, forecast, 1e19)
    assert found == pytest.approx(1e20 * 0.5 ** (-1 / 0.15), rel=1e-3)
    assert low == pytest.approx(1e20 * (2.0 / 0.99 - 1.5) ** (-1 / 0.15), rel=0.01) and low < found < high
    assert np.isnan(compute_for(1.4, forecast, 1e19)[0])


def test_a_fit_is_made_again_from_its_file(tmp_path: Path) -> None:
    """The parameters, and the forecasts with their intervals, are bit for bit those that the fit wrote."""
    table, place = pl.read_csv(EXAMPLE), {"n_params": 5e9, "tokens": 3e11}
    wrote = fit_table(table, "chinchilla", n_bootstrap=30, at=[place])
    path = tmp_path / "chinchilla.json"
    sums.finish(sums.beside(path), [], path, json_bytes(wrote))
    again = of_file(path, 30, 0)
    assert again is not None
    assert again.fit.natural.tolist() == [of["estimate"] for of in wrote["parameters"].values()]
    found = again.losses(np.array([5e9]), np.array([3e11]), surface(again.fit))
    for name in ("loss", "run_low", "run_high", "factor", "reach"):
        assert float(found[name][0]) == wrote["predictions"][0][name]
    of_runs, told = of_table(table, "chinchilla", Objective(), 30, 0)
    assert of_runs.fit.natural.tolist() == again.fit.natural.tolist() and told == []
    assert of_runs.largest == again.largest


def test_a_fit_that_was_edited_is_no_basis(tmp_path: Path) -> None:
    path = tmp_path / "chinchilla.json"
    sums.finish(sums.beside(path), [], path, json_bytes({"parameters": {}}))
    assert of_file(path, 2, 0) is None
    path.write_text(json.dumps({"parameters": {"E": 1}}))
    with pytest.raises(StudyError, match=r"chinchilla\.json"):
        of_file(path, 2, 0)


def test_a_law_of_compute_speaks_of_runs_near_the_best_size() -> None:
    """There it is asked at the compute at which the best run has the same loss; a run of a bad size is none of its own."""
    table = pl.read_csv(EXAMPLE)
    law = surface(of_table(table, "chinchilla", Objective(), 2, 0)[0].fit)
    of_compute, _ = of_table(table, "power-c", Objective(), 2, 0)
    n, d = map(float, law.best(1e21))
    factors = np.array([1.0, 1.5, 30.0])
    best, near, wrong = of_compute.losses(n * factors, d / factors, law)["loss"]
    n_less, d_less = (value[None] for value in law.best(law.least_flops(law.loss(1.5 * n, d / 1.5))))
    assert near == pytest.approx(float(of_compute.losses(n_less, d_less, law)["loss"][0]))
    assert near > best and np.isnan(wrong)
