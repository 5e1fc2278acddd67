"""The module of a config, with its initial weights."""

from __future__ import annotations

import torch
from torch import nn

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.models.architecture import imported
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params_total
from scalinglaws.models.determinism import set_products
from scalinglaws.models.module import token_table
from scalinglaws.models.registry import ARCHITECTURES


def build(
    config: ModelConfig, *, seed: int = 0, device: str = "cpu", precision: str = "float32", by_hand: bool = True
) -> nn.Module:
    """Return a new module with initial weights, which are drawn on the CPU: a seed gives the same ones on every device.

    Parameters
    ----------
    config
        The model's numbers.
    seed
        What PyTorch's default generator is seeded with while the module is made; its state is put back afterwards.
    device
        cpu, cuda or mps.
    precision
        float32, or bfloat16 for products by autocast; weights are float32 in both.
    by_hand
        Whether a hand-written CPU step is used where the architecture has one; False is for comparison with autograd.

    Raises
    ------
    StudyError
        If the architecture or the precision is unknown, or if the module is not what the registry says of it.
    """
    if precision not in ("float32", "bfloat16"):
        raise StudyError(f"precision: {precision!r} is unknown: {proposal(precision, ('float32', 'bfloat16'))}")
    entry = ARCHITECTURES.find(config.architecture)
    fast = by_hand and device == "cpu" and precision == "float32" and entry.cpu_module is not None
    make = imported(entry.cpu_module if fast and entry.cpu_module is not None else entry.module)
    with torch.random.fork_rng(devices=[]):
        # The generator of the CPU alone: torch.manual_seed would start up the GPU's too.
        torch.default_generator.manual_seed(seed)
        module = make(config)
    check(module, config)
    if device == "cuda":
        set_products(precision)
    return module.to(device)


def check(module: nn.Module, config: ModelConfig) -> None:
    """Check that a module is what its config and its entry in the registry say.

    Parameters
    ----------
    module
        The complete module.
    config
        The config that it was made from.

    Raises
    ------
    StudyError
        If it has no token embedding of n_vocab rows, weights that are not float32, or another number of them than its entry
        counts.
    """
    where = f"architecture {config.architecture}"
    if not isinstance(getattr(module, "token_embedding", None), nn.Embedding):
        raise StudyError(f"{where}: its module has no token_embedding that is an nn.Embedding")
    if len(token_table(module)) != config.n_vocab:
        raise StudyError(f"{where}: its token_embedding has {len(token_table(module))} rows, and n_vocab is {config.n_vocab}")
    if any(p.dtype != torch.float32 for p in module.parameters()):
        raise StudyError(f"{where}: its module has parameters that are not float32")
    has, counted = sum(p.numel() for p in module.parameters()), n_params_total(config)
    if has != counted:
        raise StudyError(f"{where}: its module has {has} parameters, and its entry counts {counted} (rows and vectors)")
