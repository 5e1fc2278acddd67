"""What is left of a study, on folders made by hand: expected numbers are counted from the config, not by the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.decide import plan, prune
from scalinglaws.decide.status import heartbeats, needed_rungs, status
from scalinglaws.study import config
from scalinglaws.study.study import Study, build

# Batches of 2048 tokens. Budgets have 244, 488 and 976 steps, stable phases end at 195, 390 and 781; rungs lie at 195, 390, 781.
STEPS, STARTS = {500_000: 244, 1_000_000: 488, 2_000_000: 976}, {500_000: 195, 1_000_000: 390, 2_000_000: 781}
STUDY: dict[str, Any] = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"]}], "bytes": "10M"}},
    "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "warmup_tokens": "50k"},
    "ladder": {"base": "400k"},
    "experiments": {"size": {"grid": {"model": ["2x16"], "tokens": ["0.5M", "1M", "2M"]}}},
}


@pytest.fixture
def made() -> Study:
    return build(config.parse(STUDY))


def finish(results: Path, run: str) -> None:
    (results / "runs" / run).mkdir(parents=True)
    (results / "runs" / run / "metrics.json").write_text("{}")


def make_rung(results: Path, trunk: str, step: int) -> Path:
    path = results / "trunks" / trunk / f"step{step}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def beat(results: Path, kind: str, name: str, step: int) -> None:
    (results / kind / name).mkdir(parents=True, exist_ok=True)
    (results / kind / name / "progress.json").write_text(json.dumps({"step": step}))


def by_budget(made: Study) -> dict[int, str]:
    return {spec.tokens: run for run, spec in made.runs.items()}


def test_heartbeats_count_what_jobs_have_trained_so_far(made: Study, tmp_path: Path) -> None:
    runs, (trunk,) = by_budget(made), made.trunks
    for step in STARTS.values():
        make_rung(tmp_path, trunk, step)
    left = sum(STEPS[tokens] - STARTS[tokens] for tokens in STEPS)
    assert status(made, tmp_path).tokens_left == 2048 * left
    beat(tmp_path, "runs", runs[2_000_000], 900)  # 119 steps behind its rung
    assert status(made, tmp_path).tokens_left == 2048 * (left - (900 - 781))
    (tmp_path / "trunks" / trunk / "step781.safetensors").unlink()
    beat(tmp_path, "trunks", trunk, 500)  # 110 steps behind the rung at 390
    assert status(made, tmp_path).tokens_left == 2048 * (left - (900 - 781) + (781 - 500))
    assert {name: found["step"] for name, found in heartbeats(tmp_path).items()} == {runs[2_000_000]: 900, trunk: 500}


def test_a_damaged_heartbeat_is_none(made: Study, tmp_path: Path) -> None:
    run = next(iter(made.runs))
    beat(tmp_path, "runs", run, 3)
    (tmp_path / "runs" / run / "progress.json").write_text("{")
    assert heartbeats(tmp_path) == {}
    assert status(made, tmp_path).tokens_left == 2048 * (781 + sum(STEPS.values()) - sum(STARTS.values()))


def test_a_heartbeat_beyond_the_end_leaves_no_negative_work(made: Study, tmp_path: Path) -> None:
    for run in made.runs:
        beat(tmp_path, "runs", run, 10**30)
    assert status(made, tmp_path).tokens_left == 2048 * 781


def test_the_work_left_is_seconds_of_a_core(made: Study, tmp_path: Path) -> None:
    """Each of three runs and three rungs starts in 2.5 s; a token costs 3.75 microseconds and its FLOP at 4e10 a second."""
    now = status(made, tmp_path)
    assert now.work_left == pytest.approx(6 * 2.5 + now.tokens_left * 3.75e-6 + now.flops_left / 4e10)
    # 2 layers of width 16: 6 FLOP for each of 6144 + 256 x 16 weights and for each layer's attention to 128 positions.
    assert now.flops_left == pytest.approx(now.tokens_left * 6 * (6144 + 256 * 16 + 2 * 128 * 16))


def test_rungs_on_the_way_of_unfinished_runs_are_needed(made: Study, tmp_path: Path) -> None:
    runs, (trunk,) = by_budget(made), made.trunks
    assert needed_rungs(made, tmp_path) == {trunk: [195, 390, 781]}
    finish(tmp_path, runs[2_000_000])
    assert needed_rungs(made, tmp_path) == {trunk: [195, 390]}
    finish(tmp_path, runs[500_000])
    assert needed_rungs(made, tmp_path) == {trunk: [195, 390]}
    now = status(made, tmp_path)
    assert (now.runs_done, now.runs, now.rungs_done, now.rungs, now.finished) == (2, 3, 0, 2, False)
    finish(tmp_path, runs[1_000_000])
    assert needed_rungs(made, tmp_path) == {} and status(made, tmp_path).finished


def test_what_an_unfinished_run_needs_and_other_studies_have_is_no_spare(made: Study, tmp_path: Path) -> None:
    runs, (trunk,) = by_budget(made), made.trunks
    first, second, third = (make_rung(tmp_path, trunk, step) for step in STARTS.values())
    make_rung(tmp_path, "trunk-of-another-study", 195)
    assert prune.spare_rungs(made, tmp_path) == []
    finish(tmp_path, runs[2_000_000])
    assert prune.spare_rungs(made, tmp_path) == [third]
    finish(tmp_path, runs[1_000_000])
    assert sorted(prune.spare_rungs(made, tmp_path)) == sorted([second, third])
    finish(tmp_path, runs[500_000])
    assert sorted(prune.spare_rungs(made, tmp_path)) == sorted([first, second, third])


def test_plans_are_rows_and_totals(made: Study, tmp_path: Path) -> None:
    finish(tmp_path, by_budget(made)[1_000_000])
    rows = {row["tokens"]: row for row in plan.plan_rows(made, tmp_path)}
    assert {tokens: row["state"] for tokens, row in rows.items()} == {
        500_000: "to train",
        1_000_000: "done",
        2_000_000: "to train",
    }
    assert {tokens: row["from_tokens"] for tokens, row in rows.items()} == {n: 2048 * step for n, step in STARTS.items()}
    # GFLOP are proportional to the steps behind the rung.
    assert rows[2_000_000]["gflop"] / rows[500_000]["gflop"] == pytest.approx((976 - 781) / (244 - 195))
    totals = plan.plan_totals(made, tmp_path)
    assert (totals["runs"], totals["runs_left"], totals["rungs"]) == (3, 2, 3)
    assert totals["alone_tokens"] == 2048 * (244 + 488 + 976)
    assert totals["ladder_tokens"] == 2048 * (781 + 49 + 98 + 195)
    assert totals["tokens_left"] == 2048 * (781 + 49 + 195)
    # AdamW keeps a weight and two moments in float32: 12 bytes for each parameter of a rung, embeddings and norms too.
    assert totals["rung_bytes"] == pytest.approx(3 * 12 * (6144 + 256 * 16 + 128 * 16), rel=0.1)
    assert totals["pf_days_left"] == pytest.approx(totals["flops_left"] / (1e15 * 86400))
    # These steps take an H100 the time to start 35 kernels for each of two layers and 30 more.
    steps = 781 + 49 + 195
    assert totals["h100_hours_left"] == pytest.approx(steps * 100 * 5e-6 / 3600, rel=0.01)
    assert json.loads(json.dumps([rows, totals]))[1] == totals


def test_sentences_name_hours_where_there_are_any() -> None:
    totals = plan.Totals(
        study="s",
        runs=3,
        runs_left=2,
        epochs={},
        mixtures={},
        ladder_tokens=0,
        alone_tokens=0,
        rungs=0,
        rung_bytes=0.0,
        tokens_left=2_000_000,
        flops_left=8.64e19,
        pf_days_left=1.0,
        h100_hours_left=60.7,
    )
    assert plan.sentences(totals) == [
        "no budgets on the ladder",
        "rungs: 0, 0.0 MB (weights and optimizer state)",
        "left: 2 of 3 runs, 2.0M tokens",
        "compute left: 8.64e+19 FLOP, 1 PF-days, 61 hours of an H100",
    ]
    totals["h100_hours_left"] = 0.9
    assert plan.sentences(totals)[-1] == "compute left: 8.64e+19 FLOP, 1 PF-days"
