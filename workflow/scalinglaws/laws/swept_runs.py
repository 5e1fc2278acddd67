"""The rule of a sweep from the files of its runs, as the rule ``rates`` of the workflow makes it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.files import json_bytes, write_bytes
from scalinglaws.common.numbers import counted, number
from scalinglaws.laws.rate_rule import fit_rule
from scalinglaws.study.paths import run_folder
from scalinglaws.study.sweeps import Sweep, read_sweep
from scalinglaws.tables.aggregate import check_files, checked_metrics, checked_spec


def rule_of_runs(sweep: Sweep, results: Path) -> dict[str, Any]:
    """Return the rule of a sweep as JSON values, with its id and its runs.

    Parameters
    ----------
    sweep
        The sweep.
    results
        The folder of results, which holds its runs.

    Raises
    ------
    StudyError
        A file of a run is missing or damaged, or the losses give no rule.
    """
    rows = []
    for run in sweep.runs:
        folder = run_folder(results, run)
        spec = checked_spec(folder)
        check_files(folder)
        loss = checked_metrics(folder).loss
        rows.append((spec.n_params, spec.learning_rate, math.nan if loss is None else loss))
    return {"sweep": sweep.id, "method": sweep.method, **fit_rule(*zip(*rows, strict=True)), "runs": list(sweep.runs)}


def write_rule(path: Path, results: Path, out: Path, with_sums: bool) -> list[str]:
    """Fit the rule of the sweep in the file ``path``, write it to ``out``, and return lines about it.

    Raises StudyError as ``rule_of_runs`` does, and where the sweep's file is damaged; then nothing is written.
    """
    rule = rule_of_runs(read_sweep(path), results)
    if with_sums:
        sums.finish(sums.beside(out), [], out, json_bytes(rule))
    else:
        write_bytes(out, json_bytes(rule))
    return lines(rule)


def lines(rule: dict[str, Any]) -> list[str]:
    """Return a rule in words: the best rate of each size, the rule, and how far it is known to extrapolate."""
    told = [
        f"N = {each['n_params']:,}: best rate {number(each['learning_rate'])} {_interval(each['interval'])}, by the rule "
        f"{number(each['by_the_rule'])}, from {counted(each['n_window'], 'run')} about the least loss, {each['loss']:.4g}"
        for each in rule["optima"]
    ]
    told.append(
        f"sweep {rule['sweep']}: learning rate = {rule['coefficient']:.4g} · N^{rule['exponent']:.4g}, exponent "
        f"{_interval(rule['exponent_interval'])}"
    )
    told += [f"warning: {note}" for note in rule["notes"]]
    return told + [
        f"{each['factor']} times the largest N, {each['n_params']:,}: {number(each['learning_rate'])} "
        f"{_interval(each['interval'])}"
        for each in rule["extrapolation"]
    ]


def _interval(ends: list[float]) -> str:
    return f"[{number(ends[0])}, {number(ends[1])}]"
