"""Mixtures of experts against transformers' own: logits, gradients, counts, the balancing loss; shared experts; training."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from fixtures.small_runs import flat_model, model_fields, small_spec
from fixtures.transformers_models import exact, theirs_of
from scalinglaws.common.errors import StudyError
from scalinglaws.models import published
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import flops_6nd, n_params, n_params_active, n_params_total
from scalinglaws.models.llama import Block
from scalinglaws.models.module import logits, named_parameters
from scalinglaws.models.moe import Experts, Moe
from scalinglaws.study.spec import RunSpec

N_VOCAB = 50
TOKENS = torch.randint(N_VOCAB, (3, 24), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(N_VOCAB, (3, 24), generator=torch.Generator().manual_seed(1))
MODELS: dict[str, dict[str, Any]] = {
    "Mixtral": {"block": "llama-3", "n_kv_heads": 2, "tied": False},
    "Qwen3Moe": {"block": "qwen3", "n_experts": 6, "n_experts_per_token": 3, "n_kv_heads": 1},
    "Olmoe": {"qk_norm": "all", "renormalize": False, "n_experts": 5, "n_experts_per_token": 1},
}


def spec_of(n_layer: int = 2, **options: Any) -> RunSpec:
    return small_spec(**model_fields("moe", n_layer, 32, n_heads=4, **options), n_ctx=24)


def make(spec: RunSpec) -> tuple[Moe, ModelConfig]:
    """Make a model whose norms are not at their initial ones and whose experts are chosen unevenly."""
    config = spec.shape(N_VOCAB)
    module, generator = build(config, seed=3), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return cast(Moe, module), config


def experts(module: nn.Module, layer: int = 0) -> Experts:
    return cast(Experts, cast(Block, module.get_submodule(f"layer{layer}")).feed_forward)


def loss_of(predicted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(predicted.flatten(0, 1), TARGETS.flatten())


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str) -> None:
    module, config = make(spec_of(**MODELS[name]))
    theirs = theirs_of(module, config)
    assert type(theirs).__name__ == f"{name}ForCausalLM"
    with torch.no_grad():
        ours, wanted = logits(module, module(TOKENS)), theirs(TOKENS).logits
    assert float(wanted.abs().max()) > 1 and float((ours - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_float64_are_those_of_transformers(name: str) -> None:
    module, config = make(spec_of(**MODELS[name]))
    theirs = exact(theirs_of(module, config))
    module = module.double()
    ours, wanted = loss_of(logits(module, module(TOKENS))), loss_of(theirs(TOKENS).logits)
    assert math.isclose(ours.item(), wanted.item(), rel_tol=1e-12)
    ours.backward()
    wanted.backward()
    gradients = {key: value.grad for key, value in theirs.named_parameters()}
    names = published.weight_names(config)
    assert set(names.values()) == set(gradients)
    for key, parameter in named_parameters(module).items():
        other = gradients[names[key]]
        assert parameter.grad is not None and other is not None
        assert float((parameter.grad - other).abs().max()) < 1e-10 * float(other.abs().max()), key


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_those_of_transformers(name: str) -> None:
    module, config = make(spec_of(**MODELS[name]))
    theirs: Any = theirs_of(module, config)
    assert theirs.num_parameters() == n_params_total(config)
    table = 0 if config.options["tied"] else config.n_vocab * config.d_model
    vectors = sum(p.numel() for p in theirs.parameters() if p.dim() == 1)
    assert theirs.num_parameters(exclude_embeddings=True) - table - vectors == n_params(config)
    # What a token meets: all but the experts that it is not sent to.
    one = sum(p[0].numel() for p in (experts(module).gate_up, experts(module).down))
    idle = config.n_layer * (config.options["n_experts"] - config.options["n_experts_per_token"]) * one
    assert n_params_active(config) == n_params(config) - idle
    assert flops_6nd(config, 7) == 6 * n_params_active(config) * 7


def test_totals_of_mixtral_8x7b() -> None:
    options = {"block": "llama-3", "rope_base": 1e6, "d_ff": 14336, "n_heads": 32, "n_kv_heads": 8, "tied": False}
    config = small_spec(**model_fields("moe", 32, 4096, **options)).shape(32000)
    assert n_params_total(config) == 46_702_792_704  # 46.7B, of which a token meets 12.9B with the embeddings
    table, norms = 2 * 32000 * 4096, 65 * 4096
    assert n_params_active(config) + table + norms == 12_879_925_248


@pytest.mark.parametrize("name", MODELS)
def test_the_balancing_loss_is_that_of_transformers(name: str) -> None:
    module, config = make(spec_of(n_layer=1, balance=0.5, **MODELS[name]))
    theirs = theirs_of(module, config, output_router_logits=True)
    gates = theirs(TOKENS).router_logits
    n_met = config.options["n_experts_per_token"]
    wanted = load_balancing_loss_func(gates, config.options["n_experts"], n_met) / n_met
    module(TOKENS)
    assert module.extra_loss().item() == pytest.approx(0.5 * wanted.item(), rel=1e-5)


def test_the_balancing_loss_is_one_where_experts_are_even_and_largest_where_one_set_gets_all() -> None:
    module, _ = make(spec_of(n_layer=1, balance=1.0, n_experts=4))
    layer = experts(module)
    with torch.no_grad():
        layer.router.weight.zero_()
        module(TOKENS)
        assert module.extra_loss().item() == pytest.approx(1.0)  # the probabilities are even, whoever is chosen
        layer.router.weight[:2] = 1e4 * torch.ones(32)
        layer(torch.ones(3, 5, 32))
        assert module.extra_loss().item() == pytest.approx(4 / 2)


def test_training_adds_the_gradient_of_the_balancing_loss_and_reports_the_loss_alone() -> None:
    spec = spec_of(balance=0.3)
    model = flat_model(spec, N_VOCAB)
    loss = model.backward(TOKENS, TARGETS, weight=0.5)
    module = cast(Moe, build(spec.shape(N_VOCAB), seed=spec.seed).double())
    wanted = loss_of(logits(module, module(TOKENS)))
    assert float(loss) == pytest.approx(0.5 * wanted.item(), rel=1e-5)
    (0.5 * (wanted + module.extra_loss())).backward()
    router = module.get_parameter("layer1.feed_forward.router.weight").grad
    assert router is not None
    assert torch.allclose(model.grads["layer1.feed_forward.router.weight"].double(), router, rtol=1e-3, atol=1e-7)
    without = flat_model(spec_of(balance=0), N_VOCAB)
    without.backward(TOKENS, TARGETS, weight=0.5)
    assert not torch.allclose(without.grads["layer1.feed_forward.router.weight"].double(), router, rtol=1e-2, atol=1e-7)


def test_no_token_is_dropped_where_all_choose_the_same_expert() -> None:
    module, _ = make(spec_of(n_experts=4, n_experts_per_token=1))
    layer = experts(module)
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0)).abs()
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.weight[2] = 1.0
        assert torch.allclose(layer(x), layer.expert(2, x.flatten(0, 1)).view_as(x), atol=1e-5)


def test_shared_experts_are_met_by_every_token() -> None:
    module, config = make(spec_of(n_shared_experts=2))
    layer = experts(module)
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    assert layer.shared is not None and layer.shared.up.weight.shape == (2 * config.d_ff, 32)
    with torch.no_grad():
        both = layer(x)
        alone = layer.shared(x)
        layer.shared = None
        assert torch.allclose(both, layer(x) + alone, atol=1e-5)


def test_experts_are_as_wide_together_as_the_dense_model() -> None:
    assert [model_fields("moe", 2, 96, n_experts_per_token=k)["d_ff"] for k in (1, 2, 4)] == [256, 128, 64]
    assert model_fields("moe", 2, 96, n_shared_experts=2)["d_ff"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experts": 2, "n_experts_per_token": 3}, "model.n_experts_per_token: a token cannot meet 3 experts of 2"),
        ({"n_heads": 4, "n_kv_heads": 3}, "model.n_kv_heads"),
    ],
)
def test_mistakes_name_the_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        model_fields("moe", 2, 32, **options)


@pytest.mark.parametrize("options", [{"n_shared_experts": 1}, {"renormalize": False}])
def test_mixtures_that_transformers_lacks_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="architecture moe: transformers has no class of this model"):
        published.class_name(spec_of(**options).shape(N_VOCAB))
