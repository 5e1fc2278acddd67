"""A law of a mixture of experts takes N of every expert, or by ``--columns`` the N that a token meets."""

from __future__ import annotations

import numpy as np
import polars
import pytest

from fixtures.small_runs import model_fields, small_spec
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import select
from scalinglaws.models.count import n_params_active

ALPHA, SCALE = 0.12, 3e7


def table() -> polars.DataFrame:
    """Return runs of five sizes whose loss is a power law in the parameters that a token meets."""
    rows = []
    for width, n_experts in ((32, 4), (48, 8), (64, 16), (96, 8), (128, 32)):
        spec = small_spec(**model_fields("moe", 2, width, n_experts=n_experts))
        active = n_params_active(spec.shape(256))
        loss = (SCALE / active) ** ALPHA
        rows.append({"run": spec.id, "n_params": spec.n_params, "n_params_active": active, "tokens": 10**9, "loss": loss})
    return polars.DataFrame(rows)


def test_columns_choose_which_parameters_count() -> None:
    runs = table()
    assert (runs["n_params_active"] < runs["n_params"]).all()
    for columns, name in ((None, "n_params"), ({"n_params": "n_params_active"}, "n_params_active")):
        points = select(runs, LAWS["power-n"], columns)
        assert np.array_equal(np.sort(points.columns["n_params"]), np.sort(runs[name].to_numpy().astype(float)))


def test_the_planted_law_is_found_by_active_parameters_alone() -> None:
    by_active, by_all = (
        fit_table(table(), "power-n", columns=columns, n_bootstrap=20)["parameters"]["alpha_N"]["estimate"]
        for columns in ({"n_params": "n_params_active"}, None)
    )
    assert by_active == pytest.approx(ALPHA, rel=1e-3) and abs(by_all - ALPHA) > 0.01
