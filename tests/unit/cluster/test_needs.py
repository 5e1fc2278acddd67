"""What runs ask a cluster for: from their FLOP and memory, corrected by what was measured, refused where they cannot fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fixtures.small_runs import flat_model, small_spec
from scalinglaws.cluster import needs
from scalinglaws.cluster.cost import optimizer_bytes, step_seconds
from scalinglaws.cluster.device import Device, device_of_profile, parse_device
from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import n_params_total
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.study import config, study
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.train.distributed import Processes
from scalinglaws.train.flat import FlatModel

ROOT = Path(__file__).parents[3]
H100 = {"name": "H100", "bfloat16": "989e12", "float32": 67e12, "utilisation": 0.4, "memory_gib": 80}


def device(**changes: Any) -> Device:
    found = parse_device(H100 | changes)
    assert found is not None
    return found


def gpt(**changes: Any) -> Any:
    """Return the spec of GPT-2 small on batches of 2^19 tokens."""
    values = {"n_layer": 12, "d_model": 768, "d_ff": 3072, "d_attn": 768, "n_heads": 12, "n_ctx": 1024, "batch_tokens": 2**19}
    return small_spec(**(values | {"tokens": 2**19 * 1000, "precision": "bfloat16", "warmup_tokens": 2**19} | changes))


def two_sizes(**more: Any) -> study.Study:
    corpora = {"books": {"sources": [{"kind": "files", "files": ["*.txt"]}]}}
    defaults = {"corpus": "books", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 0.01}
    grid = {"model": ["2x16", "8x256"], "tokens": ["1M", "4M"]}
    data = {"study": "s", "corpora": corpora, "defaults": defaults | more, "experiments": {"size": {"grid": grid}}}
    return study.build(config.parse(data))


def test_time_is_flop_over_speed() -> None:
    spec = gpt()
    seconds = flops_per_step(spec) / (0.4 * 989e12) + optimizer_bytes(spec) / device().bytes_per_second
    assert step_seconds(spec, device()) == pytest.approx(seconds)
    found = needs.needs_of_training(spec, 1000, device())
    assert found.seconds == pytest.approx(60 + 1000 * seconds)
    assert found.minutes == -(-found.seconds * 1.5 // 60)
    assert needs.needs_of_training(spec, 1000, device(), attempt=2).minutes == pytest.approx(2 * found.minutes, abs=1)
    assert step_seconds(gpt(precision="float32"), device()) == pytest.approx(seconds * 989 / 67, rel=0.02)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "adafactor", "muon"])
def test_memory_holds_what_an_optimizer_keeps(kind: str) -> None:
    spec = small_spec(n_layer=2, d_model=256, d_ff=1024, d_attn=256, n_ctx=16, optimizer=kind)
    model = flat_model(spec, 256)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in build_optimizer(model, spec).tensors.values())
    have = kept + 2 * model.flat.numel() * 4
    assert have <= needs.gpu_bytes(spec) < 1.3 * have
    assert torch.isfinite(model.flat).all()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_each_of_several_processes_holds_what_is_counted(kind: str) -> None:
    spec = small_spec(n_layer=2, d_model=128, d_ff=512, d_attn=128, optimizer=kind)
    for count in (1, 2, 3, 4):
        held = []
        for rank in range(count):
            processes = Processes(rank, count)
            model = FlatModel(flat_model(spec, 256).module, "float32", processes)
            tensors = [model.flat, model.grad, *build_optimizer(model, spec, processes).tensors.values()]
            held.append(sum(t.untyped_storage().nbytes() for t in {t.untyped_storage().data_ptr(): t for t in tensors}.values()))
        assert max(held) == pytest.approx(needs.state_bytes(spec, count), rel=0.01)
        assert min(held) > 0.98 * max(held)
    early = small_spec(n_layer=2, d_model=128, d_ff=512, d_attn=128, stop="early", noise_every=8)
    assert needs.state_bytes(early) == needs.state_bytes(small_spec(n_layer=2, d_model=128, d_ff=512, d_attn=128)) * 24 / 16


def test_eight_gpus_hold_eight_billion_parameters() -> None:
    def wide(n_layer: int, **changes: Any) -> Any:
        size = {"n_layer": n_layer, "d_model": 4096, "d_attn": 4096, "d_ff": 16384, "n_heads": 64}
        return gpt(**size | {"precision": "float32", "tokens": 2**19} | changes)

    eight = {"most_gpus": 8, "max_minutes": 10**7, "hours": 1e5}
    fits, n = wide(40), n_params_total(wide(40).shape(256))
    assert n == pytest.approx(8.06e9, rel=1e-3) and needs.gpus_of(fits, 1, device(**eight)) == 8
    # 9 bytes a parameter, 64 d_model bytes a token and layer, and the context; in bfloat16, a rounded copy and half of a layer.
    assert needs.process_bytes(fits, 8) == pytest.approx(9 * n + 64 * 4096 * 40 * 1024 + 0.75 * 2**30, rel=3e-3)
    rounded = wide(40, precision="bfloat16")
    assert needs.process_bytes(rounded, 8) == pytest.approx(11 * n + 36 * 4096 * 40 * 1024 + 0.75 * 2**30, rel=3e-3)
    assert needs.gpus_of(wide(35, precision="bfloat16"), 1, device(**eight)) == 8
    for spec in (wide(41), rounded):
        with pytest.raises(StudyError, match=r"on each of 8 GPUs and H100 has 80: "):
            needs.gpus_of(spec, 1, device(**eight))
    with pytest.raises(StudyError, match="H100 has 80: take a GPU with more memory, raise most_gpus, or take a smaller model"):
        needs.gpus_of(wide(41), 1, device(**eight))
    for most in (8, 512):
        with pytest.raises(StudyError, match=r"more GPUs do not help.* all 9\.3e\+09 parameters \(there is no FSDP"):
            needs.gpus_of(wide(46), 1, device(**eight | {"most_gpus": most}))


def test_longer_runs_get_more_gpus_up_to_what_is_allowed() -> None:
    long = gpt(tokens=2**19 * 100_000)
    alone = needs.needs_of_training(long, long.steps, device(max_minutes=10**6)).seconds
    assert needs.gpus_of(long, long.steps, device(most_gpus=1)) == 1
    assert needs.gpus_of(long, long.steps, device(most_gpus=8, hours=alone / 3600 / 3)) == 4
    assert needs.gpus_of(long, long.steps, device(most_gpus=8, hours=0.1)) == 8
    assert needs.gpus_of(long, long.steps, device(most_gpus=40, hours=0.1)) == 32
    assert needs.gpus_of(long, long.steps, device(most_gpus=40, hours=0.1, gpus_per_node=6)) == 24  # it takes whole nodes
    two = needs.needs_of_training(long, 1000, device(most_gpus=16, hours=0.1))
    one = needs.needs_of_training(long, 1000, device(most_gpus=8, hours=0.1))
    assert (one.gpus, one.nodes, two.gpus, two.nodes) == (8, 1, 16, 2)
    assert two.mem_mb == one.mem_mb  # each node has the memory of one
    assert needs.gpus_of(gpt(), gpt().steps, device(most_gpus=8, hours=24)) == 1
    assert needs.gpus_of(gpt(batch_tokens=2048), 2**19, device(most_gpus=8, hours=0.01)) == 2  # a batch has two contexts


def test_a_run_whose_state_fills_one_gpu_shares_it_among_several() -> None:
    spec = gpt(tokens=2**19)
    alone = needs.process_bytes(spec) / 2**30
    assert alone == pytest.approx(needs.gpu_bytes(spec) / 2**30 + 0.75)  # a context, and what the model takes
    assert needs.gpus_of(spec, spec.steps, device(memory_gib=1.01 * alone, most_gpus=8)) == 1
    assert needs.gpus_of(spec, spec.steps, device(memory_gib=0.99 * alone, most_gpus=8)) == 2
    # Of 16 bytes a parameter with AdamW, 8 are shared; Adafactor's are not.
    assert alone - needs.process_bytes(spec, 2) / 2**30 == pytest.approx(4 * n_params_total(spec.shape(256)) / 2**30)
    tall = gpt(tokens=2**19, optimizer="adafactor")
    assert needs.gpu_bytes(tall, 8) == needs.gpu_bytes(tall)


def test_what_cannot_fit_is_refused_with_what_to_do() -> None:
    room = 0.99 * needs.process_bytes(gpt()) / 2**30
    with pytest.raises(StudyError, match=r"GiB on each of 1 GPUs and H100 has \S+: take a GPU with more memory, raise most_gpus"):
        needs.needs_of_training(gpt(), 10, device(memory_gib=room))
    with pytest.raises(
        StudyError, match=r"needs 3 GiB on each of 1 GPUs and H100 has 1: more GPUs do not help, .* or a smaller model$"
    ):
        needs.needs_of_training(gpt(), 10, device(memory_gib=1))
    # Muon's state is whole on each GPU, and Adafactor's is small.
    with pytest.raises(StudyError, match="Take a GPU with more memory, optimizer: adafactor or a smaller model"):
        needs.needs_of_training(gpt(optimizer="muon"), 10, device(memory_gib=room * 0.8))
    with pytest.raises(StudyError, match=r"hours on 1 × H100 and 2 allocations of 1\.0 hours: raise most_gpus, max_minutes or"):
        needs.needs_of_training(gpt(), 100_000, device(max_minutes=60, allocations=2))
    with pytest.raises(StudyError, match=r"the profile's device cannot be used:\n  device\.utilisation"):
        parse_device(H100 | {"utilisation": 2})


def test_a_trunk_has_the_gpus_of_its_longest_run() -> None:
    """The spec of a rung has no budget, so that its time is that of its trunk's runs."""
    made = two_sizes()
    trunk = next(trunk for trunk in made.trunks.values() if trunk.d_model == 256)
    longest = max((spec for spec in made.runs.values() if spec.trunk == trunk), key=lambda spec: spec.steps)
    alone = longest.steps * step_seconds(longest, device(float32=1e11)) / 3600
    on = device(float32=1e11, most_gpus=8, hours=alone / 3)
    assert needs.needs_of_training(longest, 10, on).gpus == 4
    last = made.rungs[trunk.id][-1]
    assert needs.needs_of_rung(made, trunk, last, on).gpus == 4
    # A rung that takes longer than the partition allows is refused before anything is submitted, as a run is.
    slow = device(float32=1e10)
    whole = needs.needs_of_rung(made, trunk, last, device(float32=1e10, max_minutes=10**6)).seconds
    with pytest.raises(StudyError, match=f"{trunk.id} is expected to take"):
        needs.needs_of_rung(made, trunk, last, slow.model_copy(update={"max_minutes": int(whole / 60)}))
    with pytest.raises(StudyError, match="is expected to take"):
        needs.check_fits(made, slow.model_copy(update={"max_minutes": int(whole / 60)}))


def test_cpu_nodes_have_no_gpus_and_less_memory_is_asked_for() -> None:
    spec, on_cpus = small_spec(), device(gpus_per_node=0)
    found = needs.needs_of_training(spec, 10, on_cpus)
    assert (found.gpus, found.nodes) == (0, 1)
    assert needs.needs_of_training(spec, 10, device()).mem_mb - found.mem_mb == needs.CUDA_MB
    assert needs.needs_of_evaluation(spec, 1, on_cpus).gpus == 0


def test_a_retry_asks_for_more_time_and_memory_up_to_the_time_limit() -> None:
    first, second = (needs.needs_of_training(gpt(), 1000, device(), attempt) for attempt in (1, 2))
    assert second.mem_mb == pytest.approx(2 * first.mem_mb, abs=1) and second.seconds == first.seconds
    assert needs.needs_of_training(gpt(), 1000, device(max_minutes=first.minutes + 1), 2).minutes == first.minutes + 1


def test_without_a_device_little_is_asked_for() -> None:
    assert needs.needs_of_training(gpt(), 10**9, None) == needs.Needs(0, 1, needs.PROCESS_MB, 60, 0.0)


@pytest.mark.parametrize("name", ["slurm", "local-gpu", "mac"])
def test_the_profiles_that_we_ship_describe_a_device(name: str) -> None:
    found = device_of_profile(ROOT / "profiles" / name)
    assert found is not None and found.gpus_per_node
    assert (found.name, found.backend, found.memory_gib) == (("Apple", "mps", 21) if name == "mac" else ("H100", "cuda", 80))
    data = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    if name != "slurm":
        assert data["resources"]["processes"] == found.gpus_per_node * found.runs_per_gpu == (1 if name == "mac" else 2)
    else:
        assert found.runs_per_gpu == 0 and found.small_minutes > 0
        assert found.allocations == data["retries"] + 1
    default = yaml.safe_load((ROOT / "profiles/local/profile.yaml").read_text())
    # On a cluster, jobs on all nodes share what Snakemake keeps in the home directory.
    own = {"cores"} | ({"shared-fs-usage"} if name == "slurm" else set())
    assert {key: data.get(key) for key in default.keys() - own} == {key: default[key] for key in default.keys() - own}


def test_a_profile_without_a_device_and_one_that_is_not_there() -> None:
    assert device_of_profile(ROOT / "profiles" / "default") is None
    with pytest.raises(StudyError, match="cannot be read as a profile"):
        device_of_profile(ROOT / "profiles" / "none")


def test_an_evaluation_has_room_for_its_model() -> None:
    """A model of 1.5e9 parameters is 6 GB on the host, and is drawn before it is read."""
    spec = gpt(n_layer=48, d_model=1600, d_ff=6400, d_attn=1600, n_heads=25)
    assert needs.needs_of_evaluation(spec, 1, device()).mem_mb > 2 * 4 * n_params_total(spec.shape(256)) / 2**20


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("memory_gib", [math.inf, "inf", "nan", 0, 1e308, True]),
        ("hours", [-1, "inf", 1e308]),
        ("bfloat16", [0, "1e308", 10**400]),
        ("utilisation", [0, 2, 1e-300, "nan"]),
        ("gpus_per_node", [-1, 10**60, "9" * 400, "1.5", True]),
        ("max_minutes", [0, 10**12]),
        ("gres", ["", "gpu --x", "-x", "gpu\n"]),
        ("constraint", ["a b", "a;b", "$(x)"]),
        ("qos", ["a b", "a\n"]),
        ("bandwidth", [0, "inf", 1e308]),
        ("cpus_per_node", [-1, 10**9]),
        ("at_once", [0, 10**9]),
        ("grace_seconds", [-1, "inf", 1e9, True]),
        ("deterministic", ["maybe", 2]),
    ],
)
def test_a_devices_numbers_have_bounds(key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(StudyError, match=rf"device\.{key}: "):
            device(**{key: value})
    with pytest.raises(StudyError, match="gpu_per_node: unknown key: did you mean gpus_per_node"):
        device(gpu_per_node=3)
