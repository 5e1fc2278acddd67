"""The order of layers in a recurrent Transformer, which shares parameters (Kaplan et al. 2020, Figure 17; Dehghani et al. 2018).

n_layer distinct layers are each used n_repeats times; N counts their parameters once, the compute counts each use. Neither
the adaptive halting nor the step embeddings of Dehghani et al. are here: otherwise it is the Transformer of transformer.py.
"""

from __future__ import annotations

from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import Shape


def layer_order(shape: Shape, sharing: str) -> list[int]:
    """n_layer · n_repeats indices of layers: ABAB for ``sharing`` cycle, AABB for sequence. Raises StudyError for another."""
    layers = range(shape.n_layer)
    if sharing == "cycle":
        return [*layers] * shape.n_repeats
    if sharing == "sequence":
        return [i for i in layers for _ in range(shape.n_repeats)]
    raise StudyError(f"model.sharing: {sharing!r} is unknown: use cycle or sequence")
