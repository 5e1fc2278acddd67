"""Which jobs of a study failed, by what their logs end with, and the commands that repeat them.

A job has failed where its output is missing, no process trains it, and its log ends with an error. That is a line by which a
command of the package, Python, the shell or srun says that it ends with one (ERROR), and after which no progress is told: the
log of a job that is tried again starts anew, or, in a bundle, goes on with lines of progress. A process that was killed leaves
no such line: its job was stopped and goes on.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.common.errors import StudyError, shown
from scalinglaws.common.read import read_json
from scalinglaws.figures import registry
from scalinglaws.laws import registry as laws
from scalinglaws.study import paths
from scalinglaws.study.init import CONFIG as WEIGHTS_CONFIG
from scalinglaws.study.study import Study

TAIL_BYTES = 16384  # what is read of the end of a log, which may be huge
TAIL_LINES = 8  # of an error, the last lines are shown
LINE_CHARACTERS = 500
# How the lines begin by which a process says that it ends with an error. "stopped" is said after Ctrl-C, and srun's statuses 130
# and 143 are those of trainings that were told to stop and have saved.
ERROR = re.compile(
    r"scalinglaws \S+: (?!stopped$)|Traceback \(most recent call last\)|Usage: |Fatal Python error|terminate called"
    r"|(\S*/)?(bash|sh|python[0-9.]*): (?!.*warning)|srun: error: .*[Ee]xit(ed with)? (exit )?code (?!130$|143$)"
)


@dataclass(frozen=True)
class Job:
    """A job of the workflow whose output is missing.

    Attributes
    ----------
    stage, name
        The stage, which is a folder of logs, and what it was to make there: an id, a law or a figure.
    target
        The file for which Snakemake starts the job.
    log
        Its log.
    threads
        Threads of its process.
    """

    stage: str
    name: str
    target: Path
    log: Path
    threads: int = 1


def error_of(log: Path, name: str) -> list[str]:
    """Return the last lines of the error that a log ends with; none where it is missing, or ends with no error.

    Parameters
    ----------
    log
        The log. Its end alone is read, and what does not print is escaped.
    name
        What the lines of progress in it begin with: the run, the trunk or ``bundle``.
    """
    lines = tail(log)
    told = [k for k, line in enumerate(lines) if line.startswith(f"{name}: ")]
    after = range(told[-1] + 1 if told else 0, len(lines))
    first = next((k for k in after if ERROR.match(lines[k])), None)
    return [] if first is None else [shown(line) for line in lines[first:][-TAIL_LINES:]]


def tail(log: Path) -> list[str]:
    """Return the last lines of a log without those that are empty; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return []
    return [line[:LINE_CHARACTERS] for line in text.replace("\r", "\n").split("\n") if line.strip()]


def run_job(study: Study, results: Path, run: str) -> Job:
    """Return the job that trains a run."""
    target = paths.run_folder(results, run) / "metrics.json"
    return Job("train", run, target, paths.log_path(results, "train", run), study.runs[run].threads)


def rung_job(study: Study, results: Path, trunk: str, step: int) -> Job:
    """Return the job that trains a trunk to the rung at a step."""
    log = paths.log_path(results, "rung", f"{trunk}-step{step}")
    return Job("rung", trunk, paths.rung_path(results, trunk, step), log, study.trunks[trunk].threads)


def other_jobs(study: Study, results: Path) -> Iterator[Job]:
    """Yield the jobs whose outputs are missing, but those that train a run or a rung, in the order of the workflow."""
    for job in (*_of_text(study, results), *_of_runs(study, results), *_of_study(study, results)):
        if not job.target.exists():
            yield job


def _of_text(study: Study, results: Path) -> Iterator[Job]:
    """Yield the jobs that make corpora, tokenizers, tokens and published weights."""

    def job(stage: str, name: str, target: str, log: str = "") -> Job:
        return Job(stage, name, results / target, paths.log_path(results, stage, log or name))

    for corpus in study.corpora:
        yield job("corpus", corpus, f"corpora/{corpus}/report.json")
    for tokenizer in study.tokenizers:
        yield job("tokenizer", tokenizer, f"tokenizers/{tokenizer}/tokenizer.json")
    folders = {spec.tokens_id for spec in study.runs.values()} | {each for many in study.evaluate.values() for each in many}
    for folder in sorted(folders):
        yield job("tokenize", folder, f"tokens/{folder}/meta.json", folder.replace("/", "-"))
    for weights in study.weights:
        yield job("weights", weights, f"weights/{weights}/{WEIGHTS_CONFIG}")


def _of_runs(study: Study, results: Path) -> Iterator[Job]:
    """Yield the jobs of bundles that have runs of the study, of sweeps and of evaluations."""
    for path in sorted(results.glob("bundles/*.json")):
        target = paths.bundle_marker(results, path.stem)
        ours = (name for name in members_of_bundle(path) if name in study.runs or name in study.trunks)
        if not target.exists() and any(not paths.has_run(results, name) for name in ours):
            yield Job("bundle", path.stem, target, paths.log_path(results, "bundle", path.stem))
    for sweep in study.sweeps:
        yield Job("rates", sweep, paths.rate_rule_path(results, sweep), paths.log_path(results, "rates", sweep))
    for run, name in study.evaluations.items():
        target = paths.evaluation_path(results, run, name)
        yield Job("evaluate", run, target, paths.log_path(results, "evaluate", f"{run}-{name}"))


def _of_study(study: Study, results: Path) -> Iterator[Job]:
    """Yield the jobs of the study's own results: tables, fits, forecasts, figures and report."""
    folder = paths.study_folder(results, study.name)

    def job(stage: str, target: str, log: str = "") -> Job:
        return Job(stage, study.name, folder / target, folder / f"logs/{log or stage}.log")

    named, fitted = registry.asked(study.figures), laws.laws_of(study)
    yield job("aggregate", "tables/runs.parquet")
    if study.forecasts:
        yield job("aggregate_basis", "basis/runs.parquet")
        yield job("score", "tables/forecasts.parquet")
    for run in sorted(study.forecasts):
        yield Job("forecast", run, folder / f"forecasts/{run}.json", folder / f"logs/forecast/{run}.log")
    for law in fitted:
        yield Job("fit", law, folder / f"fits/{law}.json", folder / f"logs/fit/{law}.log")
    for figure in registry.drawable(study.kinds, set(fitted)):
        if figure in named:
            yield Job("figure", figure, folder / f"figures/{figure}.svg", folder / f"logs/figures/{figure}.log")
    if fitted:
        yield job("exponents", "tables/exponents.md")
        yield job("report", "report.md")


def members_of_bundle(path: Path) -> list[str]:
    """Return the trunks and runs that a bundle's file lists, unchecked; none where it is damaged."""
    try:
        members = read_json(path)["members"]
        return [name for member in members for name in (*member["runs"], *([member["name"]] if member["rungs"] else []))]
    except (StudyError, KeyError, TypeError):
        return []


def command(job: Job, configfile: Path, options: Sequence[str] = ()) -> str:
    """Return the command line that repeats a job, quoted for a shell.

    ``options`` are those of Snakemake that say where jobs run. The target stands first, since --configfile takes several files.
    """
    words = ["snakemake", str(job.target), "--cores", str(job.threads), "--configfile", str(configfile), *options]
    return shlex.join(words)
