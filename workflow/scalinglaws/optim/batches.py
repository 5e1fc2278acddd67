"""Rules that give a run its batch size. This module imports no torch.

A config gives a number of tokens, the name of a rule without options, or the options of a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from scalinglaws.common.fields import Count, Rate

MOST_BATCH = 2**40  # tokens of a batch


class PowerBatch(BaseModel):
    """Batches of coefficient · tokens^tokens_exponent tokens, at most ``max``, rounded to whole sequences or micro-batches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coefficient: Annotated[Rate, Field(gt=0, le=1e30)]
    tokens_exponent: Annotated[Rate, Field(ge=-10, le=10)]
    max: Annotated[Count, Field(le=MOST_BATCH)] | None = None


# Li et al. 2025 ("Predictable Scale: Part I, Step Law", arXiv 2503.04715): the batch of least loss for D tokens, in tokens.
STEP_LAW = PowerBatch(coefficient=0.58, tokens_exponent=0.571)

# The type of the config key: a number of tokens, a name, or options.
if TYPE_CHECKING:
    BatchTokens = int | str | PowerBatch
else:
    BatchTokens = Annotated[Count, Field(le=MOST_BATCH)] | Literal["step-law"] | PowerBatch


def depends_on_budget(given: int | str | PowerBatch) -> bool:
    """Tell whether a checked value of the config key gives another batch for another budget."""
    return isinstance(given, str) or (isinstance(given, PowerBatch) and given.tokens_exponent != 0)


def batch_tokens(given: int | str | PowerBatch, tokens: int, unit: int) -> int:
    """Return the tokens of a batch.

    Parameters
    ----------
    given
        A checked value of the config key ``batch_tokens``: a number, which is returned as it is, or a rule.
    tokens
        The budget D.
    unit
        The tokens of what a batch is a whole number of: a sequence or a micro-batch.

    Returns
    -------
    int
        The multiple of ``unit`` that is nearest to what the rule gives, and at least one ``unit``.
    """
    if isinstance(given, int):
        return given
    rule = STEP_LAW if isinstance(given, str) else given
    batch = rule.coefficient * tokens**rule.tokens_exponent
    batch = min(batch, rule.max) if rule.max else batch
    return max(1, round(batch / unit)) * unit
