"""Learning rates of runs by the rules that a config can name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.optim.rates import RATES, LearningRate, rule_of

READ: TypeAdapter[Any] = TypeAdapter(LearningRate)


def rate(given: Any, n_params: int, tokens: int = 10**6) -> float:
    value = READ.validate_python(given)
    return rule_of(value).rate(value, n_params, tokens)


def test_a_number_is_itself() -> None:
    assert rate("1e-3", 10**6) == rate(0.001, 10**9) == 0.001


def test_kaplans_rate_at_two_sizes() -> None:
    """Equation D.1 is computed by hand: ln 1e6 is 13.8155 and ln 1.5e9 is 21.1287."""
    assert rate("kaplan", 10**6) == pytest.approx(0.003239 - 0.0001395 * 13.8155, rel=1e-5)
    assert rate("kaplan", 1_500_000_000) == pytest.approx(0.003239 - 0.0001395 * 21.1287, rel=1e-4)


def test_a_power_law_in_size_and_budget() -> None:
    law = {"coefficient": 2, "exponent": -0.5, "tokens_exponent": -0.25}
    assert rate(law, 10**4, 10**8) == pytest.approx(2 / 100 / 100)
    assert rate(law | {"max": "1e-5"}, 10**4, 10**8) == 1e-5


def test_step_law_at_a_billion_parameters() -> None:
    """1.79 · (1e9)^−0.713 · (1e11)^0.307 in logarithms to the base 10 is 0.25285 − 6.417 + 3.377 = −2.78715."""
    assert rate("step-law", 10**9, 10**11) == pytest.approx(10**-2.78715, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "depends"), [(0.1, False), ("kaplan", False), ("step-law", True), ({"tokens_exponent": 0}, False), ({}, True)]
)
def test_rules_tell_whether_budgets_change_them(given: Any, depends: bool) -> None:
    if isinstance(given, dict):
        given = {"coefficient": 1, "exponent": -0.2, "tokens_exponent": 0.3} | given
    value = READ.validate_python(given)
    assert rule_of(value).depends_on_budget(value) is depends


@pytest.mark.parametrize("given", [0, -0.1, "kaplam", {"coefficient": 1}, {"coefficient": 1, "exponent": 0, "exponnent": 1}])
def test_impossible_values_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python(given)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(StudyError, match="learning_rate: 'kaplam' is unknown: did you mean kaplan"):
        rule_of("kaplam")


def test_registries_import_no_torch() -> None:
    assert list(RATES) == ["number", "kaplan", "step-law", "power"]
    code = "import sys, scalinglaws.optim.registry, scalinglaws.optim.rates, scalinglaws.optim.schedule, scalinglaws.optim.base"
    code += ", scalinglaws.optim.parametrization, scalinglaws.optim.batches"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
