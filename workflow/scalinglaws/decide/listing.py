"""A study's plan as values: a row a run, and totals of what is there, what is left and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalinglaws.decide.plan import rung_bytes, status
from scalinglaws.study.ladder import flops_per_step, tokens_to_train
from scalinglaws.study.paths import has_run
from scalinglaws.study.spec import short
from scalinglaws.study.study import Study

PF_DAY = 8.64e19  # FLOP
H100_PEAK, UTILISATION = 989e12, 0.4  # FLOP/s; small models reach less


def plan_rows(study: Study, results: Path) -> list[dict[str, Any]]:
    """A row for each run of a study.

    Returns
    -------
    rows
        ``run``: its id; ``experiments``: the experiments that ask for it; ``tokens``: its budget; ``from_tokens``: tokens of
        the rung from which it starts, 0 for none; ``gflop``: compute from there to its end, in GFLOP; ``state``: "done" or
        "to train".
    """
    rows = []
    for run, spec in study.runs.items():
        start = study.starts[run]
        row = {"run": run, "experiments": list(study.experiments[run]), "tokens": spec.tokens}
        row |= {"from_tokens": start * spec.batch_tokens, "gflop": (spec.steps - start) * flops_per_step(spec) / 1e9}
        rows.append(row | {"state": "done" if has_run(results, run) else "to train"})
    return rows


def plan_totals(study: Study, results: Path) -> dict[str, Any]:
    """Sums over a study: runs and rungs wanted, what is left of them, and the compute that this takes.

    Returns
    -------
    totals
        ``ladder_tokens`` and ``alone_tokens``: tokens to train for the runs that share trunks, with the ladder and if each run
        were trained from nothing; ``rung_bytes``: size of the rungs' weights and optimizer state; ``h100_hours_left``: hours of
        an H100 at UTILISATION of its dense bfloat16 peak.
    """
    shared = {run: spec for run, spec in study.runs.items() if run in study.trunk_ids}
    ladder, alone = tokens_to_train(shared, study.ladder)
    now = status(study, results)
    return {
        "study": study.name,
        "runs": now.runs,
        "runs_left": now.runs - now.runs_done,
        "ladder_tokens": ladder,
        "alone_tokens": alone,
        "rungs": sum(map(len, study.rungs.values())),
        "rung_bytes": sum(rung_bytes(study.trunks[trunk]) * len(steps) for trunk, steps in study.rungs.items()),
        "tokens_left": now.tokens_left,
        "flops_left": now.flops_left,
        "pf_days_left": now.flops_left / PF_DAY,
        "h100_hours_left": now.flops_left / (UTILISATION * H100_PEAK) / 3600,
    }


def sentences(totals: dict[str, Any]) -> list[str]:
    """The totals of a plan in words, a line each."""
    ladder, alone, hours = totals["ladder_tokens"], totals["alone_tokens"], totals["h100_hours_left"]
    saving = f"{short(ladder)} tokens to train, run by run {short(alone)}: {alone / ladder:.2f} times fewer" if ladder else ""
    paid = f", {hours:,.0f} H100-hours at {UTILISATION:.0%} of peak" if hours >= 1 else ""
    return [
        f"budgets on the ladder: {saving}" if ladder else "no budgets on the ladder",
        f"rungs: {totals['rungs']}, {totals['rung_bytes'] / 1e6:.1f} MB (weights and optimizer state)",
        f"left: {totals['runs_left']} of {totals['runs']} runs, {short(totals['tokens_left'])} tokens",
        f"compute left: {totals['flops_left']:.2e} FLOP, {totals['pf_days_left']:.2g} PF-days{paid}",
    ]
