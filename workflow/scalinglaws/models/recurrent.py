"""The order of layers in a recurrent Transformer, which shares parameters (Kaplan et al. 2020, Figure 17; Dehghani et al. 2018).

Each of n_layer distinct layers is used n_repeats times. N counts its parameters once, and the compute counts each use.
Neither the adaptive halting nor the step embeddings of Dehghani et al. are here: in all else, it is the Transformer of
transformer.py.
"""

from __future__ import annotations

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.models.config import ModelConfig


def layer_order(config: ModelConfig) -> list[int]:
    """Return the index of the layer at each step of the residual stream, n_layer · n_repeats of them.

    Two layers A and B are used as ABAB where ``sharing`` is cycle and as AABB where it is sequence.

    Raises
    ------
    StudyError
        If ``sharing`` is neither of the two.
    """
    if config.sharing == "cycle":
        return [*range(config.n_layer)] * config.n_repeats
    if config.sharing == "sequence":
        return [i for i in range(config.n_layer) for _ in range(config.n_repeats)]
    raise StudyError(f"model.sharing: {config.sharing!r} is unknown: {proposal(config.sharing, ('cycle', 'sequence'))}")
