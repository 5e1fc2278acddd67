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


def _refuse_shared(key: str, what: str, instead: str) -> None:
    """Refuse a rule that depends on the budget where budgets share trunks. Raises StudyError."""
    raise StudyError(
        f"{key}: under schedule wsd all budgets share one stable phase, so the {what} cannot depend on the budget: {instead} "
        "or use schedule cosine, linear or constant"
    )


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
        option, instead = (
            (f".{rule.budget_option}", "set it to 0") if rule.budget_option else (f": {rule.name}", "name another rule")
        )
        _refuse_shared(f"{where}: learning_rate{option}", "rate", instead)
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
        named = isinstance(s.batch_tokens, str)
        option, instead = (f": {s.batch_tokens}", "give a number") if named else (".tokens_exponent", "set it to 0")
        _refuse_shared(f"{where}: batch_tokens{option}", "batch", instead)
    batch = batches.batch_tokens(s.batch_tokens, tokens, s.micro_batch_tokens or s.n_ctx)
    if batch > batches.MOST_BATCH:
        raise StudyError(
            f"{where}: batch_tokens: the rule gives {batch:.2g} tokens at a budget of {tokens:.2g}, above the most, 2^40"
        )
    return batch


def check_parametrization(spec: RunSpec, where: str) -> None:
    """Refuse a parametrization that has no rules for the architecture or the optimizer of a run. Raises StudyError."""
    try:
        parametrization.check(spec)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
