"""The config.json of a published model: what is written for a model of ours, and how far one that is read describes that model.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalinglaws.common.numbers import round_float
from scalinglaws.models import published, published_gpt2
from scalinglaws.models.config import ModelConfig

# How the names of a class begin -> its model_type.
TYPES = {
    "Llama": "llama",
    "Qwen3": "qwen3",
    "Olmo2": "olmo2",
    "Mixtral": "mixtral",
    "Qwen3Moe": "qwen3_moe",
    "Olmoe": "olmoe",
    "GPT2": "gpt2",
}
# Keys that models here have at one value alone -> that value, and others that mean the same. They may be absent.
OF_GPT2: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (published_gpt2.NORM_EPS,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
OF_OTHERS: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "clip_qkv": (None,),
    "rope_scaling": (None, {}),
    "mlp_only_layers": ([], None),
    "decoder_sparse_step": (1,),
    "partial_rotary_factor": (1, None),
}
SIZES = ("n_layer", "d_model", "n_heads", "d_attn", "d_ff")
VOCABULARY = "tokens of the tokenizer (vocab_size)"
ROPE_TYPE = "rope_parameters.rope_type"


def config_file(config: ModelConfig, end_of_text: int) -> dict[str, Any]:
    """Return the content of config.json for a model of ours, which versions 4 and 5 of transformers read.

    Parameters
    ----------
    config
        The model's numbers.
    end_of_text
        The token that ends each text, which also begins one.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    values = published.config_values(config)
    if "rope_parameters" in values:  # version 4 has the base at the top
        values["rope_theta"] = values["rope_parameters"]["rope_theta"]
    values |= {"architectures": [published.class_name(config)], "model_type": TYPES[published.family(config)], "dtype": "float32"}
    values |= {"bos_token_id": end_of_text, "eos_token_id": end_of_text}
    return dict(sorted(values.items()))


def differences(config: ModelConfig, found: Mapping[str, Any], rows: int | None = None) -> list[str]:
    """Return a sentence for each key in which the config.json of published weights describes another model than a run's.

    Parameters
    ----------
    config
        The numbers of the run's model, n_vocab included.
    found
        The content of config.json.
    rows
        The rows that the table of embeddings is said to have, some of which stand for no token; None for n_vocab.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    family = published.family(config)
    if found.get("model_type") != TYPES[family]:
        types = f"the run's model has the model_type {TYPES[family]}, and config.json says {found.get('model_type')!r:.80}"
        return [f"architecture and its options norm and qk_norm: {types}"]
    ours = _ours(config) | {VOCABULARY: rows or config.n_vocab}
    theirs = _theirs_gpt2(found) if family == "GPT2" else _theirs(family, found)
    told = [
        f"{key}: the run has {value}, and config.json {'does not tell' if theirs[key] is None else f'says {theirs[key]}'}"
        for key, value in ours.items()
        if theirs[key] != value
    ]
    if rows and rows < config.n_vocab:
        told.append(f"init.vocab_size: it is {rows}, and the tokenizer has {config.n_vocab} tokens: it may not be less than that")
    positions = found.get("n_positions" if family == "GPT2" else "max_position_embeddings")
    if isinstance(positions, int) and positions < config.n_ctx:
        told.append(f"n_ctx: the run has {config.n_ctx}, and config.json says {positions} at most")
    fixed = OF_GPT2 if family == "GPT2" else OF_OTHERS
    told += [
        f"{key}: config.json says {found[key]!r:.80}, and models here have {allowed[0]!r} alone"
        for key, allowed in fixed.items()
        if key in found and found[key] not in allowed
    ]
    return told + _of_attention(config, found)


def _ours(config: ModelConfig) -> dict[str, Any]:
    """Return the numbers of a run's model that config.json must agree with, by the names of their keys in a study's config."""
    values: dict[str, Any] = {f"model.{name}": getattr(config, name) for name in SIZES}
    if config.architecture == "transformer":
        return values
    names = ["rope_base", "norm_eps", "tied"]
    names += ["n_experts", "n_experts_per_token", "renormalize"] if config.architecture == "moe" else []
    return values | {"model.n_kv_heads": config.n_kv_heads} | {f"model.{name}": config.options[name] for name in names}


def _theirs_gpt2(found: Mapping[str, Any]) -> dict[str, Any]:
    width = found.get("n_embd")
    inner = found.get("n_inner") or (4 * width if isinstance(width, int) else None)
    return {
        VOCABULARY: found.get("vocab_size"),
        "model.n_layer": found.get("n_layer"),
        "model.d_model": width,
        "model.n_heads": found.get("n_head"),
        "model.d_attn": width,
        "model.d_ff": inner,
    }


def _theirs(family: str, found: Mapping[str, Any]) -> dict[str, Any]:
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    whole = isinstance(heads, int) and isinstance(width, int) and heads > 0
    head = found.get("head_dim") or (128 if family == "Qwen3" else width // heads if whole else None)  # type: ignore[operator]
    rope = found.get("rope_parameters")
    base = (rope if isinstance(rope, dict) else found).get("rope_theta", 10_000.0 if family == "Llama" else None)
    feed_forward = found.get("moe_intermediate_size" if family == "Qwen3Moe" else "intermediate_size")
    return {
        VOCABULARY: found.get("vocab_size"),
        "model.n_layer": found.get("num_hidden_layers"),
        "model.d_model": width,
        "model.n_heads": heads,
        "model.d_attn": heads * head if whole and isinstance(head, int) else None,  # type: ignore[operator]
        "model.d_ff": feed_forward,
        "model.n_kv_heads": found.get("num_key_value_heads", heads),
        "model.rope_base": _rounded(base),
        "model.norm_eps": _rounded(found.get("rms_norm_eps")),
        "model.tied": found.get("tie_word_embeddings", False),
        "model.n_experts": found.get("num_experts", found.get("num_local_experts")),
        "model.n_experts_per_token": found.get("num_experts_per_tok"),
        "model.renormalize": True if family == "Mixtral" else found.get("norm_topk_prob", False),
    }


def _rounded(value: Any) -> Any:
    """Return a number to the digits that specs have, and anything else as it is."""
    return round_float(float(value)) if isinstance(value, int | float) else value


def _of_attention(config: ModelConfig, found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each kind of attention or of rotary positions that models here do not have."""
    told = []
    rope = found.get("rope_parameters")
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
    if kind != "default":
        told.append(f"{ROPE_TYPE}: config.json says {kind!r:.80}, and models here have 'default' alone")
    window = found.get("sliding_window")
    if isinstance(window, int) and window < config.n_ctx and found.get("use_sliding_window", True):
        told.append(f"sliding_window: config.json says {window}, and models here attend to all of n_ctx {config.n_ctx}")
    return told
