"""Which kernels compute attention, by PyTorch's profiler: a fused one forwards and backwards, and never the matrix of scores."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fixtures.on_a_gpu import model_on, sized, windows
from scalinglaws.models.determinism import set_deterministic

HEADS = (16, 64)
ATTENTION = re.compile(r"aten::_scaled_dot_product_(\w+)")
# Names of kernels: of flash attention and cuDNN (fwd, fprop, bwd, bprop), and of the memory-efficient one (cutlassF, cutlassB).
FUSED = re.compile(r"flash|fmha|sdpa", re.IGNORECASE)
FORWARD, BACKWARD = re.compile(r"fwd|fprop|cutlassF"), re.compile(r"bwd|bprop|cutlassB")


def names(head_width: int, device: str) -> tuple[set[str], set[str]]:
    """Return the names of the operators and of the GPU's kernels of a gradient of a model in bfloat16."""
    spec = sized(1, 128, head_width, n_ctx=256, batch_tokens=1024, precision="bfloat16")
    model, batch = model_on(spec, device), windows(spec, device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as seen:
        model.backward(batch[:, :-1], batch[:, 1:])
        if device == "cuda":
            torch.cuda.synchronize()
    events: Any = seen.events()
    operators = {event.name for event in events if event.device_type == DeviceType.CPU}
    return operators, {event.name for event in events if event.device_type == DeviceType.CUDA}


def kinds(operators: set[str]) -> set[str]:
    """Return the kinds of attention among operators, such as flash_attention and flash_attention_backward."""
    return {found[1] for found in map(ATTENTION.fullmatch, operators) if found}


@pytest.mark.parametrize("head_width", HEADS)
def test_no_matrix_of_scores_is_made(head_width: int, device: str, record_property: Any) -> None:
    operators, _ = names(head_width, device)
    found = kinds(operators)
    record_property("operators", " ".join(sorted(found)))
    fused = {"flash_attention_for_cpu"} if device == "cpu" else {"flash_attention", "efficient_attention", "cudnn_attention"}
    (forward,) = found & fused
    assert found == {forward, f"{forward}_backward"}
    assert "aten::softmax" not in operators and "aten::_softmax" not in operators


@pytest.mark.needs_gpu("the names are those of its kernels")
@pytest.mark.parametrize("head_width", HEADS)
def test_kernels_are_fused(head_width: int, device: str, record_property: Any) -> None:
    _, kernels = names(head_width, device)
    fused = {name for name in kernels if FUSED.search(name)}
    record_property("kernels", " ".join(sorted(name.partition("<")[0] for name in fused)))
    assert any(map(FORWARD.search, fused)) and any(map(BACKWARD.search, fused))
    assert not [name for name in kernels if "softmax" in name.lower() and name not in fused]


@pytest.mark.needs_gpu("cuDNN computes attention there alone")
@pytest.mark.parametrize("head_width", HEADS)
def test_equal_bits_leave_cudnn_out(head_width: int, device: str, record_property: Any) -> None:
    set_deterministic(True)
    operators, kernels = names(head_width, device)
    record_property("operators", " ".join(sorted(kinds(operators))))
    assert kinds(operators) and not any(kind.startswith(("cudnn", "attention_math")) for kind in kinds(operators))
    assert not [name for name in kernels if "cudnn" in name.lower()]
