"""Runs whose learning rate a sweep gives: the bytes of a run with that rate, also when they are killed, and a rate that stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.small_runs import killed_at, same_run, small_spec, write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.tables.aggregate import checked_metrics, run_row
from scalinglaws.train.run import train, train_rung

SWEPT = small_spec(learning_rate=0.0, rate_sweep="0123456789")
FIXED = small_spec(learning_rate=0.01)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens")


def folder(tmp_path: Path, name: str) -> Path:
    """Return the folder of a run of SWEPT by that name."""
    return tmp_path / name / SWEPT.id


def test_a_swept_rate_trains_as_the_same_rate_in_a_spec(tmp_path: Path, tokens: Path) -> None:
    own = folder(tmp_path, "own")
    train(SWEPT, tokens, own, device="cpu", rate=0.01)
    train(FIXED, tokens, tmp_path / "fixed", device="cpu")
    for name in ("curve.jsonl", "model.safetensors"):
        assert (own / name).read_bytes() == (tmp_path / "fixed" / name).read_bytes()
    swept, fixed = (read_object(path / "metrics.json") for path in (own, tmp_path / "fixed"))
    assert swept == fixed | {"id": SWEPT.id, "learning_rate": 0.01} and "learning_rate" not in fixed
    row = run_row(SWEPT, checked_metrics(own), ["size"], fitted=True)
    assert (row["learning_rate"], row["rate_sweep"]) == (0.01, "0123456789")
    metrics = checked_metrics(own)
    row = run_row(FIXED, metrics, ["size"], fitted=True)
    assert (row["learning_rate"], row["rate_sweep"]) == (FIXED.learning_rate, None)


def test_killed_and_resumed_or_from_a_rung_it_has_the_same_bytes(tmp_path: Path, tokens: Path) -> None:
    whole, cut, rung = (folder(tmp_path, name) for name in ("whole", "cut", "rung"))
    train(SWEPT, tokens, whole, device="cpu", rate=0.01)
    with killed_at(25):
        train(SWEPT, tokens, cut, device="cpu", checkpoint_seconds=0.0, rate=0.01)
    train(SWEPT, tokens, cut, device="cpu", rate=0.01)
    same_run(whole, cut)
    train_rung(SWEPT.trunk, tokens, 20, tmp_path / "trunk" / "step20.safetensors", device="cpu", rate=0.01)
    train(SWEPT, tokens, rung, trunk=tmp_path / "trunk", device="cpu", rate=0.01)
    same_run(whole, rung)


def test_a_training_keeps_the_rate_that_it_began_with(tmp_path: Path, tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, cut = (folder(tmp_path, name) for name in ("whole", "cut"))
    train(SWEPT, tokens, whole, device="cpu", rate=0.01)
    with killed_at(25):
        train(SWEPT, tokens, cut, device="cpu", checkpoint_seconds=0.0, rate=0.01)
    train(SWEPT, tokens, cut, device="cpu", rate=0.011)  # the rule was made again elsewhere, of losses that differ by rounding
    same_run(whole, cut)
    said = capsys.readouterr().err
    assert "gives the learning rate 0.011 by now, and this training goes on at 0.01" in said
    assert f"{SWEPT.id}: learning rate 0.01, by the rule of sweep 0123456789" in said


def test_without_the_rate_it_is_not_trained(tmp_path: Path, tokens: Path) -> None:
    with pytest.raises(StudyError, match="takes its learning rate from sweep 0123456789"):
        train(SWEPT, tokens, tmp_path / "run", device="cpu")
