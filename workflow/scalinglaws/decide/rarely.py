"""What a config is accepted with and rarely means, said before anything is trained: each sentence says what to do."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil

from scalinglaws.common.numbers import counted, listed, short
from scalinglaws.decide.plan_record import Disk
from scalinglaws.decide.predict import memory_bytes
from scalinglaws.study.config import Config
from scalinglaws.study.paths import has_run
from scalinglaws.study.spec import Source
from scalinglaws.study.study import Study

MOST_EPOCHS = 4.0  # up to which repeated text is nearly as good as new (Muennighoff et al. 2023, arXiv:2305.16264)
SHOWN = 3  # names in a sentence


def rarely_meant(study: Study, config: Config, results: Path) -> list[str]:
    """Return a sentence for each thing in a study that is accepted and rarely meant.

    Parameters
    ----------
    study
        The study.
    config
        The config that it was made from.
    results
        The folder of results: what is trained already is not doubted.
    """
    left = {run: spec for run, spec in study.runs.items() if not has_run(results, run)}
    return [
        *_many_epochs(study, left),
        *_batches_beyond_the_data(left),
        *_experiments_without_runs(study, left),
        *_unused_text(study, config),
        *_patterns_without_files(study, results),
    ]


def _named(names: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = len(names) - SHOWN
    return f"{', '.join(names[:SHOWN])} and {more} more" if more > 0 else listed(names)


def _many_epochs(study: Study, left: dict[str, Any]) -> Iterator[str]:
    far = {run: epochs for run, epochs in study.epochs.items() if run in left and epochs > MOST_EPOCHS}
    if far:
        run = max(far, key=lambda name: far[name])
        text = int(left[run].tokens / far[run])
        yield (
            f"{counted(len(far), 'run')} with budgets of more than {MOST_EPOCHS:g} epochs, up to {short(left[run].tokens)} "
            f"tokens of a text of {short(text)} tokens, which is {far[run]:.3g} times ({_named(sorted(far))}): what is repeated "
            "so often adds little; lower tokens, add text, or take stop: early"
        )


def _batches_beyond_the_data(left: dict[str, Any]) -> Iterator[str]:
    small = [run for run, spec in left.items() if spec.dataset_tokens and spec.batch_tokens > spec.dataset_tokens]
    if small:
        yield (
            f"a batch is larger than the data of {counted(len(small), 'run')} ({_named(small)}): each step sees every token more "
            "than once; lower batch_tokens, or raise dataset_tokens"
        )


def _experiments_without_runs(study: Study, left: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each experiment of which all runs are those of one other: its points are there already."""
    members: dict[str, set[str]] = {}
    for run, names in study.experiments.items():
        for name in names:
            members.setdefault(name, set()).add(run)
    for name, runs in sorted(members.items()):
        whole = [other for other, of in members.items() if other != name and runs == of]
        if whole and name > min(whole) and runs & left.keys():
            yield (
                f"experiments {min(whole)} and {name} ask for the same runs: give the setting in which they should differ, or "
                "take one of them out"
            )


def _unused_text(study: Study, config: Config) -> Iterator[str]:
    if not study.runs:
        return
    used = {spec.corpus.id for spec in study.runs.values()} | {of.partition("/")[0] for e in study.evaluate.values() for of in e}
    used |= {part.id for spec in study.runs.values() for part in spec.corpus.shares}
    used |= {spec.corpus.id for spec in study.tokenizers.values() if spec.corpus}
    spare = [name for corpus, name in sorted(study.corpus_names.items()) if corpus not in used]
    if spare:
        yield f"no run uses the text of {listed(sorted(spare))} under corpora: name it as a corpus, or take it out"


def _patterns_without_files(study: Study, results: Path) -> Iterator[str]:
    """Yield a sentence for each pattern under exclude that excludes nothing, of files that are here and not read yet."""
    for corpus, name in sorted(study.corpus_names.items()):
        if (results / "corpora" / corpus / "report.json").exists():
            continue
        for number, source in enumerate(getattr(study.corpora[corpus], "sources", ())):
            for pattern in _idle(source):
                yield (
                    f"corpora.{name}.sources[{number}]: exclude: {pattern!r} matches none of the files that `files` matches: "
                    "correct the pattern, or take it out"
                )


def _idle(source: Source) -> list[str]:
    if source.kind != "files" or not source.exclude:
        return []
    paths = [Path(path).as_posix() for pattern in source.files for path in glob.glob(pattern, recursive=True)]
    return [pattern for pattern in source.exclude if not any(fnmatchcase(path, pattern) for path in paths)]


def too_little_room(study: Study, results: Path, disk: Disk, at_once: int, here: bool) -> list[str]:
    """Return a sentence where the disk of results, or the memory of this machine, will not suffice.

    ``here`` says whether this machine trains, so that its memory counts.
    """
    found = []
    if disk["free"] is not None and disk["left"] > disk["free"]:
        found.append(
            f"the study will write some {disk['left'] / 1e9:,.1f} GB to {results}, whose disk has {disk['free'] / 1e9:,.1f} GB "
            "free: free some, put results on another disk, or take a ladder of a larger ratio"
        )
    left = {run: spec for run, spec in study.runs.items() if not has_run(results, run)}
    if here and left:
        wanted = sorted(((memory_bytes(spec), run) for run, spec in left.items()), reverse=True)[:at_once]
        total, there = sum(size for size, _ in wanted), psutil.virtual_memory().total
        if total > there:
            found.append(
                f"{counted(len(wanted), 'training')} at the same time, of which {wanted[0][1]} takes {wanted[0][0] / 2**30:,.1f} "
                f"GiB, need {total / 2**30:,.1f} GiB and this machine has {there / 2**30:,.1f}: take fewer cores, a "
                "smaller micro_batch_tokens or a larger machine"
            )
    return found
