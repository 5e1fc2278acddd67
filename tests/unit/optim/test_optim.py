"""Optimizers against torch's classes and the papers' formulas in float64; what a killed, resumed or shared run ends with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.parameters import Parameters
from fixtures.small_runs import N_VOCAB, flat_model, killed_at, same_run, small_spec, write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import forget, of_plugin
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.optim.registry import OPTIMIZERS, Optimizer
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.run import train, train_rung
from scalinglaws.train.trainer import Trainer

STEPS, RATE = 5, 0.01
KINDS = tuple(OPTIMIZERS)
OTHERS = ("sgd", "adafactor", "muon")
# Rates at which each learns the noisy cycle of small_runs: Adafactor's is relative to the weights.
RATES = {"adamw": 0.01, "sgd": 0.3, "adafactor": 0.1, "muon": 0.02}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


def random_grads(model: FlatModel, step: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Return the gradients of a step, also in model.grads; one row of an embedding has none, like a token that does not occur."""
    generator = torch.Generator().manual_seed(step)
    for name, grad in model.grads.items():
        grad.normal_(0.0, scale, generator=generator)
        if name == "token_embedding":
            grad[3] = 0
    return {name: grad.clone() for name, grad in model.grads.items()}


def ours(kind: str, **changes: Any) -> tuple[FlatModel, dict[str, Tensor], list[dict[str, Tensor]]]:
    """Return the parameters before, and the model after, STEPS updates, and the random gradients of these."""
    spec = small_spec(**({"optimizer": kind, "grad_clip": 0.0} | changes))
    model = flat_model(spec, N_VOCAB)
    before = {name: value.detach().clone() for name, value in model.params.items()}
    optimizer, grads = build_optimizer(model, spec), []
    for step in range(STEPS):
        grads.append(random_grads(model, step))
        optimizer.update(RATE / (step + 1), step)
    return model, before, grads


def torchs(parts: Any, before: dict[str, Tensor], grads: list[dict[str, Tensor]]) -> dict[str, Any]:
    """Return the parameters after the same updates by torch.optim's classes; ``parts`` makes them from named parameters."""
    params = {name: torch.nn.Parameter(value.clone()) for name, value in before.items()}
    optimizers = parts(params)
    for step, named in enumerate(grads):
        for name, grad in named.items():
            params[name].grad = grad.clone()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = RATE / (step + 1)
            optimizer.step()
    return params


def assert_same(model: FlatModel, params: dict[str, Tensor], **tolerance: float) -> None:
    for name, value in model.params.items():
        at = {kind: tolerance.get(kind) for kind in ("rtol", "atol")}
        torch.testing.assert_close(value, params[name], **at, msg=f"{name}: {{}}".format)  # type: ignore[arg-type]


def test_adamw_is_torchs() -> None:
    model, before, grads = ours("adamw", weight_decay=0.5)

    def parts(params: dict[str, Tensor]) -> list[torch.optim.Optimizer]:
        groups: list[dict[str, Any]] = [{"params": [p for p in params.values() if p.dim() == dim]} for dim in (1, 2)]
        groups[0] |= {"weight_decay": 0.0}
        return [torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.5)]

    assert_same(model, torchs(parts, before, grads), rtol=1e-5, atol=1e-6)


def test_sgd_by_hand_and_torchs() -> None:
    model, before, grads = ours("sgd", beta1=0.8)
    assert_same(model, torchs(lambda params: [torch.optim.SGD(params.values(), momentum=0.8)], before, grads))
    # The weights after the last step, without recurrence: gradient s is in the momentum of step t with 0.8^(t - s).
    for name, value in model.params.items():
        moved = sum(RATE / (t + 1) * 0.8 ** (t - s) * grads[s][name].double() for t in range(STEPS) for s in range(t + 1))
        torch.testing.assert_close(value.double(), before[name].double() - moved, rtol=0, atol=1e-6)


def test_adafactor_is_torchs() -> None:
    model, before, grads = ours("adafactor")
    assert_same(
        model, torchs(lambda params: [torch.optim.Adafactor(params.values(), eps=(1e-15, 1e-3))], before, grads), rtol=0, atol=0
    )


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_adafactor_is_the_papers(scale: float) -> None:
    """Algorithms 4 and 5 in float64, with the paper's sums, agree; also for gradients as small as those of large models."""
    spec = small_spec(optimizer="adafactor", grad_clip=0.0)
    model = flat_model(spec, N_VOCAB)
    optimizer = build_optimizer(model, spec)
    x = {name: value.detach().double() for name, value in model.params.items()}
    moments: list[dict[str, Any]] = [dict.fromkeys(x, 0.0) for _ in range(3)]
    rows, columns, whole = moments
    for t in range(1, STEPS + 1):
        for name, grad in random_grads(model, t, scale).items():
            beta, square = 1 - t**-0.8, grad.double() ** 2 + 1e-30
            if grad.dim() == 2:
                rows[name] = beta * rows[name] + (1 - beta) * square.sum(1, keepdim=True)
                columns[name] = beta * columns[name] + (1 - beta) * square.sum(0, keepdim=True)
                moment = rows[name] * columns[name] / rows[name].sum()
            else:
                moment = whole[name] = beta * whole[name] + (1 - beta) * square
            update = grad.double() / moment.sqrt()
            update /= max(1.0, float(update.square().mean().sqrt()))
            size = max(1e-3, float(x[name].square().mean().sqrt()))
            x[name] = x[name] - size * min(0.5, t**-0.5) * update
        optimizer.update(0.5, t - 1)  # the rate is above 1 / sqrt(t) from the fifth update on
    for name, value in model.params.items():
        torch.testing.assert_close(value.double(), x[name], rtol=1e-4, atol=1e-5)


def muon_parts(params: dict[str, Tensor]) -> list[torch.optim.Optimizer]:
    hidden = [p for name, p in params.items() if name.startswith("layer") and p.dim() == 2]
    rest = [p for name, p in params.items() if not (name.startswith("layer") and p.dim() == 2)]
    assert len(hidden) == 4 and len(rest) == 2 + 10
    muon = torch.optim.Muon(hidden, weight_decay=0.5, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw")
    groups: list[dict[str, Any]] = [{"params": [p for p in rest if p.dim() == dim]} for dim in (1, 2)]
    groups[0] |= {"weight_decay": 0.0}
    return [muon, torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.5)]


def test_muon_is_torchs_and_adamw_for_the_rest() -> None:
    model, before, grads = ours("muon", weight_decay=0.5)
    assert_same(model, torchs(muon_parts, before, grads), rtol=1e-5, atol=1e-6)


def test_muon_moves_matrices_by_near_orthogonal_steps() -> None:
    """Newton-Schulz by hand in float64 agrees, singular values are near 1, and the RMS is AdamW's 0.2."""
    spec = small_spec(optimizer="muon", grad_clip=0.0, d_model=32, d_attn=32, d_ff=128)
    model = flat_model(spec, N_VOCAB)
    before = {name: value.detach().clone() for name, value in model.params.items()}
    grads = random_grads(model, 0)
    build_optimizer(model, spec).update(RATE, 0)
    for name in ("layer0.qkv.weight", "layer0.project.weight", "layer0.up.weight", "layer0.down.weight"):
        moved = (before[name] - model.params[name].detach()) / RATE
        scale = 0.2 * math.sqrt(max(moved.shape))
        values = torch.linalg.svdvals(moved / scale)
        assert 0.4 < float(values.median()) < 1.3 and float(values.max()) < 1.35, name
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.2, rel=0.2)
        # Momentum 0.1 g and Nesterov's mean with g are multiples of g, which a first step normalises away.
        x = grads[name].double()
        x = x / x.norm()
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        assert float((moved / scale - x).norm() / x.norm()) < 0.03, name


@pytest.mark.parametrize("kind", KINDS)
def test_clipping(kind: str) -> None:
    """A gradient over the limit moves the weights as one scaled to it by hand does, and its norm is returned."""
    flats = []
    for clip in (0.5, 0.0):
        spec = small_spec(optimizer=kind, grad_clip=clip)
        model = flat_model(spec, N_VOCAB)
        optimizer = build_optimizer(model, spec)
        for step in range(2):
            random_grads(model, step)
            norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in model.grads.values()))
            if not clip:
                model.grad.mul_(0.5 / norm)
            returned = float(optimizer.update(RATE, step))
            assert returned == pytest.approx(norm if clip else 0.5, rel=1e-5)
        flats.append(model.flat)
    # Muon's bfloat16 rounds a last bit of its input to 2^-8.
    torch.testing.assert_close(flats[0], flats[1], rtol=0, atol=2e-4 if kind == "muon" else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_decay_shrinks_matrices_only(kind: str) -> None:
    spec = small_spec(optimizer=kind, weight_decay=0.5)
    model = flat_model(spec, N_VOCAB)
    before = {name: value.detach().clone() for name, value in model.params.items()}
    build_optimizer(model, spec).update(0.1, 0)  # the gradients are zero
    for name, value in model.params.items():
        expected = before[name] * (1 - 0.1 * 0.5) if value.dim() == 2 else before[name]
        torch.testing.assert_close(value.detach(), expected, rtol=1e-6, atol=0)


def test_state_is_small_where_it_is_meant_to_be() -> None:
    numbers = {}
    for kind in KINDS:
        spec = small_spec(optimizer=kind)
        model = flat_model(spec, N_VOCAB)
        tensors = build_optimizer(model, spec).tensors
        assert all(t.dim() == 1 and not t.any() for t in tensors.values())
        numbers[kind] = sum(t.numel() for t in tensors.values())
    n, hidden = model.flat.numel(), 4 * 8 * 8 + 2 * 8 * 32
    assert numbers["adamw"] == 2 * n and numbers["sgd"] == n and numbers["muon"] == 2 * n - hidden
    assert numbers["adafactor"] == n - model.n_matrix + sum(sum(size) for size in model.sizes.values() if len(size) == 2)


def test_an_unknown_name_is_refused() -> None:
    spec = small_spec(optimizer="lion")
    with pytest.raises(StudyError, match=r"optimizer: 'lion' .* adamw, sgd, adafactor, muon"):
        build_optimizer(flat_model(spec, N_VOCAB), spec)


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_model_may_have_tensors_of_three_dimensions(kind: str) -> None:
    """They agree with torch's classes, which take tensors of any number of dimensions."""
    model: Any = Parameters()
    before = {name: value.clone() for name, value in model.params.items()}
    optimizer, grads = build_optimizer(model, small_spec(optimizer=kind, grad_clip=0.0)), []
    for step in range(STEPS):
        grads.append(random_grads(model, step))
        optimizer.update(RATE / (step + 1), step)

    def parts(params: dict[str, Tensor]) -> list[torch.optim.Optimizer]:
        adamw = {name: p for name, p in params.items() if kind == "adamw" or name != "mix.weight"}
        if kind == "sgd":
            return [torch.optim.SGD(params.values(), momentum=0.9)]
        if kind == "adafactor":
            return [torch.optim.Adafactor(params.values(), eps=(1e-15, 1e-3))]
        muon = [torch.optim.Muon([params["mix.weight"]], weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw")]
        return [torch.optim.AdamW(adamw.values(), betas=(0.9, 0.95), weight_decay=0.0), *(muon if kind == "muon" else [])]

    assert_same(model, torchs(parts, before, grads), rtol=1e-5, atol=1e-6)


def test_an_optimizer_without_a_state_is_told() -> None:
    with of_plugin("12"):
        OPTIMIZERS.register(Optimizer("empty", lambda model, settings, processes: Parameters()))  # type: ignore[arg-type, return-value]
    try:
        with pytest.raises(StudyError, match="optimizer: empty has no by_element: see BuiltOptimizer"):
            build_optimizer(Parameters(), small_spec(optimizer="empty"))
    finally:
        forget("12")


@pytest.mark.parametrize("kind", OTHERS)
def test_learns_and_shares_rungs(tokens: Path, tmp_path: Path, kind: str) -> None:
    spec = small_spec(optimizer=kind, learning_rate=RATES[kind], weight_decay=0.01, tokens=64 * 80)
    train(spec, tokens, tmp_path / "whole", device="cpu")
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["status"] == "ok" and metrics["loss"] < 0.85 * math.log(N_VOCAB)
    for step in (20, 50):
        train_rung(spec.trunk, tokens, step, tmp_path / "trunk" / f"step{step}.safetensors", device="cpu")
    train(spec, tokens, tmp_path / "shared", trunk=tmp_path / "trunk", device="cpu")
    same_run(tmp_path / "whole", tmp_path / "shared")


@pytest.mark.parametrize("kind", OTHERS)
def test_a_run_that_breaks_off_resumes_to_the_same_bytes(tokens: Path, tmp_path: Path, kind: str) -> None:
    spec = small_spec(optimizer=kind, learning_rate=RATES[kind], beta1=0.95)
    train(spec, tokens, tmp_path / "whole", device="cpu")
    with killed_at(23):
        train(spec, tokens, tmp_path / "broken", device="cpu", checkpoint_seconds=0.0)
    assert (tmp_path / "broken" / "checkpoint-23.safetensors").exists()
    train(spec, tokens, tmp_path / "broken", device="cpu")
    assert json.loads((tmp_path / "broken" / "timing.json").read_text())["attempts"] == 2
    same_run(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_tensor_matters_and_is_restored(tokens: Path, kind: str) -> None:
    spec = small_spec(optimizer=kind, learning_rate=RATES[kind])
    one, other = Trainer(spec, tokens), Trainer(spec, tokens)
    for _ in range(3):
        one.update()
    state, values = one.state()
    other.restore({name: tensor.clone() for name, tensor in state.items()}, values)
    assert all(bool(tensor.any()) for name, tensor in state.items() if "position" not in name)
    for trainer in (one, other):
        trainer.update()
    assert torch.equal(one.model.flat, other.model.flat)
