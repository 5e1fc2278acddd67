"""Read what other fits need from a stored fit: B_crit(L), from the file of a fit of the law critical-batch."""

from __future__ import annotations

import math
from pathlib import Path

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.laws.allocation import CriticalBatch


def read_critical_batch(path: Path) -> CriticalBatch:
    """Return B_crit(L) of a fit.json of the law critical-batch, NaN where that fit did not resolve it.

    Parameters
    ----------
    path
        The fit.json.

    Raises
    ------
    StudyError
        If the file is missing or damaged, or is not a fit of that law.
    """
    try:
        sums.require_own(path)
        found = read_object(path)["parameters"]
        values = [found[name]["estimate"] for name in ("B_star", "alpha_B")] if found else []
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"--critical-batch: {path} is not the result of fit --law critical-batch: {error!r}") from None
    return CriticalBatch(*values) if values and None not in values else CriticalBatch(math.nan, math.nan)
