"""The records of a finished run: their files keep their bytes, and what is wrong with a file is named with file and field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_json
from scalinglaws.train.metrics import CurveRow, RunMetrics, RunTiming

# The text of these files as training wrote it before the records had types.
METRICS: dict[str, Any] = {
    "id": "gpt-1",
    "status": "ok",
    "steps": 244,
    "tokens": 499712,
    "best_step": 244,
    "loss": 2.5759438640736043,
}
METRICS |= {"loss_stderr": 0.0135, "loss_train": 2.59, "bits_per_byte": 3.7, "n_params": 1536, "n_params_total": 4832}
METRICS |= {"dataset_tokens": 128000, "n_vocab": 256, "flops_6nd": 4605345792, "flops_last_layer": 10**21}
METRICS |= {"flops_attention": 16886267904, "loss_tokens": 32000, "positions": {"loss": [2.6, 2.4], "stderr": [0.1, None]}}
TIMING: dict[str, Any] = {
    "id": "gpt-1",
    "seconds": 4.9,
    "tokens_per_second": 107059.6,
    "device": "AMD EPYC",
    "torch": "2.13.0+cpu",
}
TIMING |= {"python": "3.11.7", "threads": 1, "attempts": 1, "processes": 1, "micro_batch_tokens": 2048, "at_once": 1}
ROW: dict[str, Any] = {"step": 8, "tokens": 16384, "phase": "warmup", "learning_rate": 0.004, "loss_train": 5.6, "loss_test": 5.4}
ROW |= {"loss_validation": None, "grad_norm": 0.8, "loss_by_position": [5.4, 5.3], "noise_square": None, "noise_trace": None}


@pytest.mark.parametrize(("record", "values"), [(RunMetrics, METRICS), (RunTiming, TIMING)])
def test_a_file_is_read_and_written_with_the_same_bytes(tmp_path: Path, record: Any, values: dict[str, Any]) -> None:
    write_json(tmp_path / "a.json", values)
    read = record.read(tmp_path / "a.json")
    assert read.version == 1 and "version" not in read.plain()
    write_json(tmp_path / "b.json", read.plain())
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_a_curve_is_read_and_written_with_the_same_bytes(tmp_path: Path) -> None:
    text = json.dumps(ROW) + "\n" + json.dumps(ROW | {"step": 9, "loss_train": None}) + "\n"
    (tmp_path / "curve.jsonl").write_text(text)
    rows = CurveRow.read_all(tmp_path / "curve.jsonl")
    assert [row.step for row in rows] == [8, 9] and rows[1].loss_train is None
    assert "".join(json.dumps(row.plain()) + "\n" for row in rows) == text


def test_files_of_older_runs_are_read() -> None:
    """These runs were trained before positions, the noise scale and the number of processes were recorded."""
    metrics = RunMetrics.from_plain({name: METRICS[name] for name in METRICS if name not in ("loss_tokens", "positions")}, "m")
    assert metrics.positions is None and metrics.loss_tokens is None
    row = CurveRow.from_plain({name: ROW[name] for name in list(ROW)[:8]}, "c")
    assert row.loss_by_position is None and row.noise_trace is None
    assert RunTiming.from_plain({name: TIMING[name] for name in list(TIMING)[:8]}, "t").processes is None


def test_whole_numbers_are_numbers_and_truths_are_not() -> None:
    assert isinstance(RunMetrics.from_plain(METRICS | {"loss": 3}, "m").loss, float)
    with pytest.raises(StudyError, match=r"m has loss = true, which is no number"):
        RunMetrics.from_plain(METRICS | {"loss": True}, "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "244"}, r'metrics\.json has steps = "244", which is no whole number: delete its folder'),
        ({"steps": 1.5}, "has steps = 1.5, which is no whole number"),
        ({"n_params": None}, "has n_params = null, which is no whole number"),
        ({"status": 1}, "has status = 1, which is no text"),
        ({"positions": {"loss": [1.0, "x"], "stderr": []}}, r'has positions\.loss\[1\] = "x", which is no number'),
        ({"positions": [1.0]}, r"has positions = \[1\.0\], which is no object"),
        ({"lr": 1}, "has the unknown field lr: another version"),
        ({"version": 2}, r"metrics\.json has version 2, and this scalinglaws reads version 1: use the one that wrote it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, METRICS | changes)
    with pytest.raises(StudyError, match=message):
        RunMetrics.read(path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(StudyError, match=r"metrics\.json does not exist: run snakemake"):
        RunMetrics.read(path)
    for text, message in (("{", "is damaged"), ("[]", "holds no JSON object"), ('{"id": "a"}', "has no field status")):
        path.write_text(text)
        with pytest.raises(StudyError, match=message):
            RunMetrics.read(path)
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"tokens": "many"}) + "\n")
    with pytest.raises(StudyError, match=r'line 2, has tokens = "many"'):
        CurveRow.read_all(path)


def test_the_records_need_no_torch() -> None:
    code = "import sys, scalinglaws.train.metrics; assert not {'torch', 'numpy', 'polars'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
