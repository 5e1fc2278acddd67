"""torch.compile for a training step: of what, whether it pays, whether it can work here, and what its failures mean.

The code of one layer is compiled once and used for all of them, so that compilation takes as long for a deep model as for a
shallow one. What is before and after the layers stays as it is: an embedding and a norm are a few kernels.

A failure never ends a training: it goes on without compiled code, and timing.json and the report say why.
"""

from __future__ import annotations

import copy
import os
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalinglaws.common import asked
from scalinglaws.study.ladder import flops_per_step
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.metrics import NOT_COMPILED

# Compilation takes a minute, and a step is then a few tenths faster, or more where a model is small: it pays in runs of minutes.
WORTH_SECONDS = 180.0
# What a step takes without compilation, at the least: FLOP at the speed that large models reach on one H100, and the time to
# start the kernels of a layer forwards and backwards.
FLOP_PER_SECOND = {"bfloat16": 4e14, "float32": 3e13}
LAYER_SECONDS = 2e-3
COMPILERS = ("cc", "gcc", "clang")
CONSTANTS = (bool, int, float, str, tuple, list, type(None))
NOT_ON_MPS = "no: PyTorch's compiler for the GPUs of Macs is a prototype"
# Words of errors that mean that memory has run out and that arrive as RuntimeError, not as PyTorch's own: those of the libraries
# of CUDA, and of Metal, which also refuses a single tensor that is too large.
MEMORY_WORDS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "Invalid buffer size")


def eager_seconds(spec: RunSpec, steps: int) -> float:
    """Return the seconds that so many steps of a spec take on a GPU without compilation, by a rule of thumb."""
    launches = LAYER_SECONDS * (1 + spec.n_layer * spec.n_repeats)
    return steps * max(flops_per_step(spec) / FLOP_PER_SECOND[spec.precision], launches)


def reason_against(module: nn.Module, spec: RunSpec, steps: int) -> str:
    """Say why the training of a module for so many steps is not compiled, in the words of timing.json; empty where it is.

    Where equal bits are asked for, the number of steps does not count: the process of a rung and that of a run compute alike.
    """
    if not getattr(module, "compiles", True):
        return "no: the architecture gains nothing by it"
    if not asked.deterministic() and eager_seconds(spec, steps) < WORTH_SECONDS:
        return f"no: {eager_seconds(spec, steps):.0f} s of training are too few for it to pay"
    missing = missing_compiler(os.environ.get("CC", ""), Path(sysconfig.get_paths()["include"]))
    return f"{NOT_COMPILED}{missing}" if missing else ""


def missing_compiler(named: str, headers: Path) -> str:
    """Say what Triton, which makes the kernels of compiled code, lacks on this machine; empty where it has what it needs.

    Parameters
    ----------
    named
        The compiler that the variable CC names; empty where it names none.
    headers
        The folder of this Python's header files.
    """
    if not any(shutil.which(name) for name in ([named] if named else COMPILERS)):
        return f"no C compiler is there ({named or ', '.join(COMPILERS)}): install gcc"
    if not (headers / "Python.h").exists():
        return f"{headers} has no Python.h: install the headers of this Python (python3-dev)"
    return ""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the compiled form of a function. Each shape of its arguments has code of its own, with its sizes as constants."""
    return torch.compile(function, dynamic=False)


def with_compiled_layers(module: nn.Module) -> nn.Module | None:
    """Return a module that shares everything with another one but its list ``layers``, whose forward passes are compiled.

    The other module stays as it is, for evaluation. None where it has no layers, or where they need code of their own each.
    """
    layers = getattr(module, "layers", None)
    if not isinstance(layers, list | nn.ModuleList) or not alike(list(layers)):
        return None
    own = {id(layer): compiled(layer) for layer in layers}  # a layer may be used several times
    twin = copy.copy(module)
    vars(twin)["layers"] = [own[id(layer)] for layer in layers]  # nn.Module would refuse a list in place of a ModuleList
    return twin


def alike(layers: Sequence[object]) -> bool:
    """Tell whether the code of one layer is that of all: there are some, with parts of the same classes, sizes and constants.

    The compiler takes a constant for a part of the code: layers with different ones would be compiled one by one, and after
    the eighth not at all.
    """
    forms = [_form(layer) for layer in layers if isinstance(layer, nn.Module)]
    return bool(forms) and len(forms) == len(layers) and all(form == forms[0] for form in forms)


def _form(layer: nn.Module) -> list[Any]:
    """Return what the compiled code of a layer depends on: the classes, constants and sizes of its parts, by name."""
    parts = []
    for name, part in layer.named_modules():
        constants = {key: value for key, value in vars(part).items() if isinstance(value, CONSTANTS)}
        tensors = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        parts.append((name, type(part), constants, [(key, tensor.shape, tensor.dtype) for key, tensor in tensors]))
    return parts


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that led to it, says that the GPU's memory has run out.

    While code is compiled and its kernels are tried out, the compiler wraps such an error in one of its own.
    """
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        at = left.pop()
        if at is None or any(at is other for other in seen):
            continue
        seen.append(at)
        left += [at.__cause__, at.__context__, getattr(at, "inner_exception", None)]
    return any(isinstance(at, torch.OutOfMemoryError) or any(word in str(at) for word in MEMORY_WORDS) for at in seen)
