"""Continued training: weights that transformers saved are fetched from a hub on this machine, and runs begin from them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fixtures.hub import COMMIT, serving
from fixtures.small_runs import N_VOCAB, killed_at, model_fields, same_run, small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_text
from scalinglaws.evaluate.losses import token_losses
from scalinglaws.models.module import logits
from scalinglaws.study.init import weights_of
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.begin import begin
from scalinglaws.train.run import train, train_rung
from scalinglaws.train.trainer import Trainer

INIT = (("huggingface", "org/model"), ("revision", COMMIT))
SHAPE: dict[str, Any] = {
    "vocab_size": N_VOCAB,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
SHAPE |= {"intermediate_size": 24, "max_position_embeddings": 32, "tie_word_embeddings": False, "initializer_range": 0.5}


def gpt2() -> Any:
    values: dict[str, Any] = {
        "vocab_size": N_VOCAB,
        "n_embd": 8,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 32,
        "initializer_range": 0.5,
    }
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**values))


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, rms_norm_eps=1e-5))


# Name -> the model that transformers makes of a configuration of its own, with random weights, and the run's model.
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt2": (gpt2, model_fields("transformer", 2, 8, n_heads=2)),
    "llama": (llama, model_fields("llama", 2, 8, n_heads=2, n_kv_heads=1, d_ff=24, tied=False)),
}


def begun(name: str, **changes: Any) -> RunSpec:
    return small_spec(**(MODELS[name][1] | {"init": INIT} | changes))


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("corpus") / "tokenizer")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, Path]]]:
    """Make each model, fetch it from a hub by the stage's own command, and give it with the folder of weights."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, (build, _) in MODELS.items():
            root = tmp_path_factory.mktemp(name)
            torch.manual_seed(0)
            theirs = build().eval()
            # The first has one file and the second several.
            theirs.save_pretrained(root / "saved", max_shard_size="5GB" if name == "gpt2" else "2KB")
            files = {path.name: path.read_bytes() for path in (root / "saved").iterdir()} | {"pytorch_model.bin": b"a pickle"}
            assert ("model.safetensors.index.json" in files) == (name == "llama")
            weights = weights_of(begun(name))
            assert weights is not None
            folder = root / "weights" / weights.id
            write_text(folder / "spec.json", f"{weights.canonical}\n")
            with serving(root / "hub", patch, name="models/org/model", place="org/model", files=files):
                assert main(["weights", "--spec", str(folder / "spec.json"), "--out", str(folder)]) == 0
            assert not list(root.glob("hub/**/*.bin")) and (folder / "SHA256SUMS").exists()
            made[name] = theirs, root / "weights"
        yield made


@pytest.mark.parametrize("name", MODELS)
def test_logits_before_training_and_the_first_loss_are_those_of_transformers(
    name: str, published: dict[str, tuple[Any, Path]], token_folder: Path
) -> None:
    theirs, root = published[name]
    trainer = Trainer(begun(name), token_folder)
    begin(trainer, root)
    tokens = torch.from_numpy(trainer.batches.batch(0)[:, :-1])
    with torch.no_grad():
        wanted = theirs(tokens).logits
        ours = logits(trainer.model.module, trainer.model.module(tokens))
    assert float(wanted.abs().max()) > 1 and float((ours - wanted).abs().max()) < 1e-5
    batch = torch.from_numpy(trainer.batches.batch(0))
    with torch.no_grad():
        loss = float(theirs(batch, labels=batch).loss)
    first = float(sum(trainer.gradient(batch, len(batch)), start=torch.zeros(())))
    assert math.isclose(first, loss, rel_tol=1e-5)
    assert abs(float(token_losses(trainer.model.module, trainer.curve).mean()) - math.log(N_VOCAB)) > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_resumes_to_the_same_bytes_from_a_kill_and_from_a_rung(
    name: str, published: dict[str, tuple[Any, Path]], token_folder: Path, tmp_path: Path
) -> None:
    _, root = published[name]
    spec = begun(name, learning_rate=0.003)
    train(spec, token_folder, tmp_path / "whole", device="cpu", weights=root)
    with killed_at(9):
        train(spec, token_folder, tmp_path / "killed", device="cpu", weights=root, checkpoint_seconds=0.0)
    train(spec, token_folder, tmp_path / "killed", device="cpu")  # from a checkpoint: the published weights may have gone
    same_run(tmp_path / "whole", tmp_path / "killed")
    for step in (7, 20):
        rung = tmp_path / "trunks" / spec.trunk.id / f"step{step}.safetensors"
        train_rung(spec.trunk, token_folder, step, rung, device="cpu", weights=root)
    train(spec, token_folder, tmp_path / "rung", device="cpu", trunk=rung.parent)
    same_run(tmp_path / "whole", tmp_path / "rung")
    nothing = begun(name, learning_rate=0.003, init=())
    train(nothing, token_folder, tmp_path / "nothing", device="cpu")
    metrics = {kind: json.loads((tmp_path / kind / "metrics.json").read_text()) for kind in ("whole", "nothing")}
    assert metrics["whole"]["id"] != metrics["nothing"]["id"] and metrics["whole"]["loss"] != metrics["nothing"]["loss"]
    assert spec.trunk.id != nothing.trunk.id


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            model_fields("transformer", 1, 8, n_heads=1),
            ["model.n_layer: the run has 1, .* 2", "model.n_heads: the run has 1, .* 2"],
        ),
        ({"n_ctx": 64, "batch_tokens": 128}, ["n_ctx: the run has 64, and config.json says 32 at most"]),
        (MODELS["llama"][1], ["model_type llama, and config.json says 'gpt2'"]),
    ],
)
def test_another_shape_is_told_key_by_key(
    changes: dict[str, Any], told: list[str], published: dict[str, tuple[Any, Path]], token_folder: Path
) -> None:
    _, root = published["gpt2"]
    with pytest.raises(StudyError, match=r"cannot begin from org/model, revision a+, whose config.json describes") as refused:
        begin(Trainer(begun("gpt2", **changes), token_folder), root)
    _, *lines = str(refused.value).splitlines()
    assert len(lines) == len(told)
    for line, pattern in zip(lines, told, strict=True):
        assert re.search(pattern, line)


def test_another_vocabulary_and_missing_or_damaged_weights_are_told(
    published: dict[str, tuple[Any, Path]], token_folder: Path, tmp_path: Path
) -> None:
    _, root = published["gpt2"]
    other = write_tokens(tmp_path / "corpus" / "tokenizer", n_vocab=40)
    with pytest.raises(StudyError, match=rf"vocab_size\): the run has 40, and config.json says {N_VOCAB}"):
        begin(Trainer(begun("gpt2"), other), root)
    with pytest.raises(StudyError, match="begins from published weights: give --weights"):
        begin(Trainer(begun("gpt2"), token_folder), None)
    with pytest.raises(StudyError, match=r"config.json does not exist: run snakemake"):
        begin(Trainer(begun("gpt2"), token_folder), tmp_path / "nowhere")
    (folder,) = root.iterdir()
    copy = tmp_path / "weights" / folder.name
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(StudyError, match=r"model.safetensors is damaged, its sha256 is not the one in SHA256SUMS"):
        begin(Trainer(begun("gpt2"), token_folder), copy.parent)
    (copy / "model.safetensors").unlink()
    with pytest.raises(StudyError, match=r"model.safetensors is missing: run `scalinglaws verify --repair`"):
        begin(Trainer(begun("gpt2"), token_folder), copy.parent)
