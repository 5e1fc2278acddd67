"""The compiled step of a GPU, by torch.compile with backends of the CPU: graphs, failures and how they are told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

from fixtures.small_runs import N_VOCAB, model_fields, small_spec, write_tokens
from scalinglaws.common import asked
from scalinglaws.common.errors import StudyError
from scalinglaws.models import determinism
from scalinglaws.models.build import build
from scalinglaws.study.spec import RunSpec
from scalinglaws.tables.aggregate import not_compiled
from scalinglaws.train.compilation import missing_compiler, out_of_memory, reason_against, with_compiled_layers
from scalinglaws.train.distributed import ALONE
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.gradient import Gradient
from scalinglaws.train.stack import Stack
from scalinglaws.train.trainer import Trainer

REAL = torch.compile
LLAMA = model_fields("llama", 1, 8, n_heads=2)
LONG = 10**6  # steps, for which compilation pays


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile by PyTorch's operations, which takes no compiler, and forget all graphs before and after a test."""
    monkeypatch.setattr(torch, "compile", functools.partial(REAL, backend="aot_eager"))
    monkeypatch.setattr("scalinglaws.train.compilation.missing_compiler", lambda named, headers: "")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def as_on_a_gpu(spec: RunSpec, tokens: Path, steps: int = LONG) -> Trainer:
    """Return a training whose step is the one of a GPU, compiled where that pays."""
    trainer = Trainer(spec, tokens)  # in float32 a CPU has its own step: take bfloat16 or an architecture that has none
    trainer.gradient = Gradient(trainer.model, spec, ALONE, "cuda")
    trainer.gradient.compile(steps)
    return trainer


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layer": 3, "precision": "bfloat16", "dropout": 0.1, "micro_batch_tokens": 128, "noise_every": 4},
        model_fields("llama", 3, 8, n_heads=2),
    ],
    ids=["micro-batches, dropout, noise scale", "llama in float32"],
)
def test_two_graphs_and_no_other_one_in_twenty_updates_with_evaluation(tokens: Path, changes: dict[str, Any]) -> None:
    spec = small_spec(batch_tokens=256, tokens=256 * 40, warmup_tokens=512, **changes)
    trainer, eager = as_on_a_gpu(spec, tokens), as_on_a_gpu(spec, tokens, steps=1)
    assert trainer.gradient.compiled == "yes" and eager.gradient.compiled == "no: 0 s of training are too few for it to pay"
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(20):
            trainer.update()
            eager.update()
    assert len(trainer.rows) == 6 and trainer.gradient.compiled == "yes"
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 2  # a layer, and the softmax of a part of the logits
    assert not counters["graph_break"]
    if not spec.dropout:  # compiled code draws other bits
        torch.testing.assert_close(trainer.model.flat, eager.model.flat, rtol=0, atol=1e-5)


BLOCKS: dict[str, dict[str, Any]] = {
    "transformer": {"n_heads": 2},
    "recurrent": {"n_heads": 2, "n_repeats": 2},
    "llama": {"n_heads": 2, "n_kv_heads": 1},
}


@pytest.mark.parametrize(
    ("architecture", "n_layer"), [("transformer", 2), ("transformer", 8), ("recurrent", 4), ("llama", 2), ("llama", 4)]
)
def test_the_code_of_one_layer_serves_a_model_of_any_depth(architecture: str, n_layer: int) -> None:
    """Two graphs whatever the depth, and in float64 the loss and the gradient of uncompiled code."""
    spec = small_spec(**model_fields(architecture, n_layer, 8, **BLOCKS[architecture]))
    batch = torch.randint(N_VOCAB, (2, spec.n_ctx + 1), generator=torch.Generator().manual_seed(0))
    found = []
    for compiles in (False, True):
        model = FlatModel(build(spec.shape(N_VOCAB), by_hand=False).double())
        model.loss_in_parts()
        if compiles:
            model.compile()
        found.append((model.backward(batch[:, :-1], batch[:, 1:]), model.grad))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2 and not torch._dynamo.utils.counters["graph_break"]
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


class Scaled(nn.Module):
    """A plug-in's layer, with a constant and a width of its own."""

    def __init__(self, scale: float, width: int = 8):
        super().__init__()
        self.scale, self.up, self.down = scale, nn.Linear(8, width), nn.Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.down(self.up(x).relu())


class Layered(nn.Module):
    """A plug-in's model of such layers."""

    def __init__(self, layers: list[Scaled], listed: bool = True):
        super().__init__()
        self.token_embedding, self.dropout = nn.Embedding(N_VOCAB, 8), nn.Dropout(0.5)
        self.blocks = nn.ModuleList(layers)
        if listed:
            self.layers = self.blocks

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.token_embedding(tokens))
        for layer in getattr(self, "layers", self.blocks):
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("module", "by_layer"),
    [
        (Layered([Scaled(0.5) for _ in range(12)]), True),
        (Layered([Scaled(0.5) for _ in range(2)], listed=False), False),
        (Layered([Scaled(1 / (i + 1)) for i in range(2)]), False),
        (Layered([Scaled(0.5, width) for width in range(4, 6)]), False),
        (Layered([]), False),
    ],
    ids=["alike", "no list", "other constants", "other sizes", "no layers"],
)
def test_layers_that_differ_are_compiled_together(module: Layered, by_layer: bool) -> None:
    """The compiler would give up after eight layers with constants of their own, silently; twelve alike are one graph."""
    twin = with_compiled_layers(module.eval())
    assert (twin is not None) == by_layer
    model, tokens = FlatModel(module), torch.arange(16).view(2, 8)
    model.loss_in_parts()
    model.compile()
    assert model.compiled is not None
    torch.testing.assert_close(model.compiled(tokens), module(tokens))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    if twin is not None:
        assert twin.layers is not module.layers and isinstance(module.layers, nn.ModuleList)


def test_a_stack_is_one_graph(tokens: Path) -> None:
    plain, coded = (Stack(2, Trainer(small_spec(), tokens)) for _ in range(2))
    for stack in (plain, coded):
        for seed in (1, 2):
            stack.put(Trainer(small_spec(seed=seed), tokens), seed - 1)
    coded.model.compile()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            plain.update()
            coded.update()
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    torch.testing.assert_close(coded.loss_sums, plain.loss_sums, rtol=1e-6, atol=0)


def of_most(contexts: int, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let compilation fail for more contexts than so many."""

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        if any(len(each) > contexts for each in inputs if each.dim() == 3 and each.requires_grad):  # a layer's residual stream
            raise error()
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(REAL, backend=backend))


def test_a_full_memory_while_compiling_halves_the_micro_batch(tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    of_most(1, lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), monkeypatch)
    spec = small_spec(**LLAMA)
    full, given = as_on_a_gpu(spec, tokens), as_on_a_gpu(small_spec(micro_batch_tokens=16, **LLAMA), tokens, steps=1)
    full.update()
    given.update()
    assert full.gradient.per_micro == 1 and full.gradient.compiled == "yes" and full.model.compiled is not None
    torch.testing.assert_close(full.model.flat, given.model.flat, rtol=0, atol=1e-6)
    assert capsys.readouterr().err.splitlines() == [
        f"{spec.id}: out of memory at micro-batches of {tried} contexts, going on with {left}" for tried, left in ((4, 2), (2, 1))
    ]


def test_another_failure_of_the_compiler_is_told_once(tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    of_most(0, lambda: RuntimeError("no\nsuch kernel"), monkeypatch)
    spec = small_spec(**LLAMA)
    trainer, eager = as_on_a_gpu(spec, tokens), as_on_a_gpu(spec, tokens, steps=1)
    for _ in range(2):
        trainer.update()
        eager.update()
    assert torch.equal(trainer.model.flat, eager.model.flat) and trainer.gradient.per_micro == 4
    reason = trainer.gradient.compiled
    assert reason is not None and reason.startswith("failed: ") and "such kernel" in reason and "\n" not in reason
    assert capsys.readouterr().err.count("warning: torch.compile failed") == 1
    rows: list[dict[str, Any]] = [{"run": "a", "compiled": "yes"}, {"run": "b", "compiled": None}]
    assert not_compiled(rows) == []
    (sentence,) = not_compiled([*rows, {"run": "c", "compiled": reason}, {"run": "d", "compiled": reason}])
    assert sentence.startswith("2 runs trained on a GPU without compiled code (c is the first)") and "such kernel" in sentence


def test_a_second_try_drops_what_the_first_one_dropped(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec(**LLAMA, dropout=0.2, micro_batch_tokens=32)
    late, given = as_on_a_gpu(spec, tokens, steps=1), as_on_a_gpu(spec, tokens, steps=1)
    backward, calls = late.model.backward, []

    def fails_at_first(*given: Any, **named: Any) -> Tensor:
        calls.append(backward(*given, **named))
        if len(calls) == 1:
            late.model.compiled = late.model.loss  # it fails as a compiler would
            raise RuntimeError("no such kernel")
        return calls[-1]

    monkeypatch.setattr(late.model, "backward", fails_at_first)
    for _ in range(2):
        late.update()
        given.update()
    assert len(calls) == 5 and torch.equal(late.model.flat, given.model.flat)


def test_errors_that_mean_a_full_memory() -> None:
    inner = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    outer = ValueError("backend failed")
    outer.__cause__ = inner
    wrapped = torch._dynamo.exc.BackendCompilerFailed(lambda: None, torch.OutOfMemoryError("CUDA out of memory"), None)
    assert all(map(out_of_memory, (inner, outer, wrapped, torch.OutOfMemoryError("full"))))
    assert not any(map(out_of_memory, (RuntimeError("CUDA error: device-side assert triggered"), KeyError("a"))))


def test_what_is_compiled_and_what_is_not(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec()
    module = Trainer(spec, tokens).model.module
    assert reason_against(module, spec, LONG) == ""
    assert reason_against(module, spec, 1000) == "no: 4 s of training are too few for it to pay"
    assert reason_against(module, small_spec(d_model=2**16, d_ff=2**18, d_attn=2**16), 1000) == ""
    # A rung and its run compute alike where equal bits are asked for.
    monkeypatch.setenv(asked.DETERMINISTIC, "1")
    assert reason_against(module, spec, 1) == ""
    monkeypatch.setattr(type(module), "compiles", False, raising=False)
    assert reason_against(module, spec, LONG) == "no: the architecture gains nothing by it"


def test_a_machine_without_a_compiler_is_told(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "Python.h").touch()
    assert missing_compiler("sh", tmp_path) == ""  # any program that is there
    assert missing_compiler("absent-cc", tmp_path) == "no C compiler is there (absent-cc): install gcc"
    assert missing_compiler("sh", tmp_path / "include").startswith(f"{tmp_path / 'include'} has no Python.h: install the headers")
    monkeypatch.setenv("PATH", "")
    assert missing_compiler("", tmp_path) == "no C compiler is there (cc, gcc, clang): install gcc"
    monkeypatch.setattr("scalinglaws.train.compilation.missing_compiler", lambda named, headers: "no C compiler")
    trainer = as_on_a_gpu(small_spec(**LLAMA), tokens)
    assert trainer.gradient.compiled == "failed: no C compiler" and trainer.model.compiled is None
    assert "warning: training is not compiled: no C compiler" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["transformer", "recurrent", "llama", "moe", "lstm"])
def test_equal_bits_are_had_or_refused(tokens: Path, architecture: str) -> None:
    """With ``deterministic: true`` nothing of a step is refused, and two trainings of a run end with the same bytes."""
    more = {"moe": {"n_experts": 4}, "recurrent": {"n_repeats": 2}}.get(architecture, {})
    heads = {} if architecture == "lstm" else {"n_heads": 2}
    spec = small_spec(precision="bfloat16", dropout=0.1, noise_every=4, **model_fields(architecture, 1, 16, **heads, **more))
    determinism.set_deterministic(True)
    try:
        assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()
        states = []
        for _ in range(2):
            trainer = as_on_a_gpu(spec, tokens, steps=1)
            for _ in range(12):
                trainer.update()
            tensors, values = trainer.state()
            states.append(({name: tensor.clone() for name, tensor in tensors.items()}, values))
    finally:
        determinism.set_deterministic(False)
    assert states[0][1] == states[1][1]
    assert all(torch.equal(tensor, states[1][0][name]) for name, tensor in states[0][0].items())
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cuda.cudnn_sdp_enabled()


def test_an_operation_without_equal_bits_names_the_key(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = as_on_a_gpu(small_spec(**LLAMA), tokens, steps=1)

    def backward(*given: Any, **named: Any) -> Tensor:
        raise RuntimeError(f"cumsum_cuda {determinism.ERROR}, but you set 'torch.use_deterministic_algorithms(True)'.")

    monkeypatch.setattr(trainer.model, "backward", backward)
    with pytest.raises(StudyError, match=r"cannot have equal bits on this GPU: cumsum_cuda .*: set deterministic: false in"):
        trainer.update()


def test_products_in_float32_are_not_rounded_to_tf32() -> None:
    try:
        for precision, allowed in (("bfloat16", True), ("float32", False)):
            determinism.set_products(precision)
            assert torch.backends.cudnn.allow_tf32 is allowed and not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = True
