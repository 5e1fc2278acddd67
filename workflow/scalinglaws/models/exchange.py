"""Weights on their way between a model here and the files of a published one: names, transposed matrices, single experts.

Files have the layout of the models on the hub of Hugging Face, which the library transformers reads: there each expert of a
mixture has matrices of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scalinglaws.common.errors import StudyError
from scalinglaws.models import published, published_gpt2
from scalinglaws.models.config import ModelConfig, Multipliers
from scalinglaws.models.recurrent import layer_order

# Class -> the place of the experts in a layer, and the names of the gate, the up and the down matrix of one.
EXPERTS = {"Mixtral": ("block_sparse_moe", ("w1", "w3", "w2"))}
OTHER_EXPERTS = ("mlp", ("gate_proj", "up_proj", "down_proj"))
# The ends of names of tensors that follow from the configuration, and of the output where it is tied.
DERIVED = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")
TIED_OUTPUT = "lm_head.weight"
# Tables of which the first rows are taken where a published one has more -> the number of ours, a field of the config.
TABLES = {"position_embedding": "n_ctx", "token_embedding": "n_vocab", "head.embedding": "n_vocab"}


@dataclass(frozen=True)
class Part:
    """A tensor of a file, and the part of a parameter here that has its numbers."""

    name: str
    index: Any = ...  # the whole parameter, or the place of the part in it
    transposed: bool = False


def parts(config: ModelConfig) -> dict[str, list[Part]]:
    """Return the tensors of files that make up each parameter of a model.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    found = {}
    for ours, theirs in published.weight_names(config).items():
        if config.architecture == "moe" and "feed_forward." in ours:
            found[ours] = _of_experts(config, ours, theirs)
        else:
            transposed = config.architecture == "transformer" and published_gpt2.is_transposed(ours)
            found[ours] = [Part(theirs, transposed=transposed)]
    return found


def _of_experts(config: ModelConfig, ours: str, theirs: str) -> list[Part]:
    """Return the tensors of files that make up the router of a layer, or one of the stacked matrices of its experts."""
    place, (gate, up, down) = EXPERTS.get(published.family(config), OTHER_EXPERTS)
    layer = f"{theirs.partition('.mlp.')[0]}.{place}"
    if ours.endswith("router.weight"):
        return [Part(f"{layer}.gate.weight")]
    experts = range(config.options["n_experts"])
    if ours.endswith("gate_up"):
        halves = ((gate, slice(None, config.d_ff)), (up, slice(config.d_ff, None)))
        return [Part(f"{layer}.experts.{j}.{name}.weight", (j, half)) for j in experts for name, half in halves]
    return [Part(f"{layer}.experts.{j}.{down}.weight", (j,)) for j in experts]


def plain(config: ModelConfig, parameters: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return a model of the same function without shared layers and without the multipliers of a parametrization.

    A layer of a recurrent Transformer becomes as many equal layers as it has uses. A multiplier goes into the weights before it.

    Parameters
    ----------
    config
        The model's numbers.
    parameters
        Its parameters by name, as in ``models.module.named_parameters``.
    """
    by, found = config.multipliers, {name: value.detach().clone() for name, value in parameters.items()}
    for name, value in found.items():
        if name.endswith((".qkv.weight", ".qkv.bias")):
            value[: config.d_attn] *= by.attention
        if ".project." in name or ".down." in name:
            value *= by.residual
        if name.startswith("norm."):
            value *= by.output
    config = dataclasses.replace(config, multipliers=Multipliers())
    if config.architecture != "recurrent":
        return config, found
    order = layer_order(config)
    of_layers = {name for name in found if name.startswith("layer")}
    repeated = {name: value for name, value in found.items() if name not in of_layers}
    for i, used in enumerate(order):
        begin = f"layer{used}."
        repeated |= {f"layer{i}.{name.removeprefix(begin)}": found[name] for name in of_layers if name.startswith(begin)}
    return dataclasses.replace(config, architecture="transformer", n_layer=len(order), n_repeats=1), repeated


def to_published(config: ModelConfig, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the file of a published model, by name and sorted.

    Parameters
    ----------
    config, parameters
        What ``plain`` returns.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    found = {}
    for name, pieces in parts(config).items():
        for part in pieces:
            value = parameters[name][part.index]
            # A file holds no tensor twice, so each has memory of its own.
            found[part.name] = (value.T if part.transposed else value).clone(memory_format=torch.contiguous_format)
    return dict(sorted(found.items()))


@torch.no_grad()
def fill(
    config: ModelConfig, parameters: Mapping[str, Tensor], names: Collection[str], tensor: Callable[[str], Tensor], where: str
) -> None:
    """Set the parameters of a model to the weights of a published one, which keeps their numbers, in float32.

    Learned positions beyond the context of the model are left out, and so are rows of embeddings beyond its tokens.

    Parameters
    ----------
    config, parameters
        The model's numbers, and its parameters by name.
    names
        The names of all tensors in the published files.
    tensor
        Returns a tensor of the files by its name there.
    where
        What errors call the files.

    Raises
    ------
    StudyError
        A tensor is missing or has another shape, or there is one that the model has no place for.
    """
    wanted = parts(config)
    used = set()
    for name, pieces in wanted.items():
        for part in pieces:
            found = part.name if part.name in names else part.name.partition(".")[2]  # saved without its head, as GPT-2 is
            if found not in names:
                raise StudyError(f"{where} has no tensor {part.name}: it holds no model of class {published.class_name(config)}")
            used.add(found)
            value, place = tensor(found), parameters[name][part.index]
            value = value.T if part.transposed else value
            value = value[: getattr(config, TABLES[name])] if name in TABLES else value
            if value.shape != place.shape:
                raise StudyError(f"{where}: {found} has the shape {tuple(value.shape)}, and the run's model {tuple(place.shape)}")
            place.copy_(value.to(place.dtype))
    tied = config.options.get("tied", True)
    others = sorted(name for name in names if name not in used and not name.endswith(DERIVED))
    if others := [name for name in others if not (tied and name == TIED_OUTPUT)]:
        raise StudyError(
            f"{where} has the tensor {others[0]}, for which a model of architecture {config.architecture} has no place: "
            "weights that are left out would change what the model computes, so init takes other published weights alone"
        )
