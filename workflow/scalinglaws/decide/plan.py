"""What a study would train, what is there already, and what it costs: read by people, by ``prune`` and by the progress line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.models.count import n_params_total
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study.ladder import flops_per_step, n_vocab_guess
from scalinglaws.study.paths import evaluation_path, has_run, rung_path
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

# Work of a training token beside its FLOP (softmax, memory, interpreter), in FLOP: near what steps of 1k to 100k parameters took.
OVERHEAD_PER_TOKEN = 150_000
# Start of a process (import torch, read tokens), in FLOP that it could have done.
START = 10**11


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
    return (OPTIMIZERS.find(spec.optimizer).bytes_per_param - 4) * n_params_total(spec.shape(n_vocab_guess(spec)))
