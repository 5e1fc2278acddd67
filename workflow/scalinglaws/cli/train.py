"""The stages ``train``, ``rung`` and ``evaluate``: one model each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from scalinglaws.cli.options import (
    MOST_PROCESSES,
    CheckpointSeconds,
    Device,
    LimitMinutes,
    Spec,
    TokensRoot,
    file_to_write,
    folder_to_write,
)

MOST_STEPS = 10**12  # steps of a training: a larger number is a slip
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Root of the folders of published weights, which a spec with init begins from.")
]
Log = Annotated[Path | None, typer.Option("--log", help="File to which lines of progress are added.")]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", min=0, max=MOST_PROCESSES, help="Processes that train it together, one for each GPU; 0 is the same as 1."
    ),
]
Nodes = Annotated[
    int, typer.Option("--nodes", min=1, max=MOST_PROCESSES, help="Nodes of the Slurm job, which share the processes evenly.")
]


class Options(TypedDict):
    """What a training of a run and that of a rung take alike; see ``train.run.train``."""

    device: str
    checkpoint_seconds: float
    log: Path | None
    end: float
    rate: float | None
    weights: Path | None


def train(
    ctx: typer.Context,
    spec: Spec,
    tokens: TokensRoot,
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Run folder to write to.")],
    trunks: Annotated[
        Path | None, typer.Option(help="Root of the trunk folders; the run starts from its last rung before the decay.")
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    checkpoint_seconds: CheckpointSeconds = 60.0,
    log: Log = None,
    processes: Processes = 1,
    nodes: Nodes = 1,
    limit_minutes: LimitMinutes = 0.0,
) -> None:
    """Train one run and write its weights, losses and learning curve.

    A run that was stopped goes on from its checkpoint and ends with the same bytes. SIGTERM and Ctrl-C save, and
    the status is then 143 or 130; a second Ctrl-C ends it at once.

    \b
    Example:
      scalinglaws train --spec results/runs/ID/spec.json --tokens results/tokens --trunks results/trunks \\
        --out results/runs/ID
    """
    from scalinglaws.cluster.slurm import stop_time
    from scalinglaws.cluster.together import together
    from scalinglaws.study.plugins import read_run
    from scalinglaws.study.sweeps import rate_of
    from scalinglaws.train import run

    if together(processes, nodes, device, ctx.obj["arguments"]):
        return
    read = read_run(spec, tokens.parent)
    trunk = trunks / read.trunk.id if trunks else None
    rate, end = rate_of(read, tokens.parent), stop_time(limit_minutes)
    options = Options(device=device, checkpoint_seconds=checkpoint_seconds, log=log, end=end, rate=rate, weights=weights)
    run.train(read, tokens / read.tokens_id, out, trunk=trunk, **options)


def rung(
    ctx: typer.Context,
    spec: Spec,
    tokens: TokensRoot,
    step: Annotated[
        int, typer.Option(min=1, max=MOST_STEPS, help="Step of the rung: optimizer steps from the start of the trunk.")
    ],
    out: Annotated[Path, typer.Option(callback=file_to_write, help="The stepS.safetensors to write.")],
    weights: Weights = None,
    device: Device = "auto",
    checkpoint_seconds: CheckpointSeconds = 60.0,
    log: Log = None,
    processes: Processes = 1,
    nodes: Nodes = 1,
    limit_minutes: LimitMinutes = 0.0,
) -> None:
    """Train a trunk, the stable phase that several budgets share, on to its next rung (checkpoint).

    \b
    Example:
      scalinglaws rung --spec results/trunks/ID/spec.json --tokens results/tokens --step 400 \\
        --out results/trunks/ID/step400.safetensors
    """
    from scalinglaws.cluster.slurm import stop_time
    from scalinglaws.cluster.together import together
    from scalinglaws.study.plugins import read_run
    from scalinglaws.study.sweeps import rate_of
    from scalinglaws.train import run

    if together(processes, nodes, device, ctx.obj["arguments"]):
        return
    read = read_run(spec, tokens.parent)
    rate, end = rate_of(read, tokens.parent), stop_time(limit_minutes)
    options = Options(device=device, checkpoint_seconds=checkpoint_seconds, log=log, end=end, rate=rate, weights=weights)
    run.train_rung(read, tokens / read.tokens_id, step, out, **options)


def evaluate(
    run: Annotated[Path, typer.Option(help="Run folder, with spec.json, model.safetensors and metrics.json.")],
    tokens: TokensRoot,
    folders: Annotated[Path, typer.Option("--set", help="File that names a token folder on each line.")],
    out: Annotated[Path, typer.Option(callback=file_to_write, help="JSON file to write.")],
    device: Device = "auto",
) -> None:
    """Measure the loss of a trained run on other corpora, and by position in the context.

    \b
    Example:
      scalinglaws evaluate --run results/runs/ID --tokens results/tokens --set results/evals/sets/SET.txt \\
        --out results/evals/ID/SET.json
    """
    from scalinglaws.cluster import gpus
    from scalinglaws.common.sums import read_named
    from scalinglaws.evaluate import evaluate as evaluation
    from scalinglaws.models.device import prepare
    from scalinglaws.study.spec import read_spec

    if device != "cpu":
        gpus.take(1)
    prepared = prepare(read_spec(run / "spec.json").threads, device)
    evaluation.evaluate(run, [tokens / folder for folder in read_named(folders).split()], out, prepared)
