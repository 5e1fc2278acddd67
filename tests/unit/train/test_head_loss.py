"""The loss in parts, whose gradient is formed in the forward pass, against the plain one in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.small_runs import flat_model, model_fields, small_spec
from scalinglaws.models.layers import OutputEmbedding
from scalinglaws.train import head_loss as module
from scalinglaws.train.head_loss import head_loss, output_table, rows_at_once, softmax_loss


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make parts of 16 rows and groups of 32, so that several of each and a rest are there."""
    monkeypatch.setattr(module, "rows_at_once", lambda columns: 16)
    monkeypatch.setattr(module, "GROUP", 2)


def drawn(rows: int, n_vocab: int, dtype: torch.dtype, width: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    table = torch.randn(n_vocab, width, generator=generator, dtype=torch.float64) * 2 / math.sqrt(width)
    table = table.to(dtype).requires_grad_()
    return hidden, table, torch.randint(n_vocab, (rows,), generator=generator)


def plain(hidden: Tensor, table: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and its gradients by autograd in float64."""
    exact = [each.detach().double().requires_grad_() for each in (hidden, table)]
    loss = F.cross_entropy(exact[0] @ exact[1].T, targets)
    d_hidden, d_table = torch.autograd.grad(3 * loss, exact)
    return loss.detach(), d_hidden, d_table


@pytest.mark.parametrize("n_vocab", [128, 130, 50])  # a whole number of columns, one that is padded, fewer than one block
@pytest.mark.parametrize("rows", [16, 75])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradients_are_those_of_float64(n_vocab: int, rows: int, dtype: torch.dtype) -> None:
    hidden, table, targets = drawn(rows, n_vocab, dtype)
    wanted = plain(hidden, table, targets)
    loss = head_loss(hidden, table, targets, dtype)
    found = loss.detach(), *torch.autograd.grad(3 * loss, (hidden, table))
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == dtype and ours.shape == exact.shape
        assert float((ours.double() - exact).abs().max()) < (1e-14 if dtype == torch.float64 else 1e-6)


def test_products_in_bfloat16_round_as_autocast_does() -> None:
    """The error of the gradients is that of bfloat16, and no larger than autograd's under autocast."""
    hidden, table, targets = drawn(75, 130, torch.float32)
    wanted = plain(hidden, table, targets)
    with torch.autocast("cpu", torch.bfloat16):
        usual = F.cross_entropy(F.linear(hidden, table).float(), targets)
    errors = []
    for loss in (head_loss(hidden, table, targets, torch.bfloat16), usual):
        found = loss.detach(), *torch.autograd.grad(3 * loss, (hidden, table))
        errors.append([float((ours - exact).norm() / exact.norm()) for ours, exact in zip(found, wanted, strict=True)])
    assert all(ours < 1.2 * theirs + 1e-4 < 0.02 for ours, theirs in zip(*errors, strict=True))


def test_extreme_logits_have_finite_losses() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0, 9e9], [0.0, 88.0, -88.0, 9e9]])
    loss, gradient = softmax_loss(logits, torch.tensor([1, 1]), 3, 0.5)  # the last column is beyond the vocabulary
    assert float(loss) == pytest.approx(2e4)
    torch.testing.assert_close(gradient, torch.tensor([[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    "fields",
    [{}, model_fields("llama", 1, 8, n_heads=2, tied=False), model_fields("moe", 1, 8, n_heads=2), {"dropout": 0.1}],
    ids=["tied", "untied", "with an extra loss", "dropout"],
)
def test_a_model_has_the_gradient_that_it_has_without_parts(fields: dict[str, Any]) -> None:
    spec = small_spec(**fields)
    one, other = flat_model(spec, by_hand=False), flat_model(spec, by_hand=False)
    other.loss_in_parts()
    assert other.head is not None
    batch = torch.randint(32, (4, 17), generator=torch.Generator().manual_seed(0))
    losses = []
    for model in (one, other):
        torch.manual_seed(0)
        losses.append(float(model.backward(batch[:, :-1], batch[:, 1:], 0.25)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-7)


def test_a_head_of_another_kind_keeps_its_own_loss() -> None:
    model = flat_model(small_spec(), by_hand=False)
    model.module.head = torch.nn.Linear(8, 32)
    assert output_table(model.module) is None
    model.loss_in_parts()
    assert model.head is None
    model.module.head = OutputEmbedding(32, 8)
    assert output_table(model.module) is model.module.head.embedding.weight


def test_parts_are_512_rows_of_a_large_vocabulary_and_more_of_a_small_one() -> None:
    assert [rows_at_once(columns) for columns in (50304, 32768, 128)] == [512, 512, 131072]


def test_the_logits_are_never_held_at_once() -> None:
    """The largest tensor that the step makes has as many numbers as a group of rows or the table, not as all logits."""
    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            sizes.extend(each.numel() for each in (out if isinstance(out, tuple) else (out,)) if isinstance(each, Tensor))
            return out

    hidden, table, targets = drawn(512, 256, torch.float32)
    with Watch():
        head_loss(hidden, table, targets, torch.float32).backward()
    assert max(sizes) <= max(32 * 256, 512 * 24, 256 * 24) < 512 * 256
