"""How much of the disk a study takes below results: text, checkpoints of trunks, and what runs leave."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from scalinglaws.decide.plan_record import Disk
from scalinglaws.models.count import n_params_total
from scalinglaws.optim.registry import OPTIMIZERS
from scalinglaws.study.config import Config, CorpusConfig
from scalinglaws.study.ladder import n_vocab_guess
from scalinglaws.study.paths import has_run, has_rung
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, RunSpec
from scalinglaws.study.study import Study, text_specs

RUN_BYTES = 60_000  # of a run besides its weights: curve, measures by position, spec, timing, logs
TEXT_BYTES = 3.0  # bytes on the disk for a byte of text: as it was given, compressed passages, and tokens of two bytes each
WORDS_BYTES = 1.5  # the same where a token stands for several bytes
KEPT = 2  # checkpoints of a run that trains (train/checkpoint.py)


def rung_bytes(spec: RunSpec) -> float:
    """Return the size of a rung in bytes: weights and optimizer state. Gradients are not kept."""
    return (OPTIMIZERS.find(spec.optimizer).bytes_per_param - 4) * n_params_total(spec.shape(n_vocab_guess(spec)))


def run_bytes(spec: RunSpec) -> float:
    """Return the bytes that a finished run takes: its weights in float32, its curve and its measures."""
    return 4 * n_params_total(spec.shape(n_vocab_guess(spec))) + RUN_BYTES


def disk(study: Study, config: Config, results: Path, at_once: int) -> Disk:
    """Return the bytes that a study takes below results.

    Parameters
    ----------
    study
        The study.
    config
        Its config, which declares the size of text.
    results
        The folder of results, which tells what is there.
    at_once
        Number of trainings that run at the same time.
    """
    rungs = [(trunk, step, rung_bytes(study.trunks[trunk])) for trunk, steps in study.rungs.items() for step in steps]
    runs = {run: run_bytes(spec) for run, spec in study.runs.items()}
    training = sorted((KEPT * rung_bytes(spec) for spec in study.runs.values()), reverse=True)
    unfinished = sorted((KEPT * rung_bytes(s) for run, s in study.runs.items() if not has_run(results, run)), reverse=True)
    text, text_left = _text(study, config, results)
    left = text_left + sum(size for trunk, step, size in rungs if not has_rung(results, trunk, step))
    left += sum(size for run, size in runs.items() if not has_run(results, run)) + sum(unfinished[:at_once])
    found = {"text": text, "rungs": sum(size for _, _, size in rungs), "runs": sum(runs.values())}
    return Disk(
        text=int(found["text"]),
        rungs=int(found["rungs"]),
        runs=int(found["runs"]),
        checkpoints=int(sum(training[:at_once])),
        left=int(left if unfinished else 0),
        free=free_bytes(results),
    )


def free_bytes(results: Path) -> int | None:
    """Return the free bytes of the disk on which the folder of results lies or will lie; None where that cannot be told."""
    there = next((folder for folder in (results, *results.resolve().parents) if folder.is_dir()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None


def _text(study: Study, config: Config, results: Path) -> tuple[float, float]:
    """Return the bytes of all text and tokens whose size is declared or known, and what of them is still to be made."""
    specs = text_specs(config)
    declared = {specs[name]: text.bytes for name, text in config.corpora.items() if isinstance(text, CorpusConfig)}
    factor = TEXT_BYTES if all(spec.kind == "bytes" for spec in study.tokenizers.values()) else WORDS_BYTES
    used = {spec.corpus for spec in study.runs.values()}
    used |= {corpus for corpus in study.corpora.values() if any(corpus.id in of for of in study.evaluation_sets.values())}
    parts: Mapping[str, CorpusSpec] = {part.id: part for corpus in used for part in _parts(corpus)}
    sizes = {name: factor * (declared.get(part) or 0) for name, part in parts.items()}
    made = {path.parent.name for path in results.glob("corpora/*/report.json")}
    return sum(sizes.values()), sum(size for name, size in sizes.items() if name not in made)


def _parts(corpus: CorpusSpec | MixtureSpec) -> list[CorpusSpec]:
    """Return the corpora of which a text is made: itself, or those that a mixture takes from."""
    return list(corpus.shares)
