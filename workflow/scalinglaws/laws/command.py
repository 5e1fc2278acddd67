"""Fit a law to a table of runs: ``python -m scalinglaws fit --law chinchilla --table runs.csv --out fit.json``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.errors import StudyError
from scalinglaws.files import write_bytes
from scalinglaws.laws.allocation import exponents
from scalinglaws.laws.fit import OBJECTIVES, Fit, Objective, best_fit
from scalinglaws.laws.forms import LAWS, Law
from scalinglaws.laws.select import Points, read_table, select
from scalinglaws.laws.uncertainty import HeldOut, Resamples, bootstrap, flags, held_out, interval, r2


class _TooFewError(StudyError):
    """The table is sound but holds too little for the law: an empty fit where that is allowed."""


def fit_table(
    table: pl.DataFrame, law: str, *, curves: pl.DataFrame | None = None, objective: str = "huber", delta: float = 1e-3,
    n_bootstrap: int = 1000, seed: int = 0, columns: Mapping[str, str] | None = None, exclude_highest: int = 0,
    where: str | None = None, allow_empty: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fit ``law`` to a table of runs; the content of fit.json, its numbers Python floats, None where there is none.

    ``curves``: the table of learning curves (law envelope); ``columns``, ``where``, ``exclude_highest``: see
    select.select; ``n_bootstrap``: resamples, 0 for the fit alone. Raises StudyError for an unknown law or objective,
    bad values, or too few points; the last gives a result without parameters and a flag that says why where
    ``allow_empty``.
    """
    if law not in LAWS:
        raise StudyError(f"law '{law}' is not known: use {', '.join(LAWS)}")
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise StudyError(f"--bootstrap is {n_bootstrap}: use 0 for the fit alone, or at least 2 resamples (1000)")
    form, goal = LAWS[law], Objective(objective, delta)
    points = select(table, form, columns, where, exclude_highest, curves)
    try:
        _enough(points, form)
    except _TooFewError as error:
        if not allow_empty:
            raise
        return _clean(_result(form, goal, points, None, None, [f"Not fitted: {error}"]))
    fit = best_fit(form, points.log_variables(form), np.log(points.loss), goal)
    resamples = bootstrap(fit, points.trunk, n_bootstrap, seed) if n_bootstrap else None
    return _clean(_result(form, goal, points, fit, resamples, flags(fit, points, resamples)))


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
    for name in law.variables:
        if len(np.unique(points.columns[name])) < 2:
            value = points.columns[name][0]
            raise _TooFewError(
                f"law {law.name}: all {len(points)} points have {name} = {value:.6g}; it takes runs of several {name}"
            )


def _result(
    law: Law, objective: Objective, points: Points, fit: Fit | None, resamples: Resamples | None, sentences: list[str]
) -> dict[str, Any]:
    """The fields of fit.json in their fixed order."""
    out: dict[str, Any] = {"law": law.name, "formula": law.formula, "parameters": _parameters(law, fit, resamples)}
    if law.name == "chinchilla" and fit is not None:
        out["exponents"] = _exponents(fit, resamples)
    predicted = np.exp(fit.log_prediction) if fit else np.full(len(points), np.nan)
    held = held_out(points, law, objective) if fit else HeldOut("", math.nan, 0)
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
            | {name: float(points.columns[name][i]) for name in ("n_params", "tokens", "dataset_tokens", "flops")}
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


def _clean(value: Any) -> Any:
    """Plain JSON values: numpy numbers become Python's, numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``python -m scalinglaws fit``."""
    parser.add_argument("--list", action="store_true", help="name the laws and exit")
    parser.add_argument("--law", help=f"one of {', '.join(LAWS)}")
    parser.add_argument("--table", type=Path, help="runs: .csv, .parquet or .jsonl with n_params, loss, and tokens or flops")
    parser.add_argument("--curves", type=Path, help="learning curves, for the law envelope")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAME=COLUMN,…",
        help="where the table has other names: n_params=params,loss=final_loss",
    )
    parser.add_argument("--where", metavar="CONDITION", help='rows to use, in SQL: "n_params > 1e6 and tokens < 1e9"')
    parser.add_argument(
        "--exclude-highest", type=int, default=0, metavar="N", help="leave out the N runs with the largest losses"
    )
    parser.add_argument("--objective", choices=OBJECTIVES, default="huber", help="of residuals in log loss, summed")
    parser.add_argument("--delta", type=float, default=1e-3, help="where the Huber function becomes linear")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples of trunks; 0: the fit alone")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--allow-empty", action="store_true", help="too few points give a file without parameters, not an error")
    parser.add_argument("--out", type=Path, help="the JSON file to write; without it the result is printed")


def main(args: argparse.Namespace) -> None:
    """Read the table, fit, write fit.json (the same bytes for the same table and arguments). Raises StudyError."""
    if args.list:
        for law in LAWS.values():
            print(f"{law.name:12}{law.formula:48}{law.source}. Fitted to: {law.rule}")
        return
    if args.law is None or args.table is None:
        raise StudyError("fit needs --law and --table (--list names the laws)")
    result = fit_table(
        read_table(args.table), args.law, curves=read_table(args.curves) if args.curves else None,
        objective=args.objective, delta=args.delta, n_bootstrap=args.bootstrap, seed=args.seed,
        columns=_mapping(args.columns), exclude_highest=args.exclude_highest, where=args.where,
        allow_empty=args.allow_empty,
    )  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if args.out is None:
        print(text, end="")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.out, text.encode())


def _mapping(text: str) -> dict[str, str]:
    out = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = item.partition("=")
        if not equals or not column:
            raise StudyError(f"--columns has '{item}': write NAME=COLUMN, separated by commas")
        out[name.strip()] = column.strip()
    return out
