"""Train one member of a bundle in this process, or several as a stack: rungs, runs and their evaluations.

Each stage writes the log that it would write as a job of its own.

    python -m scalinglaws member --list results/bundles/ID.json --name TRUNK
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scalinglaws.cluster import bundle
from scalinglaws.cluster.bundle import Member
from scalinglaws.cluster.stacks import MOST_ROWS, reason_alone, rows_that_fit, shape_of, specs_of
from scalinglaws.common import stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.common.sums import read_named
from scalinglaws.evaluate.evaluate import evaluate
from scalinglaws.models.device import prepare
from scalinglaws.study.paths import evaluation_path, evaluation_set_path, has_run, log_path, run_folder, rung_path
from scalinglaws.study.plugins import read_run
from scalinglaws.study.spec import read_spec
from scalinglaws.study.sweeps import rate_of
from scalinglaws.train.run import begin_run, begin_rung
from scalinglaws.train.stacked_run import StackedRun, Stage
from scalinglaws.train.training import Training


class Stages:
    """The stages that make a member, with the files and logs that the rules give them. What is there is not made again.

    Parameters
    ----------
    root
        The folder of results.
    at_once
        Number of processes that share the GPU, which timing.json records.
    device
        Where to train and evaluate: auto, cpu or cuda.
    training
        Further arguments of ``train.run.begin_run`` and ``begin_rung``: when to save and when to stop.
    """

    def __init__(self, root: Path, at_once: int = 1, device: str = "auto", **training: Any):
        self.root, self.at_once, self.device = root, at_once, device
        self.training = {"device": device, "weights": root / "weights", **training}

    @contextlib.contextmanager
    def log(self, stage: str, name: str) -> Iterator[None]:
        """Append what is written to standard error to the log of a stage while this is active, and an error that ends it."""
        path = log_path(self.root, stage, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file, contextlib.redirect_stderr(file):
            try:
                yield
            except StudyError as error:
                print(f"scalinglaws {stage}: {error}", file=file)
                raise
            except Exception:
                traceback.print_exc(file=file)
                raise

    def begin_rung(self, trunk: str, step: int) -> Training | None:
        """Return the training of a trunk to the rung at a step; None where the rung has just been put in place again."""
        out = rung_path(self.root, trunk, step)
        spec = read_run(out.parent / "spec.json", self.root)
        return begin_rung(spec, self.root / "tokens" / spec.tokens_id, step, out, rate=rate_of(spec, self.root), **self.training)

    def rung(self, trunk: str, step: int) -> None:
        """Train a trunk to the rung at a step."""
        if not rung_path(self.root, trunk, step).exists():
            with self.log("rung", f"{trunk}-step{step}"):
                if training := self.begin_rung(trunk, step):
                    training.complete()

    def begin_run(self, run: str, stacked: int | None = None) -> Training | None:
        """Return the training of a run, in a stack of so many rows or alone; None where it has just been put in place again."""
        out = run_folder(self.root, run)
        spec = read_run(out / "spec.json", self.root)
        tokens, trunk = self.root / "tokens" / spec.tokens_id, self.root / "trunks" / spec.trunk.id
        rate, at_once = rate_of(spec, self.root), self.at_once
        return begin_run(spec, tokens, out, trunk=trunk, at_once=at_once, stacked=stacked, rate=rate, **self.training)

    def run(self, run: str) -> None:
        """Train a run from the rung that it starts from."""
        if not has_run(self.root, run):
            with self.log("train", run):
                if training := self.begin_run(run):
                    training.complete()

    def chain(self, member: Member) -> list[Stage]:
        """Return what is missing of a member's rungs and runs as the chain of a row of a stack."""

        def rung(step: int) -> Stage:
            def begin(rows: int) -> Training | None:
                return self.begin_rung(member.name, step)

            return Stage(begin, partial(self.log, "rung", f"{member.name}-step{step}"))

        rungs = [step for step in member.rungs if not rung_path(self.root, member.name, step).exists()]
        runs = [run for run in member.runs if not has_run(self.root, run)]
        return [*map(rung, rungs), *(Stage(partial(self.begin_run, run), partial(self.log, "train", run)) for run in runs)]

    def evaluation(self, run: str, name: str) -> None:
        """Evaluate a run on the set of token folders that has this name."""
        out = evaluation_path(self.root, run, name)
        if not out.exists():
            folders, made = read_named(evaluation_set_path(self.root, name)).split(), run_folder(self.root, run)
            device = prepare(read_spec(made / "spec.json").threads, self.device)
            with self.log("evaluate", f"{run}-{name}"):
                evaluate(made, [self.root / "tokens" / folder for folder in folders], out, device)


def train_member(member: Member, stages: Stages) -> None:
    """Make what is missing of a member. A run that cannot be trained does not stop the other runs of its member.

    Raises StudyError at the end, with the reason of each run that could not be trained.
    """
    reasons: list[str] = []
    for step in member.rungs:
        stages.rung(member.name, step)
    for run in member.runs:
        try:
            stages.run(run)
        except StudyError as error:
            reasons.append(str(error))
    for run, name in member.evaluations:
        if has_run(stages.root, run):
            stages.evaluation(run, name)
    if reasons:
        raise StudyError("; ".join(reasons))


def train_stack(members: list[Member], stages: Stages) -> None:
    """Train the rungs and runs that are missing of members of one shape, all members at the same time in a stack.

    What fails is left, and the reason told on standard error.

    Raises
    ------
    StudyError
        The members cannot be in one stack.
    SystemExit
        After a signal to stop, once all of them are saved.
    """
    specs = [spec for member in members for spec in specs_of(member, stages.root)]
    for spec in specs:
        reason = reason_alone(spec) or ("" if shape_of(spec) == shape_of(specs[0]) else f"differs in shape from {specs[0].id}")
        if reason:
            raise StudyError(f"run {spec.id} {reason}: train its member without others")
    device = prepare(specs[0].threads, stages.device)
    rows = rows_that_fit(specs[0], torch.cuda.mem_get_info()[1] / stages.at_once) if device == "cuda" else MOST_ROWS
    chains = [chain for member in members if (chain := stages.chain(member))]
    if min(rows, len(chains)) < 2:
        return
    steps = max([spec.steps for spec in specs] + [step for member in members for step in member.rungs])
    try:
        StackedRun(chains, rows, steps).train()
    except (StudyError, RuntimeError) as error:  # RuntimeError is what PyTorch raises
        print(f"stack: warning: its trainings go on one by one, because of {error!r:.500}", file=sys.stderr, flush=True)


def train_named(path: Path, names: list[str], stages: Stages) -> None:
    """Make the members with these names of the bundle's file ``path``; several must be of one shape, and are trained as a stack.

    What a stack leaves, such as evaluations, is made member by member.

    Raises
    ------
    StudyError
        The bundle has no such member, they cannot be in one stack, or some could not be made; then the others are.
    SystemExit
        After a signal to stop.
    """
    known = {member.name: member for member in bundle.read(path).members}
    if missing := [name for name in names if name not in known]:
        raise StudyError(f"{path} has no member {missing[0]}")
    members = [known[name] for name in names]
    reasons: list[str] = []
    with stopping.handled(stopping.leave):  # a training saves first: see Checkpoints.listening
        if len(members) > 1:
            train_stack(members, stages)
        for member in members:
            try:
                train_member(member, stages)
            except StudyError as error:
                reasons.append(str(error))
    if reasons:
        raise StudyError("; ".join(reasons))
