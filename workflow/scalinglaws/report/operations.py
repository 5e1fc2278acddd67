"""Table 1 of Kaplan et al. 2020 for each architecture of a study: what its parameters and its forward FLOP are made of."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import polars

from scalinglaws.common.numbers import count
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import EMBEDDINGS, n_params, n_params_active, table1
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.report.markdown import table

# The fields that every model has; an architecture that lacks one has zero there.
NEEDED = ("n_layer", "d_model", "d_ff", "d_attn", "n_ctx", "n_vocab")
FIELDS = [field.name for field in dataclasses.fields(ModelConfig) if field.name not in ("options", "dropout", "multipliers")]
HEAD = ("operation", "parameters", "forward FLOP per token")
NAMES = {"transformer": "Transformer", "lstm": "LSTM", "recurrent": "recurrent Transformer"}
TITLES = {
    "attention_qkv": "Attention: QKV",
    "attention_mask": "Attention: mask",
    "attention_project": "Attention: project",
    "feed_forward": "Feed-forward",
    "de_embed": "De-embed",
    "all": "All without embeddings",
}


def operations(runs: polars.DataFrame) -> list[str]:
    """Return a table for the largest run of each architecture whose shape is known, in the order of the registry."""
    if not {"architecture", *NEEDED} <= set(runs.columns):
        return ["The shape of no run of this study is known."]
    known = runs.drop_nulls(list(NEEDED)).sort("n_params", "run", descending=[True, False])
    lines: list[str] = []
    for name in ARCHITECTURES:
        for run in known.filter(polars.col("architecture") == name).head(1).iter_rows(named=True):
            try:
                lines += [*([""] if lines else []), *_operations(_shape(run))]
            except (KeyError, ZeroDivisionError):  # a run made elsewhere, whose table lacks an option that counts
                continue
    return lines or ["The shape of no run of this study is known."]


def _shape(run: dict[str, Any]) -> ModelConfig:
    """Return the config of the model of a row of ``runs``, as far as the row has it."""
    options = json.loads(run["options"]) if run.get("options") else {}
    return ModelConfig(**{name: run[name] for name in FIELDS if run.get(name) is not None}, options=options)


def _operations(shape: ModelConfig) -> list[str]:
    """Return Table 1 of a model, and what 6ND leaves out of its compute."""
    formulas, rows = ARCHITECTURES.find(shape.architecture).formulas, table1(shape)
    inner = {name: row for name, row in rows.items() if name not in EMBEDDINGS}
    forward = sum(flops for _, flops in inner.values())
    every = {**rows, "all": (n_params(shape), forward)}
    cells = [[_title(name), *_cells(formulas.get(name), *numbers)] for name, numbers in every.items()]
    if not formulas:
        cells = [[title, parameters, flops] for title, _, parameters, _, flops in cells]
    head = ("operation", "parameters", "here", "forward FLOP per token", "here") if formulas else HEAD
    widths = f"d_ff = {shape.d_ff}, d_attn = {shape.d_attn}, " if shape.d_ff else ""
    widths += f"d_kv = {shape.d_attn // shape.n_heads * shape.n_kv_heads}, " if shape.n_kv_heads else ""
    return [
        f"The largest {NAMES.get(shape.architecture, f'model of architecture {shape.architecture}')} of this study, "
        f"{shape.n_layer} layers of width {shape.d_model}: {widths}n_ctx = {shape.n_ctx}, n_vocab = {shape.n_vocab}."
        + "".join(f" {name} = {value}." for name, value in sorted(shape.options.items())),
        "",
        *table(head, cells),
        "",
        _left_out(shape, forward, sum(flops for parameters, flops in inner.values() if parameters), rows["de_embed"][1]),
    ]


def _title(row: str) -> str:
    return TITLES.get(row, row.replace("_", " ").capitalize())


def _cells(formulas: tuple[str, str] | None, parameters: int, flops: int) -> list[str]:
    of_parameters, of_flops = formulas or ("not given", "not given")
    return [of_parameters, count(parameters), of_flops, count(flops)]


def _left_out(shape: ModelConfig, forward: int, products: int, last: int) -> str:
    """Return sentences on the parts of the forward cost that 6ND counts, and on those that it leaves out."""
    n, active = n_params(shape), n_params_active(shape)
    twice = "2N is" if products == 2 * n else "2 N_active is" if products == 2 * active else "The products with parameters are"
    counted = f"{twice} {count(products)} FLOP per token"
    part = f" and the mask is {count(forward - products)}: C = 6ND leaves out the mask, " + (
        f"{100 * (forward - products) / forward:.1f} % of the forward cost"
    )
    added = f"would add {100 * last / forward:.1f} %."
    if forward == products:
        return f"{counted}. The last layer, which C = 6ND leaves out, {added}"
    return f"{counted}{part}. The last layer, which it leaves out too, {added}"
