"""The stage ``rates``: from the files of a sweep's runs to the rule that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.small_runs import small_spec
from scalinglaws.cli.app import main
from scalinglaws.decide.verify import verify
from scalinglaws.study.paths import rate_rule_path, run_folder, sweep_path
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.sweeps import Sweep, rate_of, read_rule
from scalinglaws.train.metrics import Flop, RunMetrics

RATES = 2e-3 * 2.0 ** np.arange(6)


def finish(results: Path, spec: RunSpec, loss: float | None) -> None:
    """Write the files of a run that ended with a loss."""
    flop = Flop(1)
    counts: dict[str, Any] = {
        "steps": 40,
        "tokens": 2560,
        "best_step": 40,
        "n_params_total": 900,
        "dataset_tokens": 3000,
        "n_vocab": 32,
    }
    flops: dict[str, Any] = {"flops_6nd": flop, "flops_last_layer": flop, "flops_attention": flop}
    losses: dict[str, Any] = {"loss": loss, "loss_stderr": 0.01, "loss_train": loss, "bits_per_byte": None}
    metrics = RunMetrics(spec.id, "ok" if loss else "diverged", n_params=spec.n_params, **counts, **losses, **flops)
    folder = run_folder(results, spec.id)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(f"{spec.canonical}\n")
    (folder / "metrics.json").write_text(json.dumps(metrics.plain()))
    (folder / "curve.jsonl").write_text("")


def sweep_of(results: Path, coefficient: float) -> Sweep:
    """Write a sweep of two sizes whose losses are least at coefficient / sqrt(N), with a run that diverged."""
    runs = []
    for width in (8, 16):
        for rate in (*RATES, 10.0):
            spec = small_spec(d_model=width, d_ff=4 * width, d_attn=width, learning_rate=float(rate))
            away = np.log(rate) - np.log(coefficient) + 0.5 * np.log(spec.n_params)
            finish(results, spec, None if rate == 10.0 else float(np.exp(1 + 0.02 * away**2)))
            runs.append(spec.id)
    sweep = Sweep(tuple(sorted(runs)))
    path = sweep_path(results, sweep.id)
    path.parent.mkdir(parents=True)
    path.write_text(f"{sweep.canonical}\n")
    return sweep


def call(results: Path, sweep: Sweep) -> int:
    options = ["--sweep", str(sweep_path(results, sweep.id)), "--results", str(results), "--sums"]
    return main(["rates", *options, "--out", str(rate_rule_path(results, sweep.id))])


def test_a_rule_from_the_files_of_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = sweep_of(tmp_path, 0.4)
    assert call(tmp_path, sweep) == 0
    said = capsys.readouterr().out
    assert f"sweep {sweep.id}: learning rate = 0.4 · N^-0.5, exponent [-0.500, -0.500]" in said
    assert (
        "warning: Two sizes give an exponent that nothing tests" in said
        and "1000 times the largest N, 3,072,000: 2.28e-4" in said
    )
    rule = read_rule(tmp_path, sweep.id)
    assert (rule.coefficient, rule.exponent, rule.n_params) == (pytest.approx(0.4, rel=1e-5), pytest.approx(-0.5), (768, 3072))
    assert rule.beyond(30720) == 10 and rule.beyond(1000) == 1 and rule.beyond(384) == 2
    user = small_spec(d_model=32, d_ff=128, d_attn=32, learning_rate=0.0, rate_sweep=sweep.id)
    assert rate_of(user, tmp_path) == pytest.approx(0.4 * user.n_params**-0.5, rel=1e-5)
    written = json.loads(rate_rule_path(tmp_path, sweep.id).read_text())
    assert written["runs"] == list(sweep.runs) and written["optima"][0]["losses"][-1] is None
    found = verify(tmp_path)
    assert not found.damaged and not found.missing
    rate_rule_path(tmp_path, sweep.id).write_text("{}")
    assert [fault.path for fault in verify(tmp_path).damaged] == [rate_rule_path(tmp_path, sweep.id)]


def test_an_end_of_the_sweep_is_an_error_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = sweep_of(tmp_path, 0.02)
    assert call(tmp_path, sweep) == 1
    assert "the sweep at N = 768: the least loss lies at the smallest rate, 0.002" in capsys.readouterr().err
    assert not rate_rule_path(tmp_path, sweep.id).exists()


def test_the_rule_of_a_run_that_was_edited_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = sweep_of(tmp_path, 0.4)
    path = run_folder(tmp_path, sweep.runs[0]) / "spec.json"
    path.write_text(path.read_text().replace('"seed":1', '"seed":2'))
    assert call(tmp_path, sweep) == 1 and "it was edited by hand" in capsys.readouterr().err
