"""Evaluation steps that no budget moves."""

from __future__ import annotations

from fixtures.small_runs import small_spec
from scalinglaws.train.steps import is_eval_step, is_validation_step


def test_evaluation_steps_depend_on_the_step_alone() -> None:
    assert [step for step in range(200) if is_eval_step(step)] == sorted({round(2 ** (k / 4)) for k in range(12, 31)})
    big = round(2 ** (97 / 4))
    assert is_eval_step(big) and not is_eval_step(big + 1)


def test_validation_steps_are_curve_points_from_32_on() -> None:
    spec = small_spec(stop="early")
    steps = [step for step in range(200) if is_validation_step(spec, step)]
    assert steps == sorted({round(2 ** (k / 4)) for k in range(20, 31)})
    assert not any(is_validation_step(small_spec(), step) for step in range(200))
