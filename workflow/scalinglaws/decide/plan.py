"""What a study would train, what is there already, and what it costs: read by people, by ``prune`` and by the progress line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalinglaws.cluster import needs as resources
from scalinglaws.models.count import n_params_total
from scalinglaws.study.ladder import flops_per_step, n_vocab_guess, tokens_to_train
from scalinglaws.study.paths import evaluation_path, has_run, rung_path
from scalinglaws.study.spec import RunSpec, short
from scalinglaws.study.study import Study

# Work of a training token beside its FLOP (softmax, memory, interpreter), in FLOP: near what steps of 1k to 100k parameters took.
OVERHEAD_PER_TOKEN = 150_000
# Start of a process (import torch, read tokens), in FLOP that it could have done.
START = 10**11
PF_DAY = 8.64e19  # FLOP
H100_PEAK, UTILISATION = 989e12, 0.4  # FLOP/s; small models reach less


@dataclass(frozen=True)
class Status:
    """Runs and rungs there of those wanted; the work still to do (FLOP with overheads a token and a job), tokens and FLOP."""

    runs_done: int
    runs: int
    rungs_done: int
    rungs: int
    work_left: float
    tokens_left: int
    flops_left: float

    @property
    def finished(self) -> bool:
        return self.runs_done == self.runs


def work_per_step(spec: RunSpec) -> float:
    return flops_per_step(spec) + OVERHEAD_PER_TOKEN * spec.batch_tokens


def heartbeats(results: Path) -> dict[str, dict]:
    """What is being trained: folder name -> the last progress.json that its process wrote."""
    found = {}
    for path in sorted([*results.glob("runs/*/progress.json"), *results.glob("trunks/*/progress.json")]):
        try:
            found[path.parent.name] = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            continue  # removed or replaced while it was read
    return found


def needed_rungs(study: Study, results: Path) -> dict[str, list[int]]:
    """Trunk -> the rungs from which its runs that are not trained yet start, and those below, ascending."""
    last: dict[str, int] = {}
    for run, trunk in study.trunk_ids.items():
        if study.starts[run] and not has_run(results, run):
            last[trunk] = max(last.get(trunk, 0), study.starts[run])
    return {trunk: [step for step in study.rungs[trunk] if step <= last[trunk]] for trunk in sorted(last)}


def status(study: Study, results: Path) -> Status:
    """Where the study stands, jobs under way counted by their heartbeats."""
    beats = heartbeats(results)
    done = [run for run in study.runs if has_run(results, run)]
    work, tokens, flops = 0.0, 0, 0.0

    def train(spec: RunSpec, steps: int) -> None:
        nonlocal work, tokens, flops
        flops += steps * flops_per_step(spec)
        work += steps * work_per_step(spec)
        tokens += steps * spec.batch_tokens

    for run, name in study.evaluations.items():
        work += 0 if evaluation_path(results, run, name).exists() else START
    for run in study.runs.keys() - set(done):
        reached = max(study.starts[run], beats.get(run, {}).get("step", 0))
        work += START
        train(study.runs[run], study.runs[run].steps - reached)
    wanted = needed_rungs(study, results)
    made = 0
    for trunk, steps in wanted.items():
        there = [step for step in steps if rung_path(results, trunk, step).exists()]
        made += len(there)
        reached = max([*there, beats.get(trunk, {}).get("step", 0), 0])
        work += START * (len(steps) - len(there))
        train(study.trunks[trunk], max(0, steps[-1] - reached))
    return Status(len(done), len(study.runs), made, sum(map(len, wanted.values())), work, tokens, flops)


def rung_bytes(spec: RunSpec) -> float:
    """Weights and optimizer state; gradients are not kept."""
    return (resources.BYTES[spec.optimizer] - 4) * n_params_total(spec.shape(n_vocab_guess(spec)))


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
