"""AdamW, SGD, Adafactor and Muon with gradient clipping and decoupled weight decay, over a model's flat buffers.

Each has ``update`` and ``tensors``, its state by name, flat, to be saved and to be copied back into; what depends on the
number of updates follows from the absolute step. Of several processes that train one model, each keeps the state of its
share of the weights alone where an optimizer works ``by_element`` (Rajbhandari et al. 2020, stage 1).

They call the functions below torch.optim's classes: constructing one of those imports torch._dynamo, which takes longer than
torch itself, and on a model of a few thousand parameters the class costs as much as the arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import _muon as torch_muon
from torch.optim._adafactor import adafactor

from scalinglaws.common.errors import StudyError
from scalinglaws.train.distributed import ALONE, Processes

if TYPE_CHECKING:
    from scalinglaws.models.flat import Model
    from scalinglaws.study.spec import RunSpec

EPS = 1e-8
# Shazeer and Stern's floors: 1e-30 for a squared gradient (torch squares this) and 1e-3 for the RMS that scales a step. torch's
# default for the first, 1.2e-7, also floors the mean square of a matrix's gradients, which large models are below.
ADAFACTOR_EPS = (1e-15, 1e-3)


def _clip(model: Model, spec: RunSpec) -> Tensor:
    """Scale model.grad to a norm of at most grad_clip; returns the norm before."""
    norm = torch.linalg.vector_norm(model.grad)
    if spec.grad_clip:
        model.grad.div_((norm / spec.grad_clip).clamp_(min=1.0))
    return norm


def _decay(model: Model, spec: RunSpec, rate: float) -> None:
    """Decoupled weight decay of the matrices: Loshchilov and Hutter 2019."""
    if spec.weight_decay:
        model.flat[: model.n_matrix].mul_(1 - rate * spec.weight_decay)


class AdamW:
    """Loshchilov and Hutter 2019; weight decay on matrices only. ``exp_avg`` and ``exp_avg_sq`` are flat, as the model is."""

    by_element = True

    def __init__(self, model: Model, spec: RunSpec, processes: Processes):
        self.model, self.spec, self.processes = model, spec, processes
        self.share = processes.share(len(model.flat))
        like = model.flat[self.share]
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(like), torch.zeros_like(like)
        self.tensors = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        n = min(max(model.n_matrix - self.share.start, 0), len(like))  # of this share
        everything, matrices, vectors = slice(None), slice(0, n), slice(n, None)
        decayed = [(matrices, spec.weight_decay), (vectors, 0.0)]
        parts = decayed if spec.weight_decay else [(everything, 0.0)]
        self.parts = [(part, decay) for part, decay in parts if len(like[part])]
        self.count = torch.zeros((), device=model.flat.device)

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """Take update number ``step`` (from 0) with model.grad; returns the gradient's norm before clipping, 0-d."""
        model, spec = self.model, self.spec
        norm = torch.linalg.vector_norm(model.grad)
        # The kernel divides gradients by grad_scale: clipping needs no pass of its own.
        scale = (norm / spec.grad_clip).clamp_(min=1.0) if spec.grad_clip else None
        self.count.fill_(step + 1)
        flat, grad = model.flat[self.share], model.grad[self.share]
        for part, weight_decay in self.parts:
            torch._fused_adamw_(
                [flat[part]],
                [grad[part]],
                [self.exp_avg[part]],
                [self.exp_avg_sq[part]],
                [],
                [self.count],
                lr=rate,
                beta1=spec.beta1,
                beta2=spec.beta2,
                weight_decay=weight_decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
            )
        self.processes.spread(model.flat)
        return norm


class SGD:
    """Stochastic gradient descent with momentum beta1: v <- beta1 v + g, then w <- w - rate v. No Nesterov, no dampening."""

    by_element = True

    def __init__(self, model: Model, spec: RunSpec, processes: Processes):
        self.model, self.spec, self.processes = model, spec, processes
        self.share = processes.share(len(model.flat))
        self.momentum = torch.zeros_like(model.flat[self.share])
        self.tensors = {"momentum": self.momentum}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """As AdamW's."""
        norm = _clip(self.model, self.spec)
        _decay(self.model, self.spec, rate)
        self.momentum.mul_(self.spec.beta1).add_(self.model.grad[self.share])
        self.model.flat[self.share].add_(self.momentum, alpha=-rate)
        self.processes.spread(self.model.flat)
        return norm


class Adafactor:
    """Shazeer and Stern 2018, algorithms 4 and 5, without momentum; Kaplan et al. 2020 use it for N > 1e9.

    The second moments of a matrix are the product of a mean of each row and one of each column; their decay is
    1 - t^-0.8 at update t (from 1); beta1 and beta2 are unused. The rate is **relative**: a tensor moves by at most
    rho · max(1e-3, RMS of its weights), in RMS, with rho = min(rate, 1 / sqrt(t)). So the schedule's rate takes the place
    of the paper's 0.01, and after 1 / rate² updates the square root takes over. The paper's clipping of each tensor's
    update to an RMS of 1 comes after grad_clip's of the whole gradient. A GPU is waited for at every tensor.
    """

    by_element = False

    def __init__(self, model: Model, spec: RunSpec, processes: Processes):
        self.model, self.spec = model, spec
        like, sizes = model.flat, model.sizes.items()
        rows = {name: like.new_zeros(size[0], 1) for name, size in sizes if len(size) == 2}
        columns = {name: like.new_zeros(1, size[1]) for name, size in sizes if len(size) == 2}
        whole = {name: like.new_zeros(size) for name, size in sizes if len(size) == 1}
        kinds = {"rows": rows, "columns": columns, "exp_avg_sq": whole}
        self.moments: list[list[Any]] = [[named.get(name) for name in model.sizes] for named in kinds.values()]
        self.tensors = {f"{name}.{kind}": t.view(-1) for kind, named in kinds.items() for name, t in named.items()}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """As AdamW's."""
        params, grads = list(self.model.params.values()), list(self.model.grads.values())
        rows, columns, whole = self.moments
        norm = _clip(self.model, self.spec)
        _decay(self.model, self.spec, rate)
        adafactor(
            params,
            grads,
            rows,
            columns,
            whole,
            [torch.tensor(float(step)) for _ in params],  # each is counted up
            lr=rate,
            beta2_decay=-0.8,
            d=1.0,
            eps1=ADAFACTOR_EPS[0],
            eps2=ADAFACTOR_EPS[1],
            weight_decay=0.0,
            maximize=False,
        )
        return norm


class Muon:
    """Jordan et al. 2024: matrices of layers move by their momentum, made near-orthogonal; the rest by AdamW at the same rate.

    The momentum is beta1, Nesterov's; five Newton-Schulz iterations in bfloat16; an update of an (m, n) matrix is scaled by
    0.2 sqrt(max(m, n)), about the RMS of AdamW's (Liu et al. 2025), so that one rate serves all. AdamW of embeddings,
    biases and norms has beta1 and beta2. A matrix is what the model stores: queries, keys and values are one.
    """

    by_element = False

    def __init__(self, model: Model, spec: RunSpec, processes: Processes):
        self.model, self.spec = model, spec
        self.hidden = [name for name, size in model.sizes.items() if len(size) == 2 and not name.endswith("embedding")]
        self.rest = [name for name in model.sizes if name not in self.hidden]
        self.momentum = [torch.zeros_like(model.grads[name]) for name in self.hidden]
        self.exp_avg = [torch.zeros_like(model.grads[name]) for name in self.rest]
        self.exp_avg_sq = [torch.zeros_like(model.grads[name]) for name in self.rest]
        self.count = torch.zeros((), device=model.flat.device)
        self.tensors = {f"{name}.momentum": t.view(-1) for name, t in zip(self.hidden, self.momentum, strict=True)}
        for kind, tensors in (("exp_avg", self.exp_avg), ("exp_avg_sq", self.exp_avg_sq)):
            self.tensors |= {f"{name}.{kind}": t.view(-1) for name, t in zip(self.rest, tensors, strict=True)}

    @torch.no_grad()
    def update(self, rate: float, step: int) -> Tensor:
        """As AdamW's."""
        model, spec = self.model, self.spec
        norm = _clip(model, spec)
        _decay(model, spec, rate)
        torch_muon.muon(
            [model.params[name] for name in self.hidden],
            [model.grads[name] for name in self.hidden],
            self.momentum,
            lr=rate,
            weight_decay=0.0,
            momentum=spec.beta1,
            nesterov=True,
            ns_coefficients=(torch_muon.DEFAULT_A, torch_muon.DEFAULT_B, torch_muon.DEFAULT_C),
            ns_steps=torch_muon.DEFAULT_NS_STEPS,
            eps=torch_muon.EPS,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )
        self.count.fill_(step + 1)
        torch._fused_adamw_(
            [model.params[name] for name in self.rest],
            [model.grads[name] for name in self.rest],
            self.exp_avg,
            self.exp_avg_sq,
            [],
            [self.count] * len(self.rest),
            lr=rate,
            beta1=spec.beta1,
            beta2=spec.beta2,
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
        return norm


KINDS: dict[str, type[AdamW | SGD | Adafactor | Muon]] = {"adamw": AdamW, "sgd": SGD, "adafactor": Adafactor, "muon": Muon}


def build_optimizer(model: Model, spec: RunSpec, processes: Processes = ALONE) -> AdamW | SGD | Adafactor | Muon:
    """The optimizer of a run, its state zero. Raises StudyError where its name is unknown."""
    if spec.optimizer not in KINDS:
        raise StudyError(f"optimizer: {spec.optimizer!r} of run {spec.id} is unknown: use one of {', '.join(KINDS)}")
    return KINDS[spec.optimizer](model, spec, processes)
