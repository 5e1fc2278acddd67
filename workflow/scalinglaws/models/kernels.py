"""Products, norms, GELU and attention for a CPU in float32, each with its gradient written out.

A small model on one core spends its time outside large matrix products, and PyTorch's pip wheels have no compiler there.
What is measured to pay: oneDNN instead of BLAS for products that are large enough (two to three times faster on AMD, about
equal on Intel); GELU by the sigmoid kernel, a quarter of the price of the tanh one; attention by blocks that skip what the
mask hides; dropout from random bits that are compared with a threshold, a third of the price of ``bernoulli_``; gradients
added straight to the ``grad`` of parameters, which must be there. Gradients of parameters are needed nowhere else, so that all
of this runs without autograd.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

# oneDNN sets up a primitive in each call: for fewer multiply-adds than this, BLAS is faster.
ONEDNN_WORK = 1 << 21
# Queries that are handled at once: a block of them sees the keys up to its own end alone.
QUERY_BLOCK = 64

CUBIC = 0.044715  # GELU's tanh form is x · sigmoid(SLOPE · (x + CUBIC · x³))
SLOPE = 2 * math.sqrt(2 / math.pi)


def _onednn(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, w, bias, "none", [], "")


def _large(work: int) -> bool:
    return work >= ONEDNN_WORK and torch.backends.mkldnn.is_available()


def gradient(parameter: Tensor) -> Tensor:
    """Return the tensor that the gradients of a parameter are added to."""
    assert parameter.grad is not None
    return parameter.grad


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ w.T + bias (rows, n) of x (rows, k), w (n, k) and bias (n,)."""
    if _large(x.shape[0] * w.numel()):
        return _onednn(x, w, bias)
    return torch.mm(x, w.t()) if bias is None else torch.addmm(bias, x, w.t())


def linear_input(dy: Tensor, w: Tensor) -> Tensor:
    """Return the gradient of ``linear`` in x (rows, k), which is dy @ w, of dy (rows, n) and w (n, k)."""
    return _onednn(dy, w.t()) if _large(dy.shape[0] * w.numel()) else torch.mm(dy, w)


def add_linear_weight(grad: Tensor, dy: Tensor, x: Tensor, scale: float = 1.0) -> None:
    """Add scale · dy.T @ x, the gradient of ``linear`` in w, to grad (n, k), of dy (rows, n) and x (rows, k)."""
    if not _large(x.shape[0] * grad.numel()):
        grad.addmm_(dy.t(), x, alpha=scale)
    elif dy.shape[1] <= x.shape[1]:  # oneDNN copies the left factor, so the narrow one is put there
        grad.add_(_onednn(dy.t(), x.t()), alpha=scale)
    else:
        grad.add_(_onednn(x.t(), dy.t()).t(), alpha=scale)


def gelu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return GELU of x in its tanh form, and x² and the sigmoid, which its gradient needs."""
    square = x * x
    sigmoid = torch.addcmul(x, x, square, value=CUBIC).mul_(SLOPE).sigmoid_()
    return x * sigmoid, square, sigmoid


def gelu_backward(dy: Tensor, x: Tensor, square: Tensor, sigmoid: Tensor) -> Tensor:
    """Write the gradient of ``gelu`` in x, dy · (s + x s (1 - s) · SLOPE · (1 + 3 CUBIC x²)), over dy and return it."""
    inner = dy * x
    torch.ops.aten.sigmoid_backward.grad_input(inner, sigmoid, grad_input=inner)
    return dy.mul_(sigmoid).add_(inner, alpha=SLOPE).addcmul_(inner, square, value=3 * SLOPE * CUBIC)


def dropout_mask(shape: torch.Size, dropout: float) -> Tensor | None:
    """Return what dropout multiplies an activation of a shape with, or None where nothing is dropped.

    A factor is 0 with the probability ``dropout``, which holds to 2⁻³², and 1 / (1 - dropout) otherwise (Srivastava et al.
    2014). 64 random bits make two factors. They come from PyTorch's default generator, of which a state gives the same mask on
    any CPU.
    """
    if not dropout:
        return None
    count = shape.numel()
    words = torch.empty((count + 1) // 2, dtype=torch.int64).random_(-(1 << 63), None).view(torch.int32)
    mask = torch.empty(shape)
    torch.ge(words[:count].view(shape), round(dropout * 2**32) - 2**31, out=mask)  # words are uniform from -2³¹ to 2³¹ - 1
    return mask.mul_(1 / (1 - dropout))


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x times a mask of dropout; where there is none, x itself. It is the gradient of dropout too."""
    return x if mask is None else x * mask


class Norm(NamedTuple):
    """What the gradient of a layer norm needs: its input and the statistics of each row."""

    x: Tensor
    mean: Tensor
    rstd: Tensor


def norm(layer: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Norm]:
    """Return the layer norm of x (rows, C), and what its gradient needs."""
    out, mean, rstd = torch.native_layer_norm(x, layer.weight.shape, layer.weight, layer.bias, layer.eps)
    return out, Norm(x, mean, rstd)


def norm_backward(layer: nn.LayerNorm, dy: Tensor, kept: Norm) -> Tensor:
    """Return the gradient in the input of a layer norm, and add the gradients in its weight and bias to their ``grad``."""
    weight, bias = layer.weight, layer.bias
    dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
        dy, kept.x, weight.shape, kept.mean, kept.rstd, weight, bias, [True, True, True]
    )
    gradient(weight).add_(dweight)
    gradient(bias).add_(dbias)
    return dx


def linear_backward(layer: nn.Linear, dy: Tensor, x: Tensor) -> Tensor:
    """Return the gradient in the input of a linear layer, and add the gradients in its weight and bias to their ``grad``."""
    add_linear_weight(gradient(layer.weight), dy, x)
    gradient(layer.bias).add_(dy.sum(0))
    return linear_input(dy, layer.weight)


def _blocks(n_pos: int) -> list[tuple[int, int]]:
    return [(start, min(start + QUERY_BLOCK, n_pos)) for start in range(0, n_pos, QUERY_BLOCK)]


def attention(qkv: Tensor, n_seq: int, n_heads: int, scale: float) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Mix the values of qkv (rows, 3 A) by causal attention, which multiplies the products of queries and keys by ``scale``.

    Returns
    -------
    tuple
        The mixed values (rows, A); q, k and v as one tensor (3, B · H, T, S); and the probabilities of each block of queries.
    """
    n_pos, size = len(qkv) // n_seq, qkv.shape[1] // (3 * n_heads)
    split = qkv.view(n_seq, n_pos, 3, n_heads, size).permute(2, 0, 3, 1, 4).reshape(3, n_seq * n_heads, n_pos, size)
    q, k, v = split
    mixed = torch.empty(n_seq, n_pos, n_heads, size)
    hidden = torch.full((n_pos, n_pos), -math.inf).triu_(1)
    probabilities = []
    for start, stop in _blocks(n_pos):
        mask = hidden[start:stop, :stop]
        p = torch.baddbmm(mask, q[:, start:stop], k[:, :stop].transpose(1, 2), alpha=scale)
        torch.softmax(p, -1, out=p)
        probabilities.append(p)
        out = torch.bmm(p, v[:, :stop])
        mixed[:, start:stop] = out.view(n_seq, n_heads, stop - start, size).transpose(1, 2)
    return mixed.view(len(qkv), n_heads * size), split, probabilities


def attention_backward(
    dmixed: Tensor, n_seq: int, n_heads: int, scale: float, split: Tensor, probabilities: list[Tensor]
) -> Tensor:
    """Return the gradient of ``attention`` in qkv, (rows, 3 A).

    Parameters
    ----------
    dmixed
        The gradient in the mixed values (rows, A).
    n_seq, n_heads, scale
        Numbers of sequences and of heads, and the factor on the products of queries and keys.
    split, probabilities
        What ``attention`` returned after the mixed values.
    """
    (q, k, v), (_, _, n_pos, size) = split, split.shape
    dout = dmixed.view(n_seq, n_pos, n_heads, size).transpose(1, 2).reshape(q.shape)
    grads = torch.empty_like(split)
    dq, dk, dv = grads
    # From the last block, which sees every key and so gives dk and dv their first values.
    for (start, stop), p in zip(reversed(_blocks(n_pos)), reversed(probabilities), strict=True):
        dblock = dout[:, start:stop]
        dvalue = torch.bmm(p.transpose(1, 2), dblock)
        dp = torch.bmm(dblock, v[:, :stop].transpose(1, 2))
        torch.ops.aten._softmax_backward_data.out(dp, p, -1, torch.float32, grad_input=dp)
        dkey = torch.bmm(dp.transpose(1, 2), q[:, start:stop])
        dq[:, start:stop] = torch.bmm(dp, k[:, :stop])
        if stop == n_pos:
            dk.copy_(dkey)
            dv.copy_(dvalue)
        else:
            dk[:, :stop].add_(dkey)
            dv[:, :stop].add_(dvalue)
    grads[:2].mul_(scale)
    heads = grads.view(3, n_seq, n_heads, n_pos, size)
    return heads.permute(1, 3, 0, 2, 4).reshape(len(dmixed), 3 * n_heads * size)
