"""What an optimizer is given and must have, and what several of them share. Importing this does not import torch.

An optimizer works on the flat buffers of a model, described by ``FlatParameters``, with the settings of a run, described by
``Settings``. It knows neither how a run is described in full nor how it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scalinglaws.optim.parametrization import Parametrized

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class FlatParameters(Protocol):
    """A model whose parameters are views of one flat buffer, and whose gradients are views of another of the same length.

    The first ``n_matrix`` entries of both are the tensors with two or more dimensions; biases and norms follow.
    """

    flat: Tensor  # (P,) float32
    grad: Tensor  # (P,), the gradient of the mean loss
    n_matrix: int

    @property
    def params(self) -> Mapping[str, Tensor]:
        """Return the parameters by name: views of ``flat``, in its order."""

    @property
    def grads(self) -> Mapping[str, Tensor]:
        """Return the gradients by name: views of ``grad``, in its order."""

    @property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name, in the order of ``flat``."""


class Sized(Protocol):
    """Parameters that lie one after the other, of one model or of each of a stack."""

    @property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name, in their order."""


class Settings(Parametrized, Protocol):
    """The settings of a run that optimizers read."""

    @property
    def id(self) -> str: ...

    @property
    def optimizer_options(self) -> tuple[tuple[str, Any], ...]:
        """Return the options that the optimizer declares itself, as pairs of name and value."""

    @property
    def beta1(self) -> float:
        """Return the decay of the mean of gradients, or the momentum."""

    @property
    def beta2(self) -> float:
        """Return the decay of the mean of squared gradients."""

    @property
    def weight_decay(self) -> float: ...

    @property
    def grad_clip(self) -> float:
        """Return the largest norm of the whole gradient; 0 leaves it as it is."""


class Processes(Protocol):
    """The processes that train one model together, as one of them sees them."""

    def share(self, length: int) -> slice:
        """Return the part of a flat tensor of so many entries that this process works on."""

    def norm(self, flat: Tensor) -> Tensor:
        """Return the norm, 0-d, of a flat tensor of which each process has its own share."""

    def spread(self, flat: Tensor) -> None:
        """Give every process the shares of ``model.flat`` that the others have changed."""


class OneProcess:
    """The only process of a run: its share is everything."""

    def share(self, length: int) -> slice:
        """Return everything."""
        return slice(0, length)

    def norm(self, flat: Tensor) -> Tensor:
        """Return the norm of the tensor."""
        import torch

        return torch.linalg.vector_norm(flat)

    def spread(self, flat: Tensor) -> None:
        """Do nothing, since there are no other processes."""


class BuiltOptimizer(Protocol):
    """An optimizer of one model, with its state.

    ``by_element`` says whether the state is flat vectors that run along ``model.flat``, of which each of several processes keeps
    its share alone (Rajbhandari et al. 2020, stage 1). ``tensors`` is the state by name, flat; checkpoints save it, and resuming
    copies the saved values back into it. Whatever depends on the number of updates must follow from the step that ``update`` is
    given.

    An optimizer that works by element may also have ``by_share = True``. It then promises to read nothing of ``model.grad`` but
    its own share, and to take the norm from ``processes.norm``: in several processes the rest of ``model.grad`` is of no use.
    Without the attribute each process is given the whole gradient, for which GPUs send each other twice as much.
    """

    by_element: bool
    tensors: dict[str, Tensor]

    def update(self, rate: float, step: int) -> Tensor:
        """Change the weights by ``model.grad``, which it may overwrite.

        Parameters
        ----------
        rate
            The learning rate of this update.
        step
            The number of updates before this one.

        Returns
        -------
        Tensor
            The norm of the gradient before clipping, 0-d. It stays on the device: a GPU is not waited for.
        """


def parts(model: Sized, share: slice, value: Callable[[str, tuple[int, ...]], T]) -> list[tuple[slice, T]]:
    """Cut a share of the flat buffer where a value that depends on the parameter changes.

    Parameters
    ----------
    model
        The model.
    share
        The part of the flat buffer that this process works on.
    value
        A function of a parameter's name and size; values are compared.

    Returns
    -------
    list
        (slice, value) in the order of the buffer; slices count from the start of the share, and each is as long as can be.
    """
    found: list[tuple[slice, T]] = []
    start = 0
    for name, size in model.sizes.items():
        stop = start + math.prod(size)
        low, high, own = max(start, share.start) - share.start, min(stop, share.stop) - share.start, value(name, size)
        start = stop
        if low >= high:
            continue
        if found and found[-1][1] == own:
            low = found.pop()[0].start
        found.append((slice(low, high), own))
    return found


def clip(model: FlatParameters, settings: Settings, processes: Processes | None = None) -> Tensor:
    """Scale the gradient so that its norm is at most ``settings.grad_clip``; return the norm before, 0-d.

    An optimizer that is ``by_share`` gives its ``processes``, and its own share of the gradient is scaled.
    """
    processes = processes or OneProcess()
    norm = processes.norm(model.grad)
    if settings.grad_clip:
        model.grad[processes.share(len(model.grad))].div_((norm / settings.grad_clip).clamp_(min=1.0))
    return norm


def decay_matrices(model: FlatParameters, settings: Settings, rate: float) -> None:
    """Shrink the matrices by decoupled weight decay (Loshchilov and Hutter 2019): w <- w - rate · weight_decay · w."""
    if settings.weight_decay:
        model.flat[: model.n_matrix].mul_(1 - rate * settings.weight_decay)
