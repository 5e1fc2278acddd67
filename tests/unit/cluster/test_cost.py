"""Times follow from FLOP, from bytes, from what a step costs beside them, and from what was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.small_runs import flat_model, model_fields, small_spec
from scalinglaws.cluster import cost
from scalinglaws.cluster.device import Device
from scalinglaws.models.count import n_params_total
from scalinglaws.study import config, study
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.study.spec import RunSpec

ROOT = Path(__file__).parents[3]
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
    # AdamW reads and writes a weight and two moments, reads the gradient twice and clears it: 36 bytes a parameter.
    optimizer = 36 * (12 * 12 * 768**2 + (256 + 1024) * 768) / 3.35e12
    assert cost.step_seconds(spec, cost.H100) == pytest.approx(flops / (0.4 * 989e12) + optimizer, rel=0.02)
    assert cost.step_seconds(spec, cost.H100, gpus=4) == pytest.approx(flops / (4 * 0.4 * 989e12) + optimizer, rel=0.02)


def test_a_tiny_model_takes_the_time_to_start_its_kernels() -> None:
    spec = small_spec(n_layer=4)
    assert cost.step_seconds(spec, cost.H100) == pytest.approx((35 * 4 + 30) * 5e-6, rel=1e-3)
    assert cost.step_seconds(spec, cost.H100, gpus=4) == pytest.approx((35 * 4 + 30) * 5e-6, rel=1e-3)
    # Each of four micro-batches of one context starts them anew; four GPUs have one each.
    parts = small_spec(n_layer=4, micro_batch_tokens=16)
    assert cost.step_seconds(parts, cost.H100) == pytest.approx(4 * (35 * 4 + 30) * 5e-6, rel=1e-3)
    assert cost.step_seconds(parts, cost.H100, gpus=4) == pytest.approx((35 * 4 + 30) * 5e-6, rel=1e-3)


def test_a_narrow_model_with_a_large_vocabulary_takes_the_time_to_move_its_logits() -> None:
    """The point 1x8 of kaplan2020.yaml: 2^19 tokens x 50257 logits x 6 passes x 2 bytes are 94 ms at 3.35 TB/s, its FLOP 4 ms."""
    made = study.build(config.load(ROOT / "workflow/studies/kaplan2020.yaml"))
    (spec,) = (spec for spec in made.runs.values() if (spec.n_layer, spec.d_model) == (1, 8))
    logits = 2**19 * 50257 * 6 * 2 / 3.35e12
    assert logits == pytest.approx(0.0944, abs=1e-4)
    assert cost.compute_seconds(spec, cost.H100) < 0.004
    assert logits < cost.step_seconds(spec, cost.H100) < 1.01 * logits
    assert cost.step_seconds(spec, cost.H100, gpus=8) == pytest.approx(logits / 8, rel=0.01)
    # On a memory of half the bandwidth it takes twice as long; where that is not given, it follows from the speed.
    assert cost.pass_bytes(spec) / cost.H100.bytes_per_second == pytest.approx(logits, rel=0.01)
    assert cost.H100.model_copy(update={"bandwidth": None}).bytes_per_second == pytest.approx(3.35e12, rel=0.02)
    half = cost.H100.model_copy(update={"bandwidth": 1.675e12})
    assert cost.step_seconds(spec, half) == pytest.approx(2 * cost.step_seconds(spec, cost.H100))


@pytest.mark.parametrize("kind", ["transformer", "llama"])
def test_the_traffic_of_a_layer_holds_what_its_forward_pass_writes(kind: str) -> None:
    """Counted on the real module: each operator writes its result once and reads it once at least, in one pass of three."""
    fields = model_fields(kind, 3, 64)
    specs = [small_spec(**(fields | {"n_layer": layers}), n_ctx=64, batch_tokens=512) for layers in (1, 3)]
    written = [bytes_written(flat_model(spec, by_hand=False).module, spec) for spec in specs]
    numbers = [cost.pass_bytes(spec) - 24 * n_params_total(spec.shape(256)) for spec in specs]
    layer, counted = (written[1] - written[0]) / 2, (numbers[1] - numbers[0]) / 2
    assert 1 < counted / layer < 9


def bytes_written(module: torch.nn.Module, spec: RunSpec) -> int:
    """Return the bytes of the results of all operators of a forward pass of a batch, views left out."""
    found = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal found
            out = func(*args, **(kwargs or {}))
            made = out if isinstance(out, (tuple, list)) else [out]
            if not func.is_view:
                found += sum(tensor.nbytes for tensor in made if isinstance(tensor, torch.Tensor))
            return out

    with Count(), torch.no_grad():
        module(torch.zeros(spec.batch_tokens // spec.n_ctx, spec.n_ctx, dtype=torch.long))
    return found


def test_several_gpus_share_the_tokens_and_the_state() -> None:
    spec = small_spec(batch_tokens=80)  # five contexts
    assert [cost.tokens_of_gpu(spec, gpus) for gpus in (1, 2, 3, 5)] == [80, 48, 32, 16]
    total = n_params_total(spec.shape(256))
    assert cost.optimizer_bytes(spec) == 36 * total
    assert cost.optimizer_bytes(spec, 4) == (36 - 2 * 8 * 3 / 4) * total  # 8 bytes of AdamW's state are shared


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
    assert cost.step_seconds(small_spec(precision="bfloat16"), cost.H100, 1, speeds) == pytest.approx(65 * 5e-6, rel=1e-3)
    # Two runs of one size count by their geometric mean.
    write_timing(tmp_path, other, tokens_per_second=spec.batch_tokens / (8 * expected), device="NVIDIA H100 80GB HBM3")
    assert list(cost.measured_speeds(made, tmp_path, cost.H100).values()) == [pytest.approx(4)]
    assert cost.measured_speeds(made, tmp_path, cost.H100.model_copy(update={"name": "A100"})) == {}


def test_a_stack_starts_its_kernels_once(tmp_path: Path) -> None:
    spec = small_spec(n_layer=4)
    launches = cost.step_seconds(spec, cost.H100)
    assert cost.step_seconds(spec, cost.H100, stacked=8) == pytest.approx(launches, rel=1e-2)
    # With many members, what they move in memory counts: each as much as the other.
    many = cost.step_seconds(spec, cost.H100, stacked=100_000)
    assert many == pytest.approx(100_000 * cost.busy_seconds(spec, cost.H100)) and many < 100_000 * launches / 10
    made = two_sizes()
    run, small = next((run, spec) for run, spec in made.runs.items() if spec.d_model == 16)
    wanted = 3 * cost.step_seconds(small, cost.H100, stacked=16)
    write_timing(tmp_path, run, tokens_per_second=small.batch_tokens / wanted, device="NVIDIA H100", at_once=1, stacked=16)
    assert cost.measured_speeds(made, tmp_path, cost.H100) == {(small.n_params, "float32", True): pytest.approx(3)}


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


def test_a_pf_day_is_some_sixty_hours_of_an_h100() -> None:
    """A day of 1e15 FLOP/s takes 24 / (0.4 x 0.989) hours at 0.4 of 989e12 FLOP/s, and a little more for the optimizer."""
    spec = small_spec(**GPT2, precision="bfloat16", tokens=2**19 * 1000, warmup_tokens=2**19)
    hours = 8.64e19 / flops_per_step(spec) * cost.step_seconds(spec, cost.H100) / 3600
    assert 60.67 < hours < 62
