"""Parameters and FLOP of any registered architecture, from its rows of Table 1 of Kaplan et al. 2020. It imports no torch.

The conventions of compute differ in what they leave out: 6ND counts the products with parameters other than embeddings; the
last layer and the context-dependent part of attention are added by the other two. A backward pass costs twice its forward
pass, so that each forward FLOP counts three times.
"""

from __future__ import annotations

from scalinglaws.models.architecture import Rows
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.registry import ARCHITECTURES

EMBEDDINGS = ("embed", "de_embed")  # rows that N and 6ND leave out


def table1(config: ModelConfig) -> Rows:
    """Return the rows of Table 1 of a model.

    Returns
    -------
    dict
        Operation -> (parameters, forward FLOP per token), without biases and norms.

    Raises
    ------
    StudyError
        If the architecture is not registered.

    References
    ----------
    Kaplan et al. 2020, Table 1.
    """
    return ARCHITECTURES.find(config.architecture).rows(config)


def n_params(config: ModelConfig) -> int:
    """Return N, the parameters without embeddings, biases and norms; a layer that is used several times counts once.

    References
    ----------
    Kaplan et al. 2020, equation 2.1: 2 d_model n_layer (2 d_attn + d_ff) for a Transformer.
    """
    return sum(parameters for name, (parameters, _) in table1(config).items() if name not in EMBEDDINGS)


def n_params_active(config: ModelConfig) -> int:
    """Return the part of N that one token meets: all of it, but for mixtures of experts."""
    active = ARCHITECTURES.find(config.architecture).active
    return active(config) if active else n_params(config)


def n_params_total(config: ModelConfig) -> int:
    """Return the number of trained numbers: N, embeddings, biases and norms."""
    vectors = ARCHITECTURES.find(config.architecture).vectors(config)
    return vectors + sum(parameters for parameters, _ in table1(config).values())


def flops_6nd(config: ModelConfig, tokens: int) -> int:
    """Return the training compute C = 6 N D in FLOP of so many tokens, embeddings and attention's mask left out.

    A parameter counts at each of its uses, so that C is larger than 6 N D where layers are shared.

    References
    ----------
    Kaplan et al. 2020, section 2.1.
    """
    products = [flops for name, (parameters, flops) in table1(config).items() if parameters and name not in EMBEDDINGS]
    return 3 * sum(products) * tokens


def flops_last_layer(config: ModelConfig, tokens: int) -> int:
    """Return ``flops_6nd`` and the FLOP of the last layer, which turns hidden states into logits.

    References
    ----------
    Porian et al. 2024.
    """
    return flops_6nd(config, tokens) + 3 * table1(config)["de_embed"][1] * tokens


def flops_attention(config: ModelConfig, tokens: int) -> int:
    """Return ``flops_last_layer`` and the FLOP that depend on the context, which are those of rows without parameters.

    References
    ----------
    Kaplan et al. 2020, equation 2.2 for the forward pass.
    """
    context = [flops for name, (parameters, flops) in table1(config).items() if not parameters and name not in EMBEDDINGS]
    return flops_last_layer(config, tokens) + 3 * sum(context) * tokens
