"""Learning rates that a sweep gives: what a config says of it. This module imports no torch.

A config gives a rule of ``optim/rates.py``, or a sweep: runs of small models at several rates, to which a rule is fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import Count, Seed
from scalinglaws.common.numbers import round_float
from scalinglaws.optim.rates import LARGEST_RATE, SMALLEST_RATE, Positive, PowerRate, rule_of
from scalinglaws.optim.rates import LearningRate as RuleOfRate

FEWEST_RATES, MOST_RATES = 5, 50  # of a sweep at each size
FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# The rule that the default rates lie about: that of config.yaml, which was measured for AdamW (docs/learning-rate.md).
AROUND = {"adamw": PowerRate(coefficient=0.6, exponent=-0.41)}
Rates = Annotated[list[Positive], Field(min_length=FEWEST_RATES, max_length=MOST_RATES)]


class SweepOptions(BaseModel):
    """Runs of ``sizes`` for ``tokens`` at ``rates``, the same at all sizes, or at ``factors`` of a rule that lies ``around``.

    By default there are seven rates a factor of 2 apart, about 0.6 · N^-0.41 for the optimizer adamw. Each rate is run with each
    of the ``seeds``. All other settings are those of the runs that take their rates from the sweep, apart from ``settings``: keys
    of an experiment that the sweep has another value of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sizes: Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=100)]
    tokens: Count
    rates: Rates | None = None
    factors: Rates | None = None
    around: RuleOfRate | None = None
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)] = [0]
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_way(self) -> SweepOptions:
        if self.rates and (self.factors or self.around is not None):
            raise ValueError("give either rates, or factors and the rule around which they lie")
        for name in ("rates", "factors"):
            given = getattr(self, name) or []
            if given and len({round_float(value) for value in given}) < FEWEST_RATES:
                raise ValueError(
                    f"{name}: {FEWEST_RATES} different values are needed at least, so that a best one lies between them"
                )
        return self

    def at(self, n_params: int, optimizer: str) -> list[float]:
        """Return the rates of the sweep at a size, ascending, rounded to the digits that are hashed.

        Parameters
        ----------
        n_params
            N, the parameters without embeddings.
        optimizer
            The optimizer, which the default rates depend on.

        Raises
        ------
        StudyError
            There are no default rates for the optimizer, or a rate is impossible.
        """
        if self.rates:
            return sorted({round_float(rate) for rate in self.rates})
        around = AROUND.get(optimizer) if self.around is None else self.around
        if around is None:
            raise StudyError(
                f"the default rates suit the optimizers {', '.join(AROUND)} alone, not {optimizer}: give rates, or around: a "
                "rule such as {coefficient: 0.5, exponent: -0.4}"
            )
        centre = rule_of(around).rate(around, n_params, self.tokens)
        rates = sorted({round_float(centre * factor) for factor in self.factors or FACTORS})
        if not SMALLEST_RATE <= rates[0] <= rates[-1] <= LARGEST_RATE:
            raise StudyError(
                f"rates of {rates[0]:.2g} to {rates[-1]:.2g} at N = {n_params}: rates from {SMALLEST_RATE:g} to {LARGEST_RATE:g} "
                "are expected"
            )
        return rates


class SweptRate(BaseModel):
    """The learning rate of the rule c · N^a that is fitted to a sweep of the rate at small sizes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sweep: SweepOptions


def _form(value: Any) -> str:
    """Tell which form the value of the config key has, so that what is wrong in it is told of that form alone."""
    return "SweptRate" if isinstance(value, SweptRate) or (isinstance(value, dict) and "sweep" in value) else "rule"


# The type of the config key: what a rule takes (optim/rates.py), or a sweep.
if TYPE_CHECKING:
    LearningRate = float | str | BaseModel
else:
    LearningRate = Annotated[
        Annotated[RuleOfRate, Tag("rule")] | Annotated[SweptRate, Tag("SweptRate")],
        Discriminator(_form),
    ]
