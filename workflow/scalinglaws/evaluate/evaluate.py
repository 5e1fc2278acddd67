"""Losses of a model on held-out text, and the stage that measures a trained run on any number of corpora.

python -m scalinglaws evaluate --run results/runs/ID --tokens results/tokens/CORPUS/TOKENIZER … --out FILE.json
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_json
from scalinglaws.data.batches import Split
from scalinglaws.models.build import build
from scalinglaws.models.flat import Model
from scalinglaws.study.spec import read_spec, round_float

# Raised when rows of evals change: those of a cache made before are measured again.
ROWS_VERSION = 2
LOGITS = 2**27  # at once on a GPU: half a GiB in float32


def token_losses(model: Model, split: Split) -> np.ndarray:
    """(windows, n_ctx) float32: the cross-entropy of each target of a split, in nats."""
    device = model.flat.device
    n_windows, width = split.windows.shape
    tokens = min(65536, LOGITS // model.shape.n_vocab) if device.type == "cuda" else 2048
    at_once = max(1, tokens // (width - 1))
    out = np.empty((n_windows, width - 1), dtype=np.float32)
    for start in range(0, n_windows, at_once):
        batch = torch.from_numpy(split.windows[start : start + at_once].astype(np.int64)).to(device)
        out[start : start + at_once] = model.token_losses(batch[:, :-1], batch[:, 1:]).cpu().numpy()
    return out


def mean_loss(model: Model, split: Split) -> float:
    """Mean cross-entropy in nats per token."""
    return float(token_losses(model, split).mean(dtype=np.float64))


def clustered_stderr(losses: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of the mean of ``losses`` (n,) whose errors are correlated within clusters (n,) of integers.

    sqrt(G / (G - 1) · Σ_g (Σ_{i in g} (l_i - mean))²) / n for G clusters (Liang and Zeger 1986); NaN for one cluster.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, weights=losses - losses.mean(dtype=np.float64))
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * float(np.square(sums).sum())) / losses.size


def finite(value: float) -> float | None:
    """A number for JSON: None where there is none."""
    return value if math.isfinite(value) else None


def corpus_rows(model: Model, split: Split, corpus: str) -> list[dict[str, Any]]:
    """Rows of evals: the mean (position None), then the loss at each position of the context, from 0."""
    losses = token_losses(model, split)
    mean = _row(corpus, None, losses.reshape(-1), split.passages())
    mean["nats_per_byte"] = None if mean["loss"] is None else mean["loss"] * split.tokens_per_byte
    return [mean, *position_rows(losses, split, corpus)]


def position_rows(losses: np.ndarray, split: Split, corpus: str) -> list[dict[str, Any]]:
    """Rows of evals for each position of the context, from 0, of the losses (windows, n_ctx) of a split."""
    passages = split.passages().reshape(losses.shape)
    return [_row(corpus, i, losses[:, i], passages[:, i]) for i in range(losses.shape[1])]


def _row(corpus: str, position: int | None, losses: np.ndarray, passages: np.ndarray) -> dict[str, Any]:
    loss, stderr = float(losses.mean(dtype=np.float64)), clustered_stderr(losses, passages)
    row = {"corpus": corpus, "position": position, "loss": finite(loss), "stderr": finite(stderr)}
    return row | {"nats_per_byte": None, "n_tokens": int(losses.size)}


def positions(losses: np.ndarray, split: Split) -> dict[str, list[float | None]]:
    """Loss and its standard error at each position of the context, to six digits: {"loss": [n_ctx], "stderr": [n_ctx]}."""
    rows = position_rows(losses, split, "")
    return {name: [_rounded(row[name]) for row in rows] for name in ("loss", "stderr")}


def octave_means(losses: np.ndarray) -> list[float | None]:
    """Mean of losses (windows, n_ctx) over positions [1], [2, 3], [4..7], … [2^j..2^(j+1) - 1], counted from 1, to six digits.

    The last bin ends with the context.
    """
    by_position = losses.mean(axis=0, dtype=np.float64)
    starts = [2**j - 1 for j in range(len(by_position).bit_length())]
    ends = [*starts[1:], len(by_position)]
    return [_rounded(finite(float(by_position[start:end].mean()))) for start, end in zip(starts, ends, strict=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round_float(value)


def load_model(run: Path, n_vocab: int, device: str) -> Model:
    """The trained model of a run folder (spec.json, model.safetensors). Raises StudyError where they do not fit."""
    model = build(read_spec(run / "spec.json"), n_vocab, device)
    weights = safetensors.torch.load_file(run / "model.safetensors")
    if {name: tuple(w.shape) for name, w in weights.items()} != model.sizes:
        raise StudyError(
            f"{run / 'model.safetensors'} does not hold the model of {run / 'spec.json'} with n_vocab = {n_vocab}: "
            "evaluate with token files of its own tokenizer"
        )
    with torch.no_grad():
        for name, parameter in model.params.items():
            parameter.copy_(weights[name])
    return model


def evaluate(run: Path, token_folders: list[Path], out: Path, device: str = "cpu") -> None:
    """Measure a run on the test split of each folder and write {"id", "step", "rows"} to ``out``.

    A corpus measured before with the same weights, tokens and kind of rows is read from cache-{corpus}.json beside ``out``.
    """
    spec = read_spec(run / "spec.json")
    metrics = json.loads((run / "metrics.json").read_text())
    rows: list[dict[str, Any]] = []
    if metrics["status"] == "ok":
        weights = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
        model = None
        for folder in token_folders:
            split = Split(folder, "test", spec.n_ctx, spec.eval_tokens)
            corpus = folder.resolve().parent.name
            cache = out.parent / f"cache-{corpus}.json"
            key = {"rows": ROWS_VERSION, "weights": weights, "tokens": split.meta["splits"]["test"]["sha256"]}
            kept = json.loads(cache.read_text()) if cache.exists() else {}
            if kept.get("key") != key:
                model = model or load_model(run, split.meta["n_vocab"], device)
                kept = {"key": key, "rows": corpus_rows(model, split, corpus)}
                write_json(cache, kept)
            rows += kept["rows"]
    write_json(out, {"id": spec.id, "step": metrics["best_step"], "rows": rows})
