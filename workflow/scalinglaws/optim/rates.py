"""Rules that give a run its learning rate. This module imports no torch.

A config gives a number, the name of a rule without options, or the options of a rule: its keys tell which rule is meant. A new
rule is one entry of ``RATES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field

from scalinglaws.common.fields import Rate
from scalinglaws.common.registry import Registry

SMALLEST_RATE, LARGEST_RATE = 1e-15, 1000.0  # far from any rate that trains: what lies beyond them is a slip
Positive = Annotated[Rate, Field(gt=0, ge=SMALLEST_RATE, le=LARGEST_RATE)]
Exponent = Annotated[Rate, Field(ge=-10, le=10)]


class PowerRate(BaseModel):
    """Learning rate coefficient · N^exponent · tokens^tokens_exponent, at most ``max``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coefficient: Annotated[Rate, Field(gt=0, le=1e30)]
    exponent: Exponent
    tokens_exponent: Exponent = 0.0
    max: Positive | None = None


def constant_rate(value: float, n_params: int, tokens: int) -> float:
    """Return the number that the config gives."""
    return float(value)


def kaplan_rate(n_params: float) -> float:
    """Return LR(N) for Adam and batches of 2^19 tokens; it is negative from N near 1.2e10 on.

    Parameters
    ----------
    n_params
        N, the parameters without embeddings.

    Returns
    -------
    float
        The learning rate.

    References
    ----------
    Kaplan et al. 2020, equation D.1.
    """
    return 0.003239 - 0.0001395 * math.log(n_params)


def power_rate(options: PowerRate, n_params: int, tokens: int) -> float:
    """Return a power law in the parameters N and the tokens of the budget, cut off at ``options.max``."""
    rate = options.coefficient * n_params**options.exponent * tokens**options.tokens_exponent
    return min(rate, options.max) if options.max else rate


@dataclass(frozen=True)
class RateRule:
    """A rule for the learning rate.

    ``rate(given, N, tokens)`` is a pure function of what the config gives, the parameters without embeddings and the budget.
    ``budget_option`` names the option by which the rate depends on the budget where it is not zero; a rule without options
    that depends on it has ``horizon``.
    """

    name: str
    rate: Callable[[Any, int, int], float]
    options: type[BaseModel] | None = None
    budget_option: str = ""
    horizon: bool = False
    valid: str = ""  # says where the rule holds, for the error where it gives no positive rate

    def depends_on_budget(self, given: Any) -> bool:
        """Tell whether the rate is another one for another budget."""
        return self.horizon or bool(self.budget_option and getattr(given, self.budget_option))


# Li et al. 2025 ("Predictable Scale: Part I, Step Law", arXiv 2503.04715): the rate of least loss for N without embeddings and D.
STEP_LAW = PowerRate(coefficient=1.79, exponent=-0.713, tokens_exponent=0.307)

NUMBER = RateRule("number", constant_rate)
RATES = Registry(
    "learning_rate",
    [
        NUMBER,
        RateRule("kaplan", lambda _, n_params, tokens: kaplan_rate(n_params), valid="the rule ends near 1e10 parameters"),
        RateRule("step-law", lambda _, n_params, tokens: power_rate(STEP_LAW, n_params, tokens), horizon=True),
        RateRule("power", power_rate, PowerRate, budget_option="tokens_exponent"),
    ],
)

# The type of the config key: a positive number, a name, or options.
if TYPE_CHECKING:
    LearningRate = float | str | BaseModel
else:
    _NAMES = tuple(rule.name for rule in RATES.values() if rule.options is None and rule is not NUMBER)
    _OPTIONS = tuple(rule.options for rule in RATES.values() if rule.options)
    LearningRate = Union[(Positive, Literal[_NAMES], *_OPTIONS)]


def rule_of(given: float | str | BaseModel) -> RateRule:
    """Return the rule that a checked value of the config key ``learning_rate`` asks for.

    Raises
    ------
    StudyError
        No rule has the name that is given.
    """
    if isinstance(given, str):
        return RATES.find(given)
    if isinstance(given, BaseModel):
        return next(rule for rule in RATES.values() if rule.options is type(given))
    return NUMBER
