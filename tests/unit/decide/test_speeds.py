"""How fast this machine is: by runs, by steps that are timed once and kept, or by assumption."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import small_spec
from scalinglaws.cluster.cost import CORE, CORE_START_SECONDS, step_seconds
from scalinglaws.common.machine import processor_name
from scalinglaws.decide import speeds
from scalinglaws.study import config, study
from scalinglaws.study.spec import RunSpec

STUDY: dict[str, Any] = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"]}]}},
    "defaults": {"corpus": "books", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 0.01, "warmup_tokens": "10k"},
    "experiments": {"size": {"grid": {"model": ["1x8", "2x16", "2x64"], "tokens": ["100k", "200k"]}}},
}


@pytest.fixture
def made() -> study.Study:
    return study.build(config.parse(STUDY))


def answers(monkeypatch: pytest.MonkeyPatch, factor: float | None) -> list[list[RunSpec]]:
    """Have steps take ``factor`` times what is expected, with a start of 7 seconds, or fail; return the questions asked."""
    asked: list[list[RunSpec]] = []

    def timed(specs: list[RunSpec], at_once: int, results: Path) -> Any:
        asked.append(specs)
        return None if factor is None else ([(spec, factor * step_seconds(spec, CORE)) for spec in specs], 7.0)

    monkeypatch.setattr(speeds, "time_steps", timed)
    return asked


def trained(results: Path, run: str, spec: RunSpec, factor: float, device: str) -> None:
    (results / "runs" / run).mkdir(parents=True)
    speed = spec.batch_tokens / (factor * step_seconds(spec, CORE))
    timing = {"tokens_per_second": speed, "device": device, "seconds": 20.0}
    (results / "runs" / run / "timing.json").write_text(json.dumps(timing))


def test_steps_are_timed_once_and_kept(made: study.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, 3.0)
    first = speeds.this_machine(made, tmp_path, at_once=2)
    sizes = sorted({spec.n_params for spec in made.runs.values()})
    assert [spec.n_params for spec in asked[0]] == [sizes[0], sizes[-1]]
    assert (first.source, first.start_seconds) == ("timed steps", pytest.approx(1.2 * 7.0))
    assert all(first.factor(spec) == pytest.approx(3.0) for spec in made.runs.values())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [speeds.kept_path(tmp_path, _device(), 2).name]
    assert speeds.this_machine(made, tmp_path, at_once=2) == first and len(asked) == 1
    assert speeds.this_machine(made, tmp_path, at_once=1).source == "timed steps" and len(asked) == 2
    # A kept file that is damaged is timed again.
    speeds.kept_path(tmp_path, _device(), 2).write_text("{")
    assert speeds.this_machine(made, tmp_path, at_once=2) == first and len(asked) == 3


def _device() -> Any:
    return CORE.model_copy(update={"name": processor_name()})


def test_where_steps_cannot_be_timed_a_laptop_is_assumed(
    made: study.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, None)
    found = speeds.this_machine(made, tmp_path, at_once=2)
    assert len(asked) == 1 and found == speeds.Speeds() and not list(tmp_path.iterdir())
    assert speeds.start_seconds(found) == CORE_START_SECONDS
    assert found.step(next(iter(made.runs.values()))) == step_seconds(next(iter(made.runs.values())), CORE)
    assert speeds.this_machine(made, tmp_path, at_once=2, timing=False) == speeds.Speeds() and len(asked) == 1


def test_runs_of_this_machine_tell_its_speed(made: study.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, 3.0)
    by_size = {spec.n_params: (run, spec) for run, spec in made.runs.items()}
    for n, (run, spec) in by_size.items():
        trained(tmp_path, run, spec, 2.0, processor_name() if n != min(by_size) else "NVIDIA H100")
    log = tmp_path / "logs" / "train" / f"{by_size[max(by_size)][0]}.benchmark.tsv"
    log.parent.mkdir(parents=True)
    log.write_text("s\th:m:s\n26.5\t0:00:26\n")
    found = speeds.this_machine(made, tmp_path, at_once=2)
    # The smallest size, of which no run was trained here, is far from the others and is timed.
    assert [[spec.n_params for spec in specs] for specs in asked] == [[min(by_size)]]
    assert found.source == "runs and timed steps" and found.start_seconds == pytest.approx(6.5)
    factors = {n: found.factor(spec) for n, (_, spec) in by_size.items()}
    assert factors[min(by_size)] == pytest.approx(3.0) and factors[max(by_size)] == pytest.approx(2.0)


def test_what_takes_too_long_is_timed_on_a_part_of_its_batch_or_not_at_all() -> None:
    shape = {"n_layer": 4, "d_model": 256, "d_ff": 1024, "d_attn": 256, "n_ctx": 128}
    large = small_spec(**shape, batch_tokens=2**17, tokens=2**20, warmup_tokens=0)
    (timed,) = speeds.to_time([large])
    assert timed.n_params == large.n_params and timed.batch_tokens < large.batch_tokens and timed.batch_tokens % 128 == 0
    assert step_seconds(timed, CORE) <= 0.25 + step_seconds(dataclasses.replace(timed, batch_tokens=128), CORE)
    huge = small_spec(**shape | {"n_layer": 48, "d_model": 4096, "d_ff": 16384, "d_attn": 4096}, batch_tokens=2**17, tokens=2**20)
    assert speeds.to_time([huge]) == [] and speeds.to_time([huge, large]) == [timed]


def test_steps_are_really_timed(tmp_path: Path) -> None:
    """One process answers for a model of a hundred parameters, with seconds that a step can take and those of its own start."""
    spec = small_spec(tokens=64, warmup_tokens=0, schedule="constant", decay=0.0)
    found = speeds.time_steps([spec], 1, tmp_path)
    assert found is not None
    [(same, seconds)], start = found
    assert same is spec and 1e-5 < seconds < 5 and 0.05 < start < speeds.PATIENCE
    assert not list(tmp_path.iterdir())


def test_a_process_that_dies_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds.sys, "executable", "/bin/false")
    assert speeds.time_steps([small_spec()], 2, tmp_path) is None
