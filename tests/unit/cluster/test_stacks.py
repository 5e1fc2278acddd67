"""Which members of a bundle share a process and a stack; the programs that would train them are made up here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import model_fields, small_spec
from scalinglaws.cluster import bundle_job, stacks
from scalinglaws.cluster.bundle import Bundle, Member
from scalinglaws.cluster.needs import CONTEXT_BYTES, gpu_bytes
from scalinglaws.common import asked
from scalinglaws.study.spec import RunSpec

TRAINING = '#!/bin/sh\necho "$@" >> "$STACK_TEST"\n'


def written(results: Path, spec: RunSpec, seconds: int = 10) -> Member:
    """Write the specs of a run and its trunk, and return the member that has both."""
    for kind, own in (("runs", spec), ("trunks", spec.trunk)):
        (results / kind / own.id).mkdir(parents=True, exist_ok=True)
        (results / kind / own.id / "spec.json").write_text(own.canonical)
    return Member(spec.trunk.id, (), (spec.id,), (), seconds)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        (model_fields("llama", 1, 8, n_heads=2), ""),
        (model_fields("lstm", 1, 8), "architecture lstm, which torch.func.vmap cannot"),
        (model_fields("moe", 1, 8, n_heads=2, n_experts=4), "architecture moe"),
        ({"optimizer": "sgd"}, "optimizer sgd: only adamw"),
        ({"dropout": 0.1}, "dropout"),
        ({"stop": "early", "patience": 3}, "stops early"),
        ({"noise_every": 4}, "noise scale"),
        ({"batch_tokens": 2**19, "warmup_tokens": 2**19}, "keeps a GPU busy by itself"),
    ],
)
def test_what_cannot_be_stacked_says_why(changes: dict[str, Any], reason: str) -> None:
    found = stacks.reason_alone(small_spec(**changes))
    assert reason in found and bool(found) == bool(reason)


def test_a_shape_is_all_but_what_each_row_has_for_itself() -> None:
    spec = small_spec(n_layer=2)
    free = {"seed": 7, "learning_rate": 0.5, "tokens": 640, "decay": 0.1, "dataset_tokens": 100, "schedule": "cosine"}
    free |= {"warmup_tokens": 0, "eval_tokens": 32, "curve_tokens": 32}
    assert stacks.shape_of(small_spec(n_layer=2, **free)) == stacks.shape_of(spec) == stacks.shape_of(spec.trunk)
    shared = {"d_model": 16, "n_layer": 3, "n_ctx": 32, "batch_tokens": 128, "precision": "bfloat16", "weight_decay": 0.1}
    shared |= {"grad_clip": 0.5, "beta2": 0.9, "micro_batch_tokens": 32, "threads": 2}
    for name, value in shared.items():
        assert stacks.shape_of(dataclasses.replace(spec, **{name: value})) != stacks.shape_of(spec), name  # type: ignore[arg-type]


def test_members_of_one_shape_share_a_process(tmp_path: Path) -> None:
    same = [written(tmp_path, small_spec(seed=seed)) for seed in range(stacks.MOST_ROWS + 2)]
    wide = [written(tmp_path, small_spec(d_model=16, d_attn=16, seed=seed)) for seed in (1, 2)]
    alone = [written(tmp_path, small_spec(dropout=0.1, seed=seed)) for seed in (1, 2)]
    absent, evaluated = Member("m", (), ("r",), (), 1), Member("n", (), (), (("r", "s"),), 1)
    groups = stacks.grouped([*alone, *same, absent, evaluated, *wide], tmp_path)
    assert sorted(map(len, groups)) == [1, 1, 1, 1, 2, 2, stacks.MOST_ROWS]
    assert {member.name for member in wide} in [{member.name for member in group} for group in groups]
    assert sorted(m.name for group in groups for m in group) == sorted(m.name for m in [*alone, *same, absent, evaluated, *wide])


def test_a_stack_has_as_many_rows_as_the_memory() -> None:
    """A member needs what it needs alone, and 16 bytes for each logit of its micro-batch."""
    spec = small_spec(n_layer=2)
    each = gpu_bytes(spec, tokens=64) + 16 * 64 * 256
    assert stacks.member_bytes(spec) == each
    assert stacks.rows_that_fit(spec, (CONTEXT_BYTES + 5.5 * each) / 0.9) == 5
    assert stacks.rows_that_fit(spec, CONTEXT_BYTES) == 0
    assert stacks.rows_that_fit(spec, 80 * 2**30) == stacks.MOST_ROWS


@pytest.mark.parametrize(("device", "equal_bits", "processes"), [("cuda", "0", 2), ("cuda", "1", 4), ("cpu", "0", 4)])
def test_a_bundle_stacks_on_a_gpu_alone_and_without_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, equal_bits: str, processes: int
) -> None:
    program = tmp_path / "python"
    program.write_text(TRAINING)
    program.chmod(0o755)
    monkeypatch.setattr(bundle_job.sys, "executable", str(program))
    monkeypatch.setenv("STACK_TEST", str(tmp_path / "arguments"))
    monkeypatch.setenv(asked.DETERMINISTIC, equal_bits)
    members = tuple(written(tmp_path, small_spec(seed=seed)) for seed in (1, 2, 3))
    members += (written(tmp_path, small_spec(dropout=0.1)),)
    monkeypatch.setattr(bundle_job.bundle, "read", lambda path: Bundle(members, 1, 1, 100))
    bundle_job.train_all(tmp_path / "b.json", 1, tmp_path, device)
    lines = (tmp_path / "arguments").read_text().splitlines()
    assert len(lines) == processes and sum(line.count("--name") for line in lines) == 4
    assert sorted(name for line in lines for name in line.split() if name in {m.name for m in members}) == sorted(
        member.name for member in members
    )
