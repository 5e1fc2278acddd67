"""Evaluation: losses by hand, clustered errors against simulation, corpora measured once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.small_runs import flat_model, small_spec, write_tokens
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_json
from scalinglaws.data.batches import Split, windows
from scalinglaws.evaluate import evaluate
from scalinglaws.evaluate.losses import clustered_stderr, octave_means, positions, token_losses
from scalinglaws.models.module import logits
from scalinglaws.train.checkpoint import write_tensors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run folder whose weights are the initial ones."""
    spec, folder = small_spec(), tmp_path / "run"
    folder.mkdir()
    (folder / "spec.json").write_text(spec.canonical)
    write_tensors(folder / "model.safetensors", flat_model(spec).params)
    write_json(folder / "metrics.json", {"status": "ok", "best_step": 40})
    return folder


ROWS = [i * 43 // 20 for i in range(20)]  # 320 of 700 tokens: 20 of 43 windows, spread evenly


def test_windows_and_passages() -> None:
    got = windows(np.arange(34, dtype=np.uint16), 16)
    assert got.tolist() == [list(range(17)), list(range(16, 33))]
    assert len(windows(np.arange(33), 16)) == 2 and len(windows(np.arange(32), 16)) == 1
    assert len(windows(np.arange(16), 16)) == 0


def test_each_target_has_its_passage(tmp_path: Path) -> None:
    split = Split(write_tokens(tmp_path / "t"), "test", 16, 320)
    assert split.n_targets == 320 and split.tokens_per_byte == pytest.approx(700 / 686)
    assert split.passages().tolist() == [position // 50 for row in ROWS for position in range(16 * row + 1, 16 * row + 17)]
    stream = np.fromfile(tmp_path / "t" / "test.bin", "<u2")
    assert split.windows.tolist() == [stream[16 * row : 16 * row + 17].tolist() for row in ROWS]
    assert set(np.diff(ROWS)) == {2, 3} and ROWS[-1] >= 40
    whole = Split(tmp_path / "t", "test", 16, 10**6)
    assert whole.n_targets == 43 * 16 and set(whole.passages()) == set(range(14))


def test_losses_by_position_are_those_of_the_model(run: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "corpus" / "tokenizer")
    evaluate.evaluate(run, [tokens], tmp_path / "evals" / "run.json")
    result = json.loads((tmp_path / "evals" / "run.json").read_text())
    assert result["step"] == 40 and result["id"] == small_spec().id
    mean, *by_position = result["rows"]
    stream = np.fromfile(tokens / "test.bin", "<u2").astype(np.int64)
    inputs = torch.tensor(np.array([stream[16 * row : 16 * row + 16] for row in ROWS]))
    targets = torch.tensor(np.array([stream[16 * row + 1 : 16 * row + 17] for row in ROWS]))
    module = flat_model(small_spec(), by_hand=False).module
    log_p = logits(module, module(inputs)).detach().double().log_softmax(-1)
    losses = -log_p.gather(-1, targets[..., None])[..., 0].numpy()
    assert mean["position"] is None and mean["n_tokens"] == 320 and mean["corpus"] == "corpus"
    assert mean["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert [row["position"] for row in by_position] == list(range(16))
    assert [row["loss"] for row in by_position] == pytest.approx(losses.mean(0), rel=1e-6)
    assert all(row["n_tokens"] == 20 and row["nats_per_byte"] is None for row in by_position)
    assert mean["nats_per_byte"] == pytest.approx(mean["loss"] * 700 / 686, rel=1e-12)
    passage = np.array([(16 * row + i) // 50 for row in ROWS for i in range(1, 17)])
    assert set(passage) == set(range(14))
    sums = np.array([(losses.reshape(-1) - losses.mean())[passage == g].sum() for g in range(14)])
    assert mean["stderr"] == pytest.approx(math.sqrt(14 / 13 * (sums**2).sum()) / 320, rel=1e-5)


def test_octaves_of_positions() -> None:
    by_position = np.arange(1.0, 11.0)
    losses = np.stack([by_position - 0.5, by_position + 0.5])
    assert octave_means(losses) == [1.0, 2.5, 5.5, 9.0]  # positions 1 | 2 3 | 4..7 | 8 9 10
    assert octave_means(losses[:, :7]) == [1.0, 2.5, 5.5]
    assert octave_means(np.full((2, 4), 1 / 3)) == [0.333333] * 3
    assert octave_means(np.array([[1.0, math.nan]])) == [1.0, None]


def test_positions_are_the_rows_of_the_positions(run: Path, tmp_path: Path) -> None:
    split = Split(write_tokens(tmp_path / "corpus" / "tokenizer"), "test", 16, 320)
    module = flat_model(small_spec()).module
    _, *rows = evaluate.corpus_rows(module, split, "corpus")
    found = positions(token_losses(module, split), split)
    for name in ("loss", "stderr"):
        assert found[name] == [float(f"{row[name]:.6g}") for row in rows]


def test_clustered_error_is_the_spread_of_means() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(200), 25)
    draws = [rng.normal(size=200)[clusters] + rng.normal(size=5000) for _ in range(300)]
    spread = np.std([draw.mean() for draw in draws])
    claimed = np.mean([clustered_stderr(draw, clusters) for draw in draws])
    assert claimed == pytest.approx(spread, rel=0.1)
    assert claimed > 3 * np.mean([draw.std() / math.sqrt(5000) for draw in draws])
    assert math.isnan(clustered_stderr(np.ones(3), np.zeros(3, dtype=int)))


def test_an_added_corpus_measures_itself_alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    original = evaluate.corpus_rows

    def spy(module: Any, split: Split, corpus: str, precision: str) -> list[dict[str, Any]]:
        measured.append(corpus)
        return original(module, split, corpus, precision)

    monkeypatch.setattr(evaluate, "corpus_rows", spy)
    one, two = (write_tokens(tmp_path / name / "bytes") for name in ("one", "two"))
    out = tmp_path / "evals" / "all.json"
    evaluate.evaluate(run, [one], out)
    first = json.loads(out.read_text())["rows"]
    evaluate.evaluate(run, [one, two], out)
    assert measured == ["one", "two"]
    assert json.loads(out.read_text())["rows"][: len(first)] == first
    weights = {name: value + 0.1 for name, value in flat_model(small_spec()).params.items()}
    write_tensors(run / "model.safetensors", weights)
    evaluate.evaluate(run, [one], out)
    assert measured == ["one", "two", "one"]
    cache = out.parent / "cache-one.json"
    kept = json.loads(cache.read_text())
    del kept["key"]["rows"]  # caches had no such key before rows had nats_per_byte
    cache.write_text(json.dumps(kept))
    sums.beside(cache).unlink()
    evaluate.evaluate(run, [one], out)
    assert measured == ["one", "two", "one", "one"]
    cache.write_text(cache.read_text().replace("2", "3", 1))
    whole = out.read_bytes()
    evaluate.evaluate(run, [one], out)
    assert measured == ["one", "two", "one", "one", "one"] and out.read_bytes() == whole


@pytest.mark.parametrize("name", ["metrics.json", "model.safetensors"])
def test_a_damaged_run_is_not_evaluated(run: Path, tmp_path: Path, name: str) -> None:
    sums.record(run / sums.LIST, [run / "metrics.json", run / "model.safetensors"])
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[:-3] + b"1" + data[-2:])
    with pytest.raises(StudyError, match=rf"{name} is damaged.*verify --repair"):
        evaluate.evaluate(run, [], tmp_path / "out.json")
    (run / sums.LIST).unlink()
    (run / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match=rf"{name} is damaged.*verify --repair"):
        evaluate.evaluate(run, [write_tokens(tmp_path / "c" / "t")], tmp_path / "out.json")


def test_a_diverged_run_has_no_rows(run: Path, tmp_path: Path) -> None:
    write_json(run / "metrics.json", {"status": "diverged", "best_step": 8})
    evaluate.evaluate(run, [tmp_path / "absent"], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == []


def test_tokens_of_another_tokenizer_are_refused(run: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "corpus" / "tokenizer")
    meta = json.loads((tokens / "meta.json").read_text())
    (tokens / "meta.json").write_text(json.dumps(meta | {"n_vocab": 40}))
    with pytest.raises(StudyError, match="its own tokenizer"):
        evaluate.evaluate(run, [tokens], tmp_path / "out.json")
