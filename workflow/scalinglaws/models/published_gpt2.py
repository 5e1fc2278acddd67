"""GPT-2 in the library transformers: the configuration and the names of the weights of a ``transformer`` of ours.

The activation is GPT-2's approximation of GELU by tanh in both, the epsilon of layer norms is 1e-5, and dropout acts on the
embeddings and on what a layer adds to the residual stream. Matrices of layers are stored there with their inputs first.
"""

from __future__ import annotations

from typing import Any

from scalinglaws.models.config import ModelConfig

# Matrices of a layer, which are transposed there, and its other tensors.
MATRICES = {"qkv": "attn.c_attn", "project": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
NORMS = {"norm1": "ln_1", "norm2": "ln_2"}
NORM_EPS = 1e-5


def config_values(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments of ``GPT2Config``. Special tokens are left out: models here know of none but in their text."""
    return {
        "vocab_size": config.n_vocab,
        "n_positions": config.n_ctx,
        "n_embd": config.d_model,
        "n_layer": config.n_layer,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": NORM_EPS,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
    }


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the name of each parameter here and its name in ``GPT2LMHeadModel``."""
    names = {"token_embedding": "transformer.wte.weight", "position_embedding": "transformer.wpe.weight"}
    for i in range(config.n_layer):
        for ours, theirs in (MATRICES | NORMS).items():
            for kind in ("weight", "bias"):
                names[f"layer{i}.{ours}.{kind}"] = f"transformer.h.{i}.{theirs}.{kind}"
    return names | {f"norm.{kind}": f"transformer.ln_f.{kind}" for kind in ("weight", "bias")}


def is_transposed(name: str) -> bool:
    """Tell whether the parameter of this name of ours is stored in transformers with its two dimensions exchanged."""
    return name.endswith(tuple(f".{matrix}.weight" for matrix in MATRICES))
