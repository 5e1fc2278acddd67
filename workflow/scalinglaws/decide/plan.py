"""What a study would train, what is there already, and what it costs."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.cluster import bundles
from scalinglaws.cluster import needs as resources
from scalinglaws.cluster.cost import H100, gpu_hours
from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import PF_DAY, short
from scalinglaws.decide.load import load
from scalinglaws.decide.schema import config_schema
from scalinglaws.decide.status import Status, heartbeats, needed_rungs, status
from scalinglaws.models.count import n_params_total
from scalinglaws.study.ladder import flops_per_step, n_vocab_guess, tokens_to_train
from scalinglaws.study.paths import has_run, rung_path
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

__all__ = ["Plan", "PlannedRun", "Status", "describe", "heartbeats", "make_plan", "needed_rungs", "status"]

RESULTS = Path("results")


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study, as the plan lists it.

    Attributes
    ----------
    run
        Its id.
    experiments
        Experiments of the config that ask for it.
    tokens
        Its budget.
    start_tokens
        Tokens of its trunk at the rung that it starts from; 0 where it starts from nothing.
    flops
        FLOP from there to its end.
    done
        Whether it is trained.
    """

    run: str
    experiments: tuple[str, ...]
    tokens: int
    start_tokens: int
    flops: int
    done: bool


@dataclass(frozen=True)
class Plan:
    """What a study trains and where it stands.

    Attributes
    ----------
    study
        Name of the study.
    runs
        Its runs, in the order of their ids.
    ladder_tokens, alone_tokens
        Tokens of all budgets that share trunks: trained with the ladder, and trained run by run. 0 where there are none.
    rungs, rung_bytes
        Number of rungs of the study, and their size.
    status
        What is done and what is left.
    """

    study: str
    runs: tuple[PlannedRun, ...]
    ladder_tokens: int
    alone_tokens: int
    rungs: int
    rung_bytes: float
    status: Status


def rung_bytes(spec: RunSpec) -> float:
    """Return the size of a rung in bytes: weights and optimizer state. Gradients are not kept."""
    return (resources.BYTES[spec.optimizer] - 4) * n_params_total(spec.shape(n_vocab_guess(spec)))


def make_plan(study: Study, results: Path) -> Plan:
    """Tell what a study trains, what is there, and what is left.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results.

    Returns
    -------
    Plan
        A row for each run, and totals.
    """
    runs = tuple(
        PlannedRun(
            run=run,
            experiments=study.experiments[run],
            tokens=spec.tokens,
            start_tokens=study.starts[run] * spec.batch_tokens,
            flops=(spec.steps - study.starts[run]) * flops_per_step(spec),
            done=has_run(results, run),
        )
        for run, spec in study.runs.items()
    )
    ladder, alone = tokens_to_train({run: spec for run, spec in study.runs.items() if run in study.trunk_ids}, study.ladder)
    size = sum(rung_bytes(study.trunks[trunk]) * len(steps) for trunk, steps in study.rungs.items())
    return Plan(study.name, runs, ladder, alone, sum(map(len, study.rungs.values())), size, status(study, results))


def describe(study: Study, results: Path) -> str:
    """Write the plan of a study as text: a line for each run, then totals."""
    plan = make_plan(study, results)
    lines = [
        f"study {plan.study}: {len(plan.runs)} runs",
        f"{'run':<44}{'experiments':<14}{'tokens':>9}{'from':>9}{'GFLOP':>12}  state",
    ]
    for row in plan.runs:
        start, state = short(row.start_tokens) if row.start_tokens else "-", "done" if row.done else "to train"
        asked = ",".join(row.experiments)
        lines.append(f"{row.run:<44}{asked:<14}{short(row.tokens):>9}{start:>9}{row.flops / 1e9:>12,.0f}  {state}")
    ladder, alone, now = plan.ladder_tokens, plan.alone_tokens, plan.status
    lines += [
        f"budgets on the ladder: {short(ladder)} tokens to train, run by run {short(alone)}: {alone / ladder:.2f} times fewer"
        if ladder
        else "no budgets on the ladder",
        f"rungs: {plan.rungs}, {plan.rung_bytes / 1e6:.1f} MB (weights and optimizer state)",
        f"left: {now.runs - now.runs_done} of {now.runs} runs, {short(now.tokens_left)} tokens",
        describe_compute(now.flops_left),
    ]
    return "\n".join(lines)


def describe_compute(flops: float) -> str:
    """Write FLOP as people who pay for them count: in PF-days, and in hours of an H100 at the speed that large models reach."""
    hours = gpu_hours(flops, H100)
    return f"compute left: {flops:.2e} FLOP, {flops / PF_DAY:.2g} PF-days" + (
        f", {hours:,.0f} H100-hours at {H100.utilisation:.0%} of peak" if hours >= 1 else ""
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
