"""Learning rates over the steps of a run, by their formulas."""

from __future__ import annotations

import math

import pytest

from fixtures.small_runs import small_spec
from scalinglaws.common.errors import StudyError
from scalinglaws.optim.schedule import learning_rate, phase


def rates(schedule: str, **changes: float) -> list[float]:
    spec = small_spec(schedule=schedule, tokens=6400, warmup_tokens=640, learning_rate=2.0, **changes)
    return [learning_rate(spec, step) for step in range(spec.steps)]


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear", "constant"])
def test_warm_up_is_linear_to_the_rate(schedule: str) -> None:
    assert rates(schedule)[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])


def test_wsd_is_constant_then_one_minus_sqrt() -> None:
    got = rates("wsd", decay=0.2)
    assert got[10:81] == [2.0] * 71
    assert got[80:] == pytest.approx([2 * (1 - math.sqrt(k / 20)) for k in range(20)])


def test_cosine_linear_and_constant() -> None:
    at = [k / 90 for k in range(90)]
    assert rates("cosine")[10:] == pytest.approx([1 + math.cos(math.pi * x) for x in at])
    assert rates("linear")[10:] == pytest.approx([2 * (1 - x) for x in at])
    assert rates("constant")[10:] == [2.0] * 90


def test_no_warm_up_starts_at_the_rate() -> None:
    assert learning_rate(small_spec(warmup_tokens=0), 0) == 0.01


def test_a_trunk_has_its_runs_rates_before_the_decay_and_never_falls() -> None:
    run = small_spec(tokens=6400, decay=0.3)
    for step in range(run.stable_steps):
        assert learning_rate(run, step) == learning_rate(run.trunk, step)
        assert phase(run, step) == phase(run.trunk, step) == ("warmup" if step < 4 else "stable")
    assert phase(run, run.stable_steps) == "decay"
    assert learning_rate(run.trunk, 10**9) == run.learning_rate


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(StudyError, match="schedule: 'step'"):
        learning_rate(small_spec(schedule="step"), 0)
