"""Train one run, or one rung of a trunk's checkpoint ladder.

    python -m scalinglaws train --spec spec.json --tokens results/tokens --trunks results/trunks --out results/runs/ID
    python -m scalinglaws rung --spec spec.json --tokens results/tokens --step S --out results/trunks/ID/stepS.safetensors

Starting from nothing, from a rung or from the checkpoint of a killed process ends with the same bytes. With --processes above
1, so many processes train it together, data parallel, and losses differ by rounding.
"""

from __future__ import annotations

import json
import math
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalinglaws.common import files, finished, leftovers, sums
from scalinglaws.common.asked import deterministic as asked_to_be_deterministic
from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.data.batches import Split, doubts
from scalinglaws.evaluate.losses import clustered_stderr, finite, positions, token_losses
from scalinglaws.models import count
from scalinglaws.models.device import device_name, driver_version, gpus_visible, prepare
from scalinglaws.study.spec import RunSpec
from scalinglaws.train import checkpoint
from scalinglaws.train.begin import begin
from scalinglaws.train.distributed import Processes, join, leave
from scalinglaws.train.event_file import watch
from scalinglaws.train.metrics import CurveRow, Flop, RunMetrics, RunTiming
from scalinglaws.train.progress import Progress
from scalinglaws.train.resume import resume
from scalinglaws.train.trainer import Trainer
from scalinglaws.train.training import Training


def put_back(processes: Processes, last: Path, folder: Path, prefix: str) -> bool:
    """Tell whether a job that was stopped had finished the files that end with ``last``: then they are put in place again.

    The first process looks for all of them. Checkpoints of ``prefix`` in the folder are then removed, and what processes that
    were killed left there in any case.
    """
    done = False
    if processes.first:
        leftovers.clear(folder)
        if done := finished.restore(last):
            checkpoint.prune(folder, prefix, keep=0)
    done = processes.from_first(done)
    if done:
        leave()
    return bool(done)


def say_device(progress: Progress, asked: str, device: str, processes: Processes) -> None:
    """Say on what the run is trained and what was asked for, in the first of its processes."""
    if processes.first:
        gpus = f", driver {driver_version(device)}, {counted(gpus_visible(device), 'GPU')} visible" if device != "cpu" else ""
        told = f"asked for --device {asked} and --processes {processes.count}"
        progress.say(f"{progress.name}: on {device_name(device)}{gpus}; {told}")


def train(spec: RunSpec, tokens: Path, out: Path, **options: Any) -> None:
    """Train a run and write metrics.json, curve.jsonl, model.safetensors and timing.json to its folder ``out``.

    A diverged run is a result, with loss None. metrics.json is written last: where it exists, the run is whole. A run that was
    finished before its job was killed is put in place again (common/finished.py) and not trained. The parameters are those of
    ``begin_run``, which raises StudyError. Raises SystemExit after a checkpoint: see ``advance``.
    """
    if training := begin_run(spec, tokens, out, **options):
        training.complete()


def begin_run(
    spec: RunSpec,
    tokens: Path,
    out: Path,
    *,
    trunk: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 60.0,
    log: Path | None = None,
    end: float = math.inf,
    at_once: int = 1,
    stacked: int | None = None,
    rate: float | None = None,
) -> Training | None:
    """Return the training of a run at the step that it goes on from; None where the run has just been put in place again.

    Parameters
    ----------
    spec
        The run.
    tokens
        The folder of the run's token files.
    out
        The folder of the run.
    trunk
        A folder of rungs, used where the schedule is wsd and the stop is the budget.
    weights
        The folder of published weights, results/weights, for runs that begin from some.
    device
        cpu, cuda, mps, or auto for a GPU of CUDA if there is one.
    checkpoint_seconds
        Wall time between two checkpoints.
    log
        A file that lines of progress are added to.
    end
        The time (of time.time) at which to save a checkpoint and to exit with status 143.
    at_once
        The number of processes that share this GPU, for timing.json.
    stacked
        The number of trainings in the stack that the caller puts it into (stacked_run.py), for timing.json; None for no stack.
    rate
        The learning rate that a sweep gives; None for that of the spec.

    Raises
    ------
    StudyError
        The spec cannot be trained, or the disk is full.
    """
    if spec.steps < 1:
        raise StudyError(f"run {spec.id} has {spec.tokens} tokens, less than one batch of {spec.batch_tokens}: raise tokens")
    began = time.monotonic()
    asked, device = device, prepare(spec.threads, device)
    processes = join(device)
    if put_back(processes, out / "metrics.json", out, "checkpoint-"):
        return None
    trainer = Trainer(spec, tokens, device, processes, rate)
    kept = checkpoint.Checkpoints(out, "checkpoint-", checkpoint_seconds, end)
    rungs = trunk if spec.schedule == "wsd" and spec.stop == "budget" else None
    resume(trainer, kept, rungs, spec.trunk.id, spec.stable_steps)
    begin(trainer, weights)
    progress = Progress(spec.id, out, trainer.step, spec.steps, spec.batch_tokens, log, processes.first)
    say_device(progress, asked, device, processes)
    watch(trainer, progress)
    if processes.first:
        if spec.rate_sweep:
            progress.say(f"{spec.id}: learning rate {trainer.rate:g}, by the rule of sweep {spec.rate_sweep}")
        for sentence in doubts(trainer.curve.meta, spec.n_ctx, spec.eval_tokens):
            progress.say(f"{spec.id}: warning: {sentence}")
    finish = partial(finish_run, tokens=tokens, out=out, asked=asked, began=began, at_once=at_once, stacked=stacked)
    return Training(trainer, kept, progress, spec.steps, finish)


def finish_run(
    training: Training, *, tokens: Path, out: Path, asked: str, began: float, at_once: int, stacked: int | None
) -> None:
    """Measure a run whose last step is done and write its files.

    ``asked`` is the device that was asked for, and ``began`` when by time.monotonic(); the rest is that of ``begin_run``.
    """
    trainer, kept, progress = training.trainer, training.kept, training.progress
    spec, device = trainer.spec, trainer.device
    speed = progress.tokens_per_second(trainer.step)
    end_curve(trainer)
    leave()
    if not trainer.processes.first:
        return
    metrics = finish(trainer, tokens)
    timing = RunTiming(
        id=spec.id,
        seconds=time.monotonic() - began,
        tokens_per_second=speed,
        device=device_name(device),
        torch=torch.__version__,
        python=platform.python_version(),
        threads=spec.threads,
        attempts=kept.attempts,
        processes=trainer.processes.count,
        micro_batch_tokens=trainer.gradient.per_micro * spec.n_ctx,
        at_once=at_once,
        device_asked=asked,
        driver=driver_version(device),
        gpus_visible=gpus_visible(device),
        compiled=trainer.gradient.compiled,
        deterministic=asked_to_be_deterministic() if device != "cpu" else None,
        stacked=stacked,
    )
    write(trainer, metrics, timing, out)
    checkpoint.prune(out, kept.prefix, keep=0)
    progress.say(f"{spec.id}: {metrics.status}, test loss {metrics.loss}")


def write(trainer: Trainer, metrics: RunMetrics, timing: RunTiming, out: Path) -> None:
    """Write the files of a finished run to its folder, metrics.json last."""
    if not (out / "spec.json").exists():
        files.write_text(out / "spec.json", trainer.spec.canonical + "\n")
    with finished.making(out / "metrics.json") as folder:
        rows = [CurveRow(**row).plain() for row in trainer.rows]
        files.write_text(folder / "curve.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        checkpoint.write_tensors(folder / "model.safetensors", trainer.model.params)
        # The time of a training differs each time that it is made, and so does the list of timing.json alone.
        sums.finish(folder / "timing.sha256", [], folder / "timing.json", files.json_bytes(timing.plain()))
        made = [folder / "curve.jsonl", folder / "model.safetensors"]
        sums.finish(folder / sums.LIST, made, folder / "metrics.json", files.json_bytes(metrics.plain()))


def end_curve(trainer: Trainer) -> None:
    """Add the last row to the curve of a run that reached its budget, where training has not added it."""
    has_last = bool(trainer.rows) and trainer.rows[-1]["step"] == trainer.step
    if trainer.step == trainer.spec.steps and not trainer.diverged and not has_last:
        trainer.add_row(final=True)


def finish(trainer: Trainer, tokens: Path) -> RunMetrics:
    """Take the best weights where the run stopped early, and measure the model on the test split.

    Parameters
    ----------
    tokens
        The folder of the run's token files.
    """
    spec = trainer.spec
    if trainer.best_flat is not None and trainer.best["step"] and not trainer.diverged:
        checkpoint.to_device(trainer.best_flat, trainer.model.flat)
    best_step = trainer.best["step"] or trainer.step
    test = Split(tokens, "test", spec.n_ctx, spec.eval_tokens)
    losses = token_losses(trainer.model.module, test, spec.precision)
    loss = float(losses.mean(dtype=np.float64))
    ok = math.isfinite(loss) and not trainer.diverged
    train_losses = [row["loss_train"] for row in trainer.rows if row["step"] <= best_step]
    shape, processed = spec.shape(trainer.n_vocab), trainer.step * spec.batch_tokens
    active = count.n_params_active(shape)
    return RunMetrics(
        id=spec.id,
        status="ok" if ok else "diverged",
        steps=trainer.step,
        tokens=processed,
        best_step=best_step,
        loss=loss if ok else None,
        loss_stderr=finite(clustered_stderr(losses.reshape(-1), test.passages())) if ok else None,
        loss_train=train_losses[-1] if ok else None,
        bits_per_byte=loss / math.log(2) * test.tokens_per_byte if ok and test.tokens_per_byte is not None else None,
        n_params=spec.n_params,
        n_params_total=count.n_params_total(shape),
        dataset_tokens=trainer.batches.n_distinct,
        n_vocab=trainer.n_vocab,
        flops_6nd=Flop(count.flops_6nd(shape, processed)),
        flops_last_layer=Flop(count.flops_last_layer(shape, processed)),
        flops_attention=Flop(count.flops_attention(shape, processed)),
        loss_tokens=test.n_targets,
        positions=positions(losses, test) if ok else None,
        n_params_active=None if active == spec.n_params else active,
        learning_rate=trainer.rate if spec.rate_sweep else None,
    )


def train_rung(spec: RunSpec, tokens: Path, step: int, out: Path, **options: Any) -> None:
    """Train a trunk to ``step`` from the largest valid rung before it in the folder of ``out``, and write the rung to ``out``.

    A trunk that diverges on the way is written as it is, so that its runs end at once as diverged. The parameters are those of
    ``begin_rung``, which raises StudyError. Raises SystemExit after a checkpoint: see ``advance``.
    """
    if training := begin_rung(spec, tokens, step, out, **options):
        training.complete()


def begin_rung(
    spec: RunSpec,
    tokens: Path,
    step: int,
    out: Path,
    *,
    weights: Path | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 60.0,
    log: Path | None = None,
    end: float = math.inf,
    rate: float | None = None,
) -> Training | None:
    """Return the training of a trunk to the rung at ``step``, at the step that it goes on from; the file of the rung is ``out``.

    It is None where the rung has just been put in place again. The parameters are those of ``begin_run``.

    Raises
    ------
    StudyError
        The spec is no trunk or cannot be trained, or the disk is full.
    """
    if spec.tokens or spec.schedule != "wsd":
        raise StudyError(f"{spec.id} is not a trunk: a rung needs a spec with schedule wsd and without tokens")
    kept = checkpoint.Checkpoints(out.parent, f"partial-{step}-", checkpoint_seconds, end)
    asked, device = device, prepare(spec.threads, device)
    processes = join(device)
    if put_back(processes, out, out.parent, kept.prefix):
        return None
    trainer = Trainer(spec, tokens, device, processes, rate)
    resume(trainer, kept, out.parent, spec.id, step)
    begin(trainer, weights)
    progress = Progress(spec.id, out.parent, trainer.step, step, spec.batch_tokens, log, processes.first)
    say_device(progress, asked, device, processes)
    watch(trainer, progress)
    return Training(trainer, kept, progress, step, partial(finish_rung, out=out))


def finish_rung(training: Training, *, out: Path) -> None:
    """Write the rung of a trunk whose last step is done."""
    training.progress.close()  # a job that goes on from the rung may begin as soon as it is there
    state = training.trainer.state()
    leave()
    if not training.trainer.processes.first:
        return
    with finished.making(out) as folder:
        checkpoint.save(folder / out.name, *state)
    checkpoint.prune(out.parent, training.kept.prefix, keep=0)
