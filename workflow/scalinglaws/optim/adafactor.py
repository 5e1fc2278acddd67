"""Adafactor: second moments of a matrix as the product of row means and column means, for models whose state must be small.

It calls the function below ``torch.optim.Adafactor``, for the reason given in adamw.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim._adafactor import adafactor

from scalinglaws.optim.base import FlatParameters, Processes, Settings, clip, decay_matrices

# The floors of the paper: 1e-30 for a squared gradient (torch squares this number) and 1e-3 for the RMS that scales a step.
# torch's default for the first, 1.2e-7, also floors the mean square of a matrix's gradients, which large models are below.
EPS = (1e-15, 1e-3)


class Adafactor:
    """Adafactor without momentum, which Kaplan et al. 2020 use for N > 1e9.

    The decay of the second moments is 1 - t^-0.8 at update t (from 1); beta1 and beta2 are unused. The rate is **relative**: a
    tensor moves by at most rho · max(1e-3, RMS of its weights), in RMS, with rho = min(rate, 1 / sqrt(t)). So the rate of the
    schedule takes the place of the paper's 0.01, and after 1 / rate² updates the square root takes over. The paper's
    clipping of the update of each tensor to an RMS of 1 comes after the clipping of the whole gradient by grad_clip.
    The CPU waits for a GPU at every tensor.

    References
    ----------
    Shazeer and Stern 2018, algorithms 4 and 5.
    """

    by_element = False

    def __init__(self, model: FlatParameters, settings: Settings, processes: Processes):
        self.model, self.settings = model, settings
        like, sizes = model.flat, model.sizes.items()
        rows = {name: like.new_zeros(*size[:-1], 1) for name, size in sizes if len(size) > 1}
        columns = {name: like.new_zeros(*size[:-2], 1, size[-1]) for name, size in sizes if len(size) > 1}
        whole = {name: like.new_zeros(size) for name, size in sizes if len(size) == 1}
        kinds = {"rows": rows, "columns": columns, "exp_avg_sq": whole}
        self.moments: list[list[Any]] = [[named.get(name) for name in model.sizes] for named in kinds.values()]
        self.tensors = {f"{name}.{kind}": t.view(-1) for kind, named in kinds.items() for name, t in named.items()}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take an update; see ``BuiltOptimizer``."""
        params, grads = list(self.model.params.values()), list(self.model.grads.values())
        rows, columns, whole = self.moments
        norm = clip(self.model, self.settings)
        decay_matrices(self.model, self.settings, rate)
        adafactor(
            params,
            grads,
            rows,
            columns,
            whole,
            [torch.tensor(float(step)) for _ in params],  # adafactor counts each of them up
            lr=rate,
            beta2_decay=-0.8,
            d=1.0,
            eps1=EPS[0],
            eps2=EPS[1],
            weight_decay=0.0,
            maximize=False,
        )
        return norm
