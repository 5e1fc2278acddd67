"""Paths, the study of the config, and the input functions of the rules. Logic lives in the package."""

import json
import os
import sys
from functools import lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

BUNDLEAGE = os.path.relpath(os.path.join(workflow.basedir, "workflow", "scalinglaws"))
sys.path.insert(0, os.path.dirname(os.path.abspath(BUNDLEAGE)))

from scalinglaws.dag import environment
from scalinglaws.common import files
from scalinglaws.cluster import gpus
from scalinglaws.study import ladder
from scalinglaws.dag import launch
from scalinglaws.study import paths as layout
from scalinglaws.cluster import bundles
from scalinglaws.cluster import needs as resources
from scalinglaws.study import spec
from scalinglaws.common.errors import StudyError
from scalinglaws.figures import registry
from scalinglaws.laws import names as law_names

environment.prepare()

# Specs are written before anything long starts: a job that waits for its spec could not be chosen by its remaining path.
FIRST = 2**50
TABLES = ["runs", "curves", "evals", "timings"]


# What a profile adds to the config, that is no part of a study: the device, and the rules that run where snakemake does.
OF_PROFILE = {"device", "local"}
SNAPSHOT = "SCALINGLAWS_STUDY"


def read_study():
    """Study and measured speeds; both are kept in a file, for jobs on cluster nodes."""
    from scalinglaws.decide.load import of_config
    from scalinglaws.study import config as config_model, study

    name = ", ".join(map(str, workflow.configfiles)) or "config"
    data = {key: value for key, value in config.items() if key not in OF_PROFILE}
    try:
        found = of_config(config_model.parse(data, name))
        if not DEVICE:
            return found, {}
        speeds = resources.measured(found, Path("results"), DEVICE)
        resources.check(found, DEVICE, speeds)
    except StudyError as error:
        raise WorkflowError(f"{error}") from None
    kept = {"config": data, "speeds": [[*key, factor] for key, factor in sorted(speeds.items())]}
    os.environ[SNAPSHOT] = str(study.keep(kept, Path("results/logs/study")))
    return found, speeds


def study_of_job():
    """The same in a job on a cluster node: as they were when it was submitted, so that it asks for what it was given."""
    from scalinglaws.decide.load import of_config
    from scalinglaws.study import config as config_model, study

    name = os.environ.get(SNAPSHOT)
    if name is None or not os.path.exists(name):
        return study.empty(), {}
    kept = json.loads(Path(name).read_text())
    speeds = {tuple(key): factor for *key, factor in kept["speeds"]}
    return of_config(config_model.parse(kept["config"], name)), speeds


def read_device():
    try:
        return resources.read(config.get("device"))
    except StudyError as error:
        raise WorkflowError(f"{error}") from None


DEVICE = read_device()
STUDY, SPEEDS = study_of_job() if workflow.remote_exec else read_study()
LAWS = law_names.laws_of(STUDY)
# Small runs that are not there share jobs, where the profile's device says so.
BUNDLES = bundles.plan(STUDY, Path("results"), DEVICE, SPEEDS) if DEVICE and not workflow.remote_exec else {}
for name, bundle in BUNDLES.items():
    files.keep(layout.bundle_path(Path("results"), name), bundle.canonical)
BUNDLED = {run: name for name, bundle in BUNDLES.items() for run in bundle.runs}
EVALUATED = {pair: name for name, bundle in BUNDLES.items() for pair in bundle.evaluations}
RUNGS = {rung: name for name, bundle in BUNDLES.items() for rung in bundle.rungs}
if DEVICE and DEVICE.runs_per_gpu:
    os.environ[gpus.PLACES] = f"{DEVICE.gpus_per_node}x{DEVICE.runs_per_gpu}"
# The list of runs, in a file named by it. It is too long for a command line, and is copied from where it is kept.
MANIFEST = f"results/tables/manifest-{STUDY.manifest_id}.jsonl"
KEPT_MANIFEST = f"results/logs/study/manifest-{STUDY.manifest_id}.jsonl"
if not workflow.remote_exec:
    files.keep(Path(KEPT_MANIFEST), "".join(f"{line}\n" for line in STUDY.manifest))


workflow.localrules(*config.get("local", []))  # of a cluster's profile: what may run where snakemake does


onstart:
    try:
        launch.begin(STUDY, Path("results"))
    except StudyError as error:
        raise WorkflowError(f"{error}") from None


wildcard_constraints:
    corpus=r"[^/]+",
    tokenizer=r"[^/]+",
    run=r"[^/]+",
    trunk=r"[^/]+",
    step=r"\d+",
    bundle=r"[^/]+",


@lru_cache(maxsize=None)
def run_spec(run):
    """The spec of a run: the study's, else that in its file."""
    return STUDY.runs.get(run) or spec.read_spec(f"results/runs/{run}/spec.json")


@lru_cache(maxsize=None)
def trunk_spec(trunk):
    return STUDY.trunks.get(trunk) or spec.read_spec(f"results/trunks/{trunk}/spec.json")


@lru_cache(maxsize=None)
def tokenizer_spec(tokenizer):
    return STUDY.tokenizers.get(tokenizer) or spec.read_spec(f"results/tokenizers/{tokenizer}/spec.json", "tokenizer")


def tokens_of_run(wildcards):
    return f"results/tokens/{run_spec(wildcards.run).tokens_id}/meta.json"


def tokens_of_trunk(wildcards):
    return f"results/tokens/{trunk_spec(wildcards.trunk).tokens_id}/meta.json"


def corpus_of_tokenizer(wildcards):
    """Only a BPE is trained on text."""
    corpus = tokenizer_spec(wildcards.tokenizer).corpus
    return f"results/corpora/{corpus.id}/report.json" if corpus else []


def rung_below(wildcards):
    """The rung below, for the order of jobs. Made again later, it must not retrain what is there."""
    if workflow.remote_exec or os.path.exists(f"results/trunks/{wildcards.trunk}/step{wildcards.step}.safetensors"):
        return []
    step = ladder.below(int(wildcards.step), trunk_spec(wildcards.trunk).batch_tokens, STUDY.ladder)
    return ancient(f"results/trunks/{wildcards.trunk}/step{step}.safetensors") if step else []


def start_of_run(wildcards):
    """The last rung below a run's decay, or the bundle that makes it, while the run is not trained."""
    if workflow.remote_exec or os.path.exists(f"results/runs/{wildcards.run}/metrics.json"):
        return []
    step, trunk = STUDY.starts.get(wildcards.run), STUDY.trunk_ids.get(wildcards.run)
    if (trunk, step) in RUNGS:
        return ancient(f"results/bundles/{RUNGS[trunk, step]}.done")
    return ancient(f"results/trunks/{trunk}/step{step}.safetensors") if step else []


@lru_cache(maxsize=None)
def needs_of(run, attempt):
    """Of a job that trains a run from the rung that it starts from."""
    of = run_spec(run)
    return resources.needs(of, of.steps - STUDY.starts.get(run, 0), DEVICE, attempt, SPEEDS)


def needs_of_run(wildcards, attempt=1):
    return needs_of(wildcards.run, attempt)


def needs_of_rung(wildcards, attempt=1):
    return resources.needs_of_rung(STUDY, trunk_spec(wildcards.trunk), int(wildcards.step), DEVICE, attempt, SPEEDS)


@lru_cache(maxsize=None)
def bundle_of(name):
    """A bundle that is to be made, else the one in its file."""
    return BUNDLES.get(name) or bundles.read(layout.bundle_path(Path("results"), name))


def needs_of_bundle(wildcards, attempt=1):
    return bundle_of(wildcards.bundle).needs(DEVICE, attempt)


def specs_of_bundle(wildcards):
    bundle = bundle_of(wildcards.bundle)
    runs = sorted({*bundle.runs, *(run for run, _ in bundle.evaluations)})
    trunks = sorted({trunk for trunk, _ in bundle.rungs})
    return [f"results/runs/{run}/spec.json" for run in runs] + [f"results/trunks/{trunk}/spec.json" for trunk in trunks]


def sets_of_bundle(wildcards):
    return [f"results/evals/sets/{name}.txt" for name in sorted({name for _, name in bundle_of(wildcards.bundle).evaluations})]


def tokens_of_bundle(wildcards):
    bundle = bundle_of(wildcards.bundle)
    folders = {run_spec(run).tokens_id for run in bundle.runs} | {trunk_spec(trunk).tokens_id for trunk, _ in bundle.rungs}
    folders |= {folder for _, name in bundle.evaluations for folder in evaluation_set(name)}
    return [f"results/tokens/{folder}/meta.json" for folder in sorted(folders)]


def needs_of_evaluation(wildcards, attempt=1):
    corpora = len(evaluation_set(wildcards.set))
    return resources.needs_of_evaluation(run_spec(wildcards.run), corpora, DEVICE, attempt, SPEEDS)


def threads_of_run(wildcards):
    """Of all processes on a node."""
    return run_spec(wildcards.run).threads * processes_on_node(needs_of_run(wildcards))


def threads_of_trunk(wildcards):
    return trunk_spec(wildcards.trunk).threads * processes_on_node(needs_of_rung(wildcards))


def threads_of_bundle(wildcards):
    bundle = bundle_of(wildcards.bundle)
    return bundle.at_once * bundle.threads


def processes_on_node(needs):
    return max(1, needs.gpus // needs.nodes)


def resources_of_job(needs, threads=1):
    """What jobs ask for by their needs. Without a device the same for all, so that a large study starts faster."""
    if not DEVICE:
        return {"mem_mb": resources.PROCESS_MB, "runtime": 60, "processes": 0}
    return {
        "gres": lambda wildcards: gres(needs(wildcards)),
        "mem_mb": lambda wildcards, attempt: needs(wildcards, attempt).mem_mb,
        "runtime": lambda wildcards, attempt: needs(wildcards, attempt).minutes,
        "cpus_per_task": threads,  # dry runs cut threads, and show this
        "processes": lambda wildcards: needs(wildcards).gpus,
    }


def resources_on_nodes(needs, threads):
    """The same, and those of jobs of several nodes."""
    if not DEVICE:
        return resources_of_job(needs) | {"hosts": 1}
    # Of the Slurm plugin: a job with mpi is not started by srun. The stage does that, once on each node.
    return resources_of_job(needs, threads) | {
        "hosts": lambda wildcards: needs(wildcards).nodes,
        "nodes": lambda wildcards: several(needs(wildcards), needs(wildcards).nodes),
        "tasks": lambda wildcards: several(needs(wildcards), needs(wildcards).nodes),
        "tasks_per_gpu": lambda wildcards: several(needs(wildcards), 0),
        "mpi": lambda wildcards: several(needs(wildcards), "srun"),
    }


def gres(needs):
    """Of each node."""
    return f"{DEVICE.gres}:{needs.gpus // needs.nodes}" if needs.gpus else ""


def several(needs, value):
    """A value where a job takes several nodes: a resource that is None is not asked for."""
    return value if needs.nodes > 1 else None


def priority_of_run(wildcards):
    """The longest remaining path first, in GFLOP."""
    return STUDY.priority_of_run(wildcards.run)


def priority_of_bundle(wildcards):
    """Of the longest path in it."""
    bundle = bundle_of(wildcards.bundle)
    paths = [STUDY.priority_of_run(run) for run in bundle.runs] + [STUDY.priority_of_rung(*rung) for rung in bundle.rungs]
    return max(paths, default=0)


def priority_of_rung(wildcards):
    return STUDY.priority_of_rung(wildcards.trunk, int(wildcards.step))


@lru_cache(maxsize=None)
def evaluation_set(name):
    """The token folders in a set: the study's, else those in its file."""
    return STUDY.evaluation_sets.get(name) or Path(f"results/evals/sets/{name}.txt").read_text().split()


def tokens_of_set(wildcards):
    return [f"results/tokens/{folder}/meta.json" for folder in evaluation_set(wildcards.set)]


def runs_of_study():
    """What says that each run is there: its metrics, or the bundle in which it is trained."""
    alone = [f"results/runs/{run}/metrics.json" for run in STUDY.runs if run not in BUNDLED]
    return alone + [f"results/bundles/{name}.done" for name in BUNDLES]


def evaluations_of_study():
    """Those that no bundle makes."""
    return [f"results/evals/{run}/{name}.json" for run, name in STUDY.evaluations.items() if (run, name) not in EVALUATED]


def names_of_figures():
    return [name for name in registry.drawable(STUDY.kinds, set(LAWS)) if name in registry.asked(STUDY.figures)]


def figures_of_study():
    return expand("results/figures/{figure}.{suffix}", figure=names_of_figures(), suffix=["svg", "png"])


def tables_of_figure(wildcards):
    return [f"results/tables/{table}.parquet" for table in registry.FIGURES[wildcards.figure].tables]


def fits_of_figure(wildcards):
    """Those of its laws that the study fits: the picture says that the others are missing."""
    return [f"results/fits/{law}.json" for law in registry.FIGURES[wildcards.figure].laws if law in LAWS]


def critical_batch_of(wildcards):
    """The fit that S_min and C_min follow from, for the laws that need them."""
    return ["results/fits/critical-batch.json"] if wildcards.law in law_names.AT_SMALL_BATCHES else []


def modules_of_figure(wildcards):
    return modules(*registry.modules(wildcards.figure))


def exponents_of_study():
    names = ["fits.parquet", "exponents.parquet", "exponents.md"] if LAWS else []
    return [f"results/tables/{name}" for name in names]


def report_of_study():
    return ["results/report.md"] if LAWS else []


def modules_of_report():
    return modules("report/*.py", "figures/shared/*.py", "figures/registry.py", "study/questions.py", "laws/*.py", "models/count.py")


def modules(*names):
    """Source files of the package as inputs of a cheap rule: editing one makes that rule's outputs again, and nothing else."""
    found = [sorted(Path(BUNDLEAGE).glob(name)) for name in names]
    return [str(path) for paths in found for path in paths]
