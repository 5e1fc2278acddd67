"""Parametrizations: how initial sizes, multipliers and step sizes follow from a model's width and depth. It imports no torch.

Under the standard parametrization one rate moves all weights, and the best rate falls as a model becomes wider. Under muP, the
maximal update parametrization, activations and their changes keep their size as the width grows, so that the best rate of a
narrow model is about that of a wide one. A config names the ``base_width`` at which the rate is tuned: there, both are the same.
With ``base_depth`` they also keep their size as the depth grows, as in CompleteP. With m = d_model / base_width, l = n_layer /
base_depth (1 where no base depth is given) and a head's width s, for AdamW with the rate r, the weight decay w and epsilon e:

                                            standard            muP
    initial size, matrices of layers        1 / sqrt(fan-in)    1 / sqrt(fan-in)
    initial size, embeddings                c / sqrt(d_model)   c / sqrt(base_width)
    initial size, project and down          / sqrt(2 n_layer)   / sqrt(2 base_depth), where it is given
    a layer adds to the residual stream     f(x)                f(x) / l
    products of queries and keys            / sqrt(s)           sqrt(base_head_width) / s
    logits                                  E h                 E h / m
    rate, matrices of layers                r                   r / m
    rate, embeddings, norms and biases      r                   r
    weight decay, matrices of layers        w                   w m, so that rate times decay stays
    epsilon, what belongs to layers         e                   e / (m l)
    epsilon, embeddings and the last norm   e                   e / m

A head of its own that is not tied to the embedding has the embedding's rate. SGD has the rate r for matrices of layers and r m
for all else; rate times decay is that of r throughout.

References
----------
Yang et al. 2022 (Tensor Programs V, arXiv 2203.03466), Table 8, whose output multiplier suits tied embeddings, and Definition 4.1
for attention. Dey et al. 2025 (CompleteP, arXiv 2505.01618), Table 1 with alpha = 1, for depth, weight decay and epsilon.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import NUMBER, WIDEST
from scalinglaws.models.config import Multipliers
from scalinglaws.models.registry import ARCHITECTURES

HEAD_WIDTH = 16  # the base width of a head where none is given: that of a model whose n_heads are not given either
STANDARD = Multipliers()
Width = Annotated[int, Field(gt=0, le=WIDEST), NUMBER]


class MuP(BaseModel):
    """muP: the rate is that of a model of base_width, and of base_depth layers where that is given (CompleteP)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["mup"]
    base_width: Width = Field(description="d_model at which the rate is tuned")
    base_head_width: Width | None = Field(None, description="width of a head there, 16 by default")
    base_depth: Annotated[int, Field(gt=0, le=100_000), NUMBER] | None = Field(None, description="n_layer there: scales depth")


def _complete(value: Any) -> Any:
    """Refuse muP without its base width by a sentence. Other values are returned for pydantic to judge."""
    if value == "mup":
        raise ValueError("muP needs the width at which the rate is tuned: write {name: mup, base_width: 32}")
    return value


# The type of the config key: the word, or muP with its base.
if TYPE_CHECKING:
    Parametrization = str | MuP
else:
    _KINDS = Literal["standard"] | MuP
    Parametrization = Annotated[_KINDS, BeforeValidator(_complete, json_schema_input_type=_KINDS)]


class Parametrized(Protocol):
    """The settings of a run that its parametrization reads; ``parametrization`` has pairs of name and value."""

    @property
    def parametrization(self) -> tuple[tuple[str, Any], ...]: ...

    @property
    def architecture(self) -> str: ...

    @property
    def optimizer(self) -> str: ...

    @property
    def n_layer(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    @property
    def d_attn(self) -> int: ...

    @property
    def n_heads(self) -> int: ...

    @property
    def n_repeats(self) -> int: ...


@dataclass(frozen=True)
class StepFactors:
    """Factors on the settings of an optimizer for one tensor."""

    rate: float = 1.0
    decay: float = 1.0
    eps: float = 1.0


def pairs(given: str | MuP) -> tuple[tuple[str, Any], ...]:
    """Return a checked value of the config key as pairs sorted by name, its defaults filled in; none for the standard one."""
    if isinstance(given, str):
        return ()
    head = given.base_head_width or min(HEAD_WIDTH, given.base_width)
    values = given.model_dump(exclude_none=True) | {"base_head_width": head}
    return tuple(sorted(values.items()))


def check(settings: Parametrized) -> None:
    """Check that a run's parametrization has rules for its architecture and optimizer.

    Raises
    ------
    StudyError
        It has none; the message starts with the key.
    """
    if not settings.parametrization:
        return
    architecture, depth = ARCHITECTURES.find(settings.architecture), "base_depth" in dict(settings.parametrization)
    instead = "or set parametrization: standard"
    if "mup" not in architecture.parametrizations:
        able = ", ".join(entry.name for entry in ARCHITECTURES.values() if "mup" in entry.parametrizations)
        raise StudyError(f"parametrization: mup has no rules for architecture {architecture.name}: use one of {able}, {instead}")
    if settings.optimizer not in STEPS:
        raise StudyError(
            f"parametrization: mup has no rules for optimizer {settings.optimizer}: use one of {', '.join(STEPS)}, {instead}"
        )
    if depth and settings.optimizer != "adamw":
        raise StudyError(
            f"parametrization.base_depth: there are rules for adamw alone, not for {settings.optimizer}: leave it out"
        )
    if depth and settings.n_repeats > 1:
        raise StudyError("parametrization.base_depth: there are no rules for layers that are used several times: leave it out")


def multipliers(settings: Parametrized) -> Multipliers:
    """Return the factors of a run's parametrization in its module."""
    if not settings.parametrization:
        return STANDARD
    width, depth, base_head = _factors(settings)
    head = settings.d_attn / settings.n_heads if settings.n_heads else base_head
    return Multipliers(
        embedding=math.sqrt(width),
        branch=math.sqrt(depth),
        residual=1 / depth,
        attention=math.sqrt(base_head / head),
        output=1 / width,
    )


def step_factors(settings: Parametrized, name: str, size: tuple[int, ...]) -> StepFactors:
    """Return the factors of a run's parametrization on the settings of its optimizer for one parameter.

    Parameters
    ----------
    settings
        The settings of the run.
    name, size
        The name of the parameter in the flat buffer, and its size.
    """
    if not settings.parametrization:
        return StepFactors()
    width, depth, _ = _factors(settings)
    inner = bool(re.match(r"layers?\.?\d", name))
    return STEPS[settings.optimizer](width, depth if inner else 1.0, inner and len(size) > 1)


def _factors(settings: Parametrized) -> tuple[float, float, float]:
    """Return how many times as wide and as deep as the base a model is, and the width of a head in the base."""
    base = dict(settings.parametrization)
    depth = settings.n_layer / base.get("base_depth", settings.n_layer)
    return settings.d_model / base["base_width"], depth, base["base_head_width"]


def _adamw(width: float, depth: float, hidden: bool) -> StepFactors:
    """Return the factors of AdamW: its step has the size of the rate, and gradients are the smaller the larger the model is."""
    return StepFactors(1 / width if hidden else 1.0, width if hidden else 1.0, 1 / (width * depth))


def _sgd(width: float, depth: float, hidden: bool) -> StepFactors:
    """Return the factors of SGD, whose step has the size of the gradient."""
    return StepFactors(1.0 if hidden else width)


# Optimizer -> the factors of a tensor from the factors of width and depth and from whether it is a matrix of a layer.
STEPS = {"adamw": _adamw, "sgd": _sgd}
