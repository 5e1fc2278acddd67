"""Laws that are not one equation of the loss: each has its own way from points to the content of fit.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalinglaws.laws.forms import Described
from scalinglaws.laws.select import Points


@dataclass(frozen=True, kw_only=True)
class Method(Described):
    """A law with a procedure of its own. ``result`` takes (points, number of resamples, seed, whether a result without
    parameters is allowed) and returns the content of fit.json. ``recommend``, where ``--at`` can be asked, takes that content and
    places, and returns a list of what the law says there and a list of sentences of doubt.
    """

    result: Callable[[Points, int, int, bool], dict[str, Any]]
    recommend: Callable[[dict[str, Any], Sequence[Mapping[str, float]]], tuple[list[dict[str, Any]], list[str]]] | None = None


def fields(
    law: Method, points: Points, counts: dict[str, int], parameters: dict[str, Any], own: dict[str, Any], flags: list[str]
) -> dict[str, Any]:
    """Return the fields of fit.json that every law has, with those of the method itself after its parameters.

    Parameters
    ----------
    law, points
        The method and what it was fitted to.
    counts
        Numbers of points, runs and, where they are drawn apart, trunks.
    parameters
        For each parameter its estimate, standard error, interval and unit; empty where nothing was found.
    own
        The fields that this method alone has.
    flags
        Sentences on what is not to be believed.
    """
    return {
        "law": law.name,
        "formula": law.formula,
        "parameters": parameters,
        **own,
        "objective": {"name": "squared", "delta": None, "residuals": None, "value": None},
        "n_points": counts["points"],
        "n_runs": counts["runs"],
        "n_trunks": counts.get("trunks", counts["runs"]),
        "excluded": points.excluded,
        "r2": None,
        "flags": [*points.notes, *flags],
        "starts": 0,
        "published": law.published,
    }
