"""A training step of the Transformer on a CPU in float32: forward and backward written out, equal to autograd's.

A small model on one core spends its time outside large matrix products, and PyTorch's pip wheels have no compiler there.
What is measured to pay: oneDNN instead of BLAS for products that are large enough (two to three times faster on AMD,
about equal on Intel); GELU by the sigmoid kernel, a quarter of the price of the tanh one; the gradient of the logits in
the memory of the logits; attention by blocks that skip what the mask hides; gradients added straight to the flat buffer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scalinglaws.models.transformer import Transformer

# oneDNN sets up a primitive in each call: below this many multiply-adds, BLAS is done sooner.
ONEDNN_WORK = 1 << 21
# Queries at once: a block sees the keys up to its own end alone.
QUERY_BLOCK = 64
# Probabilities of a long context are too many to keep: SDPA computes them twice instead.
LONGEST_CONTEXT = 512

CUBIC = 0.044715  # GELU's tanh form is x · sigmoid(SLOPE · (x + CUBIC · x³))
SLOPE = 2 * math.sqrt(2 / math.pi)


def usable(model: Transformer) -> bool:
    """Whether this step computes what ``model.loss`` does: float32 without dropout, on a CPU, no long context."""
    plain = not model.autocast and not model.dropout and model.flat.device.type == "cpu"
    return plain and model.flat.dtype == torch.float32 and model.shape.n_ctx <= LONGEST_CONTEXT


def _onednn(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, w, bias, "none", [], "")


def _large(work: int) -> bool:
    return work >= ONEDNN_WORK and torch.backends.mkldnn.is_available()


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ w.T + bias of x (rows, k), w (n, k), bias (n,): (rows, n)."""
    if _large(x.shape[0] * w.numel()):
        return _onednn(x, w, bias)
    return torch.mm(x, w.t()) if bias is None else torch.addmm(bias, x, w.t())


def linear_input(dy: Tensor, w: Tensor) -> Tensor:
    """dy @ w of dy (rows, n), w (n, k): the gradient of ``linear`` in x."""
    return _onednn(dy, w.t()) if _large(dy.shape[0] * w.numel()) else torch.mm(dy, w)


def add_linear_weight(grad: Tensor, dy: Tensor, x: Tensor, scale: float = 1.0) -> None:
    """grad += scale · dy.T @ x of dy (rows, n), x (rows, k): the gradient of ``linear`` in w."""
    if not _large(x.shape[0] * grad.numel()):
        grad.addmm_(dy.t(), x, alpha=scale)
    elif dy.shape[1] <= x.shape[1]:  # oneDNN copies the left factor: it is to be the narrow one
        grad.add_(_onednn(dy.t(), x.t()), alpha=scale)
    else:
        grad.add_(_onednn(x.t(), dy.t()).t(), alpha=scale)


def gelu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """GELU in its tanh form; also x² and the sigmoid, which its gradient needs."""
    square = x * x
    sigmoid = torch.addcmul(x, x, square, value=CUBIC).mul_(SLOPE).sigmoid_()
    return x * sigmoid, square, sigmoid


def gelu_backward(dy: Tensor, x: Tensor, square: Tensor, sigmoid: Tensor) -> Tensor:
    """The gradient in x, written over dy: dy · (s + x s (1 - s) · SLOPE · (1 + 3 CUBIC x²))."""
    inner = dy * x
    torch.ops.aten.sigmoid_backward.grad_input(inner, sigmoid, grad_input=inner)
    return dy.mul_(sigmoid).add_(inner, alpha=SLOPE).addcmul_(inner, square, value=3 * SLOPE * CUBIC)


class Norm(NamedTuple):
    """A layer norm's input and what its gradient needs."""

    x: Tensor
    mean: Tensor
    rstd: Tensor


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Norm]:
    """Layer norm of x (rows, d_model)."""
    out, mean, rstd = torch.native_layer_norm(x, weight.shape, weight, bias, 1e-5)
    return out, Norm(x, mean, rstd)


def norm_backward(model: Transformer, name: str, dy: Tensor, kept: Norm) -> Tensor:
    """The gradient in x; those in weight and bias are added to the model's."""
    weight, bias = model.values[f"{name}.weight"], model.values[f"{name}.bias"]
    dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
        dy, kept.x, weight.shape, kept.mean, kept.rstd, weight, bias, [True, True, True]
    )
    model.grads[f"{name}.weight"].add_(dweight)
    model.grads[f"{name}.bias"].add_(dbias)
    return dx


def _blocks(n_pos: int) -> list[tuple[int, int]]:
    return [(start, min(start + QUERY_BLOCK, n_pos)) for start in range(0, n_pos, QUERY_BLOCK)]


def attention(qkv: Tensor, n_seq: int, n_heads: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Causal attention of qkv (rows, 3 d_attn): mixed values (rows, d_attn), q, k and v, and the probabilities by block.

    q, k and v come as (3, sequences · heads, positions, head size).
    """
    n_pos, size = len(qkv) // n_seq, qkv.shape[1] // (3 * n_heads)
    split = qkv.view(n_seq, n_pos, 3, n_heads, size).permute(2, 0, 3, 1, 4).reshape(3, n_seq * n_heads, n_pos, size)
    q, k, v = split
    mixed = torch.empty(n_seq, n_pos, n_heads, size)
    hidden = torch.full((n_pos, n_pos), -math.inf).triu_(1)
    probabilities = []
    for start, stop in _blocks(n_pos):
        mask = hidden[start:stop, :stop]
        p = torch.baddbmm(mask, q[:, start:stop], k[:, :stop].transpose(1, 2), alpha=1 / math.sqrt(size))
        torch.softmax(p, -1, out=p)
        probabilities.append(p)
        out = torch.bmm(p, v[:, :stop])
        mixed[:, start:stop] = out.view(n_seq, n_heads, stop - start, size).transpose(1, 2)
    return mixed.view(len(qkv), n_heads * size), split, probabilities


def attention_backward(dmixed: Tensor, n_seq: int, n_heads: int, split: Tensor, probabilities: list[Tensor]) -> Tensor:
    """The gradient of ``attention`` in qkv, (rows, 3 d_attn)."""
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
    grads[:2].mul_(1 / math.sqrt(size))
    heads = grads.view(3, n_seq, n_heads, n_pos, size)
    return heads.permute(1, 3, 0, 2, 4).reshape(len(dmixed), 3 * n_heads * size)


class Block(NamedTuple):
    """What the gradient of one layer needs from its forward pass."""

    norm1: Norm
    normed1: Tensor
    split: Tensor
    probabilities: list[Tensor]
    mixed: Tensor
    norm2: Norm
    normed2: Tensor
    up: Tensor
    square: Tensor
    sigmoid: Tensor
    active: Tensor


def block(model: Transformer, i: int, x: Tensor, n_seq: int) -> tuple[Tensor, Block]:
    """Layer i of the residual stream x (rows, d_model)."""
    p, at = model.values, f"layer{i}."
    normed1, norm1 = norm(x, p[at + "norm1.weight"], p[at + "norm1.bias"])
    qkv = linear(normed1, p[at + "qkv.weight"], p[at + "qkv.bias"])
    mixed, split, probabilities = attention(qkv, n_seq, model.n_heads)
    x = linear(mixed, p[at + "project.weight"], p[at + "project.bias"]).add_(x)
    normed2, norm2 = norm(x, p[at + "norm2.weight"], p[at + "norm2.bias"])
    up = linear(normed2, p[at + "up.weight"], p[at + "up.bias"])
    active, square, sigmoid = gelu(up)
    x = linear(active, p[at + "down.weight"], p[at + "down.bias"]).add_(x)
    return x, Block(norm1, normed1, split, probabilities, mixed, norm2, normed2, up, square, sigmoid, active)


def linear_backward(model: Transformer, name: str, dy: Tensor, x: Tensor) -> Tensor:
    """The gradient in x of the linear map of a name; those in its weight and bias are added to the model's."""
    add_linear_weight(model.grads[f"{name}.weight"], dy, x)
    model.grads[f"{name}.bias"].add_(dy.sum(0))
    return linear_input(dy, model.values[f"{name}.weight"])


def block_backward(model: Transformer, i: int, dx: Tensor, kept: Block, n_seq: int) -> Tensor:
    """The gradient in the input of layer i, given that in its output."""
    at = f"layer{i}."
    dup = gelu_backward(linear_backward(model, at + "down", dx, kept.active), kept.up, kept.square, kept.sigmoid)
    dnormed = linear_backward(model, at + "up", dup, kept.normed2)
    dx = norm_backward(model, at + "norm2", dnormed, kept.norm2).add_(dx)
    dmixed = linear_backward(model, at + "project", dx, kept.mixed)
    dqkv = attention_backward(dmixed, n_seq, model.n_heads, kept.split, kept.probabilities)
    dnormed = linear_backward(model, at + "qkv", dqkv, kept.normed1)
    return norm_backward(model, at + "norm1", dnormed, kept.norm1).add_(dx)


def embed(model: Transformer, tokens: Tensor) -> Tensor:
    """Token and position embeddings of tokens (sequences, positions): (rows, d_model)."""
    x = torch.index_select(model.values["token_embedding"], 0, tokens.reshape(-1))
    x.view(*tokens.shape, -1).add_(model.values["position_embedding"][: tokens.shape[1]])
    return x


def hidden(model: Transformer, tokens: Tensor) -> Tensor:
    """``Transformer.hidden`` without gradients: (sequences, positions, d_model) of tokens (sequences, positions)."""
    x = embed(model, tokens)
    for i in model.order:
        x, _ = block(model, i, x, len(tokens))
    return norm(x, model.values["norm.weight"], model.values["norm.bias"])[0].view(*tokens.shape, -1)


@torch.no_grad()
def backward(model: Transformer, tokens: Tensor, targets: Tensor, weight: float) -> Tensor:
    """``Transformer.backward``: adds the gradients to ``model.grad``, returns ``weight`` times the mean loss, 0-d."""
    (n_seq, n_pos), index, embedding = tokens.shape, tokens.reshape(-1), model.values["token_embedding"]
    x = embed(model, tokens)
    layers = []
    for i in model.order:
        x, kept = block(model, i, x, n_seq)
        layers.append(kept)
    out, final = norm(x, model.values["norm.weight"], model.values["norm.bias"])

    # Softmax and its gradient overwrite the logits; weight / rows is applied to what is smaller than they are.
    scale, target = weight / index.numel(), targets.reshape(-1, 1)
    p = linear(out, embedding)
    torch.softmax(p, 1, out=p)
    # Below the smallest float32 a probability is zero, and its loss stands at 87 nats instead of infinity.
    loss = p.gather(1, target).clamp_(min=torch.finfo(torch.float32).tiny).log_().sum() * -scale
    p.scatter_add_(1, target, torch.full_like(target, -1.0, dtype=torch.float32))
    add_linear_weight(model.grads["token_embedding"], p, out, scale)
    dx = norm_backward(model, "norm", linear_input(p, embedding).mul_(scale), final)

    for i in reversed(model.order):
        dx = block_backward(model, i, dx, layers.pop(), n_seq)
    model.grads["token_embedding"].index_add_(0, index, dx)
    model.grads["position_embedding"][:n_pos].add_(dx.view(n_seq, n_pos, -1).sum(0))
    return loss
