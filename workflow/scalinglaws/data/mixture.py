"""Mixtures of corpora: token files in which whole passages of several corpora take turns, by their shares of the tokens.

The next passage always comes from the corpus that is furthest behind its share: the one with the least t/w, where t are the
tokens taken from it so far and w is its weight. Corpora that are equally far take turns in the order of their ids. Each corpus
gives its passages in its own shuffled order. So nothing is drawn, any first part of a stream has the shares up to a passage of
each corpus, and a smaller subset of the data (``dataset_tokens``) is the beginning of a larger one.

A split of the mixture ends where the first of its corpora has no passage left: none is used twice.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common import finished, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes, replacing
from scalinglaws.common.numbers import short
from scalinglaws.data.corpus import SPLITS, read_split
from scalinglaws.data.token_files import META, load_starts, load_tokens
from scalinglaws.data.work import TextProgress
from scalinglaws.study.spec import MixtureSpec, read_spec

BLOCK = 1 << 22  # tokens that are put in order at once


def mixture_of(corpus: Path) -> MixtureSpec | None:
    """Return the mixture that the spec.json in the folder of a corpus describes; None where it is a corpus or there is no spec.

    Raises StudyError where the spec is damaged.
    """
    path = corpus / "spec.json"
    spec = read_spec(path, "corpus") if path.exists() else None
    return spec if isinstance(spec, MixtureSpec) else None


def order(lengths: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the corpus that each passage of a mixture comes from.

    Parameters
    ----------
    lengths
        The tokens of each passage, (passages,), of each corpus.
    weights
        The shares of the corpora, all above 0.

    Returns
    -------
    numpy.ndarray
        (passages of the mixture,) places in ``lengths``; the passages of each corpus keep their order.
    """
    starts = [
        np.concatenate([[0], np.cumsum(each, dtype=np.uint64)]) / weight for each, weight in zip(lengths, weights, strict=True)
    ]
    end = min(float(each[-1]) for each in starts)
    taken = [each[:-1][each[:-1] < end] for each in starts]
    source = np.repeat(np.arange(len(taken), dtype=np.int32), [len(each) for each in taken])
    return source[np.argsort(np.concatenate(taken), kind="stable")]


@dataclass(frozen=True)
class _Part:
    """A split of a corpus that is mixed: its folder, its tokens, the tokens of each passage, and its counts in meta.json."""

    corpus: Path
    tokens: np.ndarray
    lengths: np.ndarray
    counts: dict[str, Any]

    def bytes_of(self, split: str, passages: int) -> int:
        """Return the bytes of the text of the first passages. Raises StudyError where the text is missing or damaged."""
        if passages == len(self.lengths):
            return int(self.counts["bytes"])
        return sum(len(text.encode()) for text, _ in islice(read_split(self.corpus, split), passages))


def mix(spec: MixtureSpec, corpora: Path, tokens: Path, tokenizer: str, out: Path) -> dict[str, Any]:
    """Write the token files of a mixture below ``out``, as ``tokenize`` does those of a corpus, and return the meta.

    The meta also has, under ``mixture``, the tokens of each corpus and, by split, the corpus where it ends.

    Parameters
    ----------
    spec
        The mixture.
    corpora, tokens
        The folders of all corpora and of all token files.
    tokenizer
        The id of the tokenizer.
    out
        The folder to write to.

    Raises
    ------
    StudyError
        Files of a corpus are missing or damaged, passages cannot be told apart, or there is no training text.
    """
    out.mkdir(parents=True, exist_ok=True)
    folders = [tokens / corpus.id / tokenizer for corpus in spec.corpora]
    metas = [load_tokens(folder, "train")[1] for folder in folders]
    splits: dict[str, Any] = {}
    taken: dict[str, dict[str, int]] = {corpus.id: {} for corpus in spec.corpora}
    ends = {}
    with finished.making(out / META) as folder:
        for split in SPLITS:
            parts = [_part(corpora / corpus.id, place, split) for corpus, place in zip(spec.corpora, folders, strict=True)]
            splits[split], each = _mix_split(parts, spec.weights, split, folder)
            for corpus, count in zip(spec.corpora, each, strict=True):
                taken[corpus.id][split] = count
            left = [len(part.tokens) / weight for part, weight in zip(parts, spec.weights, strict=True)]
            ends[split] = spec.corpora[int(np.argmin(left))].id
        if not splits["train"]["tokens"]:
            raise StudyError(f"mixture {spec.id} has no training text: that of {ends['train']} is empty")
        meta = {name: metas[0][name] for name in ("n_vocab", "dtype", "eot")} | {"splits": splits}
        meta |= {"mixture": {"tokens": taken, "ends_with": ends}}
        for of_corpus in reversed(metas):
            meta |= {name: of_corpus[name] for name in ("lossless", "lossy_example") if name in of_corpus}
        made = [folder / f"{split}.bin" for split in SPLITS] + [folder / f"{split}.starts.npy" for split in SPLITS[1:]]
        sums.finish(folder / sums.LIST, made, folder / META, json_bytes(meta))
    for split in SPLITS:
        shown = ", ".join(f"{short(counts[split])} of {corpus}" for corpus, counts in taken.items())
        told = f"{short(splits[split]['tokens'])} tokens, {shown}; it ends where {ends[split]} has no more text"
        print(f"mixture {spec.id}: {split}: {told}", file=sys.stderr)
    return meta


def _part(corpus: Path, folder: Path, split: str) -> _Part:
    tokens, meta = load_tokens(folder, split)
    counts = meta["splits"][split]
    ends = load_starts(folder, split)[1:] if split != "train" else _ends(tokens, meta["eot"])
    if len(ends) != counts["passages"] or (len(ends) and int(ends[-1]) != counts["tokens"]):
        raise StudyError(
            f"{folder / f'{split}.bin'} has {len(ends)} ends of text, but {counts['passages']} passages: a tokenizer that puts "
            "ends inside of passages cannot be used for a mixture"
        )
    return _Part(corpus, tokens, np.diff(ends, prepend=np.uint64(0)), counts)


def _ends(tokens: np.ndarray, eot: int) -> np.ndarray:
    """Return the places after each end of text, (passages,), in the order of the stream."""
    found = [np.flatnonzero(tokens[at : at + BLOCK] == eot) + at + 1 for at in range(0, len(tokens), BLOCK)]
    return np.concatenate([np.empty(0, np.int64), *found]).astype(np.uint64)


def _mix_split(parts: Sequence[_Part], weights: Sequence[float], split: str, out: Path) -> tuple[dict[str, Any], list[int]]:
    """Write the token files of a split; return its counts, and the tokens that it has of each corpus."""
    source = order([part.lengths for part in parts], weights)
    lengths = np.empty(len(source), np.uint64)
    passages = [int((source == k).sum()) for k in range(len(parts))]
    for k, (part, count) in enumerate(zip(parts, passages, strict=True)):
        lengths[source == k] = part.lengths[:count]
    starts = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
    digest, total = hashlib.sha256(), int(starts[-1])
    progress = TextProgress(f"mix {split}", total * parts[0].tokens.itemsize)
    with replacing(out / f"{split}.bin") as partial, open(partial, "wb") as stream:
        for block in _blocks(parts, source, lengths, starts):
            stream.write(block)
            digest.update(block)
            progress.add(len(block))
    if split != "train":
        with replacing(out / f"{split}.starts.npy") as partial, open(partial, "wb") as stream:
            np.save(stream, starts)
    size = sum(part.bytes_of(split, count) for part, count in zip(parts, passages, strict=True))
    counts = {"tokens": total, "bytes": size, "passages": len(source), "sha256": digest.hexdigest()}
    return counts, [int(part.lengths[:count].sum()) for part, count in zip(parts, passages, strict=True)]


def _blocks(parts: Sequence[_Part], source: np.ndarray, lengths: np.ndarray, starts: np.ndarray) -> Iterator[bytes]:
    """Yield the tokens of the mixture, about BLOCK of them at once: of each corpus a block takes a slice of its stream."""
    first, places = 0, [0] * len(parts)
    while first < len(source):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + np.uint64(BLOCK), side="right")) - 1)
        of = np.repeat(source[first:last], lengths[first:last].astype(np.int64))
        block = np.empty(len(of), parts[0].tokens.dtype)
        for k, part in enumerate(parts):
            mine = of == k
            count = int(mine.sum())
            block[mine] = part.tokens[places[k] : places[k] + count]
            places[k] += count
        yield block.tobytes()
        first = last


def folders_of(corpus: Path) -> list[Path]:
    """Return the folders with the passages of a corpus: its own, or those of the corpora of a mixture beside it."""
    spec = mixture_of(corpus)
    return [corpus.parent / part.id for part in spec.corpora] if spec else [corpus]


def training_texts(corpus: Path) -> Iterator[str]:
    """Yield the passages of the training split of a corpus or mixture, for a tokenizer.

    Those of a mixture take turns by the bytes of their text, as there are no tokens yet.
    """
    spec = mixture_of(corpus)
    streams = [(text for text, _ in read_split(folder, "train")) for folder in folders_of(corpus)]
    weights, taken = spec.weights if spec else (1.0,), [0] * len(streams)
    while True:
        behind = min(range(len(streams)), key=lambda k: taken[k] / weights[k])
        text = next(streams[behind], None)
        if text is None:
            return
        yield text
        taken[behind] += len(text.encode())
