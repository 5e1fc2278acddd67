"""Which class of the library transformers a model is, and the names of its configuration and of its weights there.

A tensor of a model here and the tensor of that class have the same numbers in the same order, but for the matrices of GPT-2,
which are transposed (published_gpt2.py). models/exchange.py moves weights both ways. Nothing here imports torch or transformers.
"""

from __future__ import annotations

from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.models import published_gpt2
from scalinglaws.models.config import ModelConfig

# (architecture, norm, qk_norm) -> the beginning of the names of the class and of its configuration
CLASSES = {
    ("llama", "pre", "none"): "Llama",
    ("llama", "pre", "head"): "Qwen3",
    ("llama", "post", "all"): "Olmo2",
    ("moe", "pre", "none"): "Mixtral",
    ("moe", "pre", "head"): "Qwen3Moe",
    ("moe", "pre", "all"): "Olmoe",
    ("transformer", "", ""): "GPT2",
}
# Names of the parts of a layer, here and there.
PARTS = {
    "attention.q.weight": "self_attn.q_proj.weight",
    "attention.k.weight": "self_attn.k_proj.weight",
    "attention.v.weight": "self_attn.v_proj.weight",
    "attention.project.weight": "self_attn.o_proj.weight",
}
FEED_FORWARD = {
    "llama": {
        "feed_forward.gate.weight": "mlp.gate_proj.weight",
        "feed_forward.up.weight": "mlp.up_proj.weight",
        "feed_forward.down.weight": "mlp.down_proj.weight",
    },
    "moe": {
        "feed_forward.router.weight": "mlp.gate.weight",
        "feed_forward.gate_up": "mlp.experts.gate_up_proj",
        "feed_forward.down": "mlp.experts.down_proj",
    },
}
NORMS = {
    "pre": {"norm1.weight": "input_layernorm.weight", "norm2.weight": "post_attention_layernorm.weight"},
    "post": {"norm1.weight": "post_attention_layernorm.weight", "norm2.weight": "post_feedforward_layernorm.weight"},
}
QK_NORMS = {"attention.q_norm.weight": "self_attn.q_norm.weight", "attention.k_norm.weight": "self_attn.k_norm.weight"}


def class_name(config: ModelConfig) -> str:
    """Return the class of transformers that is this model with a language-modelling head, such as ``LlamaForCausalLM``.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    found = family(config)
    return f"{found}LMHeadModel" if found == "GPT2" else f"{found}ForCausalLM"


def config_class_name(config: ModelConfig) -> str:
    """Return the class of the configuration of ``class_name``, such as ``LlamaConfig``. Raises StudyError where that does."""
    return f"{family(config)}Config"


def family(config: ModelConfig) -> str:
    """Return how the names of the classes of this model begin, such as ``Llama``. Raises StudyError as ``class_name`` does."""
    options = config.options
    kind = (config.architecture, options.get("norm", ""), options.get("qk_norm", ""))
    narrow = config.architecture == "transformer" and config.d_attn != config.d_model
    if kind not in CLASSES or narrow:
        known = "; ".join(f"{a} with norm {norm} and qk_norm {qk}" for a, norm, qk in CLASSES if norm)
        raise StudyError(
            f"architecture {config.architecture}: transformers has no class of this model: it has one of {known}; "
            "transformer with d_attn = d_model"
        )
    if options.get("n_shared_experts") or (CLASSES[kind] == "Mixtral" and not options["renormalize"]):
        raise StudyError(
            "architecture moe: transformers has no class of this model: it has one without shared experts (n_shared_experts), "
            "and without qk_norm only with renormalize: true"
        )
    return CLASSES[kind]


def config_values(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments of the configuration's class.

    Special tokens are left out, since these models are trained without any that the class would need to know.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    options = config.options
    if family(config) == "GPT2":
        return published_gpt2.config_values(config)
    return {
        "vocab_size": config.n_vocab,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_attn // config.n_heads,
        "max_position_embeddings": config.n_ctx,
        "rms_norm_eps": options["norm_eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": options["rope_base"]},
        "tie_word_embeddings": options["tied"],
        **_of_experts(config),
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
    }


def _of_experts(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments of a mixture of experts; none where the model is none."""
    options = config.options
    if config.architecture != "moe":
        return {}
    experts = "num_local_experts" if family(config) == "Mixtral" else "num_experts"
    shared = {"num_experts_per_tok": options["n_experts_per_token"], experts: options["n_experts"]}
    # Their loss is not divided by the experts of a token.
    shared |= {"router_aux_loss_coef": options["balance"] / options["n_experts_per_token"]}
    shared |= {"norm_topk_prob": options["renormalize"]} if family(config) != "Mixtral" else {}
    return shared | ({"moe_intermediate_size": config.d_ff} if family(config) == "Qwen3Moe" else {})


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the name of each parameter here, as in ``models.module.named_parameters``, and its name in transformers.

    Where the output is tied, transformers has the token embedding a second time as ``lm_head.weight``, which is not listed.

    Raises
    ------
    StudyError
        No class of transformers has this architecture with these options.
    """
    if family(config) == "GPT2":
        return published_gpt2.weight_names(config)
    parts = PARTS | FEED_FORWARD[config.architecture] | NORMS[config.options["norm"]]
    if config.options["qk_norm"] != "none":
        parts |= QK_NORMS
    names = {"token_embedding": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    if not config.options["tied"]:
        names["head.embedding"] = "lm_head.weight"
    for i in range(config.n_layer):
        names |= {f"layer{i}.{ours}": f"model.layers.{i}.{theirs}" for ours, theirs in parts.items()}
    return names
