"""The tables that a study would give: its runs and their learning curves before they are trained, with losses that stand in.

The losses are in the order of Chinchilla's published law, which is all that the choice of points asks of them: a frontier, or the
lowest of several curves. They are no forecast. A run with early stopping is taken to end by patience where its data are
limited. On all the data it is taken to end at max_tokens while its loss falls, as it does where that is less than an epoch.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from scalinglaws.laws.catalogue import LAWS
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

EVALUATIONS = 8  # points of each planned learning curve


def nominal_loss(n_params: float, tokens: float) -> float:
    """Return a loss in nats, below 10, in the order of Chinchilla's published law."""
    law = LAWS["chinchilla"].published
    loss = law["E"] + law["A"] * n_params ** -law["alpha"] + law["B"] * tokens ** -law["beta"]
    return float(10 * loss / (10 + loss))


def planned_runs(study: Study) -> pl.DataFrame:
    """Return the table ``runs`` that a study would give, with the columns that laws and their rules ask for."""
    return pl.DataFrame([_run(study, run, spec) for run, spec in study.runs.items()], infer_schema_length=None)


def _run(study: Study, run: str, spec: RunSpec) -> dict[str, object]:
    """Return a row of ``planned_runs``."""
    early, whole = spec.stop == "early", spec.dataset_tokens is None
    known = spec.tokens / study.epochs[run] if run in study.epochs else spec.dataset_tokens
    row: dict[str, object] = {name: getattr(spec, name) for name in ("n_layer", "n_params", "batch_tokens", "steps", "tokens")}
    row |= {name: getattr(spec, name) for name in ("stop", "schedule", "decay")} | {"dataset_tokens": known and float(known)}
    row |= {"run": run, "trunk": spec.trunk.id, "experiments": list(study.experiments[run]), "fitted": run in study.fitted}
    shares = {corpus.id: share for corpus, share in spec.corpus.shares.items()}
    row |= {"mixture": json.dumps(shares) if len(shares) > 1 else None}
    row |= {"corpus_name": spec.corpus.id, "dataset_limited": not whole, "flops_6nd": 6.0 * spec.n_params * spec.tokens}
    row |= {"stopped": ("max_tokens" if whole else "patience") if early else None, "best_step": spec.steps, "status": "ok"}
    return row | {"loss": nominal_loss(spec.n_params, min(spec.tokens, known or np.inf))}


def planned_evals(study: Study) -> pl.DataFrame:
    """Return the table ``evals`` that a study would give: the mean losses of each run on its own text and on others."""
    rows = [
        {"run": run, "corpus_name": corpus, "position": None, "loss": nominal_loss(spec.n_params, spec.tokens)}
        for run, spec in study.runs.items()
        for corpus in sorted({spec.corpus.id, *(folder.partition("/")[0] for folder in study.evaluate[run])})
    ]
    schema = {"run": pl.String, "corpus_name": pl.String, "position": pl.Int64, "loss": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def planned_curves(study: Study) -> pl.DataFrame:
    """Return the table ``curves`` that a study would give, with a few points between warm-up and decay of each run."""
    rows = []
    for run, spec in study.runs.items():
        stable = spec.schedule in ("wsd", "constant")
        last = (spec.stable_steps if stable else spec.steps) * spec.batch_tokens
        first = max(spec.warmup_tokens, spec.batch_tokens)
        for tokens in np.geomspace(first, max(last, first), EVALUATIONS).tolist():
            row = {"run": run, "trunk": spec.trunk.id, "n_params": spec.n_params, "batch_tokens": spec.batch_tokens}
            row |= {"step": tokens / spec.batch_tokens, "tokens": tokens, "flops_6nd": 6.0 * spec.n_params * tokens}
            rows.append(row | {"phase": "stable" if stable else "decay", "loss": nominal_loss(spec.n_params, tokens)})
    return pl.DataFrame(rows, infer_schema_length=None)
