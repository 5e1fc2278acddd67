"""What a study would train, what is there already, and what it costs: read by people, by ``prune`` and by the progress line."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.cluster import bundles
from scalinglaws.cluster import needs as resources
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import load
from scalinglaws.decide.schema import config_schema
from scalinglaws.models.count import n_params_total
from scalinglaws.optim.registry import OPTIMIZERS
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
RESULTS = Path("results")


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


def describe(study: Study, results: Path) -> str:
    """The plan as text: a line a run, then totals."""
    lines = [
        f"study {study.name}: {len(study.runs)} runs",
        f"{'run':<44}{'experiments':<14}{'tokens':>9}{'from':>9}{'GFLOP':>12}  state",
    ]
    for run, spec in study.runs.items():
        start = study.starts[run] * spec.batch_tokens
        flops = (spec.steps - study.starts[run]) * flops_per_step(spec) / 1e9
        state = "done" if has_run(results, run) else "to train"
        asked = ",".join(study.experiments[run])
        lines.append(f"{run:<44}{asked:<14}{short(spec.tokens):>9}{short(start) if start else '-':>9}{flops:>12,.0f}  {state}")
    ladder, alone = tokens_to_train({run: s for run, s in study.runs.items() if run in study.trunk_ids}, study.ladder)
    state_now = status(study, results)
    size = sum(rung_bytes(study.trunks[trunk]) * len(steps) for trunk, steps in study.rungs.items())
    lines += [
        f"budgets on the ladder: {short(ladder)} tokens to train, run by run {short(alone)}: {alone / ladder:.2f} times fewer"
        if ladder
        else "no budgets on the ladder",
        f"rungs: {sum(map(len, study.rungs.values()))}, {size / 1e6:.1f} MB (weights and optimizer state)",
        f"left: {state_now.runs - state_now.runs_done} of {state_now.runs} runs, {short(state_now.tokens_left)} tokens",
        cost(state_now.flops_left),
    ]
    return "\n".join(lines)


def cost(flops: float) -> str:
    """FLOP as people who pay for them count: PF-days, and hours of an H100 at UTILISATION of its dense bfloat16 peak."""
    hours = flops / (UTILISATION * H100_PEAK) / 3600
    return f"compute left: {flops:.2e} FLOP, {flops / PF_DAY:.2g} PF-days" + (
        f", {hours:,.0f} H100-hours at {UTILISATION:.0%} of peak" if hours >= 1 else ""
    )


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))


def load_study(args: argparse.Namespace) -> Study:
    return load(args.configfile, RESULTS)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``plan``."""
    _add_study(parser)
    parser.add_argument("--profile", type=Path, help="a cluster's profile: GPU-hours by size on its device")


def main_plan(args: argparse.Namespace) -> None:
    """Print the plan."""
    study = load_study(args)
    print(describe(study, RESULTS))
    if args.profile:
        device = resources.of_profile(args.profile)
        if device is None:
            raise StudyError(f"{args.profile} describes no device: give one under config, as profiles/slurm does")
        speeds = resources.measured(study, RESULTS, device)
        print("\n".join(["", *bundles.table(study, RESULTS, device, speeds)]))


def add_prune_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``prune``."""
    _add_study(parser)
    parser.add_argument("--yes", action="store_true", help="delete; without it, the files are only listed")


def main_prune(args: argparse.Namespace) -> None:
    """List or delete the rungs of the study's trunks that no unfinished run needs. Nothing that is done retrains."""
    study = load_study(args)
    needed = needed_rungs(study, RESULTS)
    kept = {rung_path(RESULTS, trunk, step) for trunk, steps in needed.items() for step in steps}
    found = [path for trunk in study.trunks for path in sorted((RESULTS / "trunks" / trunk).glob("step*.safetensors"))]
    spare = [path for path in found if path not in kept]
    size = sum(path.stat().st_size for path in spare)
    for path in spare:
        print(path)
        if args.yes:
            path.unlink()
    print(f"{len(spare)} rungs, {size / 1e6:.1f} MB {'deleted' if args.yes else 'could be deleted (--yes does)'}")


def add_schema_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``schema``."""
    parser.add_argument("--out", type=Path, default=Path("workflow/config.schema.json"))


def main_schema(args: argparse.Namespace) -> None:
    """Write the JSON schema of config.yaml, which editors complete and check by."""
    args.out.write_text(json.dumps(config_schema(), indent=1, sort_keys=True) + "\n")
    print(args.out)
