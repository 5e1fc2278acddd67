"""The Transformer against GPT-2 written out in NumPy float64, Table 1, causality, and its fast CPU step against autograd."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fixtures.small_runs import write_tokens
from scalinglaws.data.batches import Split
from scalinglaws.evaluate.losses import batch_losses, token_losses
from scalinglaws.models import kernels
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig, Multipliers
from scalinglaws.models.count import n_params_total, table1
from scalinglaws.models.module import logits
from scalinglaws.models.transformer import Transformer
from scalinglaws.models.transformer_cpu import TransformerCPU
from scalinglaws.train.flat import FlatModel

SMALL = ModelConfig(n_layer=2, d_model=24, d_ff=40, d_attn=16, n_ctx=12, n_vocab=50, n_heads=4)


def make(config: ModelConfig = SMALL, noise: float = 0.2, precision: str = "float32", by_hand: bool = True) -> FlatModel:
    """Make a model whose biases and norms are not at their initial zeros and ones."""
    model = FlatModel(build(config, seed=3, precision=precision, by_hand=by_hand), precision)
    model.flat.add_(torch.randn(model.flat.shape, generator=torch.Generator().manual_seed(4)), alpha=noise)
    return model


def all_logits(model: FlatModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of all positions, of shape (sequences, positions, n_vocab)."""
    return logits(model.module, model.module(tokens)).detach()


def some_tokens(n_seq: int, n_pos: int, n_vocab: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(n_vocab, (n_seq, n_pos), generator=torch.Generator().manual_seed(seed))


def gpt2_logits(model: FlatModel, tokens: np.ndarray, config: ModelConfig = SMALL) -> np.ndarray:
    """Return the logits (positions, n_vocab) of one sequence by GPT-2's equations in float64, a position and a head at a time."""
    w = {name: value.detach().double().numpy() for name, value in model.params.items()}

    def normalise(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    def affine(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    x = w["token_embedding"][tokens] + w["position_embedding"][: len(tokens)]
    for i in range(config.n_layer):
        q, k, v = np.split(affine(normalise(x, f"layer{i}.norm1"), f"layer{i}.qkv"), 3, axis=-1)
        size = config.d_attn // config.n_heads
        mixed = np.zeros_like(q)
        for head in range(config.n_heads):
            columns = slice(head * size, (head + 1) * size)
            for t in range(len(tokens)):
                scores = k[: t + 1, columns] @ q[t, columns] / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                mixed[t, columns] = weights / weights.sum() @ v[: t + 1, columns]
        x = x + affine(mixed, f"layer{i}.project")
        u = affine(normalise(x, f"layer{i}.norm2"), f"layer{i}.up")
        u = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        x = x + affine(u, f"layer{i}.down")
    return normalise(x, "norm") @ w["token_embedding"].T


def test_logits_are_those_of_gpt2() -> None:
    model, tokens = make(), some_tokens(3, 12, 50)
    ours = all_logits(model, tokens).double().numpy()
    theirs = np.stack([gpt2_logits(model, row) for row in tokens.numpy()])
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_token_losses_are_those_of_gpt2() -> None:
    model, tokens, targets = make(), some_tokens(3, 12, 50), some_tokens(3, 12, 50, seed=1)
    theirs = np.stack([gpt2_logits(model, row) for row in tokens.numpy()])
    theirs -= np.log(np.exp(theirs).sum(-1, keepdims=True))
    wanted = -np.take_along_axis(theirs, targets.numpy()[..., None], -1)[..., 0]
    assert np.abs(batch_losses(model.module, tokens, targets).numpy() - wanted).max() < 1e-4


def test_parameters_are_those_counted() -> None:
    model = make()
    assert sum(p.numel() for p in model.params.values()) == n_params_total(SMALL) == model.flat.numel()
    names = ("qkv", "project", "up", "down")
    weights = {name: sum(p.numel() for n, p in model.params.items() if n.endswith(name + ".weight")) for name in names}
    counted = table1(SMALL)
    assert weights["qkv"] == counted["attention_qkv"][0] and weights["project"] == counted["attention_project"][0]
    assert weights["up"] + weights["down"] == counted["feed_forward"][0]
    assert sum(p.numel() for name, p in model.params.items() if "embedding" in name) == counted["embed"][0]
    assert all(p.dim() == (2 if p.storage_offset() < model.n_matrix else 1) for p in model.params.values())


def test_forward_flops_are_those_of_table_1() -> None:
    model, tokens = make(by_hand=False), some_tokens(2, 12, 50)
    # In its plain form SDPA is two products that the counter knows; it does not know the fused one of CPUs.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        all_logits(model, tokens)
    rows = {name: flops for name, (_, flops) in table1(SMALL).items()}
    # Looking up and adding embeddings is no product. The mask's row counts what is visible, half of the two products.
    rows["attention_hidden"] = rows["attention_mask"]
    assert counter.get_total_flops() == tokens.numel() * (sum(rows.values()) - rows["embed"])


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_later_token_changes_no_earlier_logit(by_hand: bool) -> None:
    model, tokens = make(by_hand=by_hand), some_tokens(2, 12, 50)
    with torch.no_grad():
        before = all_logits(model, tokens)
        for t in (1, 6, 11):
            changed = tokens.clone()
            changed[:, t:] = (changed[:, t:] + 7) % 50
            after = all_logits(model, changed)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not torch.equal(after[:, t:], before[:, t:])


@pytest.mark.parametrize("d_model", [8, 64, 256])
def test_initial_loss_is_near_that_of_a_uniform_guess(d_model: int) -> None:
    """Logits have the variance 0.02² · 768 at every width, and normal logits of variance v cost v / 2 nats over ln n_vocab."""
    module = build(ModelConfig(2, d_model, 4 * d_model, d_model, 32, 256, n_heads=2))
    loss = batch_losses(module, some_tokens(8, 32, 256), some_tokens(8, 32, 256, seed=1)).mean()
    assert abs(float(loss) - math.log(256) - 0.02**2 * 768 / 2) < 0.1


def test_a_seed_fixes_the_weights() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (FlatModel(build(SMALL, seed=seed)).flat for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, same) and not torch.equal(one, other)


def drop_alike(x: torch.Tensor, dropout: float, training: bool) -> torch.Tensor:
    """Apply the dropout of the fast step, in training alone."""
    return kernels.masked(x, kernels.dropout_mask(x.shape, dropout)) if training else x


@pytest.mark.parametrize(
    ("config", "n_seq", "work"),
    [
        (SMALL, 3, 1 << 60),  # all products go to BLAS
        (SMALL, 3, 0),  # all products go to oneDNN
        (ModelConfig(1, 8, 32, 8, 128, 256, n_heads=1), 4, kernels.ONEDNN_WORK),
        (ModelConfig(2, 32, 128, 32, 100, 256, n_heads=2), 3, 0),  # n_ctx is not a multiple of the query block
        (ModelConfig(1, 64, 96, 32, 70, 40, n_heads=2), 3, 0),
        (dataclasses.replace(SMALL, dropout=0.1), 3, 1 << 60),
        (dataclasses.replace(SMALL, dropout=0.4, n_repeats=2), 3, 1 << 60),  # each use of a layer has masks of its own
        (dataclasses.replace(SMALL, dropout=0.1, multipliers=Multipliers(2.0, 0.5, 0.3, 1.7, 0.6)), 3, 1 << 60),
    ],
)
def test_fast_step_equals_autograd(monkeypatch: pytest.MonkeyPatch, config: ModelConfig, n_seq: int, work: int) -> None:
    monkeypatch.setattr(kernels, "ONEDNN_WORK", work)
    model = make(config, noise=0.1)
    tokens, targets = (some_tokens(n_seq, config.n_ctx, config.n_vocab, seed=seed) for seed in (0, 1))
    # The plain model takes the same masks: in the same order, they come from the same state of the generator.
    monkeypatch.setattr(torch.nn.functional, "dropout", drop_alike)
    # The reference in float64 has only autograd's own rounding left.
    exact = FlatModel(make(config, noise=0.1, by_hand=False).module.double())
    torch.manual_seed(7)
    loss = exact.backward(tokens, targets, weight=0.5)
    assert isinstance(model.module, TransformerCPU) and not isinstance(exact.module, TransformerCPU)
    torch.manual_seed(7)
    fast = model.backward(tokens, targets, weight=0.5)
    assert math.isclose(float(fast), float(loss), rel_tol=1e-5)
    for name, grad in exact.grads.items():
        worst = (model.grads[name].double() - grad).abs().max() / grad.abs().max().clamp(min=1e-12)
        assert worst < 2e-3 if name.endswith("qkv.bias") else worst < 1e-4, (name, float(worst))
    before = model.grad.clone()
    torch.manual_seed(7)
    model.backward(tokens, targets, weight=0.5)
    assert torch.allclose(model.grad, 2 * before, rtol=1e-4, atol=1e-7)
    model.module.eval()
    with torch.no_grad():
        value = model.module(tokens)
    assert torch.allclose(value, model.module(tokens), atol=1e-4)


def test_certain_mistakes_cost_finite_losses() -> None:
    model = make(noise=0.0)
    model.params["token_embedding"].detach().mul_(1e5)
    assert math.isfinite(float(model.backward(some_tokens(2, 12, 50), some_tokens(2, 12, 50, seed=1))))


def test_masks_of_dropout_are_bernoulli() -> None:
    """The share of zeros and the correlation of neighbours lie within five standard errors of what independent draws have."""
    for dropout in (0.1, 0.5, 0.999999):
        torch.manual_seed(1)
        mask = kernels.dropout_mask(torch.Size((999, 1001)), dropout)
        assert mask is not None and mask.shape == (999, 1001)
        kept = mask != 0
        assert torch.equal(mask[kept], torch.full((int(kept.sum()),), 1 / (1 - dropout)))
        count, flat = mask.numel(), kept.double().flatten() - (1 - dropout)
        assert abs(float(flat.mean())) < 5 * math.sqrt(dropout * (1 - dropout) / count)
        for lag in (1, 2, 1001):
            assert abs(float((flat[lag:] * flat[:-lag]).mean())) < 5 * dropout * (1 - dropout) / math.sqrt(count)
    assert kernels.dropout_mask(torch.Size((4, 4)), 0.0) is None


def test_other_precisions_and_long_contexts_take_the_plain_path() -> None:
    tokens, dropping = some_tokens(2, 12, 50), dataclasses.replace(SMALL, dropout=0.1)
    half, full, dropped = make(precision="bfloat16"), make(), make(dropping)
    assert type(make(dataclasses.replace(SMALL, n_ctx=513)).module) is Transformer
    assert type(half.module) is Transformer and type(full.module) is type(dropped.module) is TransformerCPU
    assert abs(float(half.backward(tokens, tokens)) - float(full.backward(tokens, tokens))) < 0.05
    cosine = torch.nn.functional.cosine_similarity(half.grad, full.grad, dim=0)
    assert float(cosine) > 0.99
    torch.manual_seed(0)
    first = float(dropped.backward(tokens, tokens))
    assert first != float(full.loss(tokens, tokens).detach())
    torch.manual_seed(0)
    assert first == float(dropped.backward(tokens, tokens))


@pytest.mark.parametrize("by_hand", [True, False])
def test_evaluation_drops_nothing_and_training_goes_on_dropping(tmp_path: Path, by_hand: bool) -> None:
    split = Split(write_tokens(tmp_path), "test", 12, 240)
    dropped, plain = (build(dataclasses.replace(SMALL, dropout=rate), by_hand=by_hand) for rate in (0.1, 0.0))
    assert np.array_equal(token_losses(dropped, split), token_losses(plain, split))
    assert dropped.training and not torch.equal(dropped(some_tokens(2, 12, 50)), plain(some_tokens(2, 12, 50)))
