"""Batch sizes by the rules that a config can name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from scalinglaws.optim.batches import BatchTokens, batch_tokens, depends_on_budget

READ: TypeAdapter[Any] = TypeAdapter(BatchTokens)


def batch(given: Any, tokens: int, unit: int = 1) -> int:
    return batch_tokens(READ.validate_python(given), tokens, unit)


def test_a_number_is_itself() -> None:
    assert batch("2^11", 10**6) == batch(2048, 10**9, 1000) == 2048


def test_step_law_at_a_hundred_billion_tokens() -> None:
    """0.58 · (1e11)^0.571 in logarithms to the base 10 is −0.236572 + 6.281 = 6.044428: 540.9 sequences of 2048."""
    assert batch("step-law", 10**11) == pytest.approx(10**6.044428, rel=1e-5)
    assert batch("step-law", 10**11, 2048) == 541 * 2048


def test_a_power_law_is_rounded_to_whole_units_and_never_to_none() -> None:
    law = {"coefficient": 2, "tokens_exponent": 0.5}
    assert batch(law, 10**6, 128) == 16 * 128  # 2000 is 15.6 units
    assert batch(law, 10**6, 5000) == 5000
    assert batch(law | {"max": 1000}, 10**6, 128) == 8 * 128


@pytest.mark.parametrize(
    ("given", "depends"),
    [
        (2048, False),
        ("step-law", True),
        ({"coefficient": 512, "tokens_exponent": 0}, False),
        ({"coefficient": 1, "tokens_exponent": 0.5}, True),
    ],
)
def test_rules_tell_whether_budgets_change_them(given: Any, depends: bool) -> None:
    assert depends_on_budget(READ.validate_python(given)) is depends


@pytest.mark.parametrize("given", [0, -5, 1.5, "steplaw", {"coefficient": 1}, {"coefficient": 0, "tokens_exponent": 1}, 2**41])
def test_impossible_values_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python(given)
