"""A training state and the one way to move it on.

The weights depend on the spec alone: data, rates, dropout and evaluation follow from the absolute step.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalinglaws.common.errors import StudyError
from scalinglaws.data.batches import Batches, Split
from scalinglaws.data.token_files import load_tokens
from scalinglaws.evaluate.losses import finite, mean_loss, octave_means, token_losses
from scalinglaws.models.build import build
from scalinglaws.models.device import float64_device
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.schedule import learning_rate, phase
from scalinglaws.study.spec import RunSpec
from scalinglaws.train import checkpoint, parts
from scalinglaws.train.distributed import ALONE, Processes
from scalinglaws.train.feed import Feed
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.gradient import Gradient
from scalinglaws.train.noise_scale import NoiseScale
from scalinglaws.train.steps import is_eval_step, is_validation_step

# Steps between looks at the loss: for each, the GPU's queue must drain.
CHECK_EVERY = 8
# After the warm-up, a loss this many times that of a uniform guess does not recover.
BLOW_UP = 1.5


class Trainer:
    """A training state: weights, optimizer, curve and early stopping. ``update`` moves it on.

    Parameters
    ----------
    spec
        The run, or the trunk.
    tokens
        Folder of its token files.
    device
        cpu, cuda or mps.
    processes
        This process among those that train the run together.
    rate
        The learning rate after the warm-up, where a sweep gives it; None for that of the spec.

    Raises
    ------
    StudyError
        If the spec cannot be trained: an unknown name, a batch that micro-batches or processes cannot share, too few tokens.
    """

    def __init__(self, spec: RunSpec, tokens: Path, device: str = "cpu", processes: Processes = ALONE, rate: float | None = None):
        if spec.rate_sweep and rate is None:
            raise StudyError(f"run {spec.id} takes its learning rate from sweep {spec.rate_sweep}: give what its rule says")
        stream, meta = load_tokens(tokens, "train")
        self.spec, self.device, self.n_vocab = spec, device, int(meta["n_vocab"])
        self.processes = processes
        self.rate = spec.learning_rate if rate is None else rate
        self.batches = Batches(stream, spec)
        self.curve = Split(tokens, "test", spec.n_ctx, spec.curve_tokens)
        early = spec.stop == "early"
        self.validation = Split(tokens, "validation", spec.n_ctx, spec.eval_tokens) if early else None
        module = build(spec.shape(self.n_vocab), seed=spec.seed, device=device, precision=spec.precision)
        self.model = FlatModel(module, spec.precision, processes)
        self.optimizer = build_optimizer(self.model, spec, self.processes)
        if self.processes.count > spec.batch_tokens // spec.n_ctx:
            raise StudyError(
                f"{self.processes.count} processes cannot share a batch of {spec.batch_tokens // spec.n_ctx} contexts"
            )
        self.gradient = Gradient(self.model, spec, processes, device, getattr(self.optimizer, "by_share", False))
        self.feed, self.share = Feed(self.batches, device), processes.windows(self.batches.per_batch)
        self.noise = NoiseScale(spec, device) if spec.noise_every else None
        self.step, self.diverged = 0, False
        self.rows: list[dict[str, Any]] = []
        self.show_rows: Callable[[list[dict[str, Any]]], None] | None = None  # is called with all rows after each new one
        self.loss_sum, self.loss_count = torch.zeros((), dtype=torch.float64, device=float64_device(device)), 0
        self.last_loss: float | None = None
        self.norm = torch.zeros(())
        self.best: dict[str, Any] = {"step": None, "loss": None, "waited": 0}
        self.best_flat = self.model.flat.clone() if early else None

    @property
    def finished(self) -> bool:
        """Tell whether the run has ended whatever its budget: it has diverged, or early stopping has lost patience."""
        return self.diverged or (self.spec.stop == "early" and self.best["waited"] >= self.spec.patience)

    def update(self) -> None:
        """Train one step, and add a row to the curve where the step is one of evaluation."""
        spec, step = self.spec, self.step
        if spec.dropout:
            words = [spec.seed, step, *([self.processes.rank] if self.processes.rank else [])]
            torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))
        losses = self.gradient(self.feed.rows(step, self.share), self.batches.per_batch)
        for loss in losses:
            self.loss_sum += loss.to(self.loss_sum.device)
        small = self.noise.small_norm(self.model, self._norm_of_first) if self.noise and self.noise.due(step) else None
        self.norm = self.optimizer.update(learning_rate(spec, step, self.rate), step)
        self.feed.prefetch(step + 1, self.share)
        if self.noise and small is not None:
            self.noise.add(small, self.norm)
        self.step += 1
        self.loss_count += 1
        if self.is_looked_at:
            self.look(float(torch.stack(losses).sum()))

    @property
    def is_looked_at(self) -> bool:
        """Tell whether the loss of the last update is looked at."""
        return self.step % CHECK_EVERY == 0 or is_eval_step(self.step)

    def look(self, loss: float) -> None:
        """Look at the loss of the last update in nats per token, and add a row to the curve after a step of evaluation."""
        self.check(loss)
        if not self.diverged and is_eval_step(self.step):
            self.add_row()

    @property
    def test_loss(self) -> float | None:
        """Return the loss on the test split in the last row of the curve, in nats per token; None before the first row."""
        return self.rows[-1]["loss_test"] if self.rows else None

    def _norm_of_first(self, count: int) -> Tensor:
        """Return the norm of the gradient of the mean loss of the first windows of this step's batch."""
        self.gradient(self.feed.rows(self.step, self.processes.windows(count)), count)
        return self.gradient.norm()

    def check(self, loss: float) -> None:
        """Find out from a batch's loss in nats per token and from the gradient's norm whether the run has diverged."""
        self.last_loss = finite(loss)
        blown = self.step > self.spec.warmup_steps and loss > BLOW_UP * math.log(self.n_vocab)
        self.diverged = blown or not math.isfinite(loss) or not math.isfinite(float(self.norm))

    def add_row(self, final: bool = False) -> None:
        """Measure the losses after ``step`` updates and add a row to the curve; ``final`` is for the end of the run."""
        validates = self.validation is not None and (final or is_validation_step(self.spec, self.step))
        row = self.processes.from_first(self._measured(validates) if self.processes.first else {})
        if validates:
            self._note_validation(row["loss_validation"])
        self.rows.append(row)
        if self.show_rows:
            self.show_rows(self.rows)
        self.loss_sum.zero_()
        self.loss_count = 0

    def _measured(self, validates: bool) -> dict[str, Any]:
        spec, step = self.spec, self.step
        losses = token_losses(self.model.module, self.curve, spec.precision)
        square, trace = self.noise.smoothed() if self.noise else (None, None)
        return {
            "step": step,
            "tokens": step * spec.batch_tokens,
            "phase": phase(spec, step - 1),
            "learning_rate": learning_rate(spec, step - 1, self.rate),
            "loss_train": finite(float(self.loss_sum) / self.loss_count),
            "loss_test": finite(float(losses.mean(dtype=np.float64))),
            "loss_validation": finite(self.validation_loss()) if validates else None,
            "grad_norm": finite(float(self.norm)),
            "loss_by_position": octave_means(losses),
            "noise_square": square,
            "noise_trace": trace,
        }

    def validation_loss(self) -> float:
        """Return the mean loss on the validation split, in nats per token."""
        assert self.validation is not None
        return mean_loss(self.model.module, self.validation, self.spec.precision)

    def _note_validation(self, loss: float | None) -> None:
        better = loss is not None and (self.best["loss"] is None or loss < self.best["loss"])
        if better and self.best_flat is not None:
            self.best = {"step": self.step, "loss": loss, "waited": 0}
            self.best_flat.copy_(self.model.flat)
        else:
            self.best["waited"] += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that ``restore`` needs, as flat tensors and JSON values, in which floats survive exactly.

        Each of several processes must call it, and only the first one gets the whole state.
        """
        tensors = {**self._weights(), **self.optimizer.tensors}
        if self.optimizer.by_element:
            whole = len(self.model.flat)
            tensors |= {name: self.processes.collect(own, whole) for name, own in self.optimizer.tensors.items()}
        return tensors, self._values()

    def part(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what this process saves of the state as one of several (parts.py); nothing is sent between them."""
        optimizer = self.optimizer.tensors
        whole, own = ({}, optimizer) if self.optimizer.by_element else (optimizer, {})
        return parts.cut(self._weights() | whole, own, len(self.model.flat), self._values(), self.processes)

    def _weights(self) -> dict[str, Tensor]:
        return {"params": self.model.flat} | ({} if self.best_flat is None else {"best": self.best_flat})

    def _values(self) -> dict[str, Any]:
        loss_sum = float(self.loss_sum)
        values = {"id": self.spec.id, "step": self.step, "rows": self.rows, "best": self.best}
        values |= {"loss_sum": finite(loss_sum), "loss_count": self.loss_count, "diverged": self.diverged}
        if self.noise:
            values["noise"] = self.noise.state()
        if self.spec.rate_sweep:
            values["rate"] = self.rate
        return values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from a state of this spec, or of its trunk, at the learning rate with which it was trained so far.

        Parameters
        ----------
        tensors, values
            What ``state`` returned, whatever the number of processes was.

        Raises
        ------
        ValueError
            If a tensor does not have the size of this model.
        """
        for name, own in self._weights().items():
            checkpoint.to_device(tensors[name], own)
        share = self.processes.share(len(self.model.flat)) if self.optimizer.by_element else slice(None)
        for name, own in self.optimizer.tensors.items():
            checkpoint.to_device(tensors[name][share], own)
        self.step, self.rows, self.best = values["step"], values["rows"], values["best"]
        self.loss_sum.fill_(math.nan if values["loss_sum"] is None else values["loss_sum"])
        self.loss_count, self.diverged = values["loss_count"], values["diverged"]
        if self.noise and "noise" in values:
            self.noise.restore(values["noise"])
        if self.spec.rate_sweep and values["rate"] != self.rate:
            print(
                f"{self.spec.id}: warning: the rule of sweep {self.spec.rate_sweep} gives the learning rate {self.rate:g} by "
                f"now, and this training goes on at {values['rate']:g}, with which it began",
                file=sys.stderr,
            )
            self.rate = float(values["rate"])
