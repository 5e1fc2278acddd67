"""Train one run, or one rung of a trunk's checkpoint ladder.

    python -m scalinglaws train --spec spec.json --tokens results/tokens --trunks results/trunks --out results/runs/ID
    python -m scalinglaws rung --spec spec.json --tokens results/tokens --step S --out results/trunks/ID/stepS.safetensors

The weights depend on the spec alone: data, rates, dropout and evaluation follow from the absolute step, so that starting
from nothing, from a rung or from the checkpoint of a killed process ends with the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalinglaws import checkpoint, files
from scalinglaws.data import Batches, Split
from scalinglaws.device import device_name, prepare
from scalinglaws.errors import StudyError
from scalinglaws.evaluate import clustered_stderr, finite, mean_loss, octave_means, positions, token_losses
from scalinglaws.models import count
from scalinglaws.models.build import build
from scalinglaws.noise import NoiseScale
from scalinglaws.optim import build_optimizer
from scalinglaws.progress import Progress
from scalinglaws.schedule import is_eval_step, is_validation_step, learning_rate, phase
from scalinglaws.spec import RunSpec, read_spec
from scalinglaws.tokens import load_tokens

# Steps between looks at the loss, which make a GPU wait for the queue to drain.
CHECK_EVERY = 8
# A loss this many times that of a uniform guess, after the warm-up, does not come back.
BLOW_UP = 1.5


class Trainer:
    """A training state (weights, optimizer, curve, early stopping) and the one way to move it on: ``update``."""

    def __init__(self, spec: RunSpec, tokens: Path, device: str = "cpu"):
        stream, meta = load_tokens(tokens, "train")
        self.spec, self.device, self.n_vocab = spec, device, int(meta["n_vocab"])
        self.batches = Batches(stream, spec)
        self.curve = Split(tokens, "test", spec.n_ctx, spec.curve_tokens)
        early = spec.stop == "early"
        self.validation = Split(tokens, "validation", spec.n_ctx, spec.eval_tokens) if early else None
        self.model = build(spec, self.n_vocab, device)
        if device == "cuda":
            self.model.compile()
        self.optimizer = build_optimizer(self.model, spec)
        micro = spec.micro_batch_tokens or spec.batch_tokens
        if spec.batch_tokens % micro or micro % spec.n_ctx:
            raise StudyError(
                f"micro_batch_tokens = {micro} of run {spec.id} must divide batch_tokens = {spec.batch_tokens} "
                f"and be a multiple of n_ctx = {spec.n_ctx}"
            )
        self.per_micro = micro // spec.n_ctx
        self.noise = NoiseScale(spec, device) if spec.noise_every else None
        self.step, self.diverged = 0, False
        self.rows: list[dict[str, Any]] = []
        self.loss_sum, self.loss_count = torch.zeros((), dtype=torch.float64, device=device), 0
        self.last_loss: float | None = None
        self.norm = torch.zeros(())
        self.best: dict[str, Any] = {"step": None, "loss": None, "waited": 0}
        self.best_flat = self.model.flat.clone() if early else None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train whatever the budget: diverged, or out of patience."""
        return self.diverged or (self.spec.stop == "early" and self.best["waited"] >= self.spec.patience)

    def update(self) -> None:
        """Train one step; on evaluation steps, add a row to the curve."""
        spec, step = self.spec, self.step
        if spec.dropout:
            torch.manual_seed(int(np.random.SeedSequence([spec.seed, step]).generate_state(1, np.uint64)[0] >> 1))
        batch = torch.from_numpy(self.batches.batch(step)).to(self.device, non_blocking=True)
        self.model.grad.zero_()
        for part in batch.split(self.per_micro):
            loss = self.model.backward(part[:, :-1], part[:, 1:], weight=len(part) / len(batch))
            self.loss_sum += loss
        small = self.noise.small_norm(self.model, batch) if self.noise and self.noise.due(step) else None
        self.norm = self.optimizer.update(learning_rate(spec, step), step)
        if self.noise and small is not None:
            self.noise.add(small, self.norm)
        self.step += 1
        self.loss_count += 1
        if self.step % CHECK_EVERY == 0 or is_eval_step(self.step):
            self.check(float(loss) * len(batch) / len(part))
        if not self.diverged and is_eval_step(self.step):
            self.add_row()

    def check(self, loss: float) -> None:
        """Notice divergence from the last (micro-)batch's loss in nats per token and the gradient's norm."""
        self.last_loss = finite(loss)
        blown = self.step > self.spec.warmup_steps and loss > BLOW_UP * math.log(self.n_vocab)
        self.diverged = blown or not math.isfinite(loss) or not math.isfinite(float(self.norm))

    def add_row(self, final: bool = False) -> None:
        """Measure the losses after ``step`` updates and add them to the curve."""
        spec, step = self.spec, self.step
        validation = None
        if self.validation and (final or is_validation_step(spec, step)):
            validation = finite(mean_loss(self.model, self.validation))
            self._note_validation(validation)
        losses = token_losses(self.model, self.curve)
        square, trace = self.noise.smoothed() if self.noise else (None, None)
        self.rows.append(
            {
                "step": step,
                "tokens": step * spec.batch_tokens,
                "phase": phase(spec, step - 1),
                "learning_rate": learning_rate(spec, step - 1),
                "loss_train": finite(float(self.loss_sum) / self.loss_count),
                "loss_test": finite(float(losses.mean(dtype=np.float64))),
                "loss_validation": validation,
                "grad_norm": finite(float(self.norm)),
                "loss_by_position": octave_means(losses),
                "noise_square": square,
                "noise_trace": trace,
            }
        )
        self.loss_sum.zero_()
        self.loss_count = 0

    def _note_validation(self, loss: float | None) -> None:
        better = loss is not None and (self.best["loss"] is None or loss < self.best["loss"])
        if better and self.best_flat is not None:
            self.best = {"step": self.step, "loss": loss, "waited": 0}
            self.best_flat.copy_(self.model.flat)
        else:
            self.best["waited"] += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that ``restore`` needs, as flat tensors and JSON values (floats survive JSON exactly)."""
        tensors = {"params": self.model.flat, **self.optimizer.tensors}
        if self.best_flat is not None:
            tensors["best"] = self.best_flat
        loss_sum = float(self.loss_sum)
        values = {"id": self.spec.id, "step": self.step, "rows": self.rows, "best": self.best}
        values |= {"loss_sum": finite(loss_sum), "loss_count": self.loss_count, "diverged": self.diverged}
        if self.noise:
            values["noise"] = self.noise.state()
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from a state of this spec, or of its trunk."""
        for name, own in self.state()[0].items():
            checkpoint.to_device(tensors[name], own)
        self.step, self.rows, self.best = values["step"], values["rows"], values["best"]
        self.loss_sum.fill_(math.nan if values["loss_sum"] is None else values["loss_sum"])
        self.loss_count, self.diverged = values["loss_count"], values["diverged"]
        if self.noise and "noise" in values:
            self.noise.restore(values["noise"])


def advance(trainer: Trainer, last: int, kept: checkpoint.Checkpoints, progress: Progress) -> None:
    """Train to step ``last`` or until finished, saving and telling on the way. SIGTERM saves and exits with 143."""
    before = signal.signal(signal.SIGTERM, kept.on_signal)
    try:
        progress.show(trainer.step, trainer.last_loss)
        while trainer.step < last and not trainer.finished:
            trainer.update()
            kept.tick(trainer)
            if progress.due():
                progress.show(trainer.step, trainer.last_loss)
        progress.show(trainer.step, trainer.last_loss)
    finally:
        progress.close()
        signal.signal(signal.SIGTERM, before)


def resume(trainer: Trainer, kept: checkpoint.Checkpoints, rungs: Path | None, rung_id: str, most: int) -> None:
    """Continue from the furthest valid state: an own checkpoint, or a rung of ``rungs`` at step ``most`` or before."""
    own = checkpoint.latest(kept.folder, kept.prefix, trainer.spec.id)
    rung = checkpoint.latest(rungs, "step", rung_id, most) if rungs else None
    if own:
        kept.attempts = own[1]["attempts"] + 1
    states = [state for state in (rung, own) if state]
    if states:
        trainer.restore(*max(states, key=lambda state: state[1]["step"]))


def train(
    spec: RunSpec,
    tokens: Path,
    out: Path,
    *,
    trunk: Path | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 60.0,
    log: Path | None = None,
) -> None:
    """Train a run and write metrics.json, curve.jsonl, model.safetensors and timing.json to its folder ``out``.

    ``trunk``: a folder of rungs, used where the schedule is wsd and the stop is the budget. Raises StudyError for specs
    that cannot be trained and for a full disk; a diverged run is a result, with loss None.
    """
    if spec.steps < 1:
        raise StudyError(f"run {spec.id} has {spec.tokens} tokens, less than one batch of {spec.batch_tokens}: raise tokens")
    began = time.monotonic()
    device = prepare(spec.threads, device)
    trainer = Trainer(spec, tokens, device)
    kept = checkpoint.Checkpoints(out, "checkpoint-", checkpoint_seconds)
    rungs = trunk if spec.schedule == "wsd" and spec.stop == "budget" else None
    resume(trainer, kept, rungs, spec.trunk.id, spec.stable_steps)
    progress = Progress(spec.id, out, trainer.step, spec.steps, spec.batch_tokens, log)
    advance(trainer, spec.steps, kept, progress)
    speed = progress.tokens_per_second(trainer.step)
    metrics = finish(trainer, tokens)
    if not (out / "spec.json").exists():
        files.write_bytes(out / "spec.json", (spec.canonical + "\n").encode())
    rows = "".join(json.dumps(row, allow_nan=False) + "\n" for row in trainer.rows)
    files.write_bytes(out / "curve.jsonl", rows.encode())
    checkpoint.write_tensors(out / "model.safetensors", trainer.model.params)
    timing = {"id": spec.id, "seconds": time.monotonic() - began, "tokens_per_second": speed, "device": device_name(device)}
    timing |= {"torch": torch.__version__, "python": platform.python_version(), "threads": spec.threads}
    files.write_json(out / "timing.json", timing | {"attempts": kept.attempts})
    files.write_json(out / "metrics.json", metrics)
    checkpoint.prune(out, kept.prefix, keep=0)
    progress.say(f"{spec.id}: {metrics['status']}, test loss {metrics['loss']}")


def finish(trainer: Trainer, tokens: Path) -> dict[str, Any]:
    """The last row of the curve, the best weights where the run stopped early, and metrics.json as a dict."""
    spec = trainer.spec
    has_last = bool(trainer.rows) and trainer.rows[-1]["step"] == trainer.step
    if trainer.step == spec.steps and not trainer.diverged and not has_last:
        trainer.add_row(final=True)
    if trainer.best_flat is not None and trainer.best["step"] and not trainer.diverged:
        checkpoint.to_device(trainer.best_flat, trainer.model.flat)
    best_step = trainer.best["step"] or trainer.step
    test = Split(tokens, "test", spec.n_ctx, spec.eval_tokens)
    losses = token_losses(trainer.model, test)
    loss = float(losses.mean(dtype=np.float64))
    ok = math.isfinite(loss) and not trainer.diverged
    train_losses = [row["loss_train"] for row in trainer.rows if row["step"] <= best_step]
    shape, processed = spec.shape(trainer.n_vocab), trainer.step * spec.batch_tokens
    return {
        "id": spec.id,
        "status": "ok" if ok else "diverged",
        "steps": trainer.step,
        "tokens": processed,
        "best_step": best_step,
        "loss": loss if ok else None,
        "loss_stderr": finite(clustered_stderr(losses.reshape(-1), test.passages())) if ok else None,
        "loss_train": train_losses[-1] if ok else None,
        "bits_per_byte": loss / math.log(2) * test.tokens_per_byte if ok else None,
        "n_params": spec.n_params,
        "n_params_total": count.n_params_total(shape),
        "dataset_tokens": trainer.batches.n_distinct,
        "n_vocab": trainer.n_vocab,
        "flops_6nd": count.flops_6nd(shape, processed),
        "flops_last_layer": count.flops_last_layer(shape, processed),
        "flops_attention": count.flops_attention(shape, processed),
        "loss_tokens": test.n_targets,
        "positions": positions(losses, test) if ok else None,
    }


def train_rung(
    spec: RunSpec,
    tokens: Path,
    step: int,
    out: Path,
    *,
    device: str = "auto",
    checkpoint_seconds: float = 60.0,
    log: Path | None = None,
) -> None:
    """Train a trunk to ``step`` from the largest valid rung before it in the folder of ``out``, and write the rung.

    A trunk that diverges on the way is written as it is, so that its runs end at once as diverged.
    """
    if spec.tokens or spec.schedule != "wsd":
        raise StudyError(f"{spec.id} is not a trunk: a rung needs a spec with schedule wsd and without tokens")
    trainer = Trainer(spec, tokens, prepare(spec.threads, device))
    kept = checkpoint.Checkpoints(out.parent, f"partial-{step}-", checkpoint_seconds)
    resume(trainer, kept, out.parent, spec.id, step)
    progress = Progress(spec.id, out.parent, trainer.step, step, spec.batch_tokens, log)
    advance(trainer, step, kept, progress)
    checkpoint.save(out, *trainer.state())
    checkpoint.prune(out.parent, kept.prefix, keep=0)


def _add_shared(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--spec", type=Path, required=True, help="spec.json")
    parser.add_argument("--tokens", type=Path, required=True, help="root of the token folders, CORPUS/TOKENIZER")
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0, help="wall time between checkpoints")
    parser.add_argument("--log", type=Path, help="file that progress lines are added to")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage ``train``."""
    _add_shared(parser, "run folder to write to")
    parser.add_argument("--trunks", type=Path, help="root of the trunk folders: start from the last rung before the decay")


def main_train(args: argparse.Namespace) -> None:
    """Run the stage ``train``."""
    options = {"device": args.device, "checkpoint_seconds": args.checkpoint_seconds, "log": args.log}
    spec = read_spec(args.spec)
    trunk = args.trunks / spec.trunk.id if args.trunks else None
    train(spec, args.tokens / spec.tokens_id, args.out, trunk=trunk, **options)


def add_rung_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage ``rung``."""
    _add_shared(parser, "stepS.safetensors to write")
    parser.add_argument("--step", type=int, required=True, help="optimizer steps from the start of the trunk")


def main_rung(args: argparse.Namespace) -> None:
    """Run the stage ``rung``."""
    options = {"device": args.device, "checkpoint_seconds": args.checkpoint_seconds, "log": args.log}
    spec = read_spec(args.spec)
    train_rung(spec, args.tokens / spec.tokens_id, args.step, args.out, **options)
