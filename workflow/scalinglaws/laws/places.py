"""Forecasts of new runs at the places that a user names: values of a law's variables, or a compute whose best run is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.allocation import optimum
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Law
from scalinglaws.laws.prediction import predict
from scalinglaws.laws.uncertainty import Resamples

ALLOCATES = "a"  # the exponent of N_opt ∝ C^a, which a law derives whose parameters say how to divide a compute
Place = Mapping[str, float]


def forecasts(fit: Fit, resamples: Resamples | None, at: Sequence[Place], seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Forecast the losses of new runs.

    Parameters
    ----------
    fit, resamples, seed
        As ``prediction.predict`` takes them.
    at
        Places: a value of each variable of the law or, for a law that divides a compute between size and tokens, flops alone,
        which stands for the size and the tokens of least loss by the law.

    Returns
    -------
    tuple
        For each place what ``prediction.predict`` returns, with ``at``, the place as it was named, ``optimum``, the values of the
        variables where these were found for a compute, and ``flag``, a sentence where the place lies beyond what windows of the
        table could check, else None. And a list of these sentences.

    Raises
    ------
    StudyError
        If a place does not name each variable once with a positive value.
    """
    if not at:
        return [], []
    law, out = fit.law, []
    values = [_values(fit, place) for place in at]
    found = predict(fit, resamples, np.log([[each[name] for name in law.variables] for each in values]), seed)
    for k, (place, each) in enumerate(zip(at, values, strict=True)):
        item: dict[str, Any] = {"at": dict(place)} | {name: float(column[k]) for name, column in found.items()}
        named = "" if set(place) == set(each) else {name: float(value) for name, value in each.items()}
        out.append(item | ({"optimum": named} if named else {}) | {"flag": _flag(law, place, item)})
    return out, [item["flag"] for item in out if item["flag"]]


def _values(fit: Fit, place: Place) -> dict[str, float]:
    """Return a value for each variable of the law. Raises StudyError where the place does not say all, or says too much."""
    law = fit.law
    divides = ALLOCATES in law.derived and law.variables == ("n_params", "tokens")
    if all(value > 0 for value in place.values()):
        if set(place) == set(law.variables):
            return dict(place)
        if divides and set(place) == {"flops"}:
            _, scale_n, scale_d, alpha, beta = fit.natural
            best = optimum(place["flops"], scale_n, scale_d, alpha, beta)
            return dict(zip(law.variables, map(float, best), strict=True))
    known = (*law.variables, *(("flops",) if divides else ()))
    if unknown := sorted(set(place) - set(known)):
        told = proposal(unknown[0], known, "it is predicted at")
        raise StudyError(f"--at: law {law.name} has no variable '{unknown[0]}': {told}")
    also = ", or at flops=VALUE, for the best run of that compute" if divides else ""
    raise StudyError(f"--at: law {law.name} is predicted at positive values of {', '.join(law.variables)}: give each once{also}")


def _flag(law: Law, place: Place, item: dict[str, Any]) -> str | None:
    """Return a sentence where a place lies further beyond the data than windows could check."""
    if item["factor"] <= item["reach"] * (1 + 1e-6):
        return None
    named = ", ".join(f"{name} = {value:.4g}" for name, value in place.items())
    size = " × ".join(law.variables)
    checked = f"could check forecasts up to {item['reach']:.3g} times" if item["reach"] > 1 else "could check none"
    return (
        f"The forecast at {named} is for {item['factor']:.3g} times the {size} of the largest fitted run, and windows of this "
        f"table {checked}: its interval rests on how laws erred on other tables."
    )
