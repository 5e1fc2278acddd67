"""The gradient noise scale, measured while a run trains: McCandlish et al. 2018, appendix A.1; Figure 10 of Kaplan et al. 2020.

The gradient of a whole batch and that of a part of it differ in the squared length that noise adds to them, tr(Sigma) / B,
so that the two lengths give unbiased estimates of |G|² and of tr(Sigma). Their ratio B_simple = tr(Sigma) / |G|² predicts the
critical batch size. Each measurement costs the gradient of an eighth of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scalinglaws.evaluate.losses import finite
from scalinglaws.models.device import float64_device
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.flat import FlatModel

# The part of a batch that is measured apart is an eighth of it, which costs an eighth of a step.
PARTS = 8
# A single measurement strays by about its own size, and the averages stray by a quarter of theirs. Within 30 measurements they
# forget the first ones, where |G|² is 20 times what it falls to. A decay of 0.95 would stray by a third less, but it would take
# 60 measurements to forget, which is most of a run of 1,000 steps.
DECAY = 0.9


def estimates(small: Tensor, big: Tensor, small_tokens: int, big_tokens: int) -> Tensor:
    """Estimate |G|² and tr(Sigma) per token from the norms of two mean gradients.

    Parameters
    ----------
    small, big
        Norms (0-d) of the mean gradients of a part of a batch and of the whole.
    small_tokens, big_tokens
        The tokens of the part and of the whole.

    Returns
    -------
    Tensor
        (2,) float64: |G|² and tr(Sigma). They are unbiased, so that |G|² may be negative where noise hides it.

    References
    ----------
    McCandlish et al. 2018, appendix A.1.
    """
    small_square, big_square = small.double().square(), big.double().square()
    square = (big_tokens * big_square - small_tokens * small_square) / (big_tokens - small_tokens)
    trace = (small_square - big_square) / (1 / small_tokens - 1 / big_tokens)
    return torch.stack([square, trace])


class NoiseScale:
    """Exponential moving averages of |G|² and tr(Sigma) over the measurements of a run, one every ``spec.noise_every`` steps.

    The two are averaged apart, because a ratio of noisy numbers is biased (A.1). They stay on the device until a point of the
    curve asks for them.
    """

    def __init__(self, spec: RunSpec, device: str):
        windows = spec.batch_tokens // spec.n_ctx
        self.every, self.n_windows = spec.noise_every, max(1, windows // PARTS)
        self.small_tokens, self.big_tokens = self.n_windows * spec.n_ctx, spec.batch_tokens
        self.moving, self.count = torch.zeros(2, dtype=torch.float64, device=float64_device(device)), 0

    def due(self, step: int) -> bool:
        """Return whether update number ``step``, from 0, is measured; the first is not, as its gradient is of initial weights."""
        return step > 0 and step % self.every == 0

    def small_norm(self, model: FlatModel, norm_of: Callable[[int], Tensor]) -> Tensor:
        """Return the norm (0-d) of the mean gradient of the first windows of a batch; ``model.grad`` is left as it was.

        Parameters
        ----------
        model
            The model.
        norm_of
            What makes the gradient of the mean loss of so many first windows of the batch in ``model.grad`` and returns its norm.
        """
        kept, code = model.grad.clone(), (model.compiled, model.head)
        # A second shape of batches would be compiled for a minute to save a fraction of a few steps.
        model.stop_compiled()
        norm = norm_of(self.n_windows)
        model.grad.copy_(kept)
        model.compiled, model.head = code
        return norm

    def add(self, small: Tensor, big: Tensor) -> None:
        """Add a measurement: the norms (0-d) of the gradients of a part of a batch and of the whole."""
        small, big = (norm.to(self.moving.device) for norm in (small, big))
        self.moving.lerp_(estimates(small, big, self.small_tokens, self.big_tokens), 1 - DECAY)
        self.count += 1

    def smoothed(self) -> tuple[float | None, float | None]:
        """Return |G|² and tr(Sigma) per token, corrected for averages that start at zero; None before the first measurement."""
        if not self.count:
            return None, None
        square, trace = (self.moving / (1 - DECAY**self.count)).tolist()
        return finite(square), finite(trace)

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs as JSON values, with None for NaN and infinity."""
        return {"moving": [finite(value) for value in self.moving.tolist()], "count": self.count}

    def restore(self, values: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        moving = [math.nan if value is None else value for value in values["moving"]]
        self.moving.copy_(torch.tensor(moving, dtype=torch.float64))
        self.count = values["count"]
