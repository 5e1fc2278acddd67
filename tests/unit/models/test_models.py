"""The LSTM against its equations in NumPy float64, the recurrent Transformer against one with copied layers; and of every
architecture: causality, gradients against float64, and counts against tensors. tests/unit/train/test_matrix.py trains them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fixtures.small_runs import N_VOCAB, flat_model, killed_at, model_fields, same_run, small_spec, write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.evaluate.losses import batch_losses
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params, n_params_total, table1
from scalinglaws.models.lstm import LSTM
from scalinglaws.models.module import logits
from scalinglaws.models.transformer_cpu import TransformerCPU
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.run import train

TOKENS = torch.randint(N_VOCAB, (3, 16), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(N_VOCAB, (3, 16), generator=torch.Generator().manual_seed(1))
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "transformer": {"n_layer": 2},
    "lstm": {"architecture": "lstm", "n_layer": 2, "d_model": 16, "n_heads": 0, "d_ff": 0, "d_attn": 0},
    "cycle": {"architecture": "recurrent", "n_layer": 2, "n_repeats": 3},
    "sequence": {"architecture": "recurrent", "n_layer": 2, "n_repeats": 2, "sharing": "sequence"},
    "llama-2": model_fields("llama", 2, 8, n_heads=2),
    "llama-3": model_fields("llama", 2, 16, n_heads=4, n_kv_heads=2, block="llama-3", tied=False),
    "qwen3": model_fields("llama", 2, 16, n_heads=4, n_kv_heads=1, block="qwen3"),
    "olmo-2": model_fields("llama", 2, 16, n_heads=2, block="olmo-2", d_attn=24, tied=False),
    "moe": model_fields("moe", 2, 16, n_heads=2, n_experts=4, n_shared_experts=1),
}
BY_HAND = ("transformer", "cycle", "sequence")  # the architectures with a hand-written step


def config_of(name: str) -> ModelConfig:
    """Return the config of an architecture's model."""
    return small_spec(**ARCHITECTURES[name]).shape(N_VOCAB)


def all_logits(model: FlatModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of all positions, of shape (sequences, positions, n_vocab)."""
    return logits(model.module, model.module(tokens)).detach()


def make(name: str, by_hand: bool = True, **changes: Any) -> FlatModel:
    """Make a model whose biases and norms are not at their initial values."""
    model = flat_model(small_spec(**ARCHITECTURES[name], **changes), by_hand=by_hand)
    model.flat.add_(torch.randn(model.flat.shape, generator=torch.Generator().manual_seed(4)), alpha=0.1)
    return model


def lstm_logits(model: FlatModel, tokens: np.ndarray) -> np.ndarray:
    """Return the logits (positions, n_vocab) of one sequence by the equations of models/lstm.py in float64, by position."""
    w = {name: value.detach().double().numpy() for name, value in model.params.items()}

    def normalise(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    x = w["token_embedding"][tokens]
    for layer in range(config_of("lstm").n_layer):
        at = f"layer{layer}."
        h = c = np.zeros(config_of("lstm").d_model)
        normed, out = normalise(x, at + "norm"), np.zeros_like(x)
        for t in range(len(tokens)):
            i, f, g, o = np.split(w[at + "input.weight"] @ normed[t] + w[at + "state.weight"] @ h + w[at + "gates.bias"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = out[t] = sigmoid(o) * np.tanh(c)
        x = x + out
    return normalise(x, "norm") @ w["token_embedding"].T


def unrolled(model: FlatModel, order: list[int]) -> FlatModel:
    """Return a plain Transformer whose layers are copies of those that a recurrent one uses in turn."""
    plain = flat_model(small_spec(n_layer=len(order)))
    for name, value in plain.params.items():
        layer, _, rest = name.partition(".")
        source = f"layer{order[int(layer[5:])]}.{rest}" if layer.startswith("layer") else name
        value.detach().copy_(model.params[source].detach())
    return plain


def test_lstm_logits_and_losses_are_those_of_its_equations() -> None:
    model = make("lstm")
    theirs = np.stack([lstm_logits(model, row) for row in TOKENS.numpy()])
    assert np.abs(all_logits(model, TOKENS).double().numpy() - theirs).max() < 1e-5 * np.abs(theirs).max()
    theirs -= np.log(np.exp(theirs).sum(-1, keepdims=True))
    wanted = -np.take_along_axis(theirs, TARGETS.numpy()[..., None], -1)[..., 0]
    assert np.abs(batch_losses(model.module, TOKENS, TARGETS).numpy() - wanted).max() < 1e-5


@pytest.mark.parametrize(("sharing", "order"), [("cycle", [0, 1, 0, 1, 0, 1]), ("sequence", [0, 0, 0, 1, 1, 1])])
def test_recurrent_is_a_transformer_of_copied_layers(sharing: str, order: list[int]) -> None:
    model = make("cycle", sharing=sharing)
    plain = unrolled(model, order)
    assert torch.equal(all_logits(model, TOKENS), all_logits(plain, TOKENS))
    assert torch.equal(batch_losses(model.module, TOKENS, TARGETS), batch_losses(plain.module, TOKENS, TARGETS))
    loss = model.backward(TOKENS, TARGETS)
    assert torch.equal(loss, plain.backward(TOKENS, TARGETS))
    for name, grad in model.grads.items():  # a shared layer's gradient is the sum over its uses
        layer, _, rest = name.partition(".")
        uses = [k for k, i in enumerate(order) if layer == f"layer{i}"]
        copies = [plain.grads[f"layer{k}.{rest}"] for k in uses] or [plain.grads[name]]
        assert torch.allclose(grad, torch.stack(copies).sum(0), rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("sharing", ["cycle", "sequence"])
def test_layers_used_once_are_the_plain_transformer(sharing: str) -> None:
    one = flat_model(small_spec(n_layer=3, architecture="recurrent", sharing=sharing))
    plain = flat_model(small_spec(n_layer=3))
    assert torch.equal(one.flat, plain.flat)
    assert torch.equal(one.backward(TOKENS, TARGETS), plain.backward(TOKENS, TARGETS))
    assert torch.equal(one.grad, plain.grad)


def test_initial_residual_products_shrink_with_the_effective_depth() -> None:
    config = ModelConfig(2, 64, 256, 64, 16, N_VOCAB, "recurrent", n_heads=4, n_repeats=8)
    down = build(config).get_parameter("layer1.down.weight").detach()
    assert float(down.std()) == pytest.approx(1 / math.sqrt(256 * 2 * 16), rel=0.02)


def test_the_initial_lstm_is_near_a_uniform_guess_and_remembers() -> None:
    module = build(small_spec(**ARCHITECTURES["lstm"] | {"d_model": 64}).shape(256))
    assert isinstance(module, LSTM)
    loss = batch_losses(module, torch.arange(256).view(16, 16), torch.arange(256).flip(0).view(16, 16)).mean()
    # Logits of variance 0.02² · 768 cost half of that over ln n_vocab.
    assert abs(float(loss) - math.log(256) - 0.02**2 * 768 / 2) < 0.1
    i, f, g, o = module.get_parameter("layer1.gates.bias").chunk(4)
    assert bool((f == 1).all()) and not i.any() and not g.any() and not o.any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_later_token_changes_no_earlier_logit(name: str) -> None:
    model = make(name)
    before, losses = all_logits(model, TOKENS), batch_losses(model.module, TOKENS, TARGETS)
    for t in (1, 8, 15):
        changed = TOKENS.clone()
        changed[:, t:] = (changed[:, t:] + 7) % N_VOCAB
        after = all_logits(model, changed)
        assert torch.equal(after[:, :t], before[:, :t]) and not torch.equal(after[:, t:], before[:, t:])
        assert torch.equal(batch_losses(model.module, changed, TARGETS)[:, :t], losses[:, :t])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_is_that_of_float64_autograd(name: str) -> None:
    model, exact = make(name), FlatModel(make(name, by_hand=False).module.double())
    wanted = exact.backward(TOKENS, TARGETS, weight=0.5)
    assert isinstance(model.module, TransformerCPU) == (name in BY_HAND)
    loss = model.backward(TOKENS, TARGETS, weight=0.5)
    assert math.isclose(float(loss), float(wanted), rel_tol=1e-5)
    for key, grad in exact.grads.items():
        worst = (model.grads[key].double() - grad).abs().max() / grad.abs().max()
        assert worst < 2e-3 if key.endswith("qkv.bias") else worst < 1e-4, (key, float(worst))
    once = model.grad.clone()
    model.backward(TOKENS, TARGETS, weight=0.5)
    assert torch.allclose(model.grad, 2 * once, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["cycle", "sequence"])
def test_the_fast_step_of_shared_layers_is_the_plain_one(name: str) -> None:
    fast, plain = make(name), make(name, by_hand=False)
    assert torch.allclose(fast.backward(TOKENS, TARGETS), plain.backward(TOKENS, TARGETS), rtol=1e-5)
    assert torch.allclose(fast.grad, plain.grad, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(fast.module(TOKENS), plain.module(TOKENS), atol=1e-4)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch warns of it where mkldnn's flags are set
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_and_flops_are_those_counted(name: str) -> None:
    model, config = make(name, by_hand=False), config_of(name)
    assert sum(p.numel() for p in model.params.values()) == n_params_total(config) == model.flat.numel()
    inner = [p for key, p in model.params.items() if p.dim() > 1 and not key.endswith("embedding")]
    assert sum(p.numel() for p in inner) == n_params(config)
    assert all((p.dim() > 1) == (p.storage_offset() < model.n_matrix) for p in model.params.values())
    rows = table1(config)
    assert (
        sum(p.numel() for key, p in model.params.items() if key.endswith("embedding")) == rows["embed"][0] + rows["de_embed"][0]
    )
    # The counter knows products; without the fused kernels the forward pass is made of them.
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
    ):
        all_logits(model, TOKENS)
    flops = {key: value for key, (_, value) in rows.items() if key != "embed"}
    # The mask's row counts what is visible, half of the two products.
    flops["attention_hidden"] = flops.get("attention_mask", 0)
    assert counter.get_total_flops() == TOKENS.numel() * sum(flops.values())


def test_an_lstm_has_8_n_layer_d_model_squared_parameters() -> None:
    config = ModelConfig(3, 10, n_ctx=5, n_vocab=11, architecture="lstm")
    reference = torch.nn.LSTM(10, 10, num_layers=3, bias=False)
    assert n_params(config) == sum(p.numel() for p in reference.parameters()) == 8 * 3 * 10**2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in BY_HAND])
def test_dropout_and_bfloat16(name: str) -> None:
    full, half = make(name), make(name, precision="bfloat16")
    assert abs(float(half.backward(TOKENS, TARGETS)) - float(full.backward(TOKENS, TARGETS))) < 0.05
    assert float(torch.nn.functional.cosine_similarity(half.grad, full.grad, dim=0)) > 0.99
    dropped = make(name, dropout=0.1)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(float(dropped.backward(TOKENS, TARGETS)))
    assert losses[0] == losses[1] != float(full.loss(TOKENS, TARGETS).detach())
    dropped.module.eval()
    assert torch.equal(*(batch_losses(model.module, TOKENS, TARGETS) for model in (dropped, full)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "rnn"}, "architecture: 'rnn' is unknown: use one of transformer, lstm, recurrent, llama, moe"),
        (
            {"architecture": "recurrent", "n_repeats": 2, "sharing": "random"},
            "sharing: 'random' is unknown: use one of cycle, sequence",
        ),
    ],
)
def test_mistakes_name_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        build(small_spec(**changes).shape(N_VOCAB))


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.mark.parametrize("name", ["lstm", "cycle", "sequence"])
def test_training_learns_and_resumes_after_a_kill(name: str, token_folder: Path, tmp_path: Path) -> None:
    spec = small_spec(**ARCHITECTURES[name], tokens=64 * 40, learning_rate=0.02)
    train(spec, token_folder, tmp_path / "whole", device="cpu")
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["status"] == "ok" and metrics["loss"] < math.log(N_VOCAB) - 0.1
    assert metrics["flops_6nd"] == 6 * spec.n_params * spec.n_repeats * spec.tokens
    with killed_at(17):
        train(spec, token_folder, tmp_path / "killed", device="cpu", checkpoint_seconds=0.0)
    train(spec, token_folder, tmp_path / "killed", device="cpu")
    same_run(tmp_path / "whole", tmp_path / "killed")
    assert json.loads((tmp_path / "killed" / "timing.json").read_text())["attempts"] == 2
