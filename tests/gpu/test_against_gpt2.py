"""Loss and gradient of a model against GPT-2 of the library transformers in float64 on the CPU, which has our weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fixtures.on_a_gpu import N_VOCAB, gradient_on, model_on, sized, windows, with_micro
from scalinglaws.models import exchange, published
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.flat import FlatModel


@dataclass(frozen=True)
class Exact:
    """A model and a batch, and their loss and flat gradient in float64."""

    spec: RunSpec
    weights: Tensor
    loss: float
    gradient: Tensor


def spec_of(precision: str) -> RunSpec:
    """Return two layers with heads of 64, whose batch is four micro-batches."""
    spec = sized(2, 128, 64, n_ctx=128, batch_tokens=4096, precision=precision)
    return with_micro(spec, 8)


def with_weights(precision: str, device: str, weights: Tensor) -> FlatModel:
    """Return our model with some weights."""
    model = model_on(spec_of(precision), device)
    model.flat.copy_(weights)
    return model


@pytest.fixture(scope="module")
def exact() -> Exact:
    """Return what transformers says of weights that are as uneven as those of a trained model: no bias is 0 and no gain 1."""
    import transformers

    spec = spec_of("float32")
    model = model_on(spec, "cpu")
    model.flat.add_(torch.randn(len(model.flat), generator=torch.Generator().manual_seed(1)), alpha=0.01)
    config = spec.shape(N_VOCAB)
    values = published.config_values(config) | {"attn_implementation": "eager"}
    theirs: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values))
    found = theirs.load_state_dict(exchange.to_published(*exchange.plain(config, model.params)), strict=False)
    assert not found.unexpected_keys and set(found.missing_keys) <= {exchange.TIED_OUTPUT}
    theirs.tie_weights()
    theirs = theirs.eval().double()
    batch = windows(spec, "cpu")
    logits = theirs(batch[:, :-1]).logits
    assert logits.dtype == torch.float64
    loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    gradients, parts = dict(theirs.named_parameters()), exchange.parts(config)
    flat = []
    for name in model.params:
        (part,) = parts[name]
        value = gradients[part.name].grad
        flat.append((value.T if part.transposed else value).reshape(-1))
    return Exact(spec, model.flat, loss.item(), torch.cat(flat))


@pytest.mark.parametrize(
    ("precision", "compiled", "tolerance"),
    [("float32", False, 1e-5), ("float32", True, 1e-5), ("bfloat16", False, 1e-2), ("bfloat16", True, 1e-2)],
    ids=["float32", "float32 compiled", "bfloat16", "bfloat16 compiled"],
)
def test_loss_and_gradient(
    precision: str, compiled: bool, tolerance: float, exact: Exact, device: str, record_property: Any
) -> None:
    spec = spec_of(precision)
    model = with_weights(precision, device, exact.weights)
    gradient = gradient_on(model, spec, compiled)
    assert not compiled or gradient.compiled == "yes", gradient.compiled
    assert not torch.backends.cuda.matmul.allow_tf32
    batch = windows(spec, device)
    loss = float(torch.stack(gradient(batch, len(batch))).sum())
    of_loss = abs(loss - exact.loss) / exact.loss
    of_gradient = float((model.grad.cpu().double() - exact.gradient).norm() / exact.gradient.norm())
    record_property("error of the loss", f"{of_loss:.1e}")
    record_property("error of the gradient", f"{of_gradient:.1e}")
    assert gradient.compiled == "yes" or not compiled, gradient.compiled
    assert of_loss < tolerance and of_gradient < tolerance
