"""Every architecture trains with every optimizer, resumes to the same bytes after a kill and is evaluated, schedules in turn."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import N_VOCAB, killed_at, model_fields, same_run, small_spec, write_tokens
from scalinglaws.evaluate.evaluate import evaluate
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.train.run import train

MODELS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "lstm": {},
    "recurrent": {"n_repeats": 2},
    "llama": {"n_heads": 2, "n_kv_heads": 1, "block": "qwen3"},
    "moe": {"n_heads": 2, "n_experts": 4, "n_shared_experts": 1},
}
RATES = {"adamw": 0.02, "sgd": 0.3, "adafactor": 0.02, "muon": 0.02}
SCHEDULES = ("wsd", "cosine", "linear", "constant")
# Of 20 pairs each has one schedule, and each architecture has all four.
CASES = [
    (architecture, optimizer, SCHEDULES[(i + j) % len(SCHEDULES)])
    for (i, architecture), (j, optimizer) in itertools.product(enumerate(MODELS), enumerate(RATES))
]


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("corpus") / "tokenizer")


def test_the_matrix_has_everything_that_is_built_in() -> None:
    built_in = {name for name in ARCHITECTURES if not ARCHITECTURES.plugin_of(name)}
    assert set(MODELS) == built_in and set(RATES) == {name for name in OPTIMIZERS if not OPTIMIZERS.plugin_of(name)}


@pytest.mark.parametrize(("architecture", "optimizer", "schedule"), CASES)
def test_it_trains_resumes_and_is_evaluated(
    architecture: str, optimizer: str, schedule: str, token_folder: Path, tmp_path: Path
) -> None:
    model = model_fields(architecture, 1, 8, **MODELS[architecture])
    training = {"optimizer": optimizer, "learning_rate": RATES[optimizer], "schedule": schedule, "beta1": 0.9}
    training |= {"decay": 0.25 if schedule == "wsd" else 0.0, "tokens": 64 * 16, "weight_decay": 0.1, "dropout": 0.1}
    spec = small_spec(**model, **training)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(spec, token_folder, whole, device="cpu")
    with killed_at(9):
        train(spec, token_folder, killed, device="cpu", checkpoint_seconds=0.0)
    train(spec, token_folder, killed, device="cpu")
    same_run(whole, killed)
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["status"] == "ok" and metrics["loss"] < math.log(N_VOCAB)
    evaluate(whole, [token_folder], tmp_path / "evals" / "run.json")
    first = json.loads((tmp_path / "evals" / "run.json").read_text())["rows"][0]
    assert first["position"] is None and first["loss"] == metrics["loss"]
