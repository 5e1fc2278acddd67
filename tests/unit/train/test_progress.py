"""The heartbeat of a training: how long to wait for the next one, and how long it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.train import progress, run
from scalinglaws.train.progress import LONG_SECONDS, MISSED, SECONDS, Progress


def test_a_heartbeat_says_how_long_the_next_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times the longest that one took so far; longer at the first step, which may be compiled, and at the last."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = Progress("a", tmp_path, 5, 20, 64)

    def within(step: int) -> float:
        told.show(step, 2.0, 2.5)
        beat: dict[str, Any] = json.loads((tmp_path / "progress.json").read_text())
        assert (beat["step"], beat["loss"], beat["test_loss"]) == (step, 2.0, 2.5)
        return float(beat["next_within"])

    assert within(5) == LONG_SECONDS
    now += 12
    assert within(7) == MISSED * 12
    now += 40
    assert within(8) == MISSED * 40
    now += SECONDS
    assert within(9) == MISSED * 40
    assert within(20) == LONG_SECONDS
    with pytest.raises(KeyError), told:
        raise KeyError
    assert not (tmp_path / "progress.json").exists()


def test_the_heartbeat_is_there_until_the_results_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the trained model is measured. Its test loss is that of the curve."""
    spec, beats = small_spec(), []
    whole = run.finish

    def finish(*given: Any) -> Any:
        beats.append(json.loads((tmp_path / "out/progress.json").read_text()))
        return whole(*given)

    monkeypatch.setattr(run, "finish", finish)
    run.train(spec, write_tokens(tmp_path / "tokens"), tmp_path / "out", device="cpu")
    (beat,) = beats
    rows = [json.loads(line)["loss_test"] for line in (tmp_path / "out/curve.jsonl").read_text().splitlines()]
    assert (beat["step"], beat["steps"], beat["id"]) == (spec.steps, spec.steps, spec.id)
    assert beat["test_loss"] in rows[-2:]  # the very last row is added when training has ended
    assert not (tmp_path / "out/progress.json").exists()
