"""What the rules of a config give a run: its learning rate, its batch size and its parametrization.

A rule that depends on the budget is refused under the schedule wsd, where budgets share their stable phase.
"""

from __future__ import annotations

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import round_float
from scalinglaws.optim import batches, parametrization
from scalinglaws.optim.rates import LARGEST_RATE, SMALLEST_RATE, rule_of
from scalinglaws.study.config import Settings
from scalinglaws.study.spec import RunSpec

SHARED = "under schedule wsd all budgets share one stable phase, so the {what} cannot depend on the budget: {do} use schedule cosine, linear or constant"


def resolve_rate(s: Settings, n: int, tokens: int, where: str) -> float:
    """Compute the learning rate of a run by the rule that its config gives (optim/rates.py).

    Parameters
    ----------
    s
        The settings of the run.
    n
        N, the parameters without embeddings.
    tokens
        The budget.
    where
        The place of the settings in the config, for errors.

    Returns
    -------
    float
        The rate, rounded to the digits that are hashed.

    Raises
    ------
    StudyError
        The rule gives no positive rate at this size, one above 1000, or one that depends on the budget under a schedule that
        shares trunks.
    """
    given, rule = s.learning_rate, rule_of(s.learning_rate)
    if rule.depends_on_budget(given) and s.schedule == "wsd":
        key, do = (f".{rule.budget_option}", "set it to 0 or") if rule.budget_option else (f": {rule.name}", "name another rule, or")
        raise StudyError(f"{where}: learning_rate{key}: {SHARED.format(what='rate', do=do)}")
    rate = rule.rate(given, n, tokens)
    if not SMALLEST_RATE <= rate <= LARGEST_RATE:
        why = (rate <= 0 and rule.valid) or f"a rate from {SMALLEST_RATE:g} to {LARGEST_RATE:g} is expected"
        raise StudyError(f"{where}: learning_rate: {rule.name} gives {rate:.2g} at N = {n}: {why}")
    return round_float(rate)


def resolve_batch(s: Settings, tokens: int, where: str) -> int:
    """Compute the tokens of a batch by the rule that the config gives (optim/batches.py).

    Parameters
    ----------
    s
        The settings of the run.
    tokens
        The budget.
    where
        The place of the settings in the config, for errors.

    Returns
    -------
    int
        A number as it is given; by a rule, a whole number of micro-batches, or of sequences where there are none.

    Raises
    ------
    StudyError
        The rule depends on the budget under a schedule that shares trunks, or it gives too large a batch.
    """
    if batches.depends_on_budget(s.batch_tokens) and s.schedule == "wsd":
        key, do = (": step-law", "give a number, or") if isinstance(s.batch_tokens, str) else (".tokens_exponent", "set it to 0 or")
        raise StudyError(f"{where}: batch_tokens{key}: {SHARED.format(what='batch', do=do)}")
    batch = batches.batch_tokens(s.batch_tokens, tokens, s.micro_batch_tokens or s.n_ctx)
    if batch > batches.MOST_BATCH:
        raise StudyError(f"{where}: batch_tokens: the rule gives {batch:.2g} tokens at a budget of {tokens:.2g}: 2^40 are the most")
    return batch


def check_parametrization(spec: RunSpec, where: str) -> None:
    """Refuse a parametrization that has no rules for the architecture or the optimizer of a run. Raises StudyError."""
    try:
        parametrization.check(spec)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
