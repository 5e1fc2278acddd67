"""A study whose runs begin from published weights, in the real workflow, and the export of one of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
import transformers
import yaml

from fixtures import real_study
from fixtures.hub import COMMIT, serving
from scalinglaws.data.pinned import sha256
from workflow.conftest import Workflow, copy_workflow

CONFIG = "continued.yaml"


@pytest.fixture
def continued(tmp_path: Path) -> Workflow:
    """Write a study of a run from nothing and one from published weights, each of which takes a rung."""
    made = copy_workflow(tmp_path / "w")
    real_study.write_text(made.folder)
    text = {"kind": "files", "files": [str(made.folder / "manual.txt")], "sha256": sha256([made.folder / "manual.txt"])}
    defaults = {"corpus": "manual", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 1e-3, "warmup_tokens": "4k"}
    init = {"huggingface": "org/model", "revision": COMMIT}
    grid = {"model": [{"n_layer": 2, "d_model": 8, "n_heads": 2}], "tokens": ["40k"], "init": [None, init]}
    data = {"study": "small", "defaults": defaults | {"eval_tokens": "2k", "curve_tokens": 512}}
    data |= {"experiments": {"size": {"grid": grid}}, "ladder": {"base": "20k"}, "fits": {"laws": ["power-c"]}, "figures": []}
    data |= {"corpora": {"manual": {"sources": [text], "passage_chars": 400, "validation": 0.1, "test": 0.1}}}
    (made.folder / CONFIG).write_text(yaml.safe_dump(data))
    return made


def test_runs_begin_from_published_weights_and_are_exported(
    continued: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 256, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 64}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)).save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    jobs = continued.jobs(study=CONFIG)
    assert (jobs["weights"], jobs["rung"], jobs["train"]) == (1, 2, 2)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with serving(tmp_path / "hub", monkeypatch, name="models/org/model", place="org/model", files=files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        continued.run("--cores", "2", study=CONFIG)
    results = continued.folder / "results"
    runs = polars.read_parquet(results / "studies/small/tables/runs.parquet").sort("init", "tokens")
    assert runs["init"].null_count() == 1 and json.loads(runs["init"][-1])["huggingface"] == "org/model"
    fit = json.loads((results / "studies/small/fits/power-c.json").read_text())
    left_out = {item["run"] for item in fit["excluded"] if item["reason"].startswith("it begins from published weights")}
    assert left_out == set(runs.filter(polars.col("init").is_not_null())["run"])

    # What is there needs the published weights no more.
    (weights,) = results.glob("weights/*/config.json")
    weights.unlink()
    assert continued.jobs(study=CONFIG) == {}
    run = runs["run"][-1]
    done = continued.call(sys.executable, "-m", "scalinglaws", "export", run[:-2], "--to", str(tmp_path / "out"))
    assert f"{run}: written to" in done.stdout
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.config.vocab_size == 256 and f"org/model, revision {COMMIT}" in (tmp_path / "out/README.md").read_text()
    told = continued.call(sys.executable, "-m", "scalinglaws", "verify")
    assert " 0 files damaged, 0 missing" in told.stdout
