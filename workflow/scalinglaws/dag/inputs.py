"""The inputs of a job that depend on more than its wildcards: on specs, on what is there already, on the package's own files."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from scalinglaws.dag.context import RESULTS, Context
from scalinglaws.figures import registry
from scalinglaws.laws import registry as law_names
from scalinglaws.tables.mapping import READERS

PACKAGE = Path(__file__).parents[1]
MODULES_OF_REPORT = (
    *("report/*.py", "figures/shared/*.py", "figures/registry.py"),
    *("study/questions.py", "laws/*.py", "models/count.py", "models/entries/*.py", *READERS),
)


def tokens(folder: str) -> str:
    """Return the file that says that the token files of a folder are there."""
    return f"{RESULTS}/tokens/{folder}/meta.json"


def tokens_of_run(context: Context, run: str) -> str:
    """Return the token files that a run is trained on."""
    return tokens(context.run_spec(run).tokens_id)


def tokens_of_trunk(context: Context, trunk: str) -> str:
    """Return the token files that a trunk is trained on."""
    return tokens(context.trunk_spec(trunk).tokens_id)


def tokens_of_set(context: Context, name: str) -> list[str]:
    """Return the token files of each corpus of an evaluation set."""
    return [tokens(folder) for folder in context.evaluation_set(name)]


def corpus_of_tokenizer(context: Context, tokenizer: str) -> list[str]:
    """Return the corpus that a tokenizer is trained on; only a BPE has one."""
    corpus = context.tokenizer_spec(tokenizer).corpus
    return [f"{RESULTS}/corpora/{corpus.id}/report.json"] if corpus else []


def rung_below(context: Context, trunk: str, step: int) -> list[str]:
    """Return the rung from which the one at ``step`` is trained on, or nothing once the one at ``step`` is there.

    The rung is an input only so that jobs start in the right order. Once the one at ``step`` is there it is none: a rung below
    that was pruned, and is made again for another run, would have it trained once more.
    """
    if context.in_job or os.path.exists(f"{RESULTS}/trunks/{trunk}/step{step}.safetensors"):
        return []
    below = context.rung_below(trunk, step)
    return [f"{RESULTS}/trunks/{trunk}/step{below}.safetensors"] if below else []


def start_of_run(context: Context, run: str) -> list[str]:
    """Return the last rung below a run's decay, or the bundle that makes it; none once the run is there (see ``rung_below``)."""
    if context.in_job or os.path.exists(f"{RESULTS}/runs/{run}/metrics.json"):
        return []
    step, trunk = context.study.starts.get(run), context.study.trunk_ids.get(run)
    if not step or trunk is None:
        return []
    bundle = context.bundle_of_rung.get((trunk, step))
    return [f"{RESULTS}/bundles/{bundle}.done" if bundle else f"{RESULTS}/trunks/{trunk}/step{step}.safetensors"]


def specs_of_bundle(context: Context, name: str) -> list[str]:
    """Return the specs of all runs and trunks of a bundle."""
    bundle = context.bundle(name)
    runs = sorted({*bundle.runs, *(run for run, _ in bundle.evaluations)})
    trunks = sorted({trunk for trunk, _ in bundle.rungs})
    return [f"{RESULTS}/runs/{run}/spec.json" for run in runs] + [f"{RESULTS}/trunks/{trunk}/spec.json" for trunk in trunks]


def sets_of_bundle(context: Context, name: str) -> list[str]:
    """Return the evaluation sets of a bundle."""
    return [f"{RESULTS}/evals/sets/{of}.txt" for of in sorted({of for _, of in context.bundle(name).evaluations})]


def tokens_of_bundle(context: Context, name: str) -> list[str]:
    """Return all token files that a bundle trains and evaluates on."""
    bundle = context.bundle(name)
    folders = {context.run_spec(run).tokens_id for run in bundle.runs}
    folders |= {context.trunk_spec(trunk).tokens_id for trunk, _ in bundle.rungs}
    folders |= {folder for _, of in bundle.evaluations for folder in context.evaluation_set(of)}
    return [tokens(folder) for folder in sorted(folders)]


def critical_batch_of(law: str) -> list[str]:
    """Return the fit that S_min and C_min follow from, for the laws that need them."""
    return [f"{RESULTS}/fits/critical-batch.json"] if law in law_names.AT_SMALL_BATCHES else []


def tables_of_figure(figure: str) -> list[str]:
    """Return the tables that a figure is drawn from."""
    return [f"{RESULTS}/tables/{table}.parquet" for table in registry.FIGURES[figure].tables]


def laws_of_figure(context: Context, figure: str) -> list[str]:
    """Return the laws of a figure that the study fits; the figure itself says which are missing."""
    return [law for law in registry.FIGURES[figure].laws if law in context.laws]


def fits_of_figure(context: Context, figure: str) -> list[str]:
    """Return the fits of ``laws_of_figure``."""
    return [f"{RESULTS}/fits/{law}.json" for law in laws_of_figure(context, figure)]


def caption_of_figure(figure: str) -> str:
    """Return the caption of a figure, for the report of Snakemake."""
    return registry.FIGURES[figure].caption


def titles_of_figures() -> list[str]:
    """Return the titles of all figures, in the order of the report."""
    return [figure.title for figure in registry.FIGURES.values()]


def external_tables(context: Context) -> str:
    """Return the tables of runs made elsewhere, path and columns, in JSON."""
    return json.dumps([table.model_dump(mode="json") for table in context.study.external])


def names_of_corpora(context: Context) -> str:
    """Return what the config calls each corpus, by its id, in JSON."""
    return json.dumps(context.study.corpus_names, sort_keys=True)


def modules(*patterns: str) -> list[str]:
    """Return source files of the package as inputs of a cheap rule: editing one makes the outputs of that rule alone again."""
    return [path for pattern in patterns for path in _modules(pattern)]


def modules_of_figure(figure: str) -> list[str]:
    """Return the source files that draw a figure."""
    return modules(*registry.modules(figure))


def modules_of_report() -> list[str]:
    """Return the source files that write the report."""
    return modules(*MODULES_OF_REPORT)


@cache
def _modules(pattern: str) -> list[str]:
    return sorted(os.path.relpath(path) for path in PACKAGE.glob(pattern))
