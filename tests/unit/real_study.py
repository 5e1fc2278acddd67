"""The tables and fits of every.yaml, made in this process by the stages' own commands: every kind of run, on real text."""

from __future__ import annotations

import contextlib
import json
import os
import pydoc_data.topics
from collections.abc import Iterator
from pathlib import Path

import yaml

from scalinglaws import config, sources, study
from scalinglaws.__main__ import main
from scalinglaws.laws.names import AT_SMALL_BATCHES

CONFIG = Path(__file__).with_name("every.yaml")


def write_text(folder: Path) -> None:
    """manual.txt and other.txt: every second topic of Python's manual, some hundred kilobytes of English, and the others."""
    topics = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    (folder / "manual.txt").write_text("\n\n".join(topics[::2]))
    (folder / "other.txt").write_text("\n\n".join(topics[1::2]))


def make(folder: Path, without: tuple[str, ...] = ()) -> study.Study:
    """Train, evaluate, aggregate and fit the study below ``folder``/results; ``without``: experiments that are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder)
    data = yaml.safe_load(CONFIG.read_text())
    data["experiments"] = {name: experiment for name, experiment in data["experiments"].items() if name not in without}
    with contextlib.chdir(folder), _quiet():
        for corpus in data["corpora"].values():
            (source,) = corpus["sources"]
            corpus["sources"] = [source | {"sha256": sources.sha256([Path(source["files"][0])])}]
        made = study.build(config.parse(data))
        _texts(made)
        for run, spec in made.runs.items():
            out = f"results/runs/{run}"
            _write(f"{out}/spec.json", spec.canonical)
            stage("train", "--spec", f"{out}/spec.json", "--tokens", "results/tokens", "--out", out)
        for run, name in made.evaluations.items():
            chosen = _write(f"results/evals/sets/{name}.txt", "\n".join(made.evaluate[run]))
            out = f"results/evals/{run}/{name}.json"
            stage("evaluate", "--run", f"results/runs/{run}", "--tokens", "results/tokens", "--set", chosen, "--out", out)
        manifest = _write(f"results/tables/manifest-{made.manifest_id}.jsonl", "\n".join(made.manifest))
        stage("aggregate", "--manifest", manifest, "--corpora", json.dumps(made.corpus_names))
        for law in sorted(made.laws, key=AT_SMALL_BATCHES.__contains__):
            _fit(law, made.fits.bootstrap)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def stage(*arguments: str) -> None:
    """A stage's command, in this process."""
    assert main(list(arguments)) == 0, arguments


def _texts(made: study.Study) -> None:
    for name, corpus in made.corpora.items():
        chosen = _write(f"results/corpora/{name}/spec.json", corpus.canonical)
        stage("corpus", "--spec", chosen, "--out", f"results/corpora/{name}", "--downloads", "results/downloads")
    for name, tokenizer in made.tokenizers.items():
        chosen, out = (
            _write(f"results/tokenizers/{name}/spec.json", tokenizer.canonical),
            f"results/tokenizers/{name}/tokenizer.json",
        )
        stage("tokenizer", "--spec", chosen, "--corpora", "results/corpora", "--out", out)
        for corpus in made.corpora:
            folder = f"results/tokens/{corpus}/{name}"
            stage("tokenize", "--corpus", f"results/corpora/{corpus}", "--tokenizer", out, "--out", folder)


def _fit(law: str, resamples: int) -> None:
    tables = ("--table", "results/tables/runs.parquet", "--curves", "results/tables/curves.parquet")
    critical = ("--critical-batch=results/fits/critical-batch.json",) if law in AT_SMALL_BATCHES else ()
    Path("results/fits").mkdir(exist_ok=True)
    options = ("--bootstrap", str(resamples), "--allow-empty", "--out", f"results/fits/{law}.json")
    stage("fit", "--law", law, *tables, *critical, *options)


def _write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text + "\n")
    return path
