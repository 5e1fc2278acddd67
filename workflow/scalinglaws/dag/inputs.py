"""The inputs of a job that depend on more than its wildcards: on specs, on what is there already, on the package's own files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from scalinglaws.common import finished
from scalinglaws.dag import targets
from scalinglaws.dag.context import RESULTS, Context
from scalinglaws.figures import registry
from scalinglaws.laws import registry as law_names
from scalinglaws.study import paths
from scalinglaws.study.init import CONFIG, weights_of
from scalinglaws.study.spec import MixtureSpec, RunSpec
from scalinglaws.tables.mapping import READERS

TOKEN_FILES = ("train.bin", "validation.bin", "test.bin", "validation.starts.npy", "test.starts.npy")
CORPUS_FILES = ("train.jsonl.zst", "validation.jsonl.zst", "test.jsonl.zst")
PACKAGE = Path(__file__).parents[1]
MODULES_OF_REPORT = (
    *("report/*.py", "report/claims/*.py", "figures/shared/*.py", "figures/registry.py"),
    # The claims of the paper are measured as these figures measure what they show.
    *("figures/models/fig*.py", "figures/batch/fig14*.py", "figures/scaling/fig23*.py"),
    *("figures/training/fig16*.py", "figures/training/fig20*.py", "figures/training/fig22*.py"),
    *("study/questions.py", "laws/*.py", "models/count.py", "models/entries/*.py", *READERS),
)


def is_made(path: str) -> bool:
    """Tell whether an output is there, or is kept for its job to put it in place (common/finished.py).

    The job of such an output has no inputs that other jobs make. They are inputs only so that jobs start in the right order, and
    Snakemake 9.27 starts a job again where an input was missing and is made again for another job, even an ``ancient`` one.
    """
    return os.path.exists(path) or finished.is_kept(Path(path))


def run_is_made(context: Context, run: str, kept: bool = True) -> bool:
    """Tell whether a run is there, or ``kept`` where that counts (see ``is_made``).

    Its weights count where it has still to be evaluated: they may be deleted after that.
    """
    folder, name = f"{RESULTS}/runs/{run}", context.study.evaluations.get(run)
    if not os.path.exists(f"{folder}/metrics.json"):
        return kept and is_made(f"{folder}/metrics.json")
    return not name or any(map(os.path.exists, (f"{folder}/model.safetensors", f"{RESULTS}/evals/{run}/{name}.json")))


def tokens(folder: str) -> list[str]:
    """Return the files that say that the token files of a folder are there: the counts, and any that is missing beside them."""
    return _with_missing(f"{RESULTS}/tokens/{folder}", "meta.json", TOKEN_FILES)


def corpus(name: str) -> list[str]:
    """Return the files that say that the passages of a corpus are there: the report, and any split that is missing beside it."""
    return _with_missing(f"{RESULTS}/corpora/{name}", "report.json", CORPUS_FILES)


def _with_missing(folder: str, last: str, others: Iterable[str]) -> list[str]:
    """Return the last of a job's outputs and, where that is there, any other that is missing: one input does for all of them."""
    whole = f"{folder}/{last}"
    missing = (path for name in others if not os.path.exists(path := f"{folder}/{name}"))
    return [whole, *(missing if os.path.exists(whole) else ())]


def tokens_of_run(context: Context, run: str) -> list[str]:
    """Return the token files that a run is trained on; none once the run is there (see ``is_made``)."""
    return [] if run_is_made(context, run) else tokens(context.run_spec(run).tokens_id)


def tokens_of_trunk(context: Context, trunk: str, step: int) -> list[str]:
    """Return the token files that a trunk is trained on to the rung at ``step``; none once the rung is there."""
    made = is_made(f"{RESULTS}/trunks/{trunk}/step{step}.safetensors")
    return [] if made else tokens(context.trunk_spec(trunk).tokens_id)


def _weights(specs: Iterable[RunSpec]) -> list[str]:
    """Return the files that say that the published weights are there from which trainings begin."""
    found = {weights.id for spec in specs if (weights := weights_of(spec))}
    return [f"{RESULTS}/weights/{name}/{CONFIG}" for name in sorted(found)]


def weights_of_run(context: Context, run: str) -> list[str]:
    """Return the published weights that a run begins from; none for one from nothing, and none once the run is there."""
    return [] if run_is_made(context, run) else _weights([context.run_spec(run)])


def weights_of_trunk(context: Context, trunk: str, step: int) -> list[str]:
    """Return the published weights that a trunk begins from; none for one from nothing, and none once the rung is there."""
    made = is_made(f"{RESULTS}/trunks/{trunk}/step{step}.safetensors")
    return [] if made else _weights([context.trunk_spec(trunk)])


def tokens_of_set(context: Context, run: str, name: str) -> list[str]:
    """Return the token files of each corpus of an evaluation set; none once the run is evaluated on it."""
    if os.path.exists(f"{RESULTS}/evals/{run}/{name}.json"):
        return []
    return [path for folder in context.evaluation_set(name) for path in tokens(folder)]


def run_of_evaluation(run: str, name: str) -> list[str]:
    """Return the files of a trained run that its evaluation on a set reads; none once the run is evaluated on it."""
    if os.path.exists(f"{RESULTS}/evals/{run}/{name}.json"):
        return []
    return [f"{RESULTS}/runs/{run}/metrics.json", f"{RESULTS}/runs/{run}/model.safetensors"]


def corpus_of_tokenizer(context: Context, tokenizer: str) -> list[str]:
    """Return the corpora that a tokenizer is trained on, several for a mixture; none but for a BPE that is not there."""
    spec = context.tokenizer_spec(tokenizer).corpus
    if spec is None or is_made(f"{RESULTS}/tokenizers/{tokenizer}/tokenizer.json"):
        return []
    return [path for part in spec.shares for path in corpus(part.id)]


def text_of_tokens(context: Context, name: str, tokenizer: str) -> list[str]:
    """Return the corpus and the tokenizer of which token files are made; none once all of them are there.

    Those of a mixture are made of its corpora and their token files.
    """
    meta, *missing = tokens(f"{name}/{tokenizer}")
    if finished.is_kept(Path(meta)) or (os.path.exists(meta) and not missing):
        return []
    spec = context.corpus_spec(name)
    if isinstance(spec, MixtureSpec):
        return [path for part in spec.shares for path in (*corpus(part.id), *tokens(f"{part.id}/{tokenizer}"))]
    return [*corpus(name), f"{RESULTS}/tokenizers/{tokenizer}/tokenizer.json"]


def rung_below(context: Context, trunk: str, step: int) -> list[str]:
    """Return the rung from which the one at ``step`` is trained on, or nothing once the one at ``step`` is there."""
    if context.in_job or is_made(f"{RESULTS}/trunks/{trunk}/step{step}.safetensors"):
        return []
    below = context.rung_below(trunk, step)
    return [f"{RESULTS}/trunks/{trunk}/step{below}.safetensors"] if below else []


def start_of_run(context: Context, run: str) -> list[str]:
    """Return the last rung below a run's decay, or the bundle that makes it; none once the run is there."""
    if context.in_job or run_is_made(context, run):
        return []
    step, trunk = context.study.starts.get(run), context.study.trunk_ids.get(run)
    if not step or trunk is None:
        return []
    bundle = context.bundle_of_rung.get((trunk, step))
    return [f"{RESULTS}/bundles/{bundle}.done" if bundle else f"{RESULTS}/trunks/{trunk}/step{step}.safetensors"]


def rates_of(specs: Iterable[RunSpec]) -> list[str]:
    """Return the rules that runs or trunks take their learning rates from; none for those whose rates are numbers."""
    return sorted({str(paths.rate_rule_path(RESULTS, spec.rate_sweep)) for spec in specs if spec.rate_sweep})


def rate_of_run(context: Context, run: str) -> list[str]:
    """Return the rule that a run takes its learning rate from; none once the run is there, which keeps the rate it had."""
    return [] if run_is_made(context, run, kept=False) else rates_of([context.run_spec(run)])


def rate_of_trunk(context: Context, trunk: str, step: int) -> list[str]:
    """Return the rule that a trunk takes its learning rate from; none once the rung at ``step`` is there."""
    return [] if os.path.exists(paths.rung_path(RESULTS, trunk, step)) else rates_of([context.trunk_spec(trunk)])


def rates_of_bundle(context: Context, name: str) -> list[str]:
    """Return the rules that what a bundle trains takes its learning rates from; none once all of it is there."""
    if os.path.exists(paths.bundle_marker(RESULTS, name)):
        return []
    bundle = context.bundle(name)
    return rates_of([*map(context.run_spec, bundle.runs), *(context.trunk_spec(trunk) for trunk, _ in bundle.rungs)])


def runs_of_sweep(context: Context, sweep: str) -> list[str]:
    """Return the files that say that the runs of a sweep are there; none once its rule is there, or in a job of its own."""
    if context.in_job or os.path.exists(paths.rate_rule_path(RESULTS, sweep)):
        return []
    return targets.runs(context, context.sweep(sweep).runs)


def forecast_of_run(context: Context, run: str) -> list[str]:
    """Return the forecast that is written before a run is trained; none for other runs, and none once the run is there."""
    waits = run in context.study.forecasts and not context.in_job and not run_is_made(context, run)
    return [f"{context.folder}/forecasts/{run}.json"] if waits else []


def forecasts_of_rung(context: Context, trunk: str, step: int) -> list[str]:
    """Return the forecasts of the runs that alone need a rung: its training is a part of theirs. None once the rung is there."""
    if context.in_job or is_made(f"{RESULTS}/trunks/{trunk}/step{step}.safetensors"):
        return []
    runs = context.study.forecasts_of_rungs.get((trunk, step), ())
    return [path for run in runs for path in forecast_of_run(context, run)]


def sources_of_forecast(context: Context, run: str) -> list[str]:
    """Return the table of the runs and the fits that a forecast follows from; none once the forecast is there.

    An input that is missing and made again would have Snakemake 9.27 make the forecast again (see ``is_made``).
    """
    if os.path.exists(f"{context.folder}/forecasts/{run}.json"):
        return []
    return [f"{context.basis}/runs.parquet", *targets.forecasting_fits(context)]


def places_of_law(context: Context, law: str) -> list[str]:
    """Return the options of a fit by which it says what the runs that are forecast will come out with."""
    return law_names.places(context.study, law)


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
    """Return all token files that a bundle trains and evaluates on; none once all of it is there."""
    if os.path.exists(f"{RESULTS}/bundles/{name}.done"):
        return []
    bundle = context.bundle(name)
    folders = {context.run_spec(run).tokens_id for run in bundle.runs}
    folders |= {context.trunk_spec(trunk).tokens_id for trunk, _ in bundle.rungs}
    folders |= {folder for _, of in bundle.evaluations for folder in context.evaluation_set(of)}
    return [path for folder in sorted(folders) for path in tokens(folder)]


def weights_of_bundle(context: Context, name: str) -> list[str]:
    """Return all published weights that trainings of a bundle begin from; none once all of it is there."""
    if os.path.exists(f"{RESULTS}/bundles/{name}.done"):
        return []
    bundle = context.bundle(name)
    return _weights([*map(context.run_spec, bundle.runs), *(context.trunk_spec(trunk) for trunk, _ in bundle.rungs)])


def critical_batch_of(context: Context, law: str) -> list[str]:
    """Return the fit that S_min and C_min follow from, for the laws that need them."""
    return [f"{context.folder}/fits/critical-batch.json"] if law in law_names.AT_SMALL_BATCHES else []


def losses_of_law(context: Context, law: str) -> list[str]:
    """Return the table of the losses on several texts, for the laws that need it."""
    return [f"{context.tables_of_law(law)}/evals.parquet"] if law_names.LAWS.find(law).evals else []


def tables_of_figure(context: Context, figure: str) -> list[str]:
    """Return the tables that a figure is drawn from."""
    return [f"{context.folder}/tables/{table}.parquet" for table in registry.FIGURES[figure].tables]


def laws_of_figure(context: Context, figure: str) -> list[str]:
    """Return the laws of a figure that the study fits; the figure itself says which are missing."""
    return [law for law in registry.FIGURES[figure].laws if law in context.laws]


def fits_of_figure(context: Context, figure: str) -> list[str]:
    """Return the fits of ``laws_of_figure``."""
    return [f"{context.folder}/fits/{law}.json" for law in laws_of_figure(context, figure)]


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
    return [path for pattern in patterns for path in _modules(pattern, os.getcwd())]


def modules_of_figure(figure: str) -> list[str]:
    """Return the source files that draw a figure."""
    return modules(*registry.modules(figure))


def modules_of_report() -> list[str]:
    """Return the source files that write the report."""
    return modules(*MODULES_OF_REPORT)


@cache
def _modules(pattern: str, start: str) -> list[str]:
    return sorted(os.path.relpath(path, start) for path in PACKAGE.glob(pattern))
