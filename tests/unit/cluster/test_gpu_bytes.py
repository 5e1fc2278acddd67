"""The memory of a micro-batch against the tensors that autograd saves for the gradient, counted on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.small_runs import flat_model, model_fields, small_spec
from scalinglaws.cluster import needs
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.head_loss import GROUP, rows_at_once

N_CTX, N_VOCAB = 256, 256


def saved_bytes(spec: RunSpec) -> int:
    """Return the bytes that a GPU's step saves for the gradient of one context: each piece of memory once, without weights."""
    model = flat_model(spec, N_VOCAB, by_hand=False)
    model.loss_in_parts()
    found: dict[int, int] = {}
    kept: list[Tensor] = []  # so that no memory is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != model.flat.untyped_storage().data_ptr():
            found[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    tokens = torch.zeros(1, N_CTX, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.mean_loss(tokens, tokens)
    return sum(found.values())


def spec_of(architecture: str, n_layer: int, d_model: int, precision: str, **changes: Any) -> RunSpec:
    heads = {} if architecture == "lstm" else {"n_heads": d_model // 64}
    more = {"moe": {"n_experts": 4}, "recurrent": {"n_repeats": 2}}.get(architecture, {})
    fields = model_fields(architecture, n_layer, d_model, **heads, **more)
    return small_spec(**fields, n_ctx=N_CTX, batch_tokens=N_CTX, precision=precision, **changes)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    ("architecture", "d_model"), [("transformer", 768), ("recurrent", 128), ("llama", 256), ("moe", 256), ("lstm", 32)]
)
def test_a_layer_keeps_what_is_counted(architecture: str, d_model: int, precision: str, dropout: float) -> None:
    """Two models that differ by a layer differ by its activations and, in bfloat16, by the rounded copies of its weights."""
    specs = [spec_of(architecture, n_layer, d_model, precision, dropout=dropout) for n_layer in (1, 2)]
    one, two = (saved_bytes(spec) for spec in specs)
    counted = [needs.gpu_bytes(spec) - 16 * flat_model(spec, N_VOCAB, by_hand=False).flat.numel() for spec in specs]
    assert 1 / 1.5 < (counted[1] - counted[0]) / (two - one) < 1.5


def test_gpt_2_small_needs_what_its_layers_keep() -> None:
    """12x768 at 2^16 tokens in bfloat16: 36 d_model bytes a token and layer, and less than a GiB for the last layer."""
    sizes = {"n_layer": 12, "d_model": 768, "d_ff": 3072, "d_attn": 768, "n_heads": 12}
    spec = small_spec(**sizes, n_ctx=1024, batch_tokens=2**16, precision="bfloat16")
    more = needs.gpu_bytes(spec, tokens=2**16) - needs.gpu_bytes(spec, tokens=2**15)
    assert more == pytest.approx(2**15 * (12 * (36 * 768 + 4 * 12) + 16 * 768), rel=0.02)
    assert needs.head_bytes(spec.shape(32768), 2, 2**16) < 2**30


def test_the_last_layer_is_counted_as_it_is_computed() -> None:
    for n_vocab in (256, 32768, 50304):
        rows = rows_at_once(n_vocab)
        shape = small_spec(d_model=64, d_attn=64).shape(n_vocab)
        assert needs.head_bytes(shape, 2, 2**20) >= n_vocab * (4 * rows + 2 * GROUP * rows + 6 * 64)
