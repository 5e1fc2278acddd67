"""A law fitted to a table of runs: one function returns the content of fit.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.allocation import CriticalBatch
from scalinglaws.laws.alternatives import compare, summary, verdict
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.conventions import under_each
from scalinglaws.laws.fit import Fit, Objective, best_fit, thinned
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.held import hold
from scalinglaws.laws.methods import Method
from scalinglaws.laws.places import forecasts
from scalinglaws.laws.prediction import HeldOut, held_out
from scalinglaws.laws.refits import of_law
from scalinglaws.laws.registry import LAWS
from scalinglaws.laws.select import Points, select
from scalinglaws.laws.uncertainty import Resamples, bootstrap, covariance_interval, flags, interval, kept, r2

# From points to parameters and exponents with their intervals, by name.
Estimates = Callable[[Points], dict[str, Any]]


STDERRS = (1e-9, 1e3)  # standard errors by which losses are weighted, as shares of the loss: the least and the largest
HALF_A_MINUTE = 30.0  # seconds that a fit may take without a word


class _TooFewError(StudyError):
    """The table is sound but holds too little for the law, which gives an empty fit where that is allowed."""


@dataclasses.dataclass(frozen=True)
class _Goal:
    """How a law is fitted: the objective, whether losses are weighted by their errors, and the resamples of trunks."""

    objective: Objective
    weighted: bool
    n_bootstrap: int
    seed: int

    def fit(self, points: Points, law: Law) -> tuple[Fit, Resamples | None]:
        """Return the fit of a law to points, and its resamples where any are asked for."""
        weights = _weights(points, self.objective.raw) if self.weighted else np.ones(len(points))
        fit = best_fit(law, points.log_variables(law.variables), np.log(points.loss), self.objective, weights=weights)
        return fit, bootstrap(fit, points.trunk, self.n_bootstrap, self.seed) if self.n_bootstrap else None


def fit_table(
    table: pl.DataFrame, law: str, *, curves: pl.DataFrame | None = None, evals: pl.DataFrame | None = None,
    objective: str = "huber", delta: float = 1e-3,
    n_bootstrap: int = 1000, seed: int = 0, columns: Mapping[str, str] | None = None, exclude_highest: int = 0,
    where: str | None = None, allow_empty: bool = False, weighted: bool = False,
    critical_batch: CriticalBatch | None = None, at: Sequence[Mapping[str, float]] = (), residuals: str = "log",
    fixed: Mapping[str, float] | None = None, held_out: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit a law to a table of runs and return the content of fit.json.

    Parameters
    ----------
    table
        Runs, one a row: n_params in parameters, tokens, loss in nats per token, and others (docs/laws.md).
    law
        Name of a law in ``laws/registry.py``.
    curves, evals
        Learning curves and losses on texts, for the laws that are fitted to them.
    objective, delta, residuals
        Function of the residuals: huber, with its delta, squared or absolute. They are differences of log losses ("log") or of
        losses in nats per token ("raw").
    n_bootstrap, seed
        Number of resamples of trunks, 0 for the fit alone, and their seed.
    columns, where, exclude_highest, critical_batch, held_out
        See ``select.select``.
    allow_empty
        Whether too few points give a result without parameters, with a flag that says why, rather than an error.
    weighted
        Whether each loss is weighted by the inverse square of its relative standard error, with raw residuals of its own one.
    at
        Values of the law's variables where the loss of a new run is predicted (``places.forecasts``).
    fixed
        Values of parameters that are held and not fitted, by name (``held.hold``).

    Returns
    -------
    dict
        Plain JSON values; a number that is not known is None. Sentences about rows of the table that were left out, or are
        doubtful, are among the flags, and alone under ``table`` where there are any.

    Raises
    ------
    StudyError
        If the law or the objective is unknown, a value is impossible, or there are too few points.
    """
    if law not in LAWS:
        raise StudyError(f"law '{law}' is unknown: {proposal(law, LAWS)}")
    if seed < 0:
        raise StudyError(f"--seed is {seed}: it must not be negative")
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise StudyError(f"--bootstrap is {n_bootstrap}: use 0 for the fit alone, or at least 2 resamples (1000)")
    form, columns, estimates = find(law), columns or {}, None
    options: dict[str, Any] = {"where": where, "exclude_highest": exclude_highest, "critical_batch": critical_batch}
    options["held_out"] = held_out
    if isinstance(form, Method):
        places = () if form.recommend else at
        options_of_equations = {"--weighted": weighted, "--at": places, "--critical-batch": critical_batch, "--fix": fixed}
        for option, given in options_of_equations.items():
            if given:
                raise StudyError(f"law {law} takes no {option}")
        points = select(table, form, columns, curves=evals if LAWS.find(law).evals else curves, **options)
        out, estimates = _of_method(form, points, n_bootstrap, seed, allow_empty)
        own = out.get("exponents", {})
        if form.recommend and at:
            out["recommended"], doubts = form.recommend(out, at)
            out["flags"] = [*out["flags"], *doubts]
    else:
        goal = _Goal(Objective(objective, delta, residuals), weighted, n_bootstrap, seed)
        form = hold(form, fixed or {})
        points = select(table, form, columns, curves=curves, **options)
        out, estimates = _of_equation(form, points, goal, at, allow_empty)
        own = out["parameters"] | out.get("exponents", {})
    of_compute = {"flops", "flops_min"} & set(form.variables) and not {"flops", "flops_min"} & set(columns)
    if of_compute and estimates is not None:
        counted = curves if LAWS.find(law).curves else None
        out["conventions"] = under_each(table, counted, form, columns, options, estimates, own)
    out["refits"] = of_law(law)
    if points.told:
        out["table"] = points.told
    return _clean(out)


def warning_of_time(law: str, n_rows: int) -> str:
    """Return a sentence on how long a fit of so many rows may take on one core; empty where that is less than half a minute."""
    form = find(law) if law in LAWS else None
    # A million points of an equation were fitted in 75 to 154 seconds. Where its features depend on the parameters, ten minutes
    # for a million points are a guess: 300,000 were not fitted in two minutes.
    seconds = n_rows * (6e-4 if isinstance(form, Law) and form.bent else 1.2e-4)
    minutes = math.ceil(seconds / 60)
    return f"A fit of {n_rows:,} rows may take {minutes} minute{'s' * (minutes > 1)}." if seconds > HALF_A_MINUTE else ""


def _of_method(law: Method, points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> tuple[dict[str, Any], Estimates]:
    """Return fit.json of a procedure, and what finds its exponents again from other points."""

    def estimates(points: Points) -> dict[str, Any]:
        return law.result(points, n_bootstrap, seed, True).get("exponents", {})

    return law.result(points, n_bootstrap, seed, allow_empty), estimates


def _of_equation(
    law: Law, points: Points, goal: _Goal, at: Sequence[Mapping[str, float]], allow_empty: bool
) -> tuple[dict[str, Any], Estimates | None]:
    """Return fit.json of an equation, and what finds its parameters again from other points; None where it was not fitted."""

    def estimates(points: Points) -> dict[str, Any]:
        try:
            enough(points, law)
        except _TooFewError:
            return {}
        fit, resamples = goal.fit(points, law)
        return _parameters(fit, resamples) | _derived(points, fit, resamples, goal)[0]

    try:
        enough(points, law)
    except _TooFewError as error:
        if not allow_empty:
            raise
        return _result(law, goal, points, None, None, [*points.told, f"Not fitted: {error}"]), None
    fit, resamples = goal.fit(points, law)
    out = _result(law, goal, points, fit, resamples, flags(fit, points, resamples))
    out["weights"] = "loss_stderr" if goal.weighted else None
    if len(law.variables) == 1 and goal.objective.name != "absolute":
        some = thinned(len(points))
        forms = compare(points.columns[law.variables[0]][some], points.loss[some], goal.objective, fit.weights[some])
        of = f" Of {len(points):,} points the forms were compared on {len(some):,}." if len(some) < len(points) else ""
        out["alternatives"] = {"verdict": verdict(forms) + of, "forms": [summary(item) for item in forms]}
    out["predictions"], doubts = forecasts(fit, resamples, at, goal.seed)
    out["flags"] = [*out["flags"], *doubts]
    return out, estimates


def _weights(points: Points, raw: bool) -> Array:
    """Return inverse squares of the relative standard errors, or of the standard errors for raw residuals, of mean 1, (n,).

    Raises StudyError where a standard error is missing, not positive, or no standard error of such a loss.
    """
    stderr = points.columns["loss_stderr"]
    bad = np.flatnonzero(~((stderr >= STDERRS[0] * points.loss) & (stderr <= STDERRS[1] * points.loss)))
    if len(bad):
        raise StudyError(
            f"run {points.run[bad[0]]} has loss_stderr = {stderr[bad[0]]}: --weighted needs a positive standard error for each "
            f"loss, {STDERRS[0]:g} to {STDERRS[1]:g} of it; map its column with --columns loss_stderr=NAME"
        )
    weights = ((1.0 if raw else points.loss) / stderr) ** 2
    return np.asarray(weights / weights.mean(), np.float64)


def enough(points: Points, law: Law) -> None:
    """Raise _TooFewError where the points are too few for the law, or a variable that it needs does not vary."""
    n_free = len(law.free)
    if len(points) <= n_free:
        reasons: dict[str, int] = {}
        for item in points.excluded:
            reasons[item["reason"]] = reasons.get(item["reason"], 0) + 1
        why = "; ".join(f"{count} excluded: {reason}" for reason, count in sorted(reasons.items()))
        raise _TooFewError(
            f"law {law.name} has {n_free} parameters and {len(points)} points are left: it needs at least "
            f"{n_free + 1} ({law.rule}{'; ' + why if why else ''})"
        )
    for name in law.varied:
        if len(np.unique(points.columns[name])) < 2:
            value = points.columns[name][0]
            raise _TooFewError(
                f"law {law.name}: all {len(points)} points have {name} = {value:.6g}; it takes runs of several {name}"
            )


def _result(
    law: Law, goal: _Goal, points: Points, fit: Fit | None, resamples: Resamples | None, sentences: list[str]
) -> dict[str, Any]:
    """Return the fields of fit.json that every equation has, in their fixed order; without a fit, those that need none."""
    out: dict[str, Any] = {"law": law.name, "formula": law.formula, "parameters": {}}
    predicted, held = np.full(len(points), np.nan), HeldOut("", math.nan, 0, [])
    if fit is not None:
        out["parameters"] = _parameters(fit, resamples)
        if law.derive:
            out["exponents"], doubts = _derived(points, fit, resamples, goal)
            sentences = [*sentences, *doubts]
        names = [parameter.name for parameter in law.parameters]
        out["resamples"] = kept(names, resamples.natural) if resamples else {}
        out["covariance"] = dict(zip(names, covariance_interval(fit, points.trunk), strict=True))
        predicted, held = np.exp(fit.log_prediction), held_out(points, law, goal.objective, fit.weights)
        if math.isnan(held.error):
            lacking = f"Held-out error not computed: without the largest {law.held_out} too few points are left."
            sentences = [*sentences, lacking]
    named = dict.fromkeys(("n_params", "tokens", "dataset_tokens", "flops", *law.variables))
    objective = goal.objective
    return out | {
        "objective": {
            "name": objective.name,
            "delta": objective.delta if objective.name == "huber" else None,
            "residuals": objective.residuals,
            "value": fit.value if fit else None,
        },
        "fixed": dict(law.fixed),
        "n_points": len(points),
        "n_runs": len(set(points.run)),
        "n_trunks": len(set(points.trunk)),
        "excluded": points.excluded,
        "points": [
            {"run": points.run[i], "trunk": points.trunk[i]}
            | {name: float(points.columns[name][i]) for name in named}
            | {"loss": float(points.loss[i]), "predicted": float(predicted[i])}
            for i in range(len(points))
        ],
        "r2": r2(fit) if fit else None,
        "held_out": dataclasses.asdict(held),
        "flags": sentences,
        "starts": fit.n_starts if fit else 0,
        "published": law.published,
    }


def _parameters(fit: Fit, resamples: Resamples | None) -> dict[str, Any]:
    """Return each natural parameter with its standard error, 95 % interval and unit; one that is held has no interval."""
    out = {}
    for k, parameter in enumerate(fit.law.parameters):
        held = parameter.name in fit.law.fixed
        values, n_trunks = (resamples.natural[:, k], resamples.n_trunks) if resamples and not held else (np.empty(0), 0)
        estimate = fit.law.fixed[parameter.name] if held else float(fit.natural[k])
        out[parameter.name] = interval(estimate, values, parameter.log, n_trunks) | {"unit": parameter.unit}
    return out


def _derived(points: Points, fit: Fit, resamples: Resamples | None, goal: _Goal) -> tuple[dict[str, Any], list[str]]:
    """Return the exponents that follow from a fit beside its parameters, and sentences of doubt; both empty where none do."""
    return fit.law.derive(points, fit, resamples, goal.n_bootstrap, goal.seed) if fit.law.derive else ({}, [])


def _clean(value: Any) -> Any:
    """Return plain JSON values: numpy numbers become Python's, and numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
