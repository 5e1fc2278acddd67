"""The optimizers by the names that configs give them. It imports no torch, so that a config is checked fast.

A new optimizer of the package is one file in this folder and one line here. A user's plug-in file adds one without touching the
package: ``OPTIMIZERS.register(Optimizer("lion", Lion, options=LionOptions))``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from scalinglaws.common.registry import Registry

if TYPE_CHECKING:
    from scalinglaws.optim.base import BuiltOptimizer


@dataclass(frozen=True)
class Optimizer:
    """What is known of an optimizer before it is built.

    ``build`` is a class or function, or the place of one as "module:name", which is imported only when a model is trained. It is
    called with (model, settings, processes) and returns a ``BuiltOptimizer`` (see base.py); where there are ``options``, an
    instance of them follows as a fourth argument.
    """

    name: str
    build: str | Callable[..., BuiltOptimizer]
    bytes_per_param: float = 16.0  # GPU memory: 4 for a weight, 4 for its gradient, the rest for the optimizer's state
    shared_bytes: float = 0.0  # the part of these that several GPUs divide among themselves
    options: type[BaseModel] | None = None  # the settings of its own that a config gives under optimizer_options

    def loaded(self) -> Callable[..., BuiltOptimizer]:
        """Return the class or function that builds it, imported."""
        if callable(self.build):
            return self.build
        module, _, name = self.build.partition(":")
        found: Callable[..., BuiltOptimizer] = getattr(importlib.import_module(module), name)
        return found


OPTIMIZERS = Registry(
    "optimizer",
    [
        Optimizer("adamw", "scalinglaws.optim.adamw:AdamW", bytes_per_param=16, shared_bytes=8),
        Optimizer("sgd", "scalinglaws.optim.sgd:SGD", bytes_per_param=12, shared_bytes=4),
        Optimizer("adafactor", "scalinglaws.optim.adafactor:Adafactor", bytes_per_param=8.1),
        Optimizer("muon", "scalinglaws.optim.muon:Muon", bytes_per_param=13),
    ],
)
