"""Turn passages into token files. A split is one file of little-endian uint16 or uint32; end of text follows each passage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes, replacing
from scalinglaws.common.read import read_object
from scalinglaws.data.corpus import SPLITS, read_split
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

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        ids, lengths = _encoder(self.path, self.modified).encode(texts)
        return ids, lengths, sum(len(text.encode()) for text in texts)


def tokenize(corpus: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, Any]:
    """Write {train,validation,test}.bin, {validation,test}.starts.npy and, last, meta.json below ``out``.

    The bytes do not depend on ``workers``. Returns the meta. Raises StudyError where the corpus is not whole.
    """
    sums.require_own(tokenizer)
    sums.require(corpus / sums.LIST, ["report.json", *(f"{split}.jsonl.zst" for split in SPLITS)])
    encoder = Encoder(tokenizer)
    report = read_object(corpus / "report.json")
    out.mkdir(parents=True, exist_ok=True)
    encode = _Encode(tokenizer, tokenizer.stat().st_mtime_ns)
    splits = {}
    for split in SPLITS:
        # Bytes are encoded faster than they are sent to another process.
        many = workers if report["bytes"][split] >= PARALLEL and not encoder.bytes else 1
        splits[split] = _tokenize_split(corpus, split, encode, out, many, report)
    meta = {"n_vocab": encoder.n_vocab, "dtype": encoder.dtype.name, "eot": encoder.eot, "splits": splits}
    made = [out / f"{split}.bin" for split in SPLITS] + [out / f"{split}.starts.npy" for split in SPLITS if split != "train"]
    sums.finish(out / sums.LIST, made, out / "meta.json", json_bytes(meta))
    return meta


def _tokenize_split(corpus: Path, split: str, encode: _Encode, out: Path, workers: int, report: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    lengths = [np.zeros(1, np.uint64)]
    tokens = text_bytes = count = 0
    progress = TextProgress(f"tokenize {split}", report["bytes"][split])
    texts = (text for text, _ in read_split(corpus, split))
    with replacing(out / f"{split}.bin") as partial, open(partial, "wb") as stream:
        for ids, each, size in map_in_order(encode, batched(texts, len, BATCH), workers):
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
                f"delete {corpus} and run snakemake again"
            )
    if split != "train":
        with replacing(out / f"{split}.starts.npy") as partial, open(partial, "wb") as stream:
            np.save(stream, np.cumsum(np.concatenate(lengths), dtype=np.uint64))
    return {"tokens": tokens, "bytes": text_bytes, "passages": count, "sha256": digest.hexdigest()}
