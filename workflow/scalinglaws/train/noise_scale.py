"""The gradient noise scale, measured while a run trains: McCandlish et al. 2018, appendix A.1; Figure 10 of Kaplan et al. 2020.

The gradient of a whole batch and that of a part of it differ in the squared length that noise adds to them, tr(Sigma) / B,
so the two lengths give unbiased estimates of |G|² and of tr(Sigma). Their ratio B_simple = tr(Sigma) / |G|² predicts the
critical batch size. Each measurement costs the gradient of an eighth of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scalinglaws.evaluate.losses import finite
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.flat import FlatModel

# Windows of a batch to one of the part that is measured apart: an eighth of a step's work.
PARTS = 8
# One measurement strays by about its own size, the averages then by a quarter of it. They forget the first measurements, where
# |G|² is 20 times what it falls to, within 30; at 0.95 it would take 60, most of a run of 1,000 steps, to gain a third.
DECAY = 0.9


def estimates(small: Tensor, big: Tensor, small_tokens: int, big_tokens: int) -> Tensor:
    """(2,) float64: |G|² and tr(Sigma) per token, from the norms (0-d) of the mean gradients of so many tokens (appendix A.1).

    Unbiased, so |G|² may come out negative where noise hides it.
    """
    small_square, big_square = small.double().square(), big.double().square()
    square = (big_tokens * big_square - small_tokens * small_square) / (big_tokens - small_tokens)
    trace = (small_square - big_square) / (1 / small_tokens - 1 / big_tokens)
    return torch.stack([square, trace])


class NoiseScale:
    """Exponential moving averages of |G|² and tr(Sigma) over the measurements of a run, every ``spec.noise_every`` steps.

    They are averaged apart: a ratio of noisy numbers is biased (A.1). Everything stays on the device until a point of the
    curve asks for it.
    """

    def __init__(self, spec: RunSpec, device: str):
        windows = spec.batch_tokens // spec.n_ctx
        self.every, self.n_windows = spec.noise_every, max(1, windows // PARTS)
        self.small_tokens, self.big_tokens = self.n_windows * spec.n_ctx, spec.batch_tokens
        self.moving, self.count = torch.zeros(2, dtype=torch.float64, device=device), 0

    def due(self, step: int) -> bool:
        """Whether update number ``step`` (from 0) is measured; the first is not: its gradient tells of the initial weights."""
        return step > 0 and step % self.every == 0

    def small_norm(self, model: FlatModel, gradient: Callable[[Tensor], object], batch: Tensor) -> Tensor:
        """The norm (0-d) of the mean gradient of the first windows of ``batch`` (windows, n_ctx + 1); ``model.grad`` is kept.

        ``gradient`` sets model.grad to that of a batch.
        """
        kept, compiled = model.grad.clone(), model.compiled_loss
        # A second batch shape would make the compiler replace the step's code by one for any shape.
        model.compiled_loss = None
        gradient(batch[: self.n_windows])
        norm = torch.linalg.vector_norm(model.grad)
        model.grad.copy_(kept)
        model.compiled_loss = compiled
        return norm

    def add(self, small: Tensor, big: Tensor) -> None:
        """Take in the norms (0-d) of a part's gradient and of the whole batch's."""
        self.moving.lerp_(estimates(small, big, self.small_tokens, self.big_tokens), 1 - DECAY)
        self.count += 1

    def smoothed(self) -> tuple[float | None, float | None]:
        """|G|² and tr(Sigma) per token, without the bias of an average that starts at zero; None before a measurement."""
        if not self.count:
            return None, None
        square, trace = (self.moving / (1 - DECAY**self.count)).tolist()
        return finite(square), finite(trace)

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, as JSON values; null stands for what is no number."""
        return {"moving": [finite(value) for value in self.moving.tolist()], "count": self.count}

    def restore(self, values: dict[str, Any]) -> None:
        """Go on from a state."""
        moving = [math.nan if value is None else value for value in values["moving"]]
        self.moving.copy_(torch.tensor(moving, dtype=torch.float64))
        self.count = values["count"]
