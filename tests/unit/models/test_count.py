"""Counts against the paper's own numbers and a count by hand."""

from __future__ import annotations

import pytest

from scalinglaws.models import count
from scalinglaws.models.config import ModelConfig


@pytest.mark.parametrize(
    ("n_layer", "d_model", "published"),
    [(48, 1600, 1.5e9), (36, 1280, 7.08e8), (6, 4288, 1.3e9), (2, 64, 98304), (1, 8, 768)],
)
def test_standard_shapes_are_12_n_layer_d_model_squared(n_layer: int, d_model: int, published: float) -> None:
    n = count.n_params(ModelConfig(n_layer, d_model, 4 * d_model, d_model, 0, 0))
    assert n == 12 * n_layer * d_model**2
    assert n == pytest.approx(published, rel=0.02)


def test_gpt2_small_has_124_million_parameters() -> None:
    assert count.n_params_total(ModelConfig(12, 768, 3072, 768, 1024, 50257)) == 124_439_808


def test_table_1_by_hand() -> None:
    config = ModelConfig(n_layer=3, d_model=10, d_ff=7, d_attn=4, n_ctx=5, n_vocab=11)
    assert count.table1(config) == {
        "embed": (160, 40),
        "attention_qkv": (360, 720),
        "attention_mask": (0, 120),
        "attention_project": (120, 240),
        "feed_forward": (420, 840),
        "de_embed": (0, 220),
    }
    assert count.flops_6nd(config, 100) == 6 * 900 * 100
    # Forward cost 2 N + 2 n_layer n_ctx d_attn (equation 2.2), backward twice as much.
    assert count.flops_attention(config, 1) - count.flops_last_layer(config, 1) == 3 * 2 * 3 * 5 * 4
    assert count.flops_last_layer(config, 1) - count.flops_6nd(config, 1) == 3 * 2 * 10 * 11
