"""Plug-ins: an optimizer of a user's file trains; the file is part of the identity of its runs and of nothing else."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fixtures.parameters import Parameters
from fixtures.small_runs import N_VOCAB, small_spec, write_tokens
from fixtures.small_study import STUDY
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study import config, plugins
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study
from scalinglaws.tables.aggregate import checked_spec

LION = Path(__file__).parents[2] / "fixtures" / "plugins" / "lion.py"
OTHER = "from scalinglaws.optim.registry import OPTIMIZERS, Optimizer\nOPTIMIZERS.register(Optimizer('other', 'a:b'))\n"


@pytest.fixture(autouse=True)
def _no_plugins_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.copy(LION, tmp_path / "lion.py")
    monkeypatch.chdir(tmp_path)
    yield
    plugins.load([])


def study_with(*points: dict[str, Any], files: tuple[str, ...] = ("lion.py",)) -> dict[str, Any]:
    """Return the YAML of a study of one size and budget, with such points."""
    data = copy.deepcopy(STUDY)
    data["plugins"] = list(files)
    data["experiments"] = {"one": {"model": "1x8", "tokens": "1M", "points": list(points)}}
    return data


def read(*points: dict[str, Any], files: tuple[str, ...] = ("lion.py",)) -> Study:
    return of_config(config.parse(study_with(*points, files=files)))


def by_optimizer(study: Study) -> dict[str, RunSpec]:
    return {spec.optimizer: spec for spec in study.runs.values()}


def test_options_are_in_the_spec_with_their_defaults() -> None:
    runs = by_optimizer(read({"optimizer": "lion", "optimizer_options": {"memory": 0.98000000001}}, {"optimizer": "sgd"}))
    assert runs["lion"].optimizer_options == (("interpolation", 0.9), ("memory", 0.98))
    assert len(runs["lion"].plugins) == 1 and len(runs["lion"].plugins[0]) == 64
    assert runs["sgd"].plugins == runs["sgd"].optimizer_options == ()
    assert read({"optimizer": "lion", "optimizer_options": {"memory": 0.98}}).runs.keys() == {runs["lion"].id}


def test_editing_a_plugin_renames_its_runs_and_no_others() -> None:
    points: tuple[dict[str, Any], ...] = ({"optimizer": "lion"}, {"optimizer": "sgd"}, {})
    before = by_optimizer(read(*points))
    assert before["adamw"].id == next(iter(read({}, files=()).runs)), "a plug-in in the config renames no other run"
    Path("lion.py").write_text(LION.read_text() + "# edited\n")
    Path("other.py").write_text(OTHER)
    after = by_optimizer(read(*points, files=("other.py", "lion.py")))
    assert after["lion"].id != before["lion"].id and after["lion"].plugins != before["lion"].plugins
    assert {after[name].id == before[name].id for name in ("sgd", "adamw")} == {True}


def test_without_the_plugin_its_name_is_unknown() -> None:
    read({"optimizer": "lion"})
    with pytest.raises(StudyError, match=r"experiments\.one\.points\[0\]\.optimizer: 'lion' is unknown"):
        read({"optimizer": "lion"}, files=())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memori": 0.9}, r"points\[0\]: optimizer_options\.memori: optimizer lion has no such option: did you mean memory"),
        ({"memory": 1.5}, r"options of optimizer lion are not valid:\n.*points\[0\]: optimizer_options\.memory: .*less than 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(options: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        read({"optimizer": "lion", "optimizer_options": options})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = (\n", r"plugins: bad\.py, line 2: SyntaxError: '\(' was never closed"),
        ("import math\n\n\ndef f():\n    return math.sqrt(-1)\n\n\nf()\n", r"bad\.py, line 5: ValueError: math domain error"),
        ("import no_such_package\n", r"bad\.py, line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)\n", r"bad\.py, line 1: SystemExit: 3"),
        ("a = 1\n", r"bad\.py registers nothing"),
        (OTHER.replace("'other'", "'adamw'"), r"bad\.py, line 2: optimizer: adamw is registered already"),
        (OTHER.replace("'other'", "'lion'"), r"bad\.py: optimizer: lion is registered already"),
    ],
)
def test_a_broken_plugin_is_told_with_its_file_and_line(text: str, said: str) -> None:
    Path("bad.py").write_text(text)
    with pytest.raises(StudyError, match=said):
        read({}, files=("lion.py", "bad.py"))


def test_what_has_no_end_is_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo("pipe.py")
    for path in ("/dev/zero", "pipe.py"):
        with pytest.raises(StudyError, match=f"plugins: {path}: it is a device, a pipe or a socket, not a file"):
            read({}, files=(path,))
    monkeypatch.setattr(plugins, "MOST_BYTES", 10)
    with pytest.raises(StudyError, match=r"plugins: lion\.py: it has more than 10 bytes"):
        read({}, files=("lion.py",))


def test_lion_moves_by_the_papers_rule() -> None:
    """It agrees with algorithm 2, written out with float64 tensors, for three updates with random gradients."""
    plugins.load(["lion.py"])
    options = (("interpolation", 0.8), ("memory", 0.95))
    spec = small_spec(optimizer="lion", optimizer_options=options, grad_clip=0.0)
    model = Parameters()
    optimizer = build_optimizer(model, spec)
    theta, m = model.flat.double(), torch.zeros(len(model.flat), dtype=torch.float64)
    for step in range(3):
        g = model.grad.normal_(generator=torch.Generator().manual_seed(step)).double()
        theta = theta - 0.1 * torch.sign(0.8 * m + 0.2 * g)
        m = 0.95 * m + 0.05 * g
        optimizer.update(0.1, step)
    torch.testing.assert_close(model.flat.double(), theta, rtol=0, atol=1e-5)


def kept_run(results: Path, **changes: Any) -> RunSpec:
    """Write a spec that the plug-in trains into its run folder, with tokens beside it and the plug-in file kept."""
    plugins.load(["lion.py"])
    plugins.keep(results)
    given = {"interpolation": 0.9, "memory": 0.98} | changes
    spec = small_spec(
        optimizer="lion",
        optimizer_options=tuple(sorted(given.items())),
        plugins=(OPTIMIZERS.plugin_of("lion"),),
        learning_rate=0.01,
        tokens=64 * 80,
    )
    folder = results / "runs" / spec.id
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.canonical)
    write_tokens(results / "tokens" / spec.tokens_id)
    return spec


def train(results: Path, spec: RunSpec) -> subprocess.CompletedProcess[str]:
    """Train a run by the stage itself, in another process."""
    folder = results / "runs" / spec.id
    command = [sys.executable, "-m", "scalinglaws", "train", "--spec", folder / "spec.json", "--out", folder]
    command += ["--tokens", results / "tokens", "--device", "cpu"]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_a_plugin_trains_in_another_process_by_the_file_that_was_kept(tmp_path: Path) -> None:
    results = tmp_path / "results"
    spec = kept_run(results)
    Path("lion.py").write_text("this is no Python any more")
    done = train(results, spec)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((results / "runs" / spec.id / "metrics.json").read_text())
    assert metrics["status"] == "ok" and metrics["loss"] < 0.85 * torch.log(torch.tensor(N_VOCAB)).item()
    # Another option gives other weights: options reach the optimizer.
    shutil.copy(LION, "lion.py")
    slow = kept_run(results, memory=0.5)
    assert slow.id != spec.id and train(results, slow).returncode == 0
    weights = [safetensors.torch.load_file(results / "runs" / run.id / "model.safetensors") for run in (spec, slow)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    # Tables read the run where the plug-in is not loaded.
    plugins.load([])
    assert checked_spec(results / "runs" / spec.id) == spec and "lion" in OPTIMIZERS


def test_a_kept_file_that_is_missing_or_edited_is_told(tmp_path: Path) -> None:
    spec = kept_run(tmp_path / "results")
    kept = plugins.kept_path(tmp_path / "results", spec.plugins[0])
    kept.write_text(LION.read_text() + "# edited\n")
    refused = train(tmp_path / "results", spec)
    assert refused.returncode == 1 and f"{kept} was edited" in refused.stderr and "Traceback" not in refused.stderr
    with pytest.raises(StudyError, match=f"results/plugins/{'0' * 64}.py does not exist: run snakemake with the plug-in"):
        plugins.load_hashes(["0" * 64], Path("results"))


def test_two_versions_of_a_file_can_be_read_one_after_the_other(tmp_path: Path) -> None:
    first = kept_run(tmp_path / "results")
    Path("lion.py").write_text(LION.read_text() + "# edited\n")
    plugins.load(["lion.py"])
    second = OPTIMIZERS.plugin_of("lion")
    assert second not in first.plugins
    plugins.load_kept(first, tmp_path / "results")
    assert OPTIMIZERS.plugin_of("lion") == first.plugins[0]


def test_a_kept_config_gives_the_same_runs_whatever_is_edited() -> None:
    data = study_with({"optimizer": "lion"}, {})
    runs = of_config(config.parse(data)).runs
    kept = plugins.kept_config(data)
    assert kept["plugins"] == [f"results/plugins/{OPTIMIZERS.plugin_of('lion')}.py"] and data["plugins"] == ["lion.py"]
    Path("lion.py").unlink()
    assert of_config(config.parse(kept)).runs == runs
    assert plugins.kept_config({"study": "without"}) == {"study": "without"}
