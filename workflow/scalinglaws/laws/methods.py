"""Laws that are not one equation of the loss: each has its own way from points to the content of fit.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.critical import fit_critical
from scalinglaws.laws.isoflop import IsoflopFit, fit_isoflop
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import kept


@dataclass(frozen=True)
class Method:
    """``variables``: columns that it cannot do without; ``result``: (points, resamples, seed, allow_empty) -> fit.json."""

    name: str
    title: str
    formula: str
    source: str
    rule: str
    variables: tuple[str, ...]
    published: dict[str, float]
    result: Callable[[Points, int, int, bool], dict[str, Any]]


def _result(
    method: str, points: Points, counts: dict[str, int], parameters: dict[str, Any], own: dict[str, Any], flags: list[str]
) -> dict[str, Any]:
    """The fields of fit.json: those of every law, and the method's ``own`` after its parameters."""
    described = METHODS[method]
    return {
        "law": described.name,
        "formula": described.formula,
        "parameters": parameters,
        **own,
        "objective": {"name": "squared", "delta": None, "value": None},
        "n_points": counts["points"],
        "n_runs": counts["runs"],
        "n_trunks": counts.get("trunks", counts["runs"]),
        "excluded": points.excluded,
        "r2": None,
        "flags": [*points.notes, *flags],
        "starts": 0,
        "published": described.published,
    }


def isoflop_result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """fit.json of the law isoflop; its parameters are the coefficients of N_opt and D_opt."""
    n, tokens, flops = (points.columns[name] for name in ("n_params", "tokens", "flops"))
    fit = fit_isoflop(points.run, points.trunk, n, tokens, flops, points.loss, n_bootstrap, seed)
    found = fit.counts["used"] >= 2
    if not found and not allow_empty:
        raise StudyError(f"law isoflop: {' '.join(fit.flags)}")
    parameters = {"k_N": fit.n_coefficient | {"unit": "parameters"}, "k_D": fit.d_coefficient | {"unit": "tokens"}}
    own = {
        "exponents": {"a": fit.a | {"unit": ""}, "b": fit.b | {"unit": ""}} if found else {},
        "shape_free": fit.shape_free if found else {},
        "profiles": [dataclasses.asdict(profile) for profile in fit.profiles],
        "held_out": held_out_profile(fit),
    }
    return _result("isoflop", points, fit.counts, parameters if found else {}, own, fit.flags)


def held_out_profile(fit: IsoflopFit) -> dict[str, Any]:
    """Relative error of N_opt at the largest compute, from the line through the others."""
    used = [profile for profile in fit.profiles if not profile.edge]
    rule, error = "fitted without the profile of largest compute, whose N_opt is predicted", float("nan")
    if len(used) > 2:
        x, y = np.log([profile.flops for profile in used]), np.log([profile.n_opt for profile in used])
        slope, level = np.polyfit(x[:-1], y[:-1], 1)
        error = float(abs(np.expm1(slope * x[-1] + level - y[-1])))
    return {"rule": rule, "error": error, "n": int(len(used) > 2), "windows": []}


def critical_result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """fit.json of the law critical-batch, with S_min, E_min and B_crit at each loss of each size."""
    n, batch, steps = (points.columns[name] for name in ("n_params", "batch_tokens", "steps"))
    fit = fit_critical(points.run, n, batch, steps, points.loss, n_bootstrap=n_bootstrap, seed=seed)
    found = bool(np.isfinite(fit.b_star["estimate"]))
    if not found and not allow_empty:
        raise StudyError(f"law critical-batch: {' '.join(fit.flags)}")
    parameters = {"B_star": fit.b_star | {"unit": "tokens"}, "alpha_B": fit.alpha_b | {"unit": ""}}
    held: dict[str, Any] = {"rule": "", "error": None, "n": 0, "windows": []}
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        drawn = np.column_stack([np.exp(fit.resamples[:, 0]), 1 / fit.resamples[:, 1]])
    own = {"levels": [dataclasses.asdict(level) for level in fit.levels], "held_out": held}
    own["resamples"] = kept(parameters, drawn) if found else {}
    return _result("critical-batch", points, fit.counts, parameters if found else {}, own, fit.flags)


METHODS = {
    method.name: method
    for method in (
        Method(
            name="isoflop",
            title="Best model size at each compute",
            formula="N_opt = k_N·C^a, D_opt = k_D·C^b",
            source="Hoffmann et al. 2022, approach 2",
            rule="decayed budgets, one epoch, in profiles of several sizes at nearly equal compute",
            variables=("n_params", "flops"),
            published={"a": 0.49, "b": 0.51},
            result=isoflop_result,
        ),
        Method(
            name="critical-batch",
            title="Critical batch size against loss",
            formula="B_crit = B_star/L^(1/alpha_B), (S/S_min - 1)(E/E_min - 1) = 1",
            source="Kaplan et al. 2020 (1.4, 5.1)",
            rule="learning curves after warm-up and before the decay, of at least three batch sizes",
            variables=("n_params", "batch_tokens", "steps"),
            published={"B_star": 2e8, "alpha_B": 0.21},
            result=critical_result,
        ),
    )
}
