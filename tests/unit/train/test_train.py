"""Training: the same bytes from nothing, from a rung and after kill -9; early stopping, divergence, user mistakes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fixtures.small_runs import N_VOCAB, small_spec, write_tokens
from scalinglaws.common import finished, stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.data.batches import Batches, Split
from scalinglaws.evaluate.evaluate import evaluate, load_model
from scalinglaws.evaluate.losses import mean_loss
from scalinglaws.study.spec import RunSpec
from scalinglaws.train import checkpoint, run
from scalinglaws.train.checkpoint import Checkpoints
from scalinglaws.train.run import train, train_rung
from scalinglaws.train.trainer import Trainer

OUTPUTS = ("metrics.json", "curve.jsonl", "model.safetensors")
STAGE = """
import sys
from collections.abc import Callable
from pathlib import Path
from scalinglaws.study.spec import read_spec
from scalinglaws.train import checkpoint, run
from scalinglaws.train.checkpoint import Checkpoints
from scalinglaws.train.run import train
train(read_spec(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), device="cpu", checkpoint_seconds=0.0)
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


def trained(spec: RunSpec, tokens: Path, out: Path, **options: Any) -> dict[str, Any]:
    train(spec, tokens, out, device="cpu", **options)
    return json.loads((out / "metrics.json").read_text())


def same_outputs(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in OUTPUTS)


def test_training_learns_and_repeats_bit_for_bit(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec(tokens=64 * 150)
    metrics = trained(spec, tokens, tmp_path / "a")
    assert metrics["status"] == "ok" and metrics["steps"] == 150 and metrics["loss"] < 0.8 * math.log(N_VOCAB)
    assert metrics["loss_tokens"] == 320 and metrics["dataset_tokens"] == 3000 and metrics["n_params"] == spec.n_params
    trained(spec, tokens, tmp_path / "b")
    assert same_outputs(tmp_path / "a", tmp_path / "b")
    rows = [json.loads(line) for line in (tmp_path / "a" / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows][:5] == [8, 10, 11, 13, 16] and rows[-1]["step"] == 150
    assert rows[-1]["phase"] == "decay" and rows[-1]["tokens"] == spec.tokens
    sizes = (1, 2, 4, 8, 1)  # of the bins of positions 1 to 16: they average to the mean
    assert all(np.average(row["loss_by_position"], weights=sizes) == pytest.approx(row["loss_test"], rel=1e-5) for row in rows)
    assert np.mean(metrics["positions"]["loss"]) == pytest.approx(metrics["loss"], rel=1e-5)
    assert len(metrics["positions"]["stderr"]) == 16 and min(metrics["positions"]["stderr"]) > 0
    left = {path.name for path in (tmp_path / "a").iterdir()}
    assert left == {*OUTPUTS, "timing.json", "spec.json", "SHA256SUMS", "timing.sha256"}


def test_a_run_of_few_steps_has_its_end_in_the_curve(tokens: Path, tmp_path: Path) -> None:
    trained(small_spec(tokens=64 * 5), tokens, tmp_path)
    assert [json.loads(line)["step"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()] == [5]


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.1}, {"micro_batch_tokens": 32, "weight_decay": 0.1}])
def test_from_a_rung_equals_from_nothing(tokens: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = small_spec(**changes)
    trained(spec, tokens, tmp_path / "nothing")
    for step in (7, 20, 30, 35):  # the run's decay starts at 30: the rung at 35 is past it
        train_rung(spec.trunk, tokens, step, tmp_path / "trunk" / f"step{step}.safetensors", device="cpu")
    trained(spec, tokens, tmp_path / "rung", trunk=tmp_path / "trunk")
    assert same_outputs(tmp_path / "nothing", tmp_path / "rung")
    assert sorted(p.name for p in (tmp_path / "trunk").iterdir()) == [f"step{s}.safetensors" for s in (20, 30, 35, 7)]
    direct = tmp_path / "direct" / "step30.safetensors"
    train_rung(spec.trunk, tokens, 30, direct, device="cpu")
    assert direct.read_bytes() == (tmp_path / "trunk" / "step30.safetensors").read_bytes()


def test_kill_resumes_to_the_same_bytes(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec(tokens=64 * 200, stop="early", patience=1000)
    trained(spec, tokens, tmp_path / "whole")
    out = tmp_path / "killed"
    out.mkdir()
    (out / "spec.json").write_text(spec.canonical)
    command = [sys.executable, "-c", STAGE, str(out / "spec.json"), str(tokens), str(out)]
    for sent, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = {path.name for path in out.glob("checkpoint-*.safetensors")}
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        while process.poll() is None and not {p.name for p in out.glob("checkpoint-*.safetensors")} - before:
            time.sleep(0.01)
        process.send_signal(sent)
        assert process.wait() == code
    newest = max(out.glob("checkpoint-*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-100])
    trained(spec, tokens, out)
    assert same_outputs(tmp_path / "whole", out)
    assert json.loads((out / "timing.json").read_text())["attempts"] in (3, 4)  # the truncated file may have counted one more
    assert not list(out.glob("checkpoint-*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, values: tensors.pop("params"),
        lambda tensors, values: tensors.update(params=torch.cat([tensors["params"]] * 2)),
        lambda tensors, values: values.pop("rows"),
        lambda tensors, values: values.update(rows=[{"step": 1}]),
    ],
)
def test_a_whole_state_of_another_form_is_told(tokens: Path, tmp_path: Path, change: Callable[..., Any]) -> None:
    spec = small_spec(warmup_tokens=64)
    tensors, values = Trainer(spec, tokens).state()
    change(tensors, values)
    checkpoint.save(tmp_path / "checkpoint-3.safetensors", tensors, values | {"step": 3, "attempts": 1})
    with pytest.raises(StudyError, match=r"checkpoint-3\.safetensors holds no state of this training .*: delete it"):
        train(spec, tokens, tmp_path, device="cpu")


def test_a_signal_after_the_last_step_loses_nothing(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, whole = small_spec(), run.finish
    trained(spec, tokens, tmp_path / "whole")
    for number in (signal.SIGTERM, signal.SIGINT):

        def finish(*given: Any, number: int = number) -> Any:
            os.kill(os.getpid(), number)
            return whole(*given)

        monkeypatch.setattr(run, "finish", finish)
        out = tmp_path / str(number)
        trained(spec, tokens, out)  # a command that trains one run ends well
        assert same_outputs(tmp_path / "whole", out)
        with stopping.handled(stopping.leave), pytest.raises(SystemExit) as stopped:  # one that trains several starts no other
            trained(spec, tokens, out)
        assert stopped.value.code == 128 + number and same_outputs(tmp_path / "whole", out)
        assert not list(out.glob("checkpoint-*"))


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, "checkpoint-", 60.0)
    with pytest.raises(KeyboardInterrupt), kept.listening():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
            assert kept.reason
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_finished_run_is_put_in_place_and_not_trained(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(finished.VARIABLE, "1")
    spec, out, rung = small_spec(), tmp_path / "run", tmp_path / "trunk" / "step20.safetensors"
    trained(spec, tokens, out)
    train_rung(spec.trunk, tokens, 20, rung, device="cpu")
    made = [*(out / name for name in (*OUTPUTS, "timing.json")), rung]
    before = [path.read_bytes() for path in made]
    for path in made:
        path.unlink()
    (out / "checkpoint-5.safetensors").touch()
    monkeypatch.setattr(run, "Trainer", None)
    trained(spec, tmp_path / "no tokens", out)
    train_rung(spec.trunk, tmp_path / "no tokens", 20, rung, device="cpu")
    assert [path.read_bytes() for path in made] == before
    assert not list(out.glob("checkpoint-*"))


def test_early_stop_keeps_the_best_weights(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec(
        d_model=16, d_ff=64, d_attn=16, tokens=64 * 3000, stop="early", schedule="constant", patience=4, dataset_tokens=200
    )
    metrics = trained(spec, tokens, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    seen = {row["step"]: row["loss_validation"] for row in rows if row["loss_validation"] is not None}
    assert min(seen) == 32 and metrics["best_step"] == min(seen, key=lambda step: seen[step])
    assert metrics["steps"] == list(seen)[list(seen).index(metrics["best_step"]) + 4] < 3000
    assert metrics["tokens"] == metrics["steps"] * 64 and metrics["dataset_tokens"] == 200
    replayed = Trainer(spec, tokens)
    while replayed.step < metrics["best_step"]:
        replayed.update()
    kept = safetensors.torch.load_file(tmp_path / "run" / "model.safetensors")
    weights = {name: value.clone() for name, value in replayed.model.params.items()}
    assert kept.keys() == weights.keys() and all(torch.equal(kept[name], value) for name, value in weights.items())
    # Training went on after the best step, and the loss reported is that of the weights kept.
    while replayed.step < metrics["steps"]:
        replayed.update()
    assert not all(torch.equal(kept[name], value) for name, value in replayed.model.params.items())
    model = load_model(tmp_path / "run", N_VOCAB, "cpu")
    assert mean_loss(model, Split(tokens, "test", spec.n_ctx, spec.eval_tokens)) == pytest.approx(metrics["loss"], rel=1e-6)


def test_tokens_that_do_not_give_the_text_back_have_no_bits_per_byte(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lossy = write_tokens(tmp_path / "corpus" / "lossy")
    meta = json.loads((lossy / "meta.json").read_text())
    (lossy / "meta.json").write_text(json.dumps(meta | {"lossless": False}))
    spec = small_spec(eval_tokens=20)
    found, usual = trained(spec, lossy, tmp_path / "run"), trained(spec, tokens, tmp_path / "usual")
    assert usual["bits_per_byte"] > 0 and found == usual | {"bits_per_byte": None}
    assert f"{spec.id}: warning: the test loss is that of one window of 16 tokens" in capsys.readouterr().err
    (tmp_path / "run" / "spec.json").write_text(spec.canonical)
    for folder, known in ((lossy, False), (tokens, True), (lossy, False)):
        evaluate(tmp_path / "run", [folder], tmp_path / "evals" / "set.json")
        mean = json.loads((tmp_path / "evals" / "set.json").read_text())["rows"][0]
        assert (mean["nats_per_byte"] is not None) is known


def test_divergence_is_a_result(tokens: Path, tmp_path: Path) -> None:
    spec = small_spec(learning_rate=1e4, grad_clip=0.0)
    metrics = trained(spec, tokens, tmp_path / "run")
    assert metrics["status"] == "diverged" and metrics["loss"] is None and metrics["steps"] < 40
    assert metrics["positions"] is None
    train_rung(spec.trunk, tokens, 20, tmp_path / "trunk" / "step20.safetensors", device="cpu")
    trained(spec, tokens, tmp_path / "rung", trunk=tmp_path / "trunk")
    assert same_outputs(tmp_path / "run", tmp_path / "rung")


def test_accumulation_gives_the_same_step(tokens: Path) -> None:
    whole, parts = Trainer(small_spec(), tokens), Trainer(small_spec(micro_batch_tokens=16), tokens)
    whole.update()
    parts.update()
    assert torch.allclose(whole.model.grad, parts.model.grad, atol=1e-6)
    assert math.isclose(float(whole.loss_sum), float(parts.loss_sum), rel_tol=1e-6)


def test_batches_cover_an_epoch_once_and_depend_on_the_step_alone() -> None:
    spec = small_spec(dataset_tokens=16 * 10 + 1)
    stream = np.arange(1000, dtype=np.uint16)
    batches = Batches(stream, spec)
    seen = np.concatenate([batches.batch(step) for step in range(5)])  # 20 sequences: two epochs of ten
    assert seen.shape == (20, 17) and (np.diff(seen, axis=1) == 1).all()
    for epoch in (seen[:10, 0], seen[10:, 0]):
        assert sorted(epoch) == list(range(0, 160, 16))
    assert list(seen[:10, 0]) != list(seen[10:, 0])
    assert (Batches(stream, spec).batch(3) == seen[12:16]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_tokens": 5000}, "dataset_tokens = 5000 .* 3000 tokens"),
        ({"dataset_tokens": 16}, "fewer than n_ctx"),
        ({"batch_tokens": 60}, "multiple of n_ctx"),
        ({"micro_batch_tokens": 48}, "micro_batch_tokens"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"architecture": "rnn"}, "architecture"),
        ({"precision": "float8"}, "precision"),
        ({"schedule": "step"}, "schedule"),
        ({"n_heads": 3}, "n_heads"),
        ({"tokens": 63}, "raise tokens"),
    ],
)
def test_mistakes_name_the_key(tokens: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        trained(small_spec(**changes), tokens, tmp_path / "run")


def test_a_failing_compiler_falls_back(tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no compiler")

    spec = small_spec(precision="bfloat16")  # in float32 a CPU has its own step
    compiled, eager = Trainer(spec, tokens), Trainer(spec, tokens)
    monkeypatch.setattr(torch, "compile", lambda function, **options: broken)
    compiled.model.compile()
    for trainer in (compiled, eager):
        trainer.update()
        trainer.update()
    assert capsys.readouterr().err.count("warning: torch.compile failed") == 1
    assert torch.equal(compiled.model.flat, eager.model.flat)
