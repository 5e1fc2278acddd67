"""Fit a law to a table of runs: the content of fit.json, from one function."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.allocation import CriticalBatch, exponents
from scalinglaws.laws.alternatives import compare, summary, verdict
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Fit, Objective, best_fit
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.methods import METHODS
from scalinglaws.laws.prediction import HeldOut, held_out, predict
from scalinglaws.laws.select import CURVE_LAWS, Points, select
from scalinglaws.laws.uncertainty import Resamples, bootstrap, covariance_interval, flags, interval, kept, r2

# What counts as compute, by column.
CONVENTIONS = {
    "flops_6nd": "by 6ND without embeddings", "flops_last_layer": "with the last layer", "flops_attention": "with attention too",
}  # fmt: skip


class _TooFewError(StudyError):
    """The table is sound but holds too little for the law: an empty fit where that is allowed."""


def fit_table(
    table: pl.DataFrame, law: str, *, curves: pl.DataFrame | None = None, objective: str = "huber", delta: float = 1e-3,
    n_bootstrap: int = 1000, seed: int = 0, columns: Mapping[str, str] | None = None, exclude_highest: int = 0,
    where: str | None = None, allow_empty: bool = False, weighted: bool = False,
    critical_batch: CriticalBatch | None = None, at: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:  # fmt: skip
    """Fit ``law`` to a table of runs; the content of fit.json, its numbers Python floats, None where there is none.

    ``curves``: the table of learning curves (laws envelope, kaplan-ns); ``columns``, ``where``, ``exclude_highest``,
    ``critical_batch``: see select.select; ``n_bootstrap``: resamples, 0 for the fit alone; ``weighted``: each loss by the
    inverse square of its relative standard error; ``at``: values of the law's variables where a new run's loss is
    predicted. Raises StudyError for an unknown law or objective, bad values, or too few points; the last gives a result
    without parameters and a flag that says why where ``allow_empty``.
    """
    if law not in {**LAWS, **METHODS}:
        raise StudyError(f"law '{law}' is not known: use {', '.join((*LAWS, *METHODS))}")
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise StudyError(f"--bootstrap is {n_bootstrap}: use 0 for the fit alone, or at least 2 resamples (1000)")
    chosen: dict[str, Any] = {"where": where, "exclude_highest": exclude_highest, "critical_batch": critical_batch}
    if law in METHODS:
        for option, given in (("--weighted", weighted), ("--at", at), ("--critical-batch", critical_batch)):
            if given:
                raise StudyError(f"law {law} takes no {option}")
        method = METHODS[law]
        points = select(table, law, method.variables, columns, curves=curves, **chosen)
        out = method.result(points, n_bootstrap, seed, allow_empty)
        if "flops" in method.variables and "flops" not in (columns or {}):

            def best_sizes(points: Points) -> dict[str, Any]:
                return method.result(points, n_bootstrap, seed, True).get("exponents", {})

            found = _conventions(table, None, law, {"columns": columns, **chosen}, best_sizes, out["exponents"])
            out["conventions"] = found | {"difference": _differences(("a",), found)}
        return _clean(out)
    form, goal = LAWS[law], Objective(objective, delta)
    points = select(table, law, form.variables, columns, curves=curves, **chosen)
    try:
        _enough(points, form)
    except _TooFewError as error:
        if not allow_empty:
            raise
        return _clean(_result(form, goal, points, None, None, [f"Not fitted: {error}"]))
    fit, resamples = _fitted(points, form, goal, weighted, n_bootstrap, seed)
    out = _result(form, goal, points, fit, resamples, flags(fit, points, resamples), (n_bootstrap, seed))
    out["weights"] = "loss_stderr" if weighted else None
    if len(form.variables) == 1 and goal.name != "absolute":
        forms = compare(points.columns[form.variables[0]], points.loss, goal, fit.weights)
        out["alternatives"] = {"verdict": verdict(forms), "forms": [summary(item) for item in forms]}
    out["predictions"] = _predictions(fit, resamples, at, seed)
    if {"flops", "flops_min"} & set(form.variables) and not {"flops", "flops_min"} & set(columns or {}):

        def parameters(points: Points) -> dict[str, Any]:
            try:
                _enough(points, form)
            except _TooFewError:
                return {}
            fitted = _fitted(points, form, goal, weighted, n_bootstrap, seed)
            frontier = frontier_exponents(points, n_bootstrap, seed) if law == "envelope" else {}
            return _parameters(form, *fitted) | frontier

        curves = curves if law in CURVE_LAWS else None
        own = out["parameters"] | out.get("exponents", {})
        found = _conventions(table, curves, law, {"columns": columns, **chosen}, parameters, own)
        out["conventions"] = found | {"difference": _differences(("alpha_C", "a"), found)}
    return _clean(out)


def _conventions(
    table: pl.DataFrame, curves: pl.DataFrame | None, law: str, chosen: dict[str, Any],
    parameters: Callable[[Points], dict[str, Any]], own: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The ``parameters`` of a law of C under each convention of compute that the table has. ``own``: those of the fit
    itself, which counts 6ND where no column ``flops`` says otherwise."""
    measured = table if curves is None else curves
    variables = METHODS[law].variables if law in METHODS else LAWS[law].variables
    columns, found = chosen.pop("columns") or {}, {}
    for name in CONVENTIONS:
        if name not in table.columns or not (curves is None or {"trunk", "flops_6nd"} <= {*curves.columns} & {*table.columns}):
            continue
        if name == "flops_6nd" and "flops" not in measured.columns:
            found[name] = own
            continue
        counted = None if curves is None else _recounted(curves, table, name)
        found[name] = parameters(select(table, law, variables, {**columns, "flops": name}, curves=counted, **chosen))
    return found


def _recounted(curves: pl.DataFrame, runs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The curves with FLOP counted as in column ``name`` of the runs: a trunk's ratio to 6ND is one number."""
    ratio = runs.select("trunk", ratio=pl.col(name) / pl.col("flops_6nd")).drop_nulls().unique("trunk", keep="first")
    curves = curves.join(ratio, on="trunk", how="inner", maintain_order="left")
    return curves.with_columns(flops=pl.col("flops_6nd") * pl.col("ratio")).drop("ratio")


def _differences(names: Sequence[str], found: Mapping[str, Any]) -> str:
    """A sentence for each of the exponents named: its value under each convention, and the distance from the first."""
    out = []
    for name in names:
        values = {key: found[key][name]["estimate"] for key in CONVENTIONS if name in found.get(key, {})}
        first = next(iter(values.values()), math.nan)
        parts = [
            f"{value:.4f} {CONVENTIONS[key]}" + (f" ({value - first:+.4f})" if k else "")
            for k, (key, value) in enumerate(values.items())
        ]
        if len(parts) > 1:
            out.append(f"{name} is {', '.join(parts)}.")
    return " ".join(out)


def _fitted(
    points: Points, form: Law, goal: Objective, weighted: bool, n_bootstrap: int, seed: int
) -> tuple[Fit, Resamples | None]:
    weights = _weights(points) if weighted else np.ones(len(points))
    fit = best_fit(form, points.log_variables(form.variables), np.log(points.loss), goal, weights=weights)
    return fit, bootstrap(fit, points.trunk, n_bootstrap, seed) if n_bootstrap else None


def _weights(points: Points) -> Array:
    """Inverse squares of the relative standard errors, of mean 1. Raises StudyError where one is missing or not positive."""
    stderr = points.columns["loss_stderr"]
    bad = np.flatnonzero(~(stderr > 0))
    if len(bad):
        raise StudyError(
            f"run {points.run[bad[0]]} has loss_stderr = {stderr[bad[0]]}: --weighted needs a positive standard error for each "
            "loss; map its column with --columns loss_stderr=NAME"
        )
    weights = (points.loss / stderr) ** 2
    return np.asarray(weights / weights.mean(), np.float64)


def _predictions(fit: Fit, resamples: Resamples | None, at: Sequence[Mapping[str, float]], seed: int) -> list[dict[str, Any]]:
    variables = fit.law.variables
    for place in at:
        if set(place) != set(variables) or not all(value > 0 for value in place.values()):
            raise StudyError(
                f"--at: law {fit.law.name} is predicted at positive values of {', '.join(variables)}: give each once"
            )
    if not at:
        return []
    found = predict(fit, resamples, np.log([[place[name] for name in variables] for place in at]), seed)
    return [{"at": dict(place)} | {name: values[k] for name, values in found.items()} for k, place in enumerate(at)]


def _enough(points: Points, law: Law) -> None:
    if len(points) <= law.n_parameters:
        reasons: dict[str, int] = {}
        for item in points.excluded:
            reasons[item["reason"]] = reasons.get(item["reason"], 0) + 1
        why = "; ".join(f"{count} excluded: {reason}" for reason, count in sorted(reasons.items()))
        raise _TooFewError(
            f"law {law.name} has {law.n_parameters} parameters and {len(points)} points are left: it needs at least "
            f"{law.n_parameters + 1} ({law.rule}{'; ' + why if why else ''})"
        )
    for name in law.varied:
        if len(np.unique(points.columns[name])) < 2:
            value = points.columns[name][0]
            raise _TooFewError(
                f"law {law.name}: all {len(points)} points have {name} = {value:.6g}; it takes runs of several {name}"
            )


def _result(
    law: Law, objective: Objective, points: Points, fit: Fit | None, resamples: Resamples | None, sentences: list[str],
    drawn: tuple[int, int] = (0, 0),
) -> dict[str, Any]:  # fmt: skip
    """The fields of fit.json in their fixed order."""
    out: dict[str, Any] = {"law": law.name, "formula": law.formula, "parameters": _parameters(law, fit, resamples)}
    if law.name == "chinchilla" and fit is not None:
        out["exponents"] = _exponents(fit, resamples)
    if law.name == "envelope" and fit is not None:
        n_resamples, seed = drawn
        out["exponents"] = frontier_exponents(points, n_resamples, seed)
        if not out["exponents"]:
            sentences = [
                *sentences,
                "No exponents a and b: the envelope has fewer than two sizes between its smallest and largest.",
            ]
    if fit is not None:
        names = [parameter.name for parameter in law.parameters]
        out["resamples"] = kept(names, resamples.natural) if resamples else {}
    named = dict.fromkeys(("n_params", "tokens", "dataset_tokens", "flops", *law.variables))
    if fit is not None:
        covariance = covariance_interval(fit, points.trunk)
        out["covariance"] = {parameter.name: value for parameter, value in zip(law.parameters, covariance, strict=True)}
    predicted = np.exp(fit.log_prediction) if fit else np.full(len(points), np.nan)
    held = held_out(points, law, objective, fit.weights) if fit else HeldOut("", math.nan, 0, [])
    if fit and math.isnan(held.error):
        sentences = [
            *sentences,
            f"Held-out error not computed: without the largest {law.held_out} too few points are left.",
        ]
    return out | {
        "objective": {
            "name": objective.name,
            "delta": objective.delta if objective.name == "huber" else None,
            "value": fit.value if fit else None,
        },
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


def _parameters(law: Law, fit: Fit | None, resamples: Resamples | None) -> dict[str, Any]:
    if fit is None:
        return {}
    out = {}
    for k, parameter in enumerate(law.parameters):
        values, n_trunks = (resamples.natural[:, k], resamples.n_trunks) if resamples else (np.empty(0), 0)
        out[parameter.name] = interval(float(fit.natural[k]), values, parameter.log, n_trunks) | {"unit": parameter.unit}
    return out


def _exponents(fit: Fit, resamples: Resamples | None) -> dict[str, Any]:
    """a and b of N_opt ∝ C^a, D_opt ∝ C^b with their intervals."""
    best = exponents(*fit.natural[-2:])
    empty = (np.empty(0), np.empty(0))
    drawn = exponents(*resamples.natural[:, -2:].T) if resamples else empty
    n_trunks = resamples.n_trunks if resamples else 0
    return {name: interval(float(best[k]), drawn[k], False, n_trunks) | {"unit": ""} for k, name in enumerate(("a", "b"))}


def frontier_exponents(points: Points, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """a and b of N_opt ∝ C^a, D_opt ∝ C^b through the models on the envelope (Hoffmann et al. 2022, approach 1).

    D = C/(6N), so b = 1 − a. The smallest and the largest model there are left out: below and above them no other size
    was run, so they are best for want of a better. Resamples draw the trunks on the envelope, whose places there they
    keep. Empty where fewer than two sizes remain.
    """
    sizes = points.columns["n_params"]
    points = points.take((sizes > sizes.min()) & (sizes < sizes.max()))
    if len(np.unique(points.columns["n_params"])) < 2:
        return {}
    x, y = np.log(points.columns["flops"]), np.log(points.columns["n_params"])
    names, member = np.unique(np.array(points.trunk), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    weights = np.vstack([np.ones(len(x)), counts[:, member]])
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (values - (weights @ values)[:, None] / total for values in (x, y))
    spread = (weights * dx * dx).sum(axis=1)
    several = np.array([len(names), *(counts > 0).sum(axis=1)]) > 1
    a = np.where(several, (weights * dx * dy).sum(axis=1) / np.where(several, spread, 1.0), np.nan)
    return {
        name: interval(float(values[0]), values[1:], False, len(names)) | {"unit": ""}
        for name, values in (("a", a), ("b", 1 - a))
    }


def _clean(value: Any) -> Any:
    """Plain JSON values: numpy numbers become Python's, numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
