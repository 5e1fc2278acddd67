"""Weights that go to transformers and come back: logits, names, config.json, and what is refused with the key that differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from fixtures.published_models import CLASSES, N_VOCAB, TOKENS, UNROLLED, loaded, make
from fixtures.small_runs import model_fields, small_spec
from scalinglaws.common.errors import StudyError
from scalinglaws.models import exchange, published
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.module import logits, named_parameters
from scalinglaws.models.published_config import config_file, differences


@pytest.mark.parametrize("name", [*CLASSES, *UNROLLED])
def test_transformers_loads_what_is_written_and_has_the_same_logits(name: str, tmp_path: Path) -> None:
    module, config = make((CLASSES | UNROLLED)[name])
    theirs = loaded(module, config, tmp_path / "model")
    assert type(theirs).__name__ == (name if name in CLASSES else "GPT2LMHeadModel")
    with torch.no_grad():
        ours, wanted = logits(module, module(TOKENS)), theirs(TOKENS).logits
    assert float(wanted.abs().max()) > 1 and float((ours - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("name", CLASSES)
def test_what_transformers_saves_comes_back(name: str, tmp_path: Path) -> None:
    module, config = make(CLASSES[name])
    theirs, folder = loaded(module, config, tmp_path / "model"), tmp_path / "saved"
    theirs.save_pretrained(folder)
    assert differences(config, json.loads((folder / "config.json").read_text())) == []
    other = build(config, seed=9)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        exchange.fill(config, named_parameters(other), list(file.keys()), file.get_tensor, "the file")
    assert all(torch.equal(value, named_parameters(module)[key]) for key, value in named_parameters(other).items())


def gpt2(tmp_path: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    module, config = make(CLASSES["GPT2LMHeadModel"])
    loaded(module, config, tmp_path / "model")
    return config, safetensors.torch.load_file(tmp_path / "model" / "model.safetensors")


def test_the_first_gpt2_is_read_without_its_prefix_and_with_its_masks(tmp_path: Path) -> None:
    """The files of openai-community/gpt2 hold the model without its head, and buffers."""
    config, tensors = gpt2(tmp_path)
    old = {name.removeprefix("transformer."): value for name, value in tensors.items()} | {"h.0.attn.bias": torch.ones(1)}
    module = build(config, seed=9)
    exchange.fill(config, named_parameters(module), old, old.__getitem__, "the file")
    assert torch.equal(named_parameters(module)["layer1.up.weight"], tensors["transformer.h.1.mlp.c_fc.weight"].T)


def test_a_shorter_context_takes_the_first_positions_and_half_precision_is_widened(tmp_path: Path) -> None:
    _, tensors = gpt2(tmp_path)
    short = small_spec(**CLASSES["GPT2LMHeadModel"], n_ctx=10).shape(N_VOCAB)
    half = {name: value.bfloat16() for name, value in tensors.items()}
    module = build(short, seed=9)
    exchange.fill(short, named_parameters(module), half, half.__getitem__, "the file")
    found = named_parameters(module)["position_embedding"]
    assert found.dtype == torch.float32 and torch.equal(found, half["transformer.wpe.weight"][:10].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("transformer.ln_f.bias"), "the file has no tensor transformer.ln_f.bias"),
        (
            lambda t: t.update({"transformer.h.0.attn.q_norm": torch.ones(3)}),
            "has the tensor transformer.h.0.attn.q_norm, for which",
        ),
        (
            lambda t: t.update({"transformer.wte.weight": torch.ones(3, 32)}),
            r"wte.weight has the shape \(3, 32\), and .* \(50, 32\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: Callable[..., Any], message: str, tmp_path: Path) -> None:
    config, tensors = gpt2(tmp_path)
    change(tensors)
    with pytest.raises(StudyError, match=message):
        exchange.fill(config, named_parameters(build(config)), tensors, tensors.__getitem__, "the file")


def written(name: str) -> tuple[ModelConfig, dict[str, Any]]:
    _, config = make(CLASSES[name])
    found = config_file(config, 0)
    assert differences(config, found) == []
    return config, found


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("GPT2LMHeadModel", {"n_layer": 3}, ["model.n_layer: the run has 2, and config.json says 3"]),
        (
            "GPT2LMHeadModel",
            {"n_head": 2, "n_inner": None},
            ["model.n_heads: the run has 4", "model.d_ff: the run has 48, .* 128"],
        ),
        ("GPT2LMHeadModel", {"n_positions": 16}, ["n_ctx: the run has 24, and config.json says 16 at most"]),
        (
            "GPT2LMHeadModel",
            {"activation_function": "relu"},
            ["activation_function: config.json says 'relu', .* 'gelu_new' alone"],
        ),
        ("LlamaForCausalLM", {"vocab_size": 64}, [r"tokens of the tokenizer \(vocab_size\): the run has 50, .* says 64"]),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_theta": 5e5}}, ["model.rope_base: the run has 10000.0, .* 500000.0"]),
        ("LlamaForCausalLM", {"rms_norm_eps": 1e-6, "tie_word_embeddings": True}, ["model.norm_eps: .*1e-06", "model.tied: "]),
        ("LlamaForCausalLM", {"rope_scaling": {"factor": 8}, "attention_bias": True}, ["attention_bias: ", "rope_scaling: "]),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "llama3"}}, ["rope_type: .*'llama3'"]),
        ("LlamaForCausalLM", {"model_type": "qwen3"}, ["the run's model has the model_type llama, and config.json says 'qwen3'"]),
        ("LlamaForCausalLM", {"hidden_size": None}, ["model.d_model: .* does not tell", "model.d_attn: .* does not tell"]),
        ("Qwen3ForCausalLM", {"head_dim": 8}, ["model.d_attn: the run has 64, and config.json says 32"]),
        ("Qwen3ForCausalLM", {"num_key_value_heads": 2}, ["model.n_kv_heads: the run has 4, and config.json says 2"]),
        ("Qwen3ForCausalLM", {"sliding_window": 8, "use_sliding_window": True}, ["sliding_window: config.json says 8"]),
        ("Qwen3ForCausalLM", {"sliding_window": 8, "use_sliding_window": False}, []),
        ("MixtralForCausalLM", {"num_local_experts": 4}, ["model.n_experts: the run has 8, and config.json says 4"]),
        ("OlmoeForCausalLM", {"norm_topk_prob": True}, ["model.renormalize: the run has False, and config.json says True"]),
    ],
)
def test_each_key_that_differs_is_named(name: str, changes: dict[str, Any], told: list[str]) -> None:
    config, found = written(name)
    lines = differences(config, found | changes)
    assert len(lines) == len(told) and all(any(re.search(part, line) for line in lines) for part in told), lines


def test_a_padded_table_is_taken_where_its_rows_are_named(tmp_path: Path) -> None:
    config, tensors = gpt2(tmp_path)
    _, found = written("GPT2LMHeadModel")
    padded = found | {"vocab_size": 64}
    assert differences(config, padded, 64) == [] and len(differences(config, padded)) == len(differences(config, found, 64)) == 1
    (line,) = differences(config, found | {"vocab_size": 40}, 40)
    assert line.startswith("init.vocab_size: it is 40, and the tokenizer has 50 tokens")
    table = tensors["transformer.wte.weight"]
    tensors["transformer.wte.weight"] = torch.cat([table, torch.ones(14, table.shape[1])])
    module = build(config, seed=9)
    exchange.fill(config, named_parameters(module), tensors, tensors.__getitem__, "the file")
    assert torch.equal(named_parameters(module)["token_embedding"], table)


def test_an_older_file_has_the_base_at_the_top_and_leaves_out_what_is_the_default() -> None:
    config, found = written("LlamaForCausalLM")
    del found["rope_parameters"]
    assert differences(config, found) == [] and found["rope_theta"] == 10_000.0
    for key in ("rope_theta", "tie_word_embeddings", "head_dim"):
        del found[key]
    assert differences(config, found) == []


@pytest.mark.parametrize("fields", [model_fields("lstm", 1, 8), model_fields("transformer", 1, 8, d_attn=16, n_heads=2)])
def test_what_transformers_has_no_class_of_is_refused(fields: dict[str, Any]) -> None:
    config = small_spec(**fields).shape(N_VOCAB)
    with pytest.raises(StudyError, match=r"transformers has no class of this model: .*; transformer with d_attn = d_model"):
        published.class_name(config)
