"""The blocks of Llama, Qwen3 and OLMo-2 against transformers' own: logits, gradients, counts; rotary positions; options."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars
import pyarrow
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fixtures import planted_models
from fixtures.small_runs import model_fields, small_spec
from fixtures.small_study import changed
from fixtures.transformers_models import exact, theirs_of
from scalinglaws.common.errors import StudyError
from scalinglaws.figures.shared.groups import main_family
from scalinglaws.models import published
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params, n_params_active, n_params_total, table1
from scalinglaws.models.entries.llama import BLOCKS
from scalinglaws.models.llama import Llama, rotate, rotations
from scalinglaws.models.module import logits, named_parameters
from scalinglaws.study import config as study_config
from scalinglaws.study import study
from scalinglaws.study.spec import RunSpec
from scalinglaws.tables.schema import RUNS

N_VOCAB = 50
TOKENS = torch.randint(N_VOCAB, (3, 24), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(N_VOCAB, (3, 24), generator=torch.Generator().manual_seed(1))
# Name -> options; each block is there with grouped queries and without, tied and not.
MODELS: dict[str, dict[str, Any]] = {
    "llama-2": {"block": "llama-2"},
    "llama-3": {"block": "llama-3", "n_kv_heads": 2, "tied": False},
    "qwen3": {"block": "qwen3", "n_kv_heads": 1, "d_attn": 64},
    "olmo-2": {"block": "olmo-2", "tied": False},
    "olmo-2-grouped": {"block": "olmo-2", "n_kv_heads": 2, "rope_base": 100.0},
}


def config_of(name: str) -> ModelConfig:
    return small_spec(**model_fields("llama", 2, 32, n_heads=4, **MODELS[name]), n_ctx=24).shape(N_VOCAB)


def make(name: str) -> tuple[nn.Module, ModelConfig]:
    """Make a model whose norms are not at their initial ones."""
    module, config = build(config_of(name), seed=3), config_of(name)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return module, config


def loss_of(predicted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(predicted.flatten(0, 1), TARGETS.flatten())


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str) -> None:
    module, config = make(name)
    theirs = theirs_of(module, config)
    assert type(theirs).__name__ == {"l": "Llama", "q": "Qwen3", "o": "Olmo2"}[name[0]] + "ForCausalLM"
    with torch.no_grad():
        ours, wanted = logits(module, module(TOKENS)), theirs(TOKENS).logits
    assert float(wanted.abs().max()) > 1 and float((ours - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_float64_are_those_of_transformers(name: str) -> None:
    module, config = make(name)
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
        assert parameter.grad is not None and other is not None and float(other.abs().max()) > 1e-6
        assert float((parameter.grad - other).abs().max()) < 1e-10 * float(other.abs().max()), key


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_those_of_transformers(name: str) -> None:
    module, config = make(name)
    theirs: Any = theirs_of(module, config)
    assert theirs.num_parameters() == n_params_total(config)
    table = 0 if config.options["tied"] else config.n_vocab * config.d_model
    vectors = sum(p.numel() for p in theirs.parameters() if p.dim() == 1)
    assert theirs.num_parameters(exclude_embeddings=True) - table - vectors == n_params(config) == n_params_active(config)
    # The estimate of transformers is 6 FLOP for each token and parameter that is no embedding of the input.
    inner = sum(flops for key, (_, flops) in table1(config).items() if key not in ("embed", "attention_mask", "de_embed"))
    assert inner == 2 * n_params(config)


@pytest.mark.parametrize(
    ("published_shape", "counted"),
    [
        # Touvron et al. 2023, 7B; Grattafiori et al. 2024, 8B; Qwen3-0.6B, which is tied; OLMo-2-7B: totals of their files.
        ({"block": "llama-2", "n_layer": 32, "d_model": 4096, "d_ff_multiple": 256, "n_heads": 32}, 6_738_415_616),
        (
            {
                "block": "llama-3",
                "n_layer": 32,
                "d_model": 4096,
                "d_ff": 14336,
                "n_heads": 32,
                "n_kv_heads": 8,
                "n_vocab": 128256,
            },
            8_030_261_248,
        ),
        (
            {"block": "qwen3", "n_layer": 28, "d_model": 1024, "d_attn": 2048, "d_ff": 3072, "n_heads": 16, "n_kv_heads": 8}
            | {"tied": True, "n_vocab": 151936},
            596_049_920,
        ),
        ({"block": "olmo-2", "n_layer": 32, "d_model": 4096, "d_ff": 11008, "n_heads": 32, "n_vocab": 100352}, 7_298_617_344),
    ],
)
def test_totals_of_published_models(published_shape: dict[str, Any], counted: int) -> None:
    options = {"tied": False} | published_shape
    n_vocab = options.pop("n_vocab", 32000)
    spec = small_spec(**model_fields("llama", options.pop("n_layer"), options.pop("d_model"), **options))
    assert n_params_total(spec.shape(n_vocab)) == counted


def test_rotary_positions_are_complex_rotations_and_see_distances_alone() -> None:
    x = torch.randn(1, 8, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = rotate(x, *(table.double() for table in rotations(8, 6, 100.0))).numpy()
    pairs = x.numpy()[..., :3] + 1j * x.numpy()[..., 3:]
    wanted = pairs * np.exp(1j * np.arange(8)[:, None, None] * 100.0 ** (-np.arange(3) / 3))
    assert np.allclose(turned, np.concatenate([wanted.real, wanted.imag], -1), atol=1e-5)
    same = rotate(x[:, :1].expand(1, 8, 3, 6), *(table.double() for table in rotations(8, 6, 100.0)))[0, :, 0]
    scores = same @ same.T
    for distance in range(8):
        along = torch.diagonal(scores, distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-5)


def spec_of(**model: Any) -> RunSpec:
    data = changed(defaults__architecture="llama")
    data["experiments"] = {"one": {"points": [{"tokens": "1M", "model": {"n_layer": 2, "d_model": 32, **model}}]}}
    (spec,) = study.build(study_config.parse(data), Path("nowhere")).runs.values()
    return spec


def test_options_and_their_defaults() -> None:
    spec = spec_of()
    options = {"norm": "pre", "norm_eps": 1e-5, "qk_norm": "none", "rope_base": 10000.0, "tied": True}
    assert dict(spec.options) == options and (spec.n_heads, spec.n_kv_heads, spec.d_attn, spec.d_ff) == (2, 2, 32, 88)
    assert spec.id.startswith("llama-n25.1k-t1.0M") and spec.n_params == 2 * (4 * 32 * 32 + 3 * 32 * 88)
    assert spec_of(d_ff_multiple=32).d_ff == 96 and spec_of(d_ff=88, block="llama-2", rope_base="1e4").id == spec.id
    # The rule of 8/3 gives the published width of Llama-2 7B.
    assert model_fields("llama", 32, 4096, d_ff_multiple=256)["d_ff"] == 11008


def test_grouped_queries_are_a_part_of_the_shape_and_not_of_the_options_that_sizes_share() -> None:
    """A family of sizes agrees in the options and differs in the shape, so that figures draw it as one."""
    grouped, plain = spec_of(n_heads=4, n_kv_heads=2), spec_of(n_heads=4)
    assert grouped.options == plain.options and grouped.id != plain.id
    rows = [planted_models.row(spec) for spec in (grouped, plain, spec_of(d_model=48))]
    assert len(main_family(cast(polars.DataFrame, polars.from_arrow(pyarrow.Table.from_pylist(rows, schema=RUNS))))) == 3


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_the_options_that_it_stands_for(block: str) -> None:
    assert spec_of(block=block).id == spec_of(**BLOCKS[block]).id
    assert dict(spec_of(block=block, rope_base=77, qk_norm="none").options)["rope_base"] == 77.0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"n_heads": 3}, "model.n_heads: 3 heads do not divide d_attn 32"),
        ({"d_attn": 36, "n_heads": 12}, "model.n_heads: 12 heads of d_attn 36 .* are 3 wide"),
        ({"d_model": 31}, "model.n_heads: 1 heads of d_attn 31 .* are 31 wide"),
        ({"n_heads": 4, "n_kv_heads": 3}, "model.n_kv_heads: 3 heads of keys and values do not divide 4 heads"),
        ({"block": "llama"}, "model.block: .*'llama-2'.*found 'llama'"),
        ({"rope_base": 0}, "model.rope_base: .*greater than 1"),
        ({"n_repeats": 2}, "model.n_repeats: an architecture llama has none"),
        ({"rope_bas": 2}, "model.rope_bas: unknown key: did you mean rope_base?"),
    ],
)
def test_mistakes_name_the_key(model: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        spec_of(**model)


def test_a_mixed_block_has_no_class_in_transformers() -> None:
    with pytest.raises(StudyError, match="architecture llama: transformers has no class of this model: it has one of llama with"):
        published.class_name(spec_of(norm="post").shape(N_VOCAB))


def test_initial_weights_do_not_depend_on_the_block() -> None:
    """A comparison of blocks starts all of them from the same matrices; norms have no random numbers."""
    one, other = (build(config_of(name), seed=1) for name in ("llama-2", "olmo-2"))
    assert isinstance(one, Llama) and torch.equal(
        one.get_parameter("layer1.feed_forward.down.weight"), other.get_parameter("layer1.feed_forward.down.weight")
    )
