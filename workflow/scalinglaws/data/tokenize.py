"""Turn passages into token files. A split is one file of little-endian uint16 or uint32; end of text follows each passage."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common import finished, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes, replacing
from scalinglaws.common.read import read_object
from scalinglaws.data.corpus import SPLITS, again, read_split
from scalinglaws.data.tokenizer import Encoder
from scalinglaws.data.work import TextProgress, batched, map_in_order

BATCH = 1 << 20  # characters encoded at once
PARALLEL = 1 << 22  # bytes of a split from which several processes pay


@lru_cache(maxsize=1)
def _encoder(path: Path, modified: int) -> Encoder:
    return Encoder(path)


@dataclass(frozen=True)
class _Encode:
    """A callable that encodes a batch in whichever process it is called; each process loads the tokenizer once."""

    path: Path
    modified: int

    def __call__(self, batch: tuple[int, list[str]]) -> tuple[np.ndarray, np.ndarray, int, tuple[str, str] | None]:
        """Encode a batch, given as its number in the split and its texts.

        Returns the ids, the number of ids of each text, the bytes of the texts, and a text that does not come back with what came
        back; for that the whole first batch of a split is decoded, and of later ones what holds a token for unknown text.
        """
        number, texts = batch
        encoder = _encoder(self.path, self.modified)
        ids, lengths = encoder.encode(texts)
        return ids, lengths, sum(len(text.encode()) for text in texts), encoder.lost(texts, ids, lengths, every=number == 0)


def tokenize(corpus: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, Any]:
    """Write {train,validation,test}.bin, {validation,test}.starts.npy and, last, meta.json below ``out``.

    The bytes do not depend on ``workers``. Returns the meta; it says ``lossless: false``, with an example, where the tokenizer
    does not give the text back, as one that lower-cases. Raises StudyError where the corpus is not whole.
    """
    sums.require_own(tokenizer)
    sums.require(corpus / sums.LIST, ["report.json", *(f"{split}.jsonl.zst" for split in SPLITS)])
    encoder = Encoder(tokenizer)
    report = _report(corpus)
    out.mkdir(parents=True, exist_ok=True)
    encode = _Encode(tokenizer, tokenizer.stat().st_mtime_ns)
    splits, lost = {}, {}
    with finished.making(out / "meta.json") as folder:
        for split in SPLITS:
            # Bytes are encoded faster than they are sent to another process.
            many = workers if report["bytes"][split] >= PARALLEL and not encoder.bytes else 1
            splits[split], example = _tokenize_split(corpus, split, encode, folder, many, report)
            if example:
                lost[split] = example
        meta = {"n_vocab": encoder.n_vocab, "dtype": encoder.dtype.name, "eot": encoder.eot, "splits": splits}
        if lost:
            split, (text, back) = next(iter(lost.items()))
            meta |= {"lossless": False, "lossy_example": {"split": split, "text": text, "back": back}}
            print(
                f"tokenize: warning: {tokenizer} does not give the text back: {text!r} comes back as {back!r}, so runs on {out} "
                "have no bits_per_byte",
                file=sys.stderr,
            )
        made = [folder / f"{split}.bin" for split in SPLITS] + [folder / f"{split}.starts.npy" for split in SPLITS[1:]]
        sums.finish(folder / sums.LIST, made, folder / "meta.json", json_bytes(meta))
    return meta


def _report(corpus: Path) -> dict[str, Any]:
    path = corpus / "report.json"
    report = read_object(path)
    try:
        if not all(type(report[what][split]) is int for what in ("bytes", "passages") for split in SPLITS):
            raise ValueError("a count is no whole number")
    except (TypeError, LookupError, ValueError) as error:
        raise StudyError(f"{path} is damaged ({error!r}): {again(corpus)}") from None
    return report


def _tokenize_split(
    corpus: Path, split: str, encode: _Encode, out: Path, workers: int, report: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """Write the token files of a split; return its counts, and a text that does not come back with what came back."""
    lost = None
    digest = hashlib.sha256()
    lengths = [np.zeros(1, np.uint64)]
    tokens = text_bytes = count = 0
    progress = TextProgress(f"tokenize {split}", report["bytes"][split])
    texts = (text for text, _ in read_split(corpus, split))
    with replacing(out / f"{split}.bin") as partial, open(partial, "wb") as stream:
        for ids, each, size, example in map_in_order(encode, enumerate(batched(texts, len, BATCH)), workers):
            lost = lost or example
            block = ids.tobytes()
            stream.write(block)
            digest.update(block)
            tokens, text_bytes, count = tokens + len(ids), text_bytes + size, count + len(each)
            if split != "train":
                lengths.append(each)
            progress.add(size)
        if count != report["passages"][split]:
            raise StudyError(
                f"{corpus}/{split}.jsonl.zst holds {count} passages, but report.json says {report['passages'][split]}: "
                f"{again(corpus)}"
            )
    if split != "train":
        with replacing(out / f"{split}.starts.npy") as partial, open(partial, "wb") as stream:
            np.save(stream, np.cumsum(np.concatenate(lengths), dtype=np.uint64))
    return {"tokens": tokens, "bytes": text_bytes, "passages": count, "sha256": digest.hexdigest()}, lost
