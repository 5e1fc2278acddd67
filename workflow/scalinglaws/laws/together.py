"""Several laws asked for the loss of one run, each with its interval, and one number for them together.

The laws are those that state the final loss of a run before it is trained (``registry.Entry.states``). Each gives the forecast
of ``prediction.predict``, whose interval is scaled by how well windows of the table were forecast. A law of compute alone states
the loss of the best run of a compute. It is asked where the run's compute is worth nearly as much as at the best size, and there
at the compute at which the best run would have the same loss by the law of size and tokens.

Shapes: m places, K laws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.prediction import predict
from scalinglaws.laws.result import enough
from scalinglaws.laws.select import select
from scalinglaws.laws.tradeoffs import Surface
from scalinglaws.laws.uncertainty import Resamples, bootstrap

# A law of compute speaks of a run where the best size would need this share of its compute at least for the same loss.
NEAR_BEST = 0.8
NORMAL = 1.96  # standard deviations in half a 95 % interval of a normal distribution
SPAN, STEP = 30.0, 0.25  # e-folds of compute about that of the table in which a loss is sought, and from place to place in them
FINE = 16  # parts of the step in which the loss is reached, in which it is sought again
Interval = tuple[Array, Array, Array]  # a value and the ends of its 95 % interval, (m,) each


@dataclass(frozen=True)
class Fitted:
    """A law fitted to points, with its resamples, and the largest n_params, tokens and flops among the points by name."""

    fit: Fit
    resamples: Resamples | None
    largest: dict[str, float]
    seed: int

    @property
    def law(self) -> Law:
        """Return the law."""
        return self.fit.law

    def losses(self, n_params: Array, tokens: Array, surface: Surface) -> dict[str, Array]:
        """Return what ``prediction.predict`` forecasts for runs of N parameters and D tokens, (m,) each.

        A law of compute has NaN for runs whose size is not near the best one by the ``surface``.
        """
        columns, near = {"n_params": n_params, "tokens": tokens}, np.ones(len(n_params), bool)
        if "flops" in self.law.variables:
            columns["flops"] = surface.least_flops(surface.loss(n_params, tokens))
            near = columns["flops"] >= NEAR_BEST * 6 * n_params * tokens
        places = np.log([columns[name] for name in self.law.variables]).T
        return {name: np.where(near, of, np.nan) for name, of in predict(self.fit, self.resamples, places, self.seed).items()}


def fitted(
    law: Law, columns: dict[str, Array], loss: Array, trunk: list[str], objective: Objective, n_bootstrap: int, seed: int
) -> Fitted:
    """Fit a law to points, which gives the same numbers as ``result.fit_table`` does with the same points and options.

    Parameters
    ----------
    law
        The law.
    columns, loss, trunk
        Its variables and, where they are known, n_params, tokens and flops, (n,) each; the losses in nats and the trunks (n,).
    objective, n_bootstrap, seed
        How it is fitted, the number of resamples, 0 for none, and their seed.
    """
    fit = best_fit(law, np.log(np.column_stack([columns[name] for name in law.variables])), np.log(loss), objective)
    found = bootstrap(fit, trunk, n_bootstrap, seed) if n_bootstrap else None
    names = ("n_params", "tokens", "flops")
    largest = {name: float(np.nanmax(columns[name])) for name in names if np.isfinite(columns[name]).any()}
    return Fitted(fit, found, largest, seed)


def of_table(
    table: pl.DataFrame, law: str, objective: Objective, n_bootstrap: int, seed: int, **options: Any
) -> tuple[Fitted, list[str]]:
    """Fit a law to the points that it takes of a table of runs; ``options`` are those of ``select.select``.

    Returns the fit, and sentences about rows of the table that were left out or are doubtful.

    Raises
    ------
    StudyError
        The table cannot be used, or has too few points for the law.
    """
    points = select(table, LAWS[law], **options)
    enough(points, LAWS[law])
    return fitted(LAWS[law], points.columns, points.loss, points.trunk, objective, n_bootstrap, seed), points.told


def of_file(path: Path, n_bootstrap: int, seed: int) -> Fitted | None:
    """Fit a law again to the points that a fit.json lists, as that fit was made; None where that was not fitted.

    Raises
    ------
    StudyError
        The file is missing or was changed, or is no fit of an equation with unweighted losses.
    """
    sums.require_own(path)
    found = read_object(path)
    try:
        if not found["parameters"]:
            return None
        law, objective = LAWS[found["law"]], found["objective"]
        points = found["points"]
        if found.get("weights") or found.get("fixed"):
            raise StudyError(f"{path} has weighted losses or fixed parameters, from which no forecast is made: give the table")
        columns = {
            name: np.array([point.get(name) or np.nan for point in points], np.float64)
            for name in dict.fromkeys((*law.variables, "n_params", "tokens", "flops"))
        }
        loss, trunk = np.array([point["loss"] for point in points], np.float64), [str(point["trunk"]) for point in points]
        goal = Objective(objective["name"], objective["delta"] or Objective.delta, objective.get("residuals") or "log")
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is no fit of an equation ({error!r}): {sums.REPAIR}") from None
    return fitted(law, columns, loss, trunk, goal, n_bootstrap, seed)


def combined(intervals: list[Interval]) -> Interval:
    """Return one forecast of several: of the logarithms their mean, and an interval that counts how far they disagree.

    Each has the weight of the inverse square of its interval's half-width in the mean. The variance of the mean is the mean of
    the variances of the forecasts and of the squares of their distances from it, with the same weights, which is that of a
    mixture of them. It is formed below and above apart. A forecast that is NaN at a place takes no part there. The interval is
    NaN, and the weights are equal, where one that takes part has none.

    Parameters
    ----------
    intervals
        The forecasts (K): a positive value, and the ends of its 95 % interval, (m,) each.
    """
    middle, low, high = (np.log([each[k] for each in intervals]) for k in range(3))
    there, half = np.isfinite(middle), (high - low) / 2
    known = (np.isfinite(half) | ~there).all(axis=0)
    weights = np.where(there, np.where(known, 1 / np.maximum(half, 1e-12) ** 2, 1.0), 0.0)
    weights = weights / weights.sum(axis=0)
    mean = np.where(there, weights * middle, 0.0).sum(axis=0)

    def deviation(end: Array) -> Array:
        squares = (end - middle) ** 2 + (NORMAL * (middle - mean)) ** 2
        return np.asarray(np.sqrt(np.where(there, weights * squares, 0.0).sum(axis=0)))

    return np.exp(mean), np.exp(mean - deviation(low)), np.exp(mean + deviation(high))


def crossing(log_flops: Array, log_loss: Array, loss: float) -> float:
    """Return the compute in FLOP at which losses that fall along ascending log computes (m,) first reach a loss, else NaN."""
    reached = np.flatnonzero(log_loss <= np.log(loss))
    if not len(reached) or reached[0] == 0:
        return float("nan")
    k = reached[0]
    share = (log_loss[k - 1] - np.log(loss)) / (log_loss[k - 1] - log_loss[k])
    return float(np.exp(log_flops[k - 1] + share * (log_flops[k] - log_flops[k - 1])))


def compute_for(loss: float, forecast: Callable[[Array], Interval], near: float) -> tuple[float, float, float]:
    """Return the compute in FLOP whose best run is forecast to have a loss, and the ends of its 95 % interval.

    Parameters
    ----------
    loss
        The loss in nats per token.
    forecast
        What is forecast for the best runs of computes (m,).
    near
        A compute in FLOP; the one that is sought lies within SPAN e-folds of it.

    Returns
    -------
    tuple
        The compute, that at which the lower end of the loss's interval gets there, and that at which the upper end does. Each is
        NaN where it lies beyond SPAN.
    """
    grid = np.log(near) + np.arange(-SPAN, SPAN + STEP / 2, STEP)
    middle, low, high = map(np.log, forecast(np.exp(grid)))
    found = crossing(grid, middle, loss)
    if np.isfinite(found):
        fine = np.log(found) + STEP * np.linspace(-1, 1, 2 * FINE + 1)
        refined = crossing(fine, np.log(forecast(np.exp(fine))[0]), loss)
        found = refined if np.isfinite(refined) else found
    return found, crossing(grid, low, loss), crossing(grid, high, loss)
