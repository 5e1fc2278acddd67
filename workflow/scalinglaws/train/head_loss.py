"""The loss of a GPU's training step and its gradient, without ever holding the logits of a whole micro-batch.

The logits of 2¹⁶ tokens and 32,768 words take 8 GiB in float32, and their gradient as much again. Here a few hundred rows of them
are made at a time, which stay in the GPU's cache, and turned into their gradient at once. The gradients in the hidden states and
in the table are ready when the forward pass ends.

PyTorch's own ``linear_cross_entropy`` (2.13) does the same with a loss in the precision of the products. It is not used: it sums
the gradient of the table over chunks in bfloat16, where that is the precision, it needs a newer PyTorch than the rest of the
project, and it does not pad the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scalinglaws.models.layers import OutputEmbedding
from scalinglaws.models.module import token_table, wide

LOGITS = 2**24  # numbers of logits that are made at once: 32 MiB in bfloat16
FEWEST_ROWS = 512  # rows that are made at once at the least: fewer do not fill a GPU
GROUP = 8  # so many parts are multiplied with the table and added to its gradient at once, since that gradient is large
MULTIPLE = 128  # of the number of columns: others make products on a GPU several times slower

# (logits (rows, columns), targets (rows,), n_vocab, factor) -> (sum of losses, factor times their gradient in the logits)
SoftmaxLoss = Callable[[Tensor, Tensor, int, float], tuple[Tensor, Tensor]]


def softmax_loss(logits: Tensor, targets: Tensor, n_vocab: int, factor: float) -> tuple[Tensor, Tensor]:
    """Return the sum of the cross-entropies of some rows, and ``factor`` times its gradient in the logits.

    Parameters
    ----------
    logits
        (rows, columns) with at least n_vocab columns, of which those beyond count for nothing.
    targets
        (rows,) token ids.
    n_vocab
        The number of tokens.
    factor
        What the gradient is multiplied with.

    Returns
    -------
    tuple
        The loss in float32 at least, 0-d and without ``factor``, and the gradient in the type of the logits.
    """
    column = torch.arange(logits.shape[1], device=logits.device)
    x = torch.where(column < n_vocab, wide(logits), -torch.inf)
    total = x.logsumexp(1, keepdim=True)
    hit = column == targets[:, None]
    loss = total.sum() - torch.where(hit, x, 0.0).sum()
    p = (x - total).exp()
    return loss, (torch.where(hit, p - 1, p) * factor).to(logits.dtype)


def rows_at_once(columns: int) -> int:
    """Return the number of rows of so many columns that are made at once, a power of two."""
    return max(FEWEST_ROWS, 1 << (LOGITS // columns).bit_length() - 1)


def output_table(module: nn.Module) -> Tensor | None:
    """Return the table (n_vocab, C) whose products with hidden states are a model's logits; None where it has another head."""
    head = getattr(module, "head", None)
    if head is None:
        return token_table(module)
    return head.embedding.weight if isinstance(head, OutputEmbedding) else None


class _HeadLoss(torch.autograd.Function):
    """``head_loss``, whose gradients are formed in the forward pass and multiplied with that of the loss in the backward one."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, products: torch.dtype, loss: SoftmaxLoss) -> Tensor:
        n_vocab, columns = len(table), -(-len(table) // MULTIPLE) * MULTIPLE
        padded = torch.zeros(columns, table.shape[1], dtype=products, device=table.device)
        padded[:n_vocab] = table
        x = hidden.to(products)
        d_hidden, d_table = torch.empty_like(x), torch.zeros(columns, x.shape[1], dtype=wide(x[:0]).dtype, device=x.device)
        losses, rows = [], rows_at_once(columns)
        for start in range(0, len(x), GROUP * rows):
            group = x[start : start + GROUP * rows]
            d_logits = group.new_empty(len(group), columns)
            for part, d_part, y in zip(
                group.split(rows), d_logits.split(rows), targets[start : start + len(group)].split(rows), strict=True
            ):
                value, gradient = loss(part @ padded.t(), y, n_vocab, 1 / len(x))
                losses.append(value)
                d_part.copy_(gradient)
            torch.mm(d_logits, padded, out=d_hidden[start : start + len(group)])
            if products == d_table.dtype:
                d_table.addmm_(d_logits.t(), group)
            else:
                d_table.add_(d_logits.t() @ group)
        ctx.save_for_backward(d_hidden, d_table[:n_vocab])
        ctx.dtypes = hidden.dtype, table.dtype
        return torch.stack(losses).sum() / len(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_table = ctx.saved_tensors
        return (d_hidden * grad).to(ctx.dtypes[0]), (d_table * grad).to(ctx.dtypes[1]), None, None, None


def head_loss(hidden: Tensor, table: Tensor, targets: Tensor, products: torch.dtype, loss: SoftmaxLoss = softmax_loss) -> Tensor:
    """Return the mean cross-entropy in nats (0-d, differentiable in the first two) of logits that are hidden @ table.T.

    Parameters
    ----------
    hidden
        (rows, C) hidden states.
    table
        (n_vocab, C) the table of the output.
    targets
        (rows,) token ids.
    products
        The type of the factors of products; sums of losses and of the gradient of the table are in float32 at least.
    loss
        ``softmax_loss``, or its compiled form.
    """
    found: Tensor = _HeadLoss.apply(hidden, table, targets, products, loss)
    return found
