"""Parameters that a user holds at a value: the same law with fewer free parameters.

A user names natural parameters, and the solver has internal ones, which are the logs of terms at the centre of the data. Each law
says in ``holds`` which internal parameter holds a natural one. A scale depends on an exponent too, as A = exp(c + alpha·centre)
and N_c = exp(centre + c/alpha) do, but not where the log of its variable is centred at 0 and at log N_c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.forms import Hold, Law


def exponent(place: int, times: float = 1.0, signed: bool = False) -> Hold:
    """Return the hold of an exponent that is ``times`` smaller than the internal one at ``place``; ``signed``: of either sign."""
    return Hold(place, lambda value, fixed: times * value, signed=signed)


def scale(place: int, variable: int | None = None, centre: float = 0.0) -> Hold:
    """Return the hold of a scale A = exp(c + e·(centre of log X − ``centre``)), with c at ``place``; X is the ``variable``."""
    return Hold(place, lambda value, fixed: math.log(value), variable, lambda value: centre)


def crossing(place: int, variable: int) -> Hold:
    """Return the hold of a scale X_c = exp(centre of log X + c/e), at which a term is 1, with c at ``place``."""
    return Hold(place, lambda value, fixed: 0.0, variable, math.log)


def hold(law: Law, fixed: Mapping[str, float]) -> Law:
    """Return a law with natural parameters held at values.

    Parameters
    ----------
    law
        The law.
    fixed
        Values of natural parameters, by name.

    Returns
    -------
    Law
        The law, with ``held``, ``pinned`` and ``fixed`` set.

    Raises
    ------
    StudyError
        If a name is no parameter of the law or cannot be held, a value is out of range, or no parameter is left to fit.
    """
    names = [parameter.name for parameter in law.parameters]
    for name, value in fixed.items():
        _check(law, name, value, fixed)
    if len(fixed) == len(names):
        raise StudyError(f"--fix holds every parameter of law {law.name}: leave at least one to fit")
    held, pinned, (lower, upper) = {}, dict(law.pinned), law.ranges()
    for name, value in fixed.items():
        at = law.holds[name]
        held[at.place] = at.internal(value, fixed)
        if not lower[at.place] <= held[at.place] <= upper[at.place]:
            raise StudyError(f"--fix {name}={value:g}: law {law.name} takes no such {name}, it is too small or too large")
        if at.variable is not None:
            pinned[at.variable] = at.centre(value)
    return replace(law, held=held, pinned=pinned, fixed={name: float(fixed[name]) for name in names if name in fixed})


def _check(law: Law, name: str, value: float, fixed: Mapping[str, float]) -> None:
    """Raise StudyError where a law has no such parameter, cannot hold it with the others that are ``fixed``, or not so."""
    names = [parameter.name for parameter in law.parameters]
    if name not in names:
        raise StudyError(f"--fix: law {law.name} has no parameter {name}: {proposal(name, names, 'it has')}")
    if name not in law.holds or not set(law.holds[name].needs) <= set(fixed):
        raise StudyError(f"--fix: law {law.name} cannot hold {name} so: it can hold {_able(law)}")
    if not np.isfinite(value) or (value <= 0 and not law.holds[name].signed):
        raise StudyError(f"--fix {name}={value:g}: {name} of law {law.name} is a positive number")


def _able(law: Law) -> str:
    """Return the names of the parameters that a law can hold, in words."""
    able = [name + (f" (with {' and '.join(at.needs)})" if at.needs else "") for name, at in law.holds.items()]
    return ", ".join(able) or "none"
