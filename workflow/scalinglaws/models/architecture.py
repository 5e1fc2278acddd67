"""What the project must know of an architecture, so that a config is checked and a study is planned without torch.

An entry of the registry names the options that a config may set, the counts of parameters and FLOP, and the module, which is
imported only when a model is built. docs/extending.md shows how a plug-in registers its own.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from scalinglaws.common.errors import StudyError
from scalinglaws.models.config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

# Operation -> (parameters, forward FLOP per token), as in Table 1 of Kaplan et al. 2020; biases and norms are left out.
Rows = dict[str, tuple[int, int]]
# A module's class, or a function that returns one; or where to find it, as "package.module:name".
Maker = Callable[[ModelConfig], "nn.Module"]


class Options(BaseModel):
    """The keys under ``model`` of a config that an architecture has besides n_layer and d_model: here, none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def resolved(self, n_layer: int, d_model: int) -> dict[str, Any]:
        """Return the value of every option, with defaults that depend on the size filled in.

        Parameters
        ----------
        n_layer, d_model
            Depth and width of the model, counts.

        Returns
        -------
        dict
            Numbers, words and truth values by the name of the option. An option that is named like a field of ``ModelConfig``
            sets that field, and any other one is found in ``ModelConfig.options``.

        Raises
        ------
        StudyError
            If the options do not fit each other or the size; the message starts with the key, such as ``model.n_heads``.
        """
        return self.model_dump()


@dataclass(frozen=True)
class Architecture:
    """An entry of the registry of architectures.

    Parameters
    ----------
    name
        What ``architecture`` is set to in a config.
    rows
        The rows of Table 1 of Kaplan et al. 2020 for a model: operation -> (parameters, forward FLOP per token). The rows
        ``embed`` and ``de_embed`` are there in each; N is the sum of the parameters of the others. A row without
        parameters is a cost that depends on the context, such as attention's mask.
    vectors
        The number of parameters that no row counts: biases and norms.
    module
        The class of the module, or a function that makes one from a ``ModelConfig``; a string "package.module:name" is
        imported when a model is built. models/module.py says what a module must have.
    cpu_module
        The same for training on a CPU in float32, where a hand-written step is faster; None where there is none.
    options
        The pydantic model of the keys under ``model`` that the architecture has besides n_layer and d_model.
    prefix
        What the ids of its runs start with; empty for its name.
    formulas
        Row -> (the formula of its parameters, that of its forward FLOP per token), as the report prints them; ``all`` is the
        sum of the rows without embeddings. A row without formulas has its numbers alone.
    active
        The number of parameters of the rows without embeddings that one token meets, where it does not meet all of them, as
        in a mixture of experts; None where N is that number.
    kept
        A function of the config and of the bytes of a factor of a product (2 in bfloat16, 4 in float32). It gives the bytes that
        one token keeps in all layers for the gradient; None for a rule of thumb.
    parametrizations
        The parametrizations that it can have (optim/parametrization.py). Where ``mup`` is one, the module applies
        ``ModelConfig.multipliers``, and the names of what belongs to its layers begin with ``layer`` and a number.
    stacks
        Whether ``torch.func.vmap`` knows all operations of the module, and the module has no ``extra_loss``, so that many tiny
        models can be trained at once (train/stack.py).
    """

    name: str
    rows: Callable[[ModelConfig], Rows]
    vectors: Callable[[ModelConfig], int]
    module: str | Maker
    cpu_module: str | Maker | None = None
    options: type[Options] = Options
    prefix: str = ""
    formulas: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    active: Callable[[ModelConfig], int] | None = None
    kept: Callable[[ModelConfig, int], int] | None = None
    parametrizations: tuple[str, ...] = ("standard",)
    stacks: bool = False

    def __post_init__(self) -> None:
        if self.prefix and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", self.prefix):
            raise StudyError(f"architecture {self.name}: prefix: {self.prefix!r:.120} cannot be the beginning of a file's name")

    @property
    def id_prefix(self) -> str:
        """Return what the ids of its runs start with."""
        return self.prefix or self.name


def imported(maker: str | Maker) -> Maker:
    """Return what makes a module, imported where only its place is given as "package.module:name"."""
    if not isinstance(maker, str):
        return maker
    module, _, name = maker.partition(":")
    found: Maker = getattr(importlib.import_module(module), name)
    return found
