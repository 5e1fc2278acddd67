"""The model of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scalinglaws.common.errors import StudyError
from scalinglaws.models.flat import Model
from scalinglaws.models.lstm import LSTM
from scalinglaws.models.transformer import Transformer
from scalinglaws.models.universal import layer_order

if TYPE_CHECKING:
    from scalinglaws.study.spec import RunSpec


def build(spec: RunSpec, n_vocab: int, device: str = "cpu") -> Model:
    """The model of a spec with its initial weights. Raises StudyError for an unknown architecture or precision."""
    if spec.precision not in ("float32", "bfloat16"):
        raise StudyError(f"precision: {spec.precision!r} of run {spec.id} is unknown: use float32 or bfloat16")
    shape = spec.shape(n_vocab)
    options: dict[str, Any] = {"dropout": spec.dropout, "seed": spec.seed, "precision": spec.precision, "device": device}
    if spec.architecture == "lstm":
        return LSTM(shape, **options)
    if spec.architecture == "transformer":
        return Transformer(shape, spec.n_heads, **options)
    if spec.architecture == "recurrent":
        return Transformer(shape, spec.n_heads, order=layer_order(shape, spec.sharing), **options)
    raise StudyError(f"architecture: {spec.architecture!r} of run {spec.id} is unknown: use transformer, lstm or recurrent")
