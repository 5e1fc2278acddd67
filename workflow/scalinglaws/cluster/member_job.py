"""Train one member of a bundle in this process: its rungs, its runs and their evaluations.

Each stage writes the log that it would write as a job of its own.

    python -m scalinglaws member --list results/bundles/ID.json --name TRUNK
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalinglaws.cluster import bundle
from scalinglaws.cluster.bundle import Member
from scalinglaws.common import stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.common.sums import read_named
from scalinglaws.evaluate.evaluate import evaluate
from scalinglaws.models.device import prepare
from scalinglaws.study.paths import evaluation_path, evaluation_set_path, has_run, log_path, run_folder, rung_path
from scalinglaws.study.plugins import read_run
from scalinglaws.study.spec import read_spec
from scalinglaws.study.sweeps import rate_of
from scalinglaws.train.run import train, train_rung


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
        Further arguments of ``train.run.train`` and ``train_rung``: when to save and when to stop.
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

    def rung(self, trunk: str, step: int) -> None:
        """Train a trunk to the rung at a step."""
        out = rung_path(self.root, trunk, step)
        if not out.exists():
            spec = read_run(out.parent / "spec.json", self.root)
            with self.log("rung", f"{trunk}-step{step}"):
                rate = rate_of(spec, self.root)
                train_rung(spec, self.root / "tokens" / spec.tokens_id, step, out, rate=rate, **self.training)

    def run(self, run: str) -> None:
        """Train a run from the rung that it starts from."""
        if not has_run(self.root, run):
            out = run_folder(self.root, run)
            spec = read_run(out / "spec.json", self.root)
            tokens, trunk = self.root / "tokens" / spec.tokens_id, self.root / "trunks" / spec.trunk.id
            with self.log("train", run):
                train(spec, tokens, out, trunk=trunk, at_once=self.at_once, rate=rate_of(spec, self.root), **self.training)

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


def train_named(path: Path, name: str, stages: Stages) -> None:
    """Make the member ``name`` of the bundle's file ``path``.

    Raises StudyError where the bundle has no such member, and SystemExit after a signal to stop.
    """
    found = [member for member in bundle.read(path).members if member.name == name]
    if not found:
        raise StudyError(f"{path} has no member {name}")
    with stopping.handled(stopping.leave):  # a training saves first: see Checkpoints.listening
        train_member(found[0], stages)
