"""The laws by name and the runs that they need: what the DAG must know of them, without the libraries that fit them."""

from __future__ import annotations

from scalinglaws.common.errors import StudyError
from scalinglaws.study.study import Study

# Which runs a law needs: decayed budgets on all the data (size), early-stopped runs on parts of it (data), several batch sizes
# of one model size (batch), budgets of more than one epoch (repetition).
LAW_KINDS = {
    "power-n": "size",
    "power-n-offset": "size",
    "power-d": "data",
    "power-d-offset": "data",
    "power-c": "size",
    "power-c-offset": "size",
    "power-cmin": "batch",
    "power-cmin-offset": "batch",
    "envelope": "size",
    "envelope-offset": "size",
    "kaplan-nd": "data",
    "kaplan-ns": "batch",
    "chinchilla": "size",
    "overtraining": "size",
    "repetition": "repetition",
    "isoflop": "size",
    "critical-batch": "batch",
}
# Those of S_min and C_min, which follow from the study's own B_crit(L).
AT_SMALL_BATCHES = ("power-cmin", "power-cmin-offset", "kaplan-ns")


def asked(names: list[str] | tuple[str, ...] | str) -> tuple[str, ...]:
    """The laws that a config asks for, by name. ``names``: the value of its key ``fits.laws``, "all" or a list.

    Raises StudyError for a name that is not in LAW_KINDS.
    """
    if names == "all":
        return tuple(LAW_KINDS)
    if unknown := [name for name in names if name not in LAW_KINDS]:
        raise StudyError(f"fits.laws: {unknown[0]} is not one of {', '.join(LAW_KINDS)}")
    return tuple(names)


def laws_of(study: Study) -> tuple[str, ...]:
    """The laws that a study's config asks for and that the runs of its fitted experiments can feed."""
    return tuple(law for law in asked(study.fits.laws) if LAW_KINDS[law] in study.fitted_kinds)
