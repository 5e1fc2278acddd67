"""Many tiny models of one shape that are trained at once: their parameters are the rows of one buffer.

A GPU spends most of the step of a tiny model on starting its kernels. Here one kernel works on all models of a stack: the
forward pass is ``torch.func.vmap`` of the module's own code over the rows, so that there is no second model to write, and
autograd's gradient of the sum of the losses has in each row the gradient of one model, since no loss depends on two rows.

Each member of a stack is a ``Trainer`` whose parameters, gradient and optimizer state are re-pointed to its row. Measuring,
saving and resuming are therefore those of a run that is trained alone. Members may be at different steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.data.batches import Batches
from scalinglaws.models.build import build
from scalinglaws.models.module import autocast, logits, wide
from scalinglaws.optim.adamw import AdamW
from scalinglaws.optim.schedule import learning_rate
from scalinglaws.optim.stacked_adamw import StackedAdamW
from scalinglaws.train.compilation import compiled
from scalinglaws.train.distributed import ALONE
from scalinglaws.train.feed import Feed
from scalinglaws.train.flat import FlatModel, views
from scalinglaws.train.gradient import Gradient
from scalinglaws.train.trainer import Trainer

ALIGNED = 64  # a row has a multiple of so many numbers, so that rows begin where a GPU reads fast


class Loss(nn.Module):
    """The mean loss of a module as a module, so that ``functional_call`` gives its output layer the parameters, too."""

    def __init__(self, module: nn.Module, precision: str):
        super().__init__()
        self.module, self.precision = module, precision

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats per token (0-d) of tokens and targets (B, T)."""
        with autocast(tokens.device, self.precision):
            predicted = logits(self.module, self.module(tokens))  # (B, T, n_vocab)
            # F.cross_entropy gives the same, but vmap imports the compiler for it, which takes seconds.
            return -F.log_softmax(wide(predicted), -1).gather(-1, targets.unsqueeze(-1)).mean()


class StackedModel:
    """The parameters of E models of one shape, and the gradient of each one's loss.

    Parameters
    ----------
    module
        A module of that shape that autograd differentiates; its own parameters are not used.
    precision
        float32, or bfloat16 for products by autocast.
    members
        E, the number of rows.

    Attributes
    ----------
    flat, grad
        (E, P): a row has all parameters of a model in the order of ``FlatModel``, and then zeros that belong to none.
    params
        Name -> the parameter of all models, (E, *size), a view of ``flat``.
    """

    def __init__(self, module: nn.Module, precision: str, members: int):
        self.module = module
        reference = FlatModel(module, precision)
        self.sizes, self.numbers = reference.sizes, len(reference.flat)
        width = -(-self.numbers // ALIGNED) * ALIGNED
        self.flat = reference.flat.new_zeros(members, width)
        self.grad = torch.zeros_like(self.flat)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.names = {name: f"module.{names[id(parameter)]}" for name, parameter in reference.params.items()}
        self.params = {name: value.requires_grad_() for name, value in stacked_views(self.flat, self.sizes).items()}
        self.one = Loss(module, precision)
        self.compiled: Callable[..., Tensor] | None = None
        # On a CPU attention is computed model by model, which vmap warns of; a GPU's kernels take all of them at once.
        warnings.filterwarnings("ignore", message=r"(?s).*_scaled_dot_product_flash_attention_for_cpu")

    def losses(self, params: dict[str, Tensor], tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of each model, (E,), differentiable, of tokens and targets (B, E, T)."""

        def loss(params: dict[str, Tensor], tokens: Tensor, targets: Tensor) -> Tensor:
            given = {self.names[name]: value for name, value in params.items()}
            found: Tensor = torch.func.functional_call(self.one, given, (tokens, targets))
            return found

        found: Tensor = torch.func.vmap(loss, in_dims=(0, 1, 1))(params, tokens, targets)
        return found

    def loss_in_parts(self) -> None:
        """Do nothing: the logits of a micro-batch of all models are made at once (``Gradient`` calls this on a GPU)."""

    def compile(self) -> None:
        """Use torch.compile in ``backward`` from here on."""
        self.compiled = compiled(self.losses)

    def stop_compiled(self) -> None:
        """Use no compiled code any more."""
        self.compiled = None

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add ``weight`` times the gradient of each model's mean loss to its row of ``grad``.

        Parameters
        ----------
        tokens, targets
            Token ids, (B, E, T) each.
        weight
            Share of these tokens in the batch.

        Returns
        -------
        Tensor
            ``weight`` times the mean loss of each model in nats per token, (E,).
        """
        losses = (self.compiled or self.losses)(self.params, tokens, targets) * weight
        found = torch.autograd.grad(losses.sum(), list(self.params.values()), materialize_grads=True)
        # Two kernels, where adding each tensor to its place takes one for each.
        self.grad[:, : self.numbers] += torch.cat([gradient.flatten(1) for gradient in found], 1)
        return losses.detach()

    def place(self, model: FlatModel, row: int) -> None:
        """Copy the parameters of a model into a row, and make its buffers views of that row from here on."""
        flat, grad = self.flat[row, : self.numbers], self.grad[row, : self.numbers]
        flat.copy_(model.flat)
        model.flat, model.grad, model.grads = flat, grad, views(grad, model.sizes)
        for name, value in views(flat, model.sizes).items():
            model.params[name].data, model.params[name].grad = value, model.grads[name]
        model.own_step = None  # it works where the parameters were


def stacked_views(flat: Tensor, sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return named views (E, *size) of a buffer (E, P), in the order of ``sizes``."""
    out, start = {}, 0
    for name, size in sizes.items():
        stop = start + math.prod(size)
        out[name] = flat.detach()[:, start:stop].unflatten(1, size)
        start = stop
    return out


class StackedBatches:
    """The windows of the batches of all rows, from the training stream of the member that sees most of it.

    A row's batches are those of its own seed and its own part of the stream, at its own step, whatever the other rows hold.
    ``index`` counts the updates of the stack.
    """

    def __init__(self, members: int, widest: Batches):
        self.tokens, self.sequences, self.per_batch = widest.tokens, widest.sequences, widest.per_batch
        self.rows: list[tuple[Batches, int] | None] = [None] * members  # batches, and the step at the stack's update 0

    def index(self, step: int) -> np.ndarray:
        """Return the rows of ``sequences`` for an update, (per_batch · E,): window by window, and in each member by member."""
        idle = np.zeros(self.per_batch, dtype=np.int64)
        each = [row[0].index(step + row[1]) if row else idle for row in self.rows]
        return np.stack(each, axis=1).reshape(-1)


class Stack:
    """Trainings of one shape, each in a row of the stack; ``update`` moves all of them on by a step.

    Parameters
    ----------
    members
        E, the number of rows. Rows may be empty.
    trainer
        One of the trainings, after which the stack is made. ``shape_of`` (cluster/stacks.py) says which others fit it.
    """

    def __init__(self, members: int, trainer: Trainer):
        spec, device = trainer.spec, trainer.device
        module = build(spec.shape(trainer.n_vocab), device=device, precision=spec.precision, by_hand=False)
        self.spec, self.device = spec, device
        self.model = StackedModel(module, spec.precision, members)
        self.optimizer = StackedAdamW(self.model, spec)
        self.gradient = Gradient(self.model, spec, ALONE, device)
        self.batches = StackedBatches(members, trainer.batches)
        self.feed = Feed(self.batches, device)
        self.loss_sums = torch.zeros(members, dtype=torch.float64, device=device)
        self.norms = torch.zeros(members, device=device)
        self.rows: list[Trainer | None] = [None] * members
        self.updates = 0

    def put(self, trainer: Trainer, row: int) -> None:
        """Give a training an empty row, in which its weights, its optimizer's state and its sum of losses lie from here on."""
        self.model.place(trainer.model, row)
        optimizer = trainer.optimizer
        assert isinstance(optimizer, AdamW)
        for name, moments in (("exp_avg", self.optimizer.exp_avg), ("exp_avg_sq", self.optimizer.exp_avg_sq)):
            own = moments[row, : self.model.numbers].copy_(optimizer.tensors[name])
            optimizer.tensors[name] = own
            setattr(optimizer, name, own)
        trainer.loss_sum = self.loss_sums[row].copy_(trainer.loss_sum)
        trainer.norm = self.norms[row].copy_(trainer.norm)
        if len(trainer.batches.tokens) > len(self.batches.tokens):
            self.batches.tokens, self.batches.sequences = trainer.batches.tokens, trainer.batches.sequences
            self.feed = Feed(self.batches, self.device)
        self.batches.rows[row] = (trainer.batches, trainer.step - self.updates)
        self.feed.ahead = None
        self.rows[row] = trainer
        trainer.gradient.per_micro, trainer.gradient.compiled = self.gradient.per_micro, self.gradient.compiled

    def take(self, row: int) -> None:
        """Empty a row. Its training is as it was left until the row has another one; the row is trained on, to no purpose."""
        self.rows[row] = self.batches.rows[row] = None

    def update(self) -> None:
        """Train every member one step, and add a row to its curve where its step is one of evaluation."""
        windows = self.feed.rows(self.updates, slice(None))
        each = self.gradient(windows.view(self.batches.per_batch, len(self.rows), -1), self.batches.per_batch)  # (E,) each
        losses = torch.stack(each).sum(0)
        for part in each:
            self.loss_sums += part
        rates = [learning_rate(t.spec, t.step, t.rate) if t else 0.0 for t in self.rows]
        self.norms.copy_(self.optimizer.update(rates, [t.step if t else 0 for t in self.rows]))
        self.updates += 1
        self.feed.prefetch(self.updates, slice(None))
        members = [(row, trainer) for row, trainer in enumerate(self.rows) if trainer]
        for _, trainer in members:
            trainer.step += 1
            trainer.loss_count += 1
        if due := [(row, trainer) for row, trainer in members if trainer.is_looked_at]:
            self._look(due, losses)

    def _look(self, due: Sequence[tuple[int, Trainer]], losses: Tensor) -> None:
        """Let the members whose turn it is look at their losses, of (E,), and at the norms of their gradients."""
        told, norms = losses.tolist(), self.norms.cpu()  # a GPU is waited for once, not by each member
        for row, trainer in due:
            trainer.norm = norms[row]
            trainer.gradient.per_micro, trainer.gradient.compiled = self.gradient.per_micro, self.gradient.compiled
            trainer.look(told[row])
            trainer.norm = self.norms[row]
