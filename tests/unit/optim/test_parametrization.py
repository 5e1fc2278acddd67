"""muP against its published table, torch's optimizers with rates of their own, and the size of activations over the width."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fixtures.small_runs import N_VOCAB, flat_model, killed_at, same_run, small_spec, text_tokens, write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.models.build import build
from scalinglaws.models.module import logits
from scalinglaws.optim.base import parts
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.parametrization import MuP, check, multipliers, pairs, step_factors
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.distributed import Processes
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.run import train, train_rung

STEPS, RATE = 8, 0.01


def mup(base_width: int, **base: Any) -> tuple[tuple[str, Any], ...]:
    return pairs(MuP(name="mup", base_width=base_width, **base))


def wide(width: int, parametrization: tuple[tuple[str, Any], ...] = (), **changes: Any) -> RunSpec:
    """Return the spec of a model of two layers with heads of width 8."""
    shape = {"n_layer": 2, "d_model": width, "d_attn": width, "d_ff": 4 * width, "n_heads": width // 8}
    return small_spec(**shape | {"parametrization": parametrization} | changes)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return tokens and targets of 16 sequences of 16 positions, in which there is something to learn."""
    tokens = torch.from_numpy(text_tokens(16 * 17, seed).astype(np.int64)).view(16, 17)
    return tokens[:, :-1], tokens[:, 1:]


def trained(spec: RunSpec, steps: int = STEPS, rate: float = RATE, by_hand: bool = True) -> FlatModel:
    """Return the model of a spec after some updates at a constant rate on one batch."""
    model = flat_model(spec, by_hand=by_hand)
    optimizer = build_optimizer(model, spec)
    for step in range(steps):
        model.grad.zero_()
        model.backward(*batch())
        optimizer.update(rate, step)
    return model


@pytest.mark.parametrize(
    "changes", [{}, {"weight_decay": 0.3}, {"architecture": "recurrent", "n_repeats": 2}, {"optimizer": "sgd"}]
)
@pytest.mark.parametrize("by_hand", [True, False])
def test_at_its_base_it_is_the_standard_one_to_the_last_bit(changes: dict[str, Any], by_hand: bool) -> None:
    base = mup(16, base_head_width=8, **({} if changes.keys() & {"optimizer", "n_repeats"} else {"base_depth": 2}))
    standard, ours = (trained(wide(16, given, **changes), by_hand=by_hand) for given in ((), base))
    assert torch.equal(standard.flat, ours.flat)
    assert not torch.equal(standard.flat, trained(wide(16, mup(8, base_head_width=8), **changes), by_hand=by_hand).flat)


def test_multipliers_by_hand() -> None:
    """At four times the base width, three times its depth and twice its heads' width, by Yang et al. and Dey et al."""
    spec = wide(64, mup(16, base_head_width=4, base_depth=2), n_layer=6)
    found = multipliers(spec)
    # Of the scale 1 / sqrt(8) of a head of width 8 it makes sqrt(4) / 8, which is 1 / sqrt(4) at the base of 4.
    assert found.attention / math.sqrt(8) == pytest.approx(2 / 8)
    assert (found.output, found.residual) == (1 / 4, pytest.approx(1 / 3))
    model, base = flat_model(spec), flat_model(wide(16, n_heads=4))
    # Embeddings and what adds to the residual stream start as they do in the base, but for the fan-in of the latter.
    for name, ratio in (
        ("token_embedding", 1.0),
        ("position_embedding", 1.0),
        ("layer0.project.weight", 0.5),
        ("layer1.down.weight", 0.5),
    ):
        assert float((model.params[name].std() / base.params[name].std()).detach()) == pytest.approx(ratio, rel=0.15), name


@pytest.mark.parametrize(
    ("optimizer", "name", "size", "factors"),
    [
        # Yang et al. 2022, Table 8: Adam's rates are 1, 1 and 1 / fan-in of input, output and hidden weights, SGD's are fan-out,
        # fan-in and 1. Dey et al. 2025, Table 1: hidden weight decay times m, epsilon over m, and over m times depth in layers.
        ("adamw", "token_embedding", (32, 64), (1, 1, 1 / 4)),
        ("adamw", "position_embedding", (16, 64), (1, 1, 1 / 4)),
        ("adamw", "head.weight", (32, 64), (1, 1, 1 / 4)),
        ("adamw", "layer1.qkv.weight", (192, 64), (1 / 4, 4, 1 / 12)),
        ("adamw", "layer0.down.weight", (64, 256), (1 / 4, 4, 1 / 12)),
        ("adamw", "layers.10.up.weight", (256, 64), (1 / 4, 4, 1 / 12)),
        ("adamw", "layer1.qkv.bias", (192,), (1, 1, 1 / 12)),
        ("adamw", "layer0.norm1.weight", (64,), (1, 1, 1 / 12)),
        ("adamw", "norm.bias", (64,), (1, 1, 1 / 4)),
        ("sgd", "token_embedding", (32, 64), (4, 1, 1)),
        ("sgd", "layer0.down.weight", (64, 256), (1, 1, 1)),
        ("sgd", "layer0.down.bias", (64,), (4, 1, 1)),
        ("sgd", "norm.weight", (64,), (4, 1, 1)),
    ],
)
def test_factors_of_a_step_are_those_published(
    optimizer: str, name: str, size: tuple[int, ...], factors: tuple[float, ...]
) -> None:
    depth = {"base_depth": 2} if optimizer == "adamw" else {}
    spec = wide(64, mup(16, **depth), n_layer=6, optimizer=optimizer)
    found = step_factors(spec, name, size)
    assert (found.rate, found.decay, found.eps) == pytest.approx(factors)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_updates_are_the_papers_with_a_rate_for_each_tensor(optimizer: str) -> None:
    """Algorithm 2 of Loshchilov and Hutter 2019 and momentum agree, in float64, at four times the base width."""
    spec = wide(32, mup(8), optimizer=optimizer, weight_decay=0.2, grad_clip=0.0)
    model = flat_model(spec)
    ours, exact = build_optimizer(model, spec), {name: value.detach().double() for name, value in model.params.items()}
    mean, square = ({name: torch.zeros_like(value) for name, value in exact.items()} for _ in range(2))
    for t in range(1, STEPS + 1):
        model.grad.normal_(std=1e-8 if t == 1 else 1.0, generator=torch.Generator().manual_seed(t))  # small ones show epsilon
        for name, value in exact.items():
            grad, hidden = model.grads[name].double(), name.startswith("layer") and value.dim() == 2
            if value.dim() == 2:
                value.mul_(1 - RATE * 0.2)
            if optimizer == "sgd":
                mean[name].mul_(0.9).add_(grad)
                value.sub_((RATE if hidden else 4 * RATE) * mean[name])
                continue
            mean[name].mul_(0.9).add_(0.1 * grad)
            square[name].mul_(0.95).add_(0.05 * grad**2)
            root = (square[name] / (1 - 0.95**t)).sqrt() + 1e-8 / 4
            value.sub_((RATE / 4 if hidden else RATE) * mean[name] / (1 - 0.9**t) / root)
        ours.update(RATE, t - 1)
    for name, value in model.params.items():
        torch.testing.assert_close(value.detach().double(), exact[name], rtol=1e-5, atol=1e-6, msg=f"{name}: {{}}".format)


class Shared(Processes):
    """One of several processes in one: nothing is sent."""

    def spread(self, flat: Tensor) -> None:
        pass

    def norm(self, flat: Tensor) -> Tensor:
        return torch.linalg.vector_norm(flat)  # each has the whole gradient here


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_processes_that_share_the_buffer_take_the_same_step(optimizer: str) -> None:
    spec = wide(32, mup(8), optimizer=optimizer, weight_decay=0.2)
    whole, pieces = trained(spec, 1).flat, []
    for rank in range(3):
        model, processes = flat_model(spec), Shared(rank, 3)
        model.backward(*batch())
        build_optimizer(model, spec, processes).update(RATE, 0)
        pieces.append(model.flat[processes.share(len(model.flat))])
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-6, atol=1e-8)


def test_parts_are_as_long_as_can_be() -> None:
    model: Any = type("Sizes", (), {"sizes": {"a": (2, 2), "b": (3,), "c": (1,), "d": (5,)}})
    value = {"a": 1, "b": 1, "c": 2, "d": 1}
    found = parts(model, slice(1, 12), lambda name, size: value[name])
    assert found == [(slice(0, 6), 1), (slice(6, 7), 2), (slice(7, 11), 1)]
    assert parts(model, slice(7, 7), lambda name, size: 0) == []


def activations(model: FlatModel, tokens: Tensor) -> dict[str, Tensor]:
    """Return the residual stream before the last norm, the attention of the last layer, and the logits."""
    found: dict[str, Tensor] = {}
    module: Any = model.module
    hooks = [
        module.norm.register_forward_pre_hook(lambda _, given: found.update(stream=given[0])),
        module.layers[-1].project.register_forward_hook(lambda _, given, out: found.update(attention=out)),
    ]
    found["logits"] = logits(module, module(tokens))  # with autograd, since the fast forward calls no hooks
    for hook in hooks:
        hook.remove()
    return {name: value.detach() for name, value in found.items()}


def growth(widths: tuple[int, ...], made: Any, rate: float) -> dict[str, tuple[float, float]]:
    """Return, for each activation, the exponents of its size and of its change by STEPS updates over the width or depth."""
    sizes: dict[str, list[tuple[float, float]]] = {}
    for width in widths:
        spec = made(width)
        before, after = (activations(trained(spec, steps, rate), batch(1)[0]) for steps in (0, STEPS))
        for name, value in after.items():
            sizes.setdefault(name, []).append((float(value.std()), float((value - before[name]).std())))
    x = np.log(widths)
    return {name: tuple(np.polyfit(x, np.log(values), 1)[0]) for name, values in sizes.items()}


WIDTHS = (16, 64, 256)
FLAT = 0.1  # exponent within which an activation counts as flat: a factor 1.3 from width 16 to 256
SETTLING = 0.25  # the same for logits, in which what is not learned falls as the root of the width, and is a part at first


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.01), ("sgd", 0.3)])
def test_activations_are_flat_in_the_width(optimizer: str, rate: float) -> None:
    changes: dict[str, Any] = {"optimizer": optimizer, "grad_clip": 0.0}
    ours = growth(WIDTHS, lambda width: wide(width, mup(16, base_head_width=8), **changes), rate)
    standard = growth(WIDTHS, lambda width: wide(width, **changes), rate)
    for name, exponents in ours.items():
        assert max(exponents) < FLAT and min(exponents) > -(SETTLING if name == "logits" else FLAT), (name, exponents)
    assert all(change > 3 * FLAT for _, change in standard.values()), standard


def test_activations_are_flat_in_the_depth() -> None:
    depths = (2, 4, 8, 16)
    ours = growth(depths, lambda depth: wide(16, mup(16, base_head_width=8, base_depth=2), n_layer=depth, grad_clip=0.0), 0.02)
    standard = growth(depths, lambda depth: wide(16, n_layer=depth, grad_clip=0.0), 0.02)
    assert abs(ours["stream"][1]) < FLAT and standard["stream"][1] > 3 * FLAT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "muon"}, "parametrization: mup has no rules for optimizer muon: use one of adamw, sgd"),
        ({"optimizer": "adafactor"}, "no rules for optimizer adafactor"),
        (
            {"architecture": "lstm"},
            "no rules for architecture lstm: use one of transformer, recurrent, or set parametrization: standard",
        ),
        ({"optimizer": "sgd", "parametrization": mup(8, base_depth=2)}, r"parametrization\.base_depth: .* adamw alone"),
        ({"architecture": "recurrent", "n_repeats": 2, "parametrization": mup(8, base_depth=2)}, r"base_depth: .* several times"),
    ],
)
def test_what_it_is_not_derived_for_is_refused(changes: dict[str, Any], words: str) -> None:
    spec = wide(16, **{"parametrization": mup(8)} | changes)
    with pytest.raises(StudyError, match=words):
        check(spec)
    with pytest.raises(StudyError, match=words):
        build_optimizer(flat_model(wide(16)), spec)
    check(dataclasses.replace(spec, parametrization=()))


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "sgd"}, {"architecture": "recurrent", "n_repeats": 2}, {"schedule": "cosine", "decay": 0.0}]
)
def test_a_run_that_breaks_off_or_starts_from_a_rung_ends_with_the_same_bytes(tmp_path: Path, changes: dict[str, Any]) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    spec = wide(16, mup(8, **({} if changes.keys() & {"optimizer", "n_repeats"} else {"base_depth": 1})), **changes)
    train(spec, tokens, tmp_path / "whole", device="cpu")
    with killed_at(23):
        train(spec, tokens, tmp_path / "broken", device="cpu", checkpoint_seconds=0.0)
    train(spec, tokens, tmp_path / "broken", device="cpu")
    same_run(tmp_path / "whole", tmp_path / "broken")
    if spec.schedule == "wsd":
        train_rung(spec.trunk, tokens, 20, tmp_path / "trunk" / "step20.safetensors", device="cpu")
        train(spec, tokens, tmp_path / "shared", trunk=tmp_path / "trunk", device="cpu")
        same_run(tmp_path / "whole", tmp_path / "shared")


def test_the_plain_module_follows_the_equations() -> None:
    """A block with one head of width 2 is computed by hand, in float64, with all five multipliers."""
    spec = small_spec(n_layer=1, d_model=8, d_attn=8, n_heads=2, parametrization=mup(4, base_head_width=2, base_depth=2))
    module = build(spec.shape(N_VOCAB), seed=1, by_hand=False).double()
    tokens = batch()[0][:2]
    w = {name: value.detach() for name, value in module.named_parameters()}
    x = w["token_embedding.weight"][tokens] + w["position_embedding.weight"][:16]
    normed = F.layer_norm(x, (8,), w["layer0.norm1.weight"], w["layer0.norm1.bias"])
    q, k, v = (normed @ w["layer0.qkv.weight"].T + w["layer0.qkv.bias"]).chunk(3, -1)
    mixed = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = q[..., head] @ k[..., head].transpose(1, 2) * math.sqrt(2) / 4  # sqrt(base_head_width) / head width
        scores = scores.masked_fill(torch.ones(16, 16).triu(1).bool(), -math.inf)
        mixed.append(scores.softmax(-1) @ v[..., head])
    x = x + (torch.cat(mixed, -1) @ w["layer0.project.weight"].T + w["layer0.project.bias"]) * 2  # base_depth / n_layer
    normed = F.layer_norm(x, (8,), w["layer0.norm2.weight"], w["layer0.norm2.bias"])
    up = F.gelu(normed @ w["layer0.up.weight"].T + w["layer0.up.bias"], approximate="tanh")
    x = x + (up @ w["layer0.down.weight"].T + w["layer0.down.bias"]) * 2
    out = F.layer_norm(x, (8,), w["norm.weight"], w["norm.bias"]) @ w["token_embedding.weight"].T * 4 / 8
    torch.testing.assert_close(logits(module, module(tokens)), out, rtol=1e-9, atol=1e-12)
