"""Curves in event files: what TensorBoard's own reader finds there, while a training goes on, is killed, and goes on again."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fixtures.small_runs import killed_at, same_run, small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.common import asked
from scalinglaws.common.errors import StudyError
from scalinglaws.train import event_file
from scalinglaws.train.run import begin_run, train, train_rung
from scalinglaws.train.stacked_run import StackedRun, Stage

NUMBERS = ("learning_rate", "loss_train", "loss_test", "loss_validation", "grad_norm", "noise_square", "noise_trace")
WARNING = "warning: its curve is not shown in TensorBoard: "
ROWS: list[dict[str, Any]] = [
    {"step": k, "tokens": 64 * k, "loss_test": 3 / k, "phase": "stable", "loss_by_position": [1.0]} for k in (1, 2, 3, 4)
]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have trainings write event files below the folder that is returned, as `track` of a profile does."""
    monkeypatch.setenv(asked.TENSORBOARD, str(tmp_path / "events"))
    return tmp_path / "events"


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return tag -> (step, value) of each point that TensorBoard shows of a folder."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def curve(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]


def wanted(rows: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return what ``points`` must find of a curve: each number that is there, in 32 bits, at its step and at its tokens."""
    groups = {"by_step": "step", "by_tokens": "tokens"}
    found = {
        f"{group}/{name}": [(row[at], float(np.float32(row[name]))) for row in rows if row.get(name) is not None]
        for group, at in groups.items()
        for name in NUMBERS
    }
    return {tag: each for tag, each in found.items() if each}


def test_tensorboard_reads_the_curve_of_a_run(
    tokens: Path, tmp_path: Path, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes the bytes that the training itself wrote, for a run of early stopping that measures its noise."""
    spec = small_spec(stop="early", patience=1000, decay=0.0, schedule="cosine", noise_every=4)
    run = tmp_path / "results/runs" / spec.id
    train(spec, tokens, run, device="cpu")
    rows = curve(run)
    assert set(wanted(rows)) == {f"{group}/{name}" for group in ("by_step", "by_tokens") for name in NUMBERS}
    assert points(events / spec.id) == wanted(rows)
    words = ["curves", spec.id[:-3], "--results", str(tmp_path / "results"), "--tensorboard"]
    assert main([*words, str(tmp_path / "to")]) == 0 == main([*words, str(tmp_path / "to")])
    path = event_file.path_of(tmp_path / "to", spec.id)
    assert capsys.readouterr().out == f"{path}: {len(rows)} rows\n" * 2 and [*path.parent.iterdir()] == [path]
    assert path.read_bytes() == event_file.path_of(events, spec.id).read_bytes()
    path.write_bytes(b"of another program")
    assert main([*words, str(tmp_path / "to")]) == 1
    assert "was not written by scalinglaws: move it away" in capsys.readouterr().err
    assert path.read_bytes() == b"of another program"


def test_a_run_that_still_trains_has_the_rows_of_its_checkpoint(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = small_spec()
    run = tmp_path / "results/runs" / spec.id
    run.mkdir(parents=True)
    (run / "spec.json").write_text(f"{spec.canonical}\n")
    words = ["curves", spec.id, "--results", str(tmp_path / "results"), "--tensorboard", str(tmp_path / "to")]
    assert main(words) == 1 and not (tmp_path / "to").exists()
    assert f"run {spec.id} has no curve yet" in capsys.readouterr().err
    with killed_at(20):
        train(spec, tokens, run, device="cpu", checkpoint_seconds=0.0)
    assert main(words) == 0
    before = points(tmp_path / "to" / spec.id)
    train(spec, tokens, run, device="cpu")
    assert before == wanted([row for row in curve(run) if row["step"] <= 20])


@pytest.mark.parametrize("seconds", [0.0, 1e9])  # between checkpoints: it goes on from that of step 12, and from nothing
def test_a_killed_training_shows_each_step_once(seconds: float, tokens: Path, tmp_path: Path, events: Path) -> None:
    spec = small_spec()
    run, path = tmp_path / "runs" / spec.id, event_file.path_of(events, spec.id)
    with killed_at(12):
        train(spec, tokens, run, device="cpu", checkpoint_seconds=seconds)
    with killed_at(26):
        train(spec, tokens, run, device="cpu", checkpoint_seconds=1e9)
    shown, inode = path.read_bytes(), path.stat().st_ino
    assert [step for step, _ in points(path.parent)["by_step/loss_test"]] == [8, 10, 11, 13, 16, 19, 23]
    path.write_bytes(shown[:-5])  # the process was killed while it wrote
    with killed_at(15):
        train(spec, tokens, run, device="cpu", checkpoint_seconds=1e9)
    assert shown.startswith(path.read_bytes())
    train(spec, tokens, run, device="cpu")
    assert points(path.parent) == wanted(curve(run)) and path.stat().st_ino == inode


def test_rows_of_other_numbers_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    """A GPU does not repeat its bits: then the file is written anew, and never holds a step twice."""
    path = tmp_path / "a" / event_file.NAME
    event_file.grow(path, event_file.content(ROWS[:3]))
    others = [ROWS[0], *({**row, "loss_test": 2 / row["step"]} for row in ROWS[1:])]
    for count in (2, 3, 4):
        event_file.grow(path, event_file.content(others[:count]))
        assert points(path.parent) == wanted(others[:count])


def test_a_trunk_and_its_run_are_shown_and_so_are_the_rows_of_a_stack(tokens: Path, tmp_path: Path, events: Path) -> None:
    spec = small_spec()
    train_rung(spec.trunk, tokens, 20, tmp_path / "trunks" / spec.trunk.id / "step20.safetensors", device="cpu")
    shown = points(events / spec.trunk.id)
    assert [step for step, _ in shown["by_step/loss_test"]] == [8, 10, 11, 13, 16, 19]
    train(spec, tokens, tmp_path / "runs" / spec.id, trunk=tmp_path / "trunks" / spec.trunk.id, device="cpu")
    assert points(events / spec.id) == wanted(curve(tmp_path / "runs" / spec.id))
    specs = [small_spec(seed=seed) for seed in (2, 3)]

    def stage(k: int) -> Stage:
        def begin(rows: int) -> Any:
            return begin_run(specs[k], tokens, tmp_path / "runs" / specs[k].id, device="cpu", stacked=rows)

        return Stage(begin, contextlib.nullcontext)

    StackedRun([[stage(0)], [stage(1)]], 2, 40).train()
    for each in specs:
        assert points(events / each.id) == wanted(curve(tmp_path / "runs" / each.id))


def no_library(monkeypatch: pytest.MonkeyPatch, events: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)


def no_folder(monkeypatch: pytest.MonkeyPatch, events: Path) -> None:
    events.write_text("a file where the folder would be")


def other_library(monkeypatch: pytest.MonkeyPatch, events: Path) -> None:
    monkeypatch.setattr("tensorboard.compat.proto.summary_pb2.Summary.Value", None)


@pytest.mark.parametrize(
    ("broken", "said"),
    [(no_library, "pip install tensorboard"), (no_folder, "is a file where a folder"), (other_library, "None")],
)
def test_what_fails_is_told_once_and_the_training_goes_on(
    broken: Callable[[pytest.MonkeyPatch, Path], None],
    said: str,
    tokens: Path,
    tmp_path: Path,
    events: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = small_spec()
    broken(monkeypatch, events)
    train(spec, tokens, tmp_path / "watched", device="cpu")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "TensorBoard" in line]
    assert len(warnings) == 1 and warnings[0].startswith(f"{spec.id}: {WARNING}") and said in warnings[0]
    monkeypatch.delenv(asked.TENSORBOARD)
    train(spec, tokens, tmp_path / "not", device="cpu")
    same_run(tmp_path / "watched", tmp_path / "not")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_library(monkeypatch, tmp_path)
    with pytest.raises(StudyError, match=r"written by the library tensorboard, .*: pip install tensorboard"):
        event_file.content([])


def test_of_several_processes_the_first_one_writes(events: Path) -> None:
    for first in (True, False):
        trainer: Any = SimpleNamespace(
            processes=SimpleNamespace(first=first), spec=SimpleNamespace(id="a"), rows=[], show_rows=None
        )
        event_file.watch(trainer, SimpleNamespace(name="a"))  # type: ignore[arg-type]
        assert (trainer.show_rows is not None) == first
    assert event_file.path_of(events, "a").read_bytes() == event_file.content([])
