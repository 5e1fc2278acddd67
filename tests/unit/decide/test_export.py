"""The command ``export``: transformers loads the folder, with the run's logits, ids, losses and text; and what is refused."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from printed import printed

from fixtures.small_runs import model_fields, small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.common.files import write_text
from scalinglaws.data import tokenizer as stage
from scalinglaws.data.batches import Split
from scalinglaws.data.pinned import sha256
from scalinglaws.data.tokenizer import Encoder, build_tokenizer, train_bpe
from scalinglaws.decide import export
from scalinglaws.evaluate.evaluate import load_model
from scalinglaws.models.module import logits
from scalinglaws.study.spec import RunSpec, TokenizerSpec
from scalinglaws.train.run import train

# Every built-in architecture that transformers has, muP, and repeated layers, which become layers of their own.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("GPT2LMHeadModel", model_fields("transformer", 1, 8)),
    "recurrent": ("GPT2LMHeadModel", model_fields("recurrent", 1, 8, n_repeats=2)),
    "llama": ("Qwen3ForCausalLM", model_fields("llama", 1, 8, block="qwen3")),
    "moe": ("MixtralForCausalLM", model_fields("moe", 1, 8, n_experts=4)),
}
TEXTS = ["", "Hello, world!", "naïve Ā <0x00> \0 <|endoftext|>", "日本語 🙂\n\n\ttabs  and   spaces ", "\0 Ā ÿ", "don't 12345"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of each architecture, with bytes."""
    root = tmp_path_factory.mktemp("study") / "results"
    for _, fields in MODELS.values():
        made(root, small_spec(**fields, tokens=64 * 16, learning_rate=0.02))
    return root


def made(root: Path, spec: RunSpec, n_vocab: int = 256) -> RunSpec:
    tokens = write_tokens(root / "tokens" / spec.tokens_id, n_vocab=n_vocab)
    build_tokenizer(spec.tokenizer, None, root / "tokenizers" / spec.tokenizer.id / "tokenizer.json")
    write_text(root / "runs" / spec.id / "spec.json", f"{spec.canonical}\n")
    train(spec, tokens, root / "runs" / spec.id, device="cpu")
    return spec


def of(results: Path, architecture: str) -> Path:
    """Return the folder of the run of an architecture."""
    specs = sorted(results.glob("runs/*/spec.json"))
    return next(path.parent for path in specs if json.loads(path.read_text()).get("architecture", "transformer") == architecture)


@pytest.mark.parametrize("architecture", MODELS)
def test_transformers_loads_it_with_the_same_logits(architecture: str, results: Path, tmp_path: Path) -> None:
    run, to = of(results, architecture), tmp_path / "out"
    assert main(["export", run.name[:-3], "--to", str(to), "--results", str(results)]) == 0
    assert sorted(path.name for path in to.iterdir()) == [
        *("README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ]
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(to, output_loading_info=True)
    theirs, found = loaded
    assert type(theirs).__name__ == MODELS[architecture][0] and not any(found.values())
    tokenizer, encoder = transformers.AutoTokenizer.from_pretrained(to), Encoder(_tokenizer(results, run))
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == encoder.encode([text])[0][:-1].tolist()
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ids = torch.tensor([list(b"The quick brown ")])
    ours = load_model(run, 256, "cpu")
    with torch.no_grad():
        assert float((logits(ours, ours(ids)) - theirs.eval()(ids).logits).abs().max()) < 1e-5
    made = theirs.generate(ids[:, :4], max_new_tokens=3, do_sample=False)
    assert made.shape[1] <= 7 and theirs.generation_config.eos_token_id == 0


def _tokenizer(results: Path, run: Path) -> Path:
    spec = export.finished(run.name, results).spec
    return results / "tokenizers" / spec.tokenizer.id / "tokenizer.json"


def test_its_loss_in_transformers_is_that_of_the_run(results: Path, tmp_path: Path) -> None:
    """The mean over the windows of the test split, which transformers computes from its own labels."""
    run = of(results, "llama")
    export.export(run.name, results, tmp_path / "out")
    found = export.finished(run.name, results)
    test = Split(results / "tokens" / found.spec.tokens_id, "test", found.spec.n_ctx, found.spec.eval_tokens)
    windows = torch.from_numpy(test.windows.astype("int64"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        loss = float(theirs(windows, labels=windows).loss)
    assert math.isclose(loss, found.metrics.loss or 0.0, rel_tol=1e-6)


def test_the_card_has_the_numbers_and_no_date_and_the_bytes_are_the_same_again(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = of(results, "transformer")
    (tmp_path / "two").mkdir()  # an empty folder is taken
    for name in ("one", "two"):
        assert main(["export", run.name, "--to", str(tmp_path / name), "--results", str(results), "--json"]) == 0
        assert printed("export", capsys.readouterr().out)["run"] == run.name
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    card = (tmp_path / "one" / "README.md").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    spec = json.loads((run / "spec.json").read_text())
    assert f"{metrics['loss']:.5g}"[:5] in card and f"{metrics['loss_stderr']:.2g}"[:4] in card and "(standard error)" in card
    assert f"| {metrics['n_params']:,} |" in card and f"| {metrics['tokens']:,} |" in card
    assert spec["corpus"]["sources"][0]["sha256"] in card and '"learning_rate": 0.02' in card and f"# {run.name}" in card


def test_a_bpe_has_its_end_of_text_and_adds_none_of_the_special_tokens_that_training_left_out(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the theme of the theory is there", "then they thought that this is the thing"] * 20
    monkeypatch.setattr(stage, "_first_bytes", lambda corpus, limit: iter(texts))
    monkeypatch.setattr(stage.sums, "require", lambda *given: None)
    given = json.loads(train_bpe(270, tmp_path))
    end = {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
    pieces = [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    given["post_processor"] = {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": {end["id"]: end}}
    given["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    given["model"]["dropout"] = 0.5
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(given))
    spec = made(tmp_path / "results", small_spec(tokenizer=TokenizerSpec("file", path=str(path), sha256=sha256([path]))), 270)
    export.export(spec.id, tmp_path / "results", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "the thought that they are there 🙂"
    assert theirs(text)["input_ids"] == Encoder(path).encode([text])[0][:-1].tolist() and theirs.eos_token_id == 0
    assert theirs.decode(theirs(text)["input_ids"]) == text and len(theirs) == 270


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: (run / "metrics.json").unlink(), "is not finished, .*metrics.json is missing: run snakemake"),
        (
            lambda run: (run / "model.safetensors").unlink(),
            "model.safetensors is missing: training writes it, and it was deleted",
        ),
        (lambda run: (run / "model.safetensors").write_bytes(b"x"), "model.safetensors is damaged"),
        (lambda run: shutil.rmtree(run.parents[1] / "tokenizers"), "tokenizer.json, the tokenizer of run gpt-.*, is missing"),
        (lambda run: run.rename(run.with_name("gpt-other")), "no run in .*/runs has an id that begins with 'gpt-n"),
        (lambda run: (run.parents[2] / "out" / "kept").mkdir(parents=True), "--to: .*out holds files already"),
        (lambda run: (run.parents[2] / "out").write_text("a file"), "--to: .*out is no folder"),
        (lambda run: shutil.copytree(run, f"{run}-again"), "begins the ids of several runs, gpt-.*: give more of its id"),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    change: Any, told: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, own = of(results, "transformer"), tmp_path / "results"
    shutil.copytree(run, own / "runs" / run.name)
    shutil.copytree(results / "tokenizers", own / "tokenizers")
    change(own / "runs" / run.name)
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", run.name[:-4], "--to", str(tmp_path / "out"), "--results", str(own)]) == 1
    error = capsys.readouterr().err
    assert re.search(told, error) and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_without_a_class_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(tmp_path / "results", small_spec(**model_fields("lstm", 1, 8), tokens=64 * 2, warmup_tokens=64))
    assert main(["export", spec.id, "--to", str(tmp_path / "out"), "--results", str(tmp_path / "results")]) == 1
    assert "architecture lstm: transformers has no class of this model" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]
