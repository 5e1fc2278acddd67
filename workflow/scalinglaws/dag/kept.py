"""Small files that the study itself determines, written when the config is read: specs, evaluation sets, the manifest, bundles.

They are inputs of jobs, made by no rule. A file that is there is left alone, with its time: training never starts again
because of it, and tables are made again only where the list of runs changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scalinglaws.cluster import gpus, slurm
from scalinglaws.common import asked, files
from scalinglaws.common.errors import faults_told
from scalinglaws.dag import profile, snapshot, targets
from scalinglaws.dag.context import RESULTS, Context
from scalinglaws.study import paths, plugins
from scalinglaws.study.study import Study


@faults_told()
def write(context: Context) -> None:
    """Write what jobs will read, where it is not there, and set the environment that they start with.

    A job on a cluster node writes nothing: its files were written before it was submitted.

    Raises StudyError where they cannot be written, or where a library that trainings are watched with is not installed.
    """
    if context.device and context.device.runs_per_gpu:
        os.environ[gpus.PLACES] = f"{context.device.gpus_per_node}x{context.device.runs_per_gpu}"
    if context.device:
        os.environ[asked.GRACE] = f"{context.device.grace_seconds:g}"
        if context.device.deterministic:
            os.environ[asked.DETERMINISTIC] = "1"
    if "tensorboard" in context.track:
        os.environ[asked.TENSORBOARD] = str(paths.events_folder(RESULTS))
    if context.in_job:
        slurm.note_start()
        return
    profile.check_track(context.track)
    for name, text in of_study(context.study):
        write_absent(name, text)
    write_absent(targets.manifest(context), "".join(f"{line}\n" for line in context.study.manifest))
    for bundle_name, bundle in context.bundles.items():
        files.keep(paths.bundle_path(RESULTS, bundle_name), bundle.canonical)
    submitted = plugins.kept_config(dict(context.config), RESULTS)
    os.environ[snapshot.VARIABLE] = str(snapshot.keep(submitted, context.speeds, RESULTS))


def of_study(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (path, content) of each file by which a study says what its corpora, tokenizers, trunks, runs and sweeps are."""
    for corpus, corpus_spec in study.corpora.items():
        yield f"{RESULTS}/corpora/{corpus}/spec.json", f"{corpus_spec.canonical}\n"
    for tokenizer, tokenizer_spec in study.tokenizers.items():
        yield f"{RESULTS}/tokenizers/{tokenizer}/spec.json", f"{tokenizer_spec.canonical}\n"
    for weights, named in study.weights.items():
        yield f"{RESULTS}/weights/{weights}/spec.json", f"{named.canonical}\n"
    for trunk in study.rungs:
        yield f"{RESULTS}/trunks/{trunk}/spec.json", f"{study.trunks[trunk].canonical}\n"
    for run, spec in study.runs.items():
        yield f"{RESULTS}/runs/{run}/spec.json", f"{spec.canonical}\n"
    for sweep, definition in study.sweeps.items():
        yield str(paths.sweep_path(RESULTS, sweep)), f"{definition.canonical}\n"
    for name, folders in study.evaluation_sets.items():
        yield f"{RESULTS}/evals/sets/{name}.txt", "".join(f"{folder}\n" for folder in folders)


def write_absent(name: str, text: str) -> None:
    """Write a file that is missing, whole or not at all.

    An empty file counts as missing: since thousands of files are written at once, none of them waits for the disk, and a power
    failure may leave one empty.
    """
    try:
        if os.stat(name).st_size or not text:
            return
    except FileNotFoundError:
        pass
    files.write_bytes(Path(name), text.encode(), sync=False)
