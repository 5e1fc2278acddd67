"""Shares of gradients, weights and states: on several processes, the steps of one; states that any number goes on from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from fixtures import sharded, together
from fixtures.small_runs import flat_model, killed_at, same_run, small_spec, write_tokens
from scalinglaws.optim.base import OneProcess
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.schedule import learning_rate
from scalinglaws.train import checkpoint, parts, sealed
from scalinglaws.train.checkpoint import LATER, SAVE, STOP, Checkpoints
from scalinglaws.train.distributed import ALIGNED, Processes
from scalinglaws.train.run import train
from scalinglaws.train.trainer import Trainer

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def made(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what several processes made, beside a run that one process broke off."""
    out = tmp_path_factory.mktemp("made")
    with killed_at(sharded.KILLED):
        train(sharded.RUN, tokens, out / "one", device="cpu", checkpoint_seconds=0.0)
    subprocess.run([sys.executable, sharded.__file__, str(tokens), str(out)], env=ENVIRONMENT, check=True, timeout=1200)
    return out


class Given(OneProcess):
    """The only process of a run, which is told the norm."""

    told: Tensor

    def norm(self, flat: Tensor) -> Tensor:
        return self.told


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", list(sharded.SPECS))
def test_shares_are_updated_as_one_process_updates_the_whole(made: Path, count: int, name: str) -> None:
    """The reference has the gradient that a plain all_reduce sums, and updates the whole buffer; bits are equal."""
    spec, given = sharded.SPECS[name], Given()
    files = [safetensors.torch.load_file(made / f"{count}-{name}-{rank}.safetensors") for rank in range(count)]
    model = flat_model(spec)
    optimizer = build_optimizer(model, spec, given)
    for step in range(sharded.STEPS):
        assert all(torch.equal(files[0][f"gradient{step}"], file[f"gradient{step}"]) for file in files)
        assert all(torch.equal(files[0][f"norm{step}"], file[f"norm{step}"]) for file in files)
        model.grad.copy_(files[0][f"gradient{step}"])
        given.told = files[0][f"norm{step}"]
        assert float(given.told) == pytest.approx(float(model.grad.double().norm()), rel=3e-7)
        assert not spec.grad_clip or float(given.told) > spec.grad_clip
        optimizer.update(learning_rate(spec, step, spec.learning_rate), step)
    assert all(torch.equal(model.flat, file["flat"]) for file in files)


@pytest.mark.parametrize("count", [2, 4])
def test_shares_of_the_gradient_give_the_bits_of_the_whole_gradient(made: Path, count: int) -> None:
    """Where neither padding nor clipping changes a sum, weights are those of an all_reduce; the norms differ by rounding."""
    last = f"norm{sharded.STEPS - 1}"
    for rank in range(count):
        ours, whole = (safetensors.torch.load_file(made / f"{count}-{name}-{rank}.safetensors") for name in ("free", "whole"))
        assert torch.equal(ours["flat"], whole["flat"])
        assert float(ours[last]) == pytest.approx(float(whole["norm"]), rel=3e-7)


def test_four_processes_are_one_in_float64(made: Path, tokens: Path) -> None:
    one, four = together.steps(sharded.FOUR, tokens), torch.load(made / "four.pt", weights_only=True)
    for key, ours in one["state"].items():
        assert torch.allclose(ours, four["state"][key], rtol=0, atol=1e-9), key
    assert torch.allclose(one["noise"], four["noise"], rtol=1e-9) and bool(one["noise"].all())


def loss(folder: Path) -> float:
    found: float = json.loads((folder / "metrics.json").read_text())["loss"]
    assert not list(folder.glob("checkpoint-*"))
    assert json.loads((folder / "timing.json").read_text())["attempts"] == (1 if folder.name == "whole" else 2)
    return found


def test_a_state_of_two_processes_is_gone_on_from_by_any_number(made: Path, tokens: Path) -> None:
    whole = loss(made / "whole")
    for name in ("two-two", "killed"):
        same_run(made / "whole", made / name)
        assert loss(made / name) == whole
    two = checkpoint.states(made / "two", "checkpoint-")
    assert [step for step, _ in two] == [sharded.KILLED - 1, sharded.KILLED]
    assert [len(paths) for _, paths in two] == [2, 2] and len(list((made / "two").glob("checkpoint-*"))) == 4
    shutil.copytree(made / "two", made / "two-one")
    train(sharded.RUN, tokens, made / "two-one", device="cpu")
    assert [loss(made / name) for name in ("two-three", "two-one", "one-two")] == pytest.approx([whole] * 3, rel=1e-5)


def saved(trainer: Trainer, tokens: Path, folder: Path, count: int, launch: str = "a") -> list[Path]:
    """Save the state of a training of one process as so many processes do."""
    paths = []
    for rank in range(count):
        processes = Processes(rank, count)
        other = Trainer(trainer.spec, tokens, "cpu", processes)
        other.restore(*trainer.state())
        tensors, values = other.part()
        paths.append(folder / parts.name_of("checkpoint-", trainer.step, processes))
        checkpoint.save(paths[-1], tensors, values | {parts.LAUNCH: launch})
    return paths


def trained(tokens: Path, steps: int, **changes: Any) -> Trainer:
    trainer = Trainer(small_spec(**sharded.ODD, **changes), tokens)
    while trainer.step < steps:
        trainer.update()
    return trainer


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon", "adafactor"])
def test_parts_hold_the_whole_state_once(tokens: Path, tmp_path: Path, optimizer: str) -> None:
    trainer = trained(tokens, 9, optimizer=optimizer, stop="early", noise_every=2)
    tensors, values = trainer.state()
    for count in (2, 3):
        paths = saved(trainer, tokens, tmp_path / str(count), count)
        found, read = checkpoint.load_state(paths, trainer.spec.id)
        del read[sealed.FIELD]
        assert read == json.loads(json.dumps(values)) and found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        sizes = [sum(tensor.numel() for tensor in checkpoint.load(path, trainer.spec.id)[0].values()) for path in paths]
        assert sum(sizes) == sum(tensor.numel() for tensor in tensors.values())
        assert max(sizes) - min(sizes) <= count * ALIGNED * len(tensors)


def test_a_state_counts_where_all_parts_of_one_start_are_whole(tokens: Path, tmp_path: Path, capsys: Any) -> None:
    three = trained(tokens, 3)
    checkpoint.save(tmp_path / "checkpoint-3.safetensors", *three.state())
    five, six, seven, eight = (saved(trained(tokens, step), tokens, tmp_path, 2) for step in (5, 6, 7, 8))
    saved(trained(tokens, 6), tokens, tmp_path / "other", 2, launch="b")
    shutil.copy(tmp_path / "other" / six[1].name, six[1])  # each part is whole, and another start saved one of them
    seven[0].write_bytes(seven[0].read_bytes()[:-1] + b"x")
    eight[1].unlink()
    found = checkpoint.latest(tmp_path, "checkpoint-", three.spec.id)
    assert found is not None and found[1]["step"] == 5 and found[2] == tuple(five)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all(str(paths[0]) in line for paths, line in zip((seven, six), told, strict=True))
    assert f"{seven[0].name}: its contents do not match" in told[0] and "part 2 belongs to another state" in told[1]
    # A part under another name is none of the state, and nor are parts that leave a gap.
    thirds = saved(three, tokens, tmp_path / "thirds", 3)
    for paths, reason in (
        ((thirds[0], thirds[2]), "part 1 of 2 says that it is part 1 of 3"),
        ((five[0], six[0]), "part 2 of 2"),
    ):
        with pytest.raises(ValueError, match=reason):
            checkpoint.load_state(paths, three.spec.id)
    checkpoint.clear(tmp_path, "checkpoint-")
    assert not eight[0].exists() and all(path.exists() for path in (*five, *six, *seven))


def test_the_last_two_whole_states_are_kept(tokens: Path, tmp_path: Path) -> None:
    trainer = trained(tokens, 1)
    checkpoint.save(tmp_path / "checkpoint-1.safetensors", *trainer.state())
    files = {}
    for step in (2, 3, 4, 5):
        trainer.step = step
        files[step] = saved(trainer, tokens, tmp_path, 2)
    files[3][0].unlink()
    files[5][0].unlink()  # the first process still writes it
    checkpoint.prune(tmp_path, "checkpoint-", keep=2)
    assert set(tmp_path.iterdir()) == {*files[2], *files[4], files[3][1], files[5][1]}
    saved(trainer, tokens, tmp_path, 2)
    checkpoint.prune(tmp_path, "checkpoint-", keep=2)
    assert set(tmp_path.iterdir()) == {*files[4], *files[5]}
    checkpoint.prune(tmp_path, "checkpoint-", keep=0)
    assert not list(tmp_path.iterdir())


class Others(Processes):
    """The first of two processes, of which the other asks for the same thing after each step."""

    wish, asked = 0, 0

    def most(self, here: int) -> int:
        type(self).asked = here
        return max(here, self.wish)


def test_processes_save_when_all_can(tokens: Path, tmp_path: Path) -> None:
    class Busy(Others):
        wish = LATER

    class Free(Others):
        wish = SAVE

    trainer, kept = Trainer(small_spec(), tokens), Checkpoints(tmp_path, "checkpoint-", 1e-9)
    for kind, there in ((Busy, []), (Free, ["checkpoint-0.part1of2.safetensors"])):
        trainer.processes = kind(0, 2)
        kept.tick(trainer)
        kept.saver.wait()
        assert kind.asked == SAVE and [path.name for path in tmp_path.iterdir()] == there
    kept.saver.cost = 1e9
    kept.tick(trainer)
    assert Free.asked == LATER < STOP
