"""Times follow from FLOP, from what a step costs beside them, and from what was measured; GPU-hours follow from times."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fixtures.small_runs import small_spec
from scalinglaws.cluster import cost
from scalinglaws.cluster.device import Device
from scalinglaws.study import config, study
from scalinglaws.study.ladder import flops_per_step

CPU_NODE = Device(name="EPYC", bfloat16=1e12, float32=1e12, utilisation=0.5, memory_gib=256, gpus_per_node=0)
GPT2 = {"n_layer": 12, "d_model": 768, "d_ff": 3072, "d_attn": 768, "n_heads": 12, "n_ctx": 1024, "batch_tokens": 2**19}


def two_sizes() -> study.Study:
    corpora = {"books": {"sources": [{"kind": "files", "files": ["*.txt"]}]}}
    defaults = {"corpus": "books", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 0.01}
    grid = {"model": ["2x16", "8x256"], "tokens": ["1M", "4M"]}
    return study.build(
        config.parse({"study": "s", "corpora": corpora, "defaults": defaults, "experiments": {"size": {"grid": grid}}})
    )


def write_timing(results: Path, run: str, **timing: object) -> None:
    (results / "runs" / run).mkdir(parents=True)
    (results / "runs" / run / "timing.json").write_text(json.dumps(timing))


def test_a_large_model_takes_the_time_of_its_flop() -> None:
    """GPT-2 small has 12 layers of 12 d^2, a tied head of 256 x 768, and attention to n_ctx positions; 6 FLOP each a token."""
    spec = small_spec(**GPT2, precision="bfloat16", tokens=2**19 * 1000, warmup_tokens=2**19)
    flops = 6 * 2**19 * (12 * 12 * 768**2 + 256 * 768 + 12 * 1024 * 768)
    assert flops_per_step(spec) == pytest.approx(flops, rel=0.02)
    assert cost.step_seconds(spec, cost.H100) == pytest.approx(flops / (0.4 * 989e12), rel=0.02)
    assert cost.step_seconds(spec, cost.H100, gpus=4) == pytest.approx(flops / (4 * 0.4 * 989e12), rel=0.02)


def test_a_tiny_model_takes_the_time_to_start_its_kernels() -> None:
    spec = small_spec(n_layer=4)
    assert cost.step_seconds(spec, cost.H100) == pytest.approx(5 * 2e-3)
    assert cost.step_seconds(spec, cost.H100, gpus=8) == pytest.approx(5 * 2e-3)


def test_on_cpus_a_token_costs_time_beside_its_flop() -> None:
    """A laptop's core and a CPU node are one model: at twelve times the speed only the time of the FLOP is shorter."""
    spec = small_spec()
    overhead = 3.75e-6 * spec.batch_tokens
    core, node = (cost.step_seconds(spec, device) - overhead for device in (cost.CORE, CPU_NODE))
    assert core == pytest.approx(flops_per_step(spec) / 4e10)
    assert core / node == pytest.approx(0.5e12 / 4e10)
    # Steps of runs of this size took 3 to 15 microseconds a token.
    assert 3e-6 < cost.step_seconds(spec, cost.CORE) / spec.batch_tokens < 15e-6


def test_measured_runs_correct_the_times(tmp_path: Path) -> None:
    made = two_sizes()
    run, other = (run for run, spec in made.runs.items() if spec.d_model == 256)
    small = next(spec for spec in made.runs.values() if spec.d_model == 16)
    spec = made.runs[run]
    expected = cost.step_seconds(spec, cost.H100)
    write_timing(tmp_path, run, tokens_per_second=spec.batch_tokens / (2 * expected), device="NVIDIA H100 80GB HBM3", processes=1)
    speeds = cost.measured_speeds(made, tmp_path, cost.H100)
    assert speeds == {(spec.n_params, "float32", False): pytest.approx(2)}
    assert cost.step_seconds(spec, cost.H100, 1, speeds) == pytest.approx(2 * expected)
    # The other size has no measurement of its own; another precision has none at all.
    assert cost.step_seconds(small, cost.H100, 1, speeds) == pytest.approx(2 * cost.step_seconds(small, cost.H100))
    assert cost.step_seconds(small_spec(precision="bfloat16"), cost.H100, 1, speeds) == pytest.approx(2 * 2e-3)
    # Two runs of one size count by their geometric mean.
    write_timing(tmp_path, other, tokens_per_second=spec.batch_tokens / (8 * expected), device="NVIDIA H100 80GB HBM3")
    assert list(cost.measured_speeds(made, tmp_path, cost.H100).values()) == [pytest.approx(4)]
    assert cost.measured_speeds(made, tmp_path, cost.H100.model_copy(update={"name": "A100"})) == {}


@pytest.mark.parametrize(
    "damage",
    [
        {"tokens_per_second": 1e308, "processes": "x"},
        {"tokens_per_second": 1e4, "at_once": [1]},
        *({"tokens_per_second": speed} for speed in (math.inf, math.nan, 1e-320, 1e308, "x")),
    ],
)
def test_damaged_timings_are_no_measurement(tmp_path: Path, damage) -> None:
    made = two_sizes()
    first, second, third, fourth = made.runs
    write_timing(tmp_path, first, device="NVIDIA H100")
    write_timing(tmp_path, second, tokens_per_second=0, device="NVIDIA H100")
    write_timing(tmp_path, third)
    (tmp_path / "runs" / third / "timing.json").write_text("{")
    write_timing(tmp_path, fourth, device="NVIDIA H100", **damage)
    assert cost.measured_speeds(made, tmp_path, cost.H100) == {}


def test_an_evaluation_costs_no_less_than_it_reads() -> None:
    spec = small_spec(eval_tokens=1000, batch_tokens=64)
    assert cost.evaluation_steps(spec, 3) == 47  # 3000 tokens in steps of 64


def test_a_pf_day_is_some_fifty_hours_of_an_h100() -> None:
    """A day of 1e15 FLOP/s takes 24 / (0.4 x 0.989) hours at 0.4 of 989e12 FLOP/s."""
    assert cost.gpu_hours(8.64e19, cost.H100) == pytest.approx(60.67, abs=0.01)
