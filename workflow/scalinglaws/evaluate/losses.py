"""Losses of a model on held-out text: of each token, by position, and how uncertain their mean is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.common.numbers import round_float
from scalinglaws.data.batches import Split
from scalinglaws.models.module import autocast, logits, token_table, wide

# Numbers of logits: LOGITS of them take half a GiB of a GPU in float32, and a PART fits the caches of a GPU or of a CPU.
LOGITS = 2**27
GPU_PART, CPU_PART = 2**24, 2**17
# Numbers of tokens whose hidden states are computed at once.
GPU_TOKENS, CPU_TOKENS = 2**16, 2048


def token_losses(module: nn.Module, split: Split, precision: str = "float32") -> np.ndarray:
    """Return the cross-entropy of each target of a split, without dropout.

    Parameters
    ----------
    module
        A language model (models/module.py).
    split
        Windows of tokens (n, n_ctx + 1): of each the last n_ctx are targets.
    precision
        float32, or bfloat16 for products by autocast.

    Returns
    -------
    numpy.ndarray
        (n, n_ctx) float32, nats.
    """
    table = token_table(module)
    n_windows, width = split.windows.shape
    tokens = min(GPU_TOKENS, LOGITS // len(table)) if table.device.type != "cpu" else CPU_TOKENS
    at_once = max(1, tokens // (width - 1))
    out = np.empty((n_windows, width - 1), dtype=np.float32)
    training = module.training
    module.eval()
    for start in range(0, n_windows, at_once):
        batch = torch.from_numpy(split.windows[start : start + at_once].astype(np.int64)).to(table.device)
        losses = batch_losses(module, batch[:, :-1], batch[:, 1:], precision)
        out[start : start + at_once] = losses.cpu().numpy()
    module.train(training)
    return out


@torch.no_grad()
def batch_losses(module: nn.Module, tokens: Tensor, targets: Tensor, precision: str = "float32") -> Tensor:
    """Return the cross-entropy in nats of each target (B, T), given the tokens (B, T) up to its own place: (B, T) float32."""
    table = token_table(module)
    rows = max(1, (CPU_PART if table.device.type == "cpu" else GPU_PART) // len(table))
    with autocast(table.device, precision):
        hidden = module(tokens).flatten(0, 1)  # (B T, C)
        losses = [
            F.cross_entropy(wide(logits(module, h)), y, reduction="none")
            for h, y in zip(hidden.split(rows), targets.flatten().split(rows), strict=True)
        ]
    return torch.cat(losses).view(targets.shape)


def mean_loss(module: nn.Module, split: Split, precision: str = "float32") -> float:
    """Return the mean cross-entropy of a split in nats per token."""
    return float(token_losses(module, split, precision).mean(dtype=np.float64))


def clustered_stderr(losses: np.ndarray, clusters: np.ndarray) -> float:
    """Return the standard error of a mean of losses whose errors are correlated within clusters.

    It is sqrt(G / (G - 1) · Σ_g (Σ_{i in g} (l_i - mean))²) / n for G clusters.

    Parameters
    ----------
    losses
        (n,) losses.
    clusters
        (n,) integers: the cluster of each loss, such as its passage of text.

    Returns
    -------
    float
        The standard error, in the unit of the losses; NaN where there is one cluster.

    References
    ----------
    Liang and Zeger 1986, the sandwich estimator for clustered data.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, weights=losses - losses.mean(dtype=np.float64))
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * float(np.square(sums).sum())) / losses.size


def finite(value: float) -> float | None:
    """Return a number for JSON, which has no NaN and no infinity: None stands for them."""
    return value if math.isfinite(value) else None


def loss_row(corpus: str, position: int | None, losses: np.ndarray, passages: np.ndarray) -> dict[str, Any]:
    """Return a row of evals: the mean of the losses at a position, or of all of them, and its standard error by passage."""
    loss, stderr = float(losses.mean(dtype=np.float64)), clustered_stderr(losses, passages)
    row = {"corpus": corpus, "position": position, "loss": finite(loss), "stderr": finite(stderr)}
    return row | {"nats_per_byte": None, "n_tokens": int(losses.size)}


def position_rows(losses: np.ndarray, split: Split, corpus: str) -> list[dict[str, Any]]:
    """Return a row of evals for each position of the context, from 0, of the losses (windows, n_ctx) of a split."""
    passages = split.passages().reshape(losses.shape)
    return [loss_row(corpus, i, losses[:, i], passages[:, i]) for i in range(losses.shape[1])]


def positions(losses: np.ndarray, split: Split) -> dict[str, list[float | None]]:
    """Return the loss and its standard error at each position of the context, n_ctx of each, to six digits."""
    rows = position_rows(losses, split, "")
    return {name: [_rounded(row[name]) for row in rows] for name in ("loss", "stderr")}


def octave_means(losses: np.ndarray) -> list[float | None]:
    """Return the mean loss in bins of positions that double in width, to six digits.

    Parameters
    ----------
    losses
        (windows, n_ctx).

    Returns
    -------
    list
        Means over the positions [1], [2, 3], [4..7], … [2^j..2^(j+1) - 1], counted from 1; the last bin ends with the context.
    """
    by_position = losses.mean(axis=0, dtype=np.float64)
    starts = [2**j - 1 for j in range(len(by_position).bit_length())]
    ends = [*starts[1:], len(by_position)]
    return [_rounded(finite(float(by_position[start:end].mean()))) for start, end in zip(starts, ends, strict=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round_float(value)
