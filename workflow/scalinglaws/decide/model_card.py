"""The model card of an exported run: what it is, how well it predicts, and how it was trained, without dates."""

from __future__ import annotations

import json

import scalinglaws
from scalinglaws.common.numbers import count, counted, number
from scalinglaws.models.count import n_params_total
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, RunSpec, TokenizerSpec
from scalinglaws.train.metrics import RunMetrics

HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- scaling-law
---
"""
USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```"""


def card(spec: RunSpec, metrics: RunMetrics, class_name: str) -> str:
    """Return the text of README.md.

    Parameters
    ----------
    spec, metrics
        The run, and what it measured.
    class_name
        The class of transformers that the model is.
    """
    cells = ((name, value.replace("|", "\\|")) for name, value in facts(spec, metrics).items())
    rows = "\n".join(f"| {name} | {value} |" for name, value in cells)
    return "\n".join(
        [
            f"{HEAD}",
            f"# {spec.id}",
            "",
            f"A language model of {count(metrics.n_params)} parameters without embeddings, `{class_name}` in transformers. It is "
            "one run of a study of scaling laws: it was trained to measure a loss, at a size and a budget that the study chose, "
            "and not to be of use. Losses are means over the test split of its own corpus.",
            "",
            f"| what | value |\n|---|---|\n{rows}",
            "",
            f"## Use\n\n{USE}",
            "",
            f"Each text of its training was followed by the token {end_of_text(spec)}, and none had other special tokens. It has "
            f"seen contexts of {spec.n_ctx} tokens and no longer ones.",
            "",
            "## Provenance",
            "",
            f"It was trained by scalinglaws, version {scalinglaws.__version__}. Its id ends with digits of the sha256 of the "
            "specification below, which holds everything that changes its numbers:",
            "",
            f"```json\n{json.dumps(spec.plain, indent=1, sort_keys=True)}\n```",
            "",
        ]
    )


def facts(spec: RunSpec, metrics: RunMetrics) -> dict[str, str]:
    """Return the rows of the table of a model card: what -> its value in words."""
    embeddings = n_params_total(spec.shape(metrics.n_vocab))
    error = f" ± {number(metrics.loss_stderr, 2)} (standard error)" if metrics.loss_stderr is not None else ""
    active = {"N of one token": count(metrics.n_params_active)} if metrics.n_params_active is not None else {}
    per_byte = {"bits per byte": number(metrics.bits_per_byte, 4)} if metrics.bits_per_byte is not None else {}
    begun = dict(spec.init)
    start = {"begins from": f"{begun['huggingface']}, revision {begun['revision']}"} if begun else {}
    return {
        "architecture": f"{spec.architecture}, {counted(spec.n_layer, 'layer')} of width {spec.d_model}",
        "N, parameters without embeddings": count(metrics.n_params),
        **active,
        "all parameters": count(embeddings),
        **start,
        "tokens trained on": count(metrics.tokens),
        "distinct tokens of the training split": count(metrics.dataset_tokens),
        "FLOP, 6ND": number(float(metrics.flops_6nd)),
        "test loss, nats per token": f"{number(metrics.loss, 5)}{error}",
        **per_byte,
        "corpus": _text_words(spec.corpus),
        "tokenizer": tokenizer_words(spec.tokenizer, metrics.n_vocab),
        "context, batch": f"{count(spec.n_ctx)} tokens, {count(spec.batch_tokens)} tokens",
        "optimizer": f"{spec.optimizer}, rate {number(spec.learning_rate)}, schedule {spec.schedule}",
        "precision, seed": f"{spec.precision}, {spec.seed}",
    }


def _text_words(text: CorpusSpec | MixtureSpec) -> str:
    """Return where the text of a corpus comes from, or that of each corpus of a mixture with its share."""
    if isinstance(text, CorpusSpec):
        return corpus_words(text)
    return "; ".join(f"{100 * share:.3g} % {corpus_words(corpus)}" for corpus, share in text.shares.items())


def corpus_words(corpus: CorpusSpec) -> str:
    """Return where the text of a corpus comes from, and its id."""
    found = []
    for source in corpus.sources:
        if source.package:
            found.append(f"package {source.package} {source.version}")
        elif source.repository:
            found.append(f"data set {source.repository}, revision {source.revision}")
        else:
            digits = f" (sha256 {source.sha256})" if source.sha256 else ""
            found.append(f"{source.kind} {', '.join(source.files)}{digits}")
    return f"{'; '.join(found)}; `{corpus.id}`"


def tokenizer_words(tokenizer: TokenizerSpec, n_vocab: int) -> str:
    """Return what a tokenizer is, and its id."""
    kinds = {"bytes": "bytes", "bpe": "byte-level BPE, trained on the text", "file": f"the file {tokenizer.path}"}
    return f"{kinds.get(tokenizer.kind, tokenizer.kind)}, {count(n_vocab)} tokens; `{tokenizer.id}`"


def end_of_text(spec: RunSpec) -> str:
    """Return how a model card calls the token that ends a text."""
    return "0, the byte zero" if spec.tokenizer.kind == "bytes" else "that `eos_token` names"
