"""A finished run as a folder that the library transformers loads: configuration, weights, tokenizer and a model card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from scalinglaws.common import files, sums
from scalinglaws.common.errors import StudyError, shown
from scalinglaws.common.files import json_bytes
from scalinglaws.common.nearest import nearest
from scalinglaws.data import published_tokenizer
from scalinglaws.data.tokenizer import Encoder
from scalinglaws.decide.model_card import card
from scalinglaws.evaluate.evaluate import WEIGHTS, load_model
from scalinglaws.models import exchange, published, published_config
from scalinglaws.models.module import named_parameters
from scalinglaws.study.paths import run_folder
from scalinglaws.study.plugins import read_run
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.metrics import RunMetrics

METRICS = "metrics.json"
SHOWN = 5  # runs that a message names


@dataclass(frozen=True)
class Finished:
    """A run that can be exported: its folder, its spec, what it measured, and its tokenizer."""

    folder: Path
    spec: RunSpec
    metrics: RunMetrics
    encoder: Encoder


def find_run(beginning: str, results: Path) -> str:
    """Return the id of the one run whose id begins with a text. Raises StudyError where there is none, or several."""
    known = sorted(path.parent.name for path in results.glob("runs/*/spec.json"))
    if beginning in known:
        return beginning
    found = [name for name in known if beginning and name.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise StudyError(f"{beginning} begins the ids of several runs, {', '.join(found[:SHOWN])}{more}: give more of its id")
    close = nearest(beginning, known)
    raise StudyError(
        f"no run in {results}/runs has an id that begins with {beginning!r:.120}: "
        + (f"did you mean {close}? " if close else "")
        + "scalinglaws plan lists the runs of a study"
    )


def finished(run: str, results: Path) -> Finished:
    """Return what is known of a finished run.

    Raises
    ------
    StudyError
        The run is not trained, has diverged, has no weights any more, or its tokenizer is missing; or a file is damaged.
    """
    folder = run_folder(results, run)
    spec = read_run(folder / "spec.json", results)
    if not (folder / METRICS).exists():
        raise StudyError(
            f"run {run} is not finished, {folder / METRICS} is missing: run snakemake, which trains it, and export then"
        )
    sums.require(folder / sums.LIST, [METRICS, WEIGHTS])
    metrics = RunMetrics.read(folder / METRICS)
    if metrics.status != "ok":
        raise StudyError(f"run {run} has {metrics.status}: it has no model that is worth an export")
    if not (folder / WEIGHTS).exists():
        raise StudyError(
            f"{folder / WEIGHTS} is missing: training writes it, and it was deleted since; delete {folder / METRICS} too and run "
            "snakemake, which trains the run again"
        )
    tokenizer = results / "tokenizers" / spec.tokenizer.id / "tokenizer.json"
    if not tokenizer.exists():
        raise StudyError(f"{tokenizer}, the tokenizer of run {run}, is missing: `snakemake {tokenizer}` makes it again")
    sums.require_own(tokenizer)
    return Finished(folder, spec, metrics, Encoder(tokenizer))


def check_target(to: Path) -> None:
    """Refuse a folder that cannot be written as a whole. Raises StudyError where it is a file, or holds anything."""
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise StudyError(f"--to: {shown(to)} is no folder: name one that is empty or is not there yet")
    if to.exists() and any(to.iterdir()):
        raise StudyError(f"--to: {shown(to)} holds files already: name a folder that is empty or is not there yet")


def export(run: str, results: Path, to: Path) -> list[str]:
    """Write a finished run as a folder that ``transformers`` loads, whole or not at all.

    Parameters
    ----------
    run
        The id of the run, or a beginning of it that no other id has.
    results
        The folder of results.
    to
        The folder to write, which is empty or absent.

    Returns
    -------
    list of str
        The names of the files that were written, sorted.

    Raises
    ------
    StudyError
        There is no such run, it cannot be exported (see ``finished``), transformers has no class of its model, or the folder is
        not empty.
    """
    check_target(to)
    to = Path(os.path.abspath(to))
    found = finished(find_run(run, results), results)
    made = dict(contents(found))
    temporary = to.with_name(f".{to.name}{files.temporary_suffix()}")
    try:
        for name, data in made.items():
            files.write_bytes(temporary / name, data)
        files.move(temporary, to, sync=False)  # takes the place of an empty folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(made)


def contents(found: Finished) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of an export."""
    shape = found.spec.shape(found.metrics.n_vocab)
    module = load_model(found.folder, found.metrics.n_vocab, "cpu")
    config, parameters = exchange.plain(shape, named_parameters(module))
    end = int(found.encoder.eot)
    yield "config.json", json_bytes(published_config.config_file(config, end))
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    yield "generation_config.json", json_bytes({**special, "max_length": config.n_ctx})
    # transformers asks for the metadata; a single entry has the same bytes each time.
    yield WEIGHTS, safetensors.torch.save(exchange.to_published(config, parameters), metadata={"format": "pt"})
    yield "tokenizer.json", published_tokenizer.content(found.encoder)
    yield "tokenizer_config.json", json_bytes(tokenizer_config(found.encoder, config.n_ctx))
    yield "README.md", card(found.spec, found.metrics, published.class_name(config)).encode()


def tokenizer_config(encoder: Encoder, n_ctx: int) -> dict[str, Any]:
    """Return the content of tokenizer_config.json. Bytes have no special token: text may hold any of them."""
    end = published_tokenizer.end_of_text(encoder)
    named = {"bos_token": end, "eos_token": end, "pad_token": end} if end else {}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": n_ctx,
        "clean_up_tokenization_spaces": False,
        **named,
    }
