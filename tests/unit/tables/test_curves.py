"""Learning curves of runs that share a trunk: whose rows the table takes, and when it warns."""

import dataclasses
import json
import math

import pytest

from fixtures.small_runs import small_spec
from scalinglaws.tables.curves import Curve, curve_table
from scalinglaws.tables.schema import CURVES
from scalinglaws.tables.write import write
from scalinglaws.train.metrics import CurveRow

BASE = small_spec(schedule="wsd", stop="budget", decay=0.2)


def curve(steps, budget, loss, seed=0, **values):
    """Return the curve of a run of ``budget`` steps whose losses are ``loss``."""
    spec = dataclasses.replace(BASE, tokens=budget * BASE.batch_tokens, seed=seed)
    phases = ["decay" if step > spec.stable_steps else "stable" for step in steps]
    rows = [
        CurveRow(step, step * 64, phase, 0.01, loss, loss, None, 1.0, **values) for step, phase in zip(steps, phases, strict=True)
    ]
    return Curve(spec, 5000, rows)


def losses(rows):
    return {(row["run"], row["step"]): row["loss_test"] for row in rows}


def test_the_run_with_the_largest_budget_tells_the_stable_phase(tmp_path):
    """It started from the furthest rung, so that its rows are those of the trunk; the order of the runs does not matter."""
    small, large = curve([4, 8, 10], 10, 3.0), curve([4, 16, 20], 20, 3.000001)
    expected = {
        (None, 4): 3.000001,
        (None, 8): 3.0,
        (None, 16): 3.000001,
        (small.spec.id, 10): 3.0,
        (large.spec.id, 20): 3.000001,
    }
    for curves in ([small, large], [large, small]):
        rows, warnings = curve_table(curves)
        assert losses(rows) == expected and warnings == []
    write(rows, CURVES, tmp_path / "curves.parquet")


def test_between_equal_budgets_the_first_id_tells():
    one, other = curve([4], 10, 3.0), curve([4], 10, 3.001)
    other = Curve(dataclasses.replace(other.spec, decay=0.3), 5000, other.rows)
    assert one.spec.trunk == other.spec.trunk and one.spec.id != other.spec.id
    first = min(one, other, key=lambda each: each.spec.id)
    for curves in ([one, other], [other, one]):
        assert losses(curve_table(curves)[0]) == {(None, 4): first.rows[0].loss_test}


@pytest.mark.parametrize(("factor", "warns"), [(1 + 2e-16, 0), (1 + 9e-4, 0), (1 + 1.1e-3, 1), (0.5, 1)])
def test_a_difference_beyond_rounding_is_a_warning(factor, warns):
    rows, warnings = curve_table([curve([4], 10, 3.0 * factor), curve([4], 20, 3.0)])
    assert losses(rows) == {(None, 4): 3.0} and len(warnings) == warns


def test_a_warning_names_the_trunk_the_worst_step_and_its_runs():
    small, large = curve([4, 8], 10, 3.0), curve([4, 8], 20, 3.0)
    large = Curve(large.spec, 5000, [large.rows[0], dataclasses.replace(large.rows[1], loss_test=2.7)])
    large.rows[0] = dataclasses.replace(large.rows[0], loss_test=2.9)
    other = curve([4], 10, 3.0, seed=1)
    (warning,) = curve_table([small, other, large])[1]
    assert all(part in warning for part in (small.spec.trunk.id, "step 8", small.spec.id, large.spec.id, "10 %"))


def test_a_run_that_diverged_alone_is_a_warning():
    rows, (warning,) = curve_table([curve([4], 10, None), curve([4], 20, 3.0)])
    assert losses(rows) == {(None, 4): 3.0} and "one of them has diverged" in warning
    assert curve_table([curve([4], 10, None), curve([4], 20, None)])[1] == []


def test_losses_by_position_are_compared_where_both_have_them():
    measured = {"loss_by_position": [4.0, 3.0], "noise_square": 0.5, "noise_trace": 7.0}
    whole, before = curve([4], 10, 3.0, **measured), curve([4], 20, 3.0)
    (row,), warnings = curve_table([whole, before])
    assert {name: row[name] for name in measured} == measured and warnings == []
    assert len(curve_table([whole, curve([4], 20, 3.0, **measured | {"loss_by_position": [4.0, 3.1]})])[1]) == 1
    assert curve_table([whole, curve([4], 20, 3.0, **measured | {"noise_trace": 70.0})])[1] == []


def test_schedules_without_a_trunk_share_nothing():
    one, other = curve([4], 10, 3.0), curve([4], 20, 2.0)
    cosine = [Curve(dataclasses.replace(each.spec, schedule="cosine"), 5000, each.rows) for each in (one, other)]
    rows, warnings = curve_table(cosine)
    assert losses(rows) == {(each.spec.id, 4): each.rows[0].loss_test for each in cosine} and warnings == []
    assert math.isclose(rows[0]["flops_6nd"], 6 * BASE.n_params * 256) and json.dumps(rows)
