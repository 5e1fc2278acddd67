"""The stages ``corpus``, ``tokenizer`` and ``tokenize``, from text to token files, and ``weights``: published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import Spec, Workers, file_to_write, folder_to_write


def corpus(
    spec: Spec,
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder to write the splits and report.json to.")],
    downloads: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder that keeps downloaded packages.")],
    workers: Workers = 1,
) -> None:
    """Read the sources of a corpus and write its splits: passages, shuffled, without duplicates.

    \b
    Example:
      scalinglaws corpus --spec results/corpora/ID/spec.json --out results/corpora/ID --downloads results/downloads
    """
    from scalinglaws.common import finished
    from scalinglaws.data.corpus import build
    from scalinglaws.study.plugins import read_corpus

    if not finished.restore(out / "report.json"):
        build(read_corpus(spec, downloads.parent), out, downloads, workers)


def tokenizer(
    spec: Spec,
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora; a BPE is trained on one of them.")],
    out: Annotated[Path, typer.Option(callback=file_to_write, help="The tokenizer.json to write.")],
) -> None:
    """Train a BPE tokenizer on its corpus, or copy a given tokenizer after checking its hash.

    \b
    Example:
      scalinglaws tokenizer --spec results/tokenizers/ID/spec.json --corpora results/corpora \\
        --out results/tokenizers/ID/tokenizer.json
    """
    from scalinglaws.common import finished
    from scalinglaws.data.tokenizer import build_tokenizer
    from scalinglaws.study.spec import read_spec

    read = read_spec(spec, "tokenizer")
    if not finished.restore(out):
        build_tokenizer(read, corpora / read.corpus.id if read.corpus else None, out)


def tokenize(
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus or mixture.")],
    tokenizer: Annotated[Path, typer.Option(help="The tokenizer.json.")],
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder to write the token files to.")],
    workers: Workers = 1,
) -> None:
    """Write the passages of a corpus as flat files of token ids; those of a mixture are made of the files of its corpora.

    \b
    Example:
      scalinglaws tokenize --corpus results/corpora/CORPUS --tokenizer results/tokenizers/TOKENIZER/tokenizer.json \\
        --out results/tokens/CORPUS/TOKENIZER
    """
    from scalinglaws.common import finished
    from scalinglaws.data import mixture
    from scalinglaws.data import tokenize as stage

    if finished.restore(out / "meta.json"):
        return
    if spec := mixture.mixture_of(corpus):
        mixture.mix(spec, corpus.parent, out.parent.parent, out.name, out)
    else:
        stage.tokenize(corpus, tokenizer, out, workers)


def weights(
    spec: Spec,
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder to write config.json and the weights to.")],
) -> None:
    """Fetch the published weights that runs begin from: config.json and safetensors files of a model on the hub.

    \b
    Example:
      scalinglaws weights --spec results/weights/ID/spec.json --out results/weights/ID
    """
    from scalinglaws.common import finished
    from scalinglaws.data.weights import fetch
    from scalinglaws.study.init import read_weights

    if not finished.restore(out / "config.json"):
        fetch(read_weights(spec), out)
