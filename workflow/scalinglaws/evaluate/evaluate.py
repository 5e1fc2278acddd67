"""The stage that measures a trained run on any number of corpora.

python -m scalinglaws evaluate --run results/runs/ID --tokens results/tokens/CORPUS/TOKENIZER … --out FILE.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes
from scalinglaws.common.read import read_object
from scalinglaws.data.batches import Split
from scalinglaws.evaluate.losses import loss_row, position_rows, token_losses
from scalinglaws.models.build import build
from scalinglaws.models.module import named_parameters
from scalinglaws.study.plugins import read_run

# This is raised when rows of evals change, so that rows in the cache of an earlier version are measured again.
ROWS_VERSION = 2
WEIGHTS = "model.safetensors"


def corpus_rows(module: nn.Module, split: Split, corpus: str, precision: str = "float32") -> list[dict[str, Any]]:
    """Return rows of evals: the mean (position None), then the loss at each position of the context, from 0."""
    losses = token_losses(module, split, precision)
    mean = loss_row(corpus, None, losses.reshape(-1), split.passages())
    known = mean["loss"] is not None and split.tokens_per_byte is not None
    mean["nats_per_byte"] = mean["loss"] * split.tokens_per_byte if known else None
    return [mean, *position_rows(losses, split, corpus)]


def load_model(run: Path, n_vocab: int, device: str) -> nn.Module:
    """Return the trained model of a run folder, which holds spec.json and model.safetensors.

    Raises
    ------
    StudyError
        If the weights are damaged, or not those of the spec with so many tokens.
    """
    spec = read_run(run / "spec.json", run.parent.parent)
    module = build(spec.shape(n_vocab), device=device, precision=spec.precision)
    try:
        weights = safetensors.torch.load_file(run / WEIGHTS)
    except SafetensorError as error:
        raise StudyError(f"{run / WEIGHTS} is damaged ({error}): {sums.REPAIR}") from None
    parameters = named_parameters(module)
    if {name: w.shape for name, w in weights.items()} != {name: p.shape for name, p in parameters.items()}:
        raise StudyError(
            f"{run / WEIGHTS} does not hold the model of {run / 'spec.json'} with n_vocab = {n_vocab}: "
            "evaluate with token files of its own tokenizer"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return module


def evaluate(run: Path, token_folders: list[Path], out: Path, device: str = "cpu") -> None:
    """Measure a run on the test split of each token folder and write {"id", "step", "rows"} to a file.

    A corpus that was measured before, with the same weights, tokens and kind of rows, is read from cache-{corpus}.json, which
    lies beside the file. A run that diverged has no rows.

    Parameters
    ----------
    run
        Folder of a finished run: spec.json, metrics.json and model.safetensors.
    token_folders
        Folders of token files, each named CORPUS/TOKENIZER.
    out
        The JSON file to write.
    device
        cpu, cuda or mps.

    Raises
    ------
    StudyError
        If a file of the run or of its tokens is damaged, or a token folder is of another tokenizer than the run's.
    """
    spec = read_run(run / "spec.json", run.parent.parent)
    sums.require(run / sums.LIST, ["metrics.json", WEIGHTS])
    metrics = read_object(run / "metrics.json")
    if missing := {"status", "best_step"} - set(metrics):
        raise StudyError(f"{run / 'metrics.json'} has no {min(missing)}: {sums.REPAIR}")
    rows: list[dict[str, Any]] = []
    if metrics["status"] == "ok":
        weights = _sum_of_weights(run)
        model = None
        for folder in token_folders:
            split = Split(folder, "test", spec.n_ctx, spec.eval_tokens)
            corpus = folder.resolve().parent.name
            cache = out.parent / f"cache-{corpus}.json"
            key = {"rows": ROWS_VERSION, "weights": weights, "tokens": split.meta["splits"]["test"]["sha256"]}
            if split.tokens_per_byte is None:
                key["lossless"] = False
            kept = _cached(cache)
            if kept.get("key") != key or "rows" not in kept:
                model = model or load_model(run, split.meta["n_vocab"], device)
                kept = {"key": key, "rows": corpus_rows(model, split, corpus, spec.precision)}
                sums.finish(sums.beside(cache), [], cache, json_bytes(kept))
            rows += kept["rows"]
    sums.finish(sums.beside(out), [], out, json_bytes({"id": spec.id, "step": metrics["best_step"], "rows": rows}))


def _sum_of_weights(run: Path) -> str:
    """Return the sha256 of a run's weights. Raises StudyError where they are missing."""
    try:
        return sums.sha256_of(run / WEIGHTS)
    except FileNotFoundError as error:
        raise StudyError(f"{error.filename} does not exist: run snakemake, which trains the run again") from None


def _cached(cache: Path) -> dict[str, Any]:
    """Return what an earlier evaluation kept; nothing where that is missing or damaged, so that it is measured again."""
    if not cache.exists():
        return {}
    try:
        sums.require_own(cache)
        return read_object(cache)
    except StudyError:
        print(f"warning: {cache} is damaged: its corpus is measured again", file=sys.stderr)
        return {}
