"""The laws by name: the one list of them in the project, and what the DAG must know before anything is fitted.

To add a law, write a module that ends in ``LAWS = (Law(...),)`` (see ``laws/forms.py``, and ``laws/overtraining.py`` for a short
example) and add one line to ``LAWS`` below. The order here is that of tables and reports. This module imports neither numpy,
scipy nor polars, so the DAG can name laws without waiting for them; ``laws/catalogue.py`` loads the modules themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import Registry
from scalinglaws.study.forecasts import quantities
from scalinglaws.study.study import Study


@dataclass(frozen=True)
class Entry:
    """What is known of a law without loading it."""

    name: str
    question: str  # the question that a study's runs must answer to feed it, one of study/questions.py
    module: str  # the module whose LAWS contains it
    curves: bool = False  # whether it is fitted to learning curves rather than to final losses
    small_batches: bool = False  # whether it is a law of S_min or C_min, which follow from the study's own B_crit(L)
    evals: bool = False  # whether it is fitted to losses on several texts, from the table evals
    states: tuple[str, ...] = ()  # the quantities from which it states the final loss of a run before that is trained; else empty


_SIZE_AND_TOKENS, _COMPUTE = ("n_params", "tokens"), ("flops",)
_ONE_VARIABLE, _ENVELOPE = "scalinglaws.laws.power_laws", "scalinglaws.laws.envelope"
# Questions: decayed budgets on all the data (size), early-stopped runs on parts of it (data), several batch sizes of one model
# size (batch), budgets of more than one epoch (repetition), three learning rates of one run (rate), three schedules (schedule),
# three mixtures of the same corpora (mixture).
LAWS = Registry(
    "fits.laws",
    (
        Entry("power-n", "size", _ONE_VARIABLE),
        Entry("power-n-offset", "size", _ONE_VARIABLE),
        Entry("power-d", "data", _ONE_VARIABLE),
        Entry("power-d-offset", "data", _ONE_VARIABLE),
        Entry("power-c", "size", _ONE_VARIABLE, states=_COMPUTE),
        Entry("power-c-offset", "size", _ONE_VARIABLE, states=_COMPUTE),
        Entry("power-cmin", "batch", _ONE_VARIABLE, small_batches=True),
        Entry("power-cmin-offset", "batch", _ONE_VARIABLE, small_batches=True),
        Entry("envelope", "size", _ENVELOPE, curves=True),
        Entry("envelope-offset", "size", _ENVELOPE, curves=True),
        Entry("kaplan-nd", "data", "scalinglaws.laws.kaplan_nd"),
        Entry("kaplan-nd-offset", "data", "scalinglaws.laws.kaplan_nd"),
        Entry("kaplan-ns", "batch", "scalinglaws.laws.kaplan_ns", curves=True, small_batches=True),
        Entry("chinchilla", "size", "scalinglaws.laws.chinchilla", states=_SIZE_AND_TOKENS),
        Entry("overtraining", "size", "scalinglaws.laws.overtraining", states=_SIZE_AND_TOKENS),
        Entry("farseer", "size", "scalinglaws.laws.farseer"),
        Entry("repetition", "repetition", "scalinglaws.laws.repetition"),
        Entry("isoflop", "size", "scalinglaws.laws.isoflop"),
        Entry("critical-batch", "batch", "scalinglaws.laws.critical_batch", curves=True),
        Entry("learning-rate", "rate", "scalinglaws.laws.learning_rate"),
        Entry("multi-power", "schedule", "scalinglaws.laws.loss_curves", curves=True),
        Entry("mixture", "mixture", "scalinglaws.laws.mixture", evals=True),
    ),
)
LAW_KINDS = {entry.name: entry.question for entry in LAWS.values()}
AT_SMALL_BATCHES = tuple(entry.name for entry in LAWS.values() if entry.small_batches)


def asked(names: list[str] | tuple[str, ...] | str) -> tuple[str, ...]:
    """Return the names of the laws that a config asks for.

    Parameters
    ----------
    names
        The value of the config key ``fits.laws``: the word "all", or a list of names.

    Raises
    ------
    StudyError
        If a name is not that of a law.
    """
    if names == "all":
        return tuple(LAWS)
    return tuple(dict.fromkeys(LAWS.find(name).name for name in names))


def laws_of(study: Study) -> tuple[str, ...]:
    """Return the names of the laws that a study's config asks for and that the runs of its fitted experiments can feed.

    A study that trains nothing has no learning curves, and fits no law that takes them.
    """
    fed, entries = study.fitted_kinds, map(LAWS.find, asked(study.fits.laws))
    return tuple(entry.name for entry in entries if entry.question in fed and ("curves" in fed or not entry.curves))


def forecasting(study: Study) -> tuple[str, ...]:
    """Return the laws by which a study forecasts runs, those of size and tokens before those of compute alone.

    Laws of the converged loss, of runs that are stopped early and of curves before the decay are none of them: these are not the
    final loss of a run. A law of compute alone states the loss of the best run for that compute.

    Raises
    ------
    StudyError
        The study has forecast runs, and fits no law that states their loss.
    """
    if not study.forecasts:
        return ()
    found = [law for law in laws_of(study) if LAWS.find(law).states]
    if not found:
        named = ", ".join(entry.name for entry in LAWS.values() if entry.states)
        raise StudyError(
            f"forecast: true asks for the loss of {min(study.forecasts)}, and no law that states it is fitted to other runs: "
            f"name one of {named} under fits.laws, and have an experiment of budgets on all the data without forecast"
        )
    return tuple(sorted(found, key=lambda law: -len(LAWS.find(law).states)))


def places(study: Study, law: str) -> list[str]:
    """Return the options --at of a fit of a law, by which it says what the runs that are forecast will come out with."""
    names = LAWS.find(law).states
    known = [quantities(study.runs[run]) for run in sorted(study.forecasts)] if names else []
    return list(dict.fromkeys("--at=" + ",".join(f"{name}={of[name]!r}" for name in names) for of in known))
