"""The stage that fetches published weights: what it takes from a hub, what it pins and checks, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from fixtures.hub import COMMIT, Hub, serving
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.common.sums import read
from scalinglaws.data.weights import fetch
from scalinglaws.study.init import Weights

CONFIG, TENSORS = b'{"model_type": "gpt2"}', b"weights, as far as this stage cares"
WHOLE = {"config.json": CONFIG, "model.safetensors": TENSORS, "pytorch_model.bin": b"a pickle", "original/a.safetensors": b"x"}
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}).encode()
SHARDS = {"config.json": CONFIG, "model.safetensors.index.json": INDEX, "other.safetensors": b"x"}
SHARDS |= {"model-1.safetensors": b"one", "model-2.safetensors": b"two"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    with serving(tmp_path / "hub", monkeypatch, name="models/org/model", place="org/model", files=dict(WHOLE)) as handler:
        yield handler


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def weights(**changes: Any) -> Weights:
    return Weights(**({"repository": "org/model", "revision": COMMIT, "sha256": {}} | changes))


def test_one_file_is_taken_with_its_sum_and_nothing_else(hub: type[Hub], tmp_path: Path) -> None:
    fetch(weights(sha256={"model.safetensors": sha256(TENSORS)}), tmp_path / "out")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "SHA256SUMS"}
    assert found == {"config.json": CONFIG, "model.safetensors": TENSORS}
    assert read(tmp_path / "out" / "SHA256SUMS") == {name: sha256(data) for name, data in found.items()}
    assert not any("pytorch_model" in path or "original" in path for path in hub.requests)


def test_the_files_of_an_index_are_taken(hub: type[Hub], tmp_path: Path) -> None:
    hub.files = SHARDS
    fetch(weights(), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["SHA256SUMS", "config.json", "model-1.safetensors", "model-2.safetensors"]


def test_a_damaged_file_of_the_cache_is_fetched_once_more_and_offline_the_cache_does(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(weights(), tmp_path / "one")
    (cached,) = tmp_path.glob("hub/**/snapshots/**/model.safetensors")
    blob = cached.resolve()
    blob.unlink()  # the file in results is a second name of it
    blob.write_bytes(TENSORS.upper())
    fetch(weights(), tmp_path / "two")
    assert "model org/model: model.safetensors is damaged in the cache and is fetched again" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch(weights(), tmp_path / "three")
    assert {(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "three")} == {TENSORS}


@pytest.mark.parametrize(
    ("files", "changes", "told"),
    [
        (
            WHOLE,
            {"revision": "b" * 40},
            r"model org/model, revision b+, cannot be had from the hub: .*\ncheck `init.huggingface`",
        ),
        (WHOLE, {"repository": "org/nothing"}, "model org/nothing, revision a+, cannot be had from the hub"),
        (WHOLE, {"sha256": {"model.safetensors": "0" * 64}}, f"has sha256 {sha256(TENSORS)}, and init.sha256 says 0000"),
        (WHOLE, {"sha256": {"config.json": "0" * 64}}, f"config.json has sha256 {sha256(CONFIG)}"),
        (WHOLE, {"sha256": {"other.safetensors": "0" * 64}}, "other.safetensors is none of the files of model org/model"),
        ({"model.safetensors": TENSORS}, {}, "has no config.json: init needs a model that transformers loads"),
        (
            {"config.json": CONFIG, "pytorch_model.bin": b"x"},
            {},
            "has neither model.safetensors nor .*: other formats .* pickles",
        ),
        ({"config.json": b"[1]", "model.safetensors": TENSORS}, {}, "holds no JSON object"),
        (
            SHARDS | {"model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}'},
            {},
            "lists no .safetensors files",
        ),
        (SHARDS | {"model.safetensors.index.json": b'{"weight_map": {"a": "a.bin"}}'}, {}, "lists no .safetensors files"),
        (
            {k: v for k, v in SHARDS.items() if k != "model-2.safetensors"},
            {},
            "model-2.safetensors is listed .* and is not there",
        ),
    ],
)
def test_what_cannot_be_taken_is_told(
    files: dict[str, bytes], changes: dict[str, Any], told: str, hub: type[Hub], tmp_path: Path
) -> None:
    hub.files = files
    with pytest.raises(StudyError, match=told):
        fetch(weights(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"huggingface": "../../etc", "revision": COMMIT},
        {"huggingface": "org/model", "revision": "main"},
        {"huggingface": "org/model", "revision": COMMIT, "../a.safetensors": "0" * 64},
        {"huggingface": "org/model"},
    ],
)
def test_a_spec_that_was_edited_is_refused(values: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(values))
    assert main(["weights", "--spec", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "init in a spec is not valid" in capsys.readouterr().err
