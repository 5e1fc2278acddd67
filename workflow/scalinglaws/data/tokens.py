"""Stages ``tokenizer`` and ``tokenize``: text to flat token files; and ``load_tokens``, which training reads them with.

    python -m scalinglaws tokenizer --spec SPEC.json --corpora results/corpora --out TOKENIZER.json
    python -m scalinglaws tokenize --corpus CORPUS --tokenizer TOKENIZER.json --out results/tokens/CORPUS/TOKENIZER

A split is one file of little-endian uint16 or uint32; every passage is followed by one end-of-text token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import replacing, write_json, write_text
from scalinglaws.data.corpus import SPLITS, read_split
from scalinglaws.data.sources import sha256
from scalinglaws.data.streams import Progress, batched, map_in_order
from scalinglaws.study.spec import TokenizerSpec, read_spec

EOT = "<|endoftext|>"
EOT_NAMES = (EOT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>")
TRAIN_BYTES = 10**9  # of the training split, at most, for a BPE: its memory is bounded by this
BATCH = 1 << 20  # characters encoded at once
PARALLEL = 1 << 22  # bytes of a split from which several processes pay
META_FIELDS = {"n_vocab", "dtype", "eot", "splits"}
SPLIT_FIELDS = {"tokens", "bytes", "passages", "sha256"}


def build_tokenizer(spec: TokenizerSpec, corpus: Path | None, out: Path) -> None:
    """Writes the tokenizer.json of a spec. ``corpus`` is the folder of its corpus, for kind bpe.

    Raises StudyError where n_vocab is out of reach, or a given file is missing, has another hash or no end of text.
    """
    if spec.kind == "bytes":
        content = json.dumps({"kind": "bytes"}) + "\n"
    elif spec.kind == "bpe":
        if corpus is None:
            raise StudyError("a bpe tokenizer is trained on a corpus: give --corpus")
        content = train_bpe(spec.n_vocab or 0, corpus)
    elif spec.kind == "file":
        content = _given(spec)
    else:
        raise StudyError(f"tokenizer has `kind: {spec.kind}`: use bytes, bpe or file")
    write_text(out, content)


def train_bpe(n_vocab: int, corpus: Path) -> str:
    """JSON of a byte-level BPE of n_vocab tokens, trained on the training split; token 0 is the end of text.

    The same text gives the same bytes. Raises StudyError where n_vocab is below 257 or above what the text gives.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if n_vocab < 257:
        raise StudyError(f"tokenizer: n_vocab is {n_vocab}, but 256 bytes and the end of text need at least 257")
    print(f"tokenizer: training a BPE of {n_vocab} tokens on {corpus}", file=sys.stderr, flush=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab,
        special_tokens=[EOT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_bytes(corpus, TRAIN_BYTES), trainer)
    if (size := tokenizer.get_vocab_size()) < n_vocab:
        raise StudyError(f"tokenizer: the training text gives only {size} tokens: set n_vocab to that or less")
    return tokenizer.to_str(pretty=True) + "\n"


def _first_bytes(corpus: Path, limit: int) -> Iterator[str]:
    total = 0
    for text, _ in read_split(corpus, "train"):
        yield text
        total += len(text.encode())
        if total >= limit:
            return


def _given(spec: TokenizerSpec) -> str:
    path = Path(spec.path or "")
    if not path.is_file():
        raise StudyError(f"tokenizer: `path: {spec.path}` is no file (it is relative to the working directory)")
    computed = sha256([path])
    if spec.sha256 is None:
        raise StudyError(f"{path} has no hash: add `sha256: {computed}` to that tokenizer in config.yaml")
    if spec.sha256.lower() != computed:
        raise StudyError(f"{path} has sha256 {computed}, but the tokenizer says `sha256: {spec.sha256}`")
    Encoder(path)
    return path.read_text(encoding="utf-8")


class Encoder:
    """Text to token ids by a tokenizer.json: a Hugging Face one, or {"kind": "bytes"} (256 tokens, end of text 0)."""

    def __init__(self, path: Path) -> None:
        """Raises StudyError where the file cannot be read, or names no end of text."""
        try:
            content = path.read_text(encoding="utf-8")
            self.bytes = json.loads(content) == {"kind": "bytes"}
        except (OSError, ValueError) as error:
            raise StudyError(f"{path} is not a tokenizer.json ({error})") from None
        if self.bytes:
            self.n_vocab, self.eot = 256, 0
        else:
            self._load(path, content)
        self.dtype = np.dtype("<u2" if self.n_vocab <= 1 << 16 else "<u4")

    def _load(self, path: Path, content: str) -> None:
        # One thread a process: --workers says how many processes there are.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # tokenizers raises nothing narrower
            raise StudyError(f"{path} is not a tokenizer.json of Hugging Face tokenizers ({error})") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # Text that spells a special token is text.
        self.tokenizer.encode_special_tokens = True
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        self.n_vocab = max(vocabulary.values()) + 1
        named = [name for name in EOT_NAMES if name in vocabulary]
        if not named:
            raise StudyError(f"{path} has no end-of-text token: it needs one of {', '.join(EOT_NAMES)}")
        self.eot = vocabulary[named[0]]

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts, each followed by the end of text; number of ids of each, with it)."""
        if self.bytes:
            parts = [np.frombuffer(text.encode() + b"\0", np.uint8) for text in texts]
        else:
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            parts = [np.array([*encoding.ids, self.eot], self.dtype) for encoding in encodings]
        lengths = np.array([len(part) for part in parts], np.uint64)
        return np.concatenate(parts).astype(self.dtype), lengths

    def decode(self, ids: np.ndarray) -> str:
        """The text of the ids of one passage, without its end of text."""
        if self.bytes:
            return bytes(ids.tolist()).decode()
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=False)


@lru_cache(maxsize=1)
def _encoder(path: Path, modified: int) -> Encoder:
    return Encoder(path)


@dataclass(frozen=True)
class _Encode:
    """Encodes a batch in whichever process it is called; each loads the tokenizer once."""

    path: Path
    modified: int

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        ids, lengths = _encoder(self.path, self.modified).encode(texts)
        return ids, lengths, sum(len(text.encode()) for text in texts)


def tokenize(corpus: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, Any]:
    """Writes {train,validation,test}.bin, {validation,test}.starts.npy and, last, meta.json below ``out``.

    The bytes do not depend on ``workers``. Returns the meta. Raises StudyError where the corpus is not whole.
    """
    encoder = Encoder(tokenizer)
    report = _report(corpus)
    out.mkdir(parents=True, exist_ok=True)
    encode = _Encode(tokenizer, tokenizer.stat().st_mtime_ns)
    splits = {}
    for split in SPLITS:
        # Bytes are encoded faster than they are sent to another process.
        many = workers if report["bytes"][split] >= PARALLEL and not encoder.bytes else 1
        splits[split] = _tokenize_split(corpus, split, encode, out, many, report)
    meta = {"n_vocab": encoder.n_vocab, "dtype": encoder.dtype.name, "eot": encoder.eot, "splits": splits}
    write_json(out / "meta.json", meta)
    return meta


def _report(corpus: Path) -> dict[str, Any]:
    path = corpus / "report.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): run the corpus stage, or snakemake, which does") from None


def _tokenize_split(corpus: Path, split: str, encode: _Encode, out: Path, workers: int, report: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    lengths = [np.zeros(1, np.uint64)]
    tokens = text_bytes = count = 0
    progress = Progress(f"tokenize {split}", report["bytes"][split])
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


def load_tokens(folder: Path, split: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The tokens of a split, shape (tokens,), uint16 or uint32, memory-mapped read-only; and the folder's meta.

    Raises StudyError where a file is missing, the meta is not one of this version, or a file has another size.
    """
    again = f"delete {folder} and run snakemake again"
    try:
        meta = json.loads((folder / "meta.json").read_text())
        missing = META_FIELDS - set(meta) or SPLIT_FIELDS - set(meta["splits"][split])
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[meta["dtype"]])
        size = (folder / f"{split}.bin").stat().st_size
    except FileNotFoundError as error:
        raise StudyError(f"{error.filename} does not exist: run the tokenize stage, or snakemake, which does") from None
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{folder}/meta.json is not one of token files ({error!r}): {again}") from None
    if missing:
        raise StudyError(f"{folder}/meta.json lacks {', '.join(sorted(missing))}: {again}")
    tokens = meta["splits"][split]["tokens"]
    if size != tokens * dtype.itemsize:
        raise StudyError(f"{folder}/{split}.bin has {size} bytes, not {tokens * dtype.itemsize}: {again}")
    if not tokens:
        return np.empty(0, dtype), meta
    return np.memmap(folder / f"{split}.bin", dtype, "r"), meta


def load_starts(folder: Path, split: str) -> np.ndarray:
    """Offsets of each passage's first token, then the number of tokens; shape (passages + 1,). For validation and test.

    Raises StudyError where the file is missing or does not fit the meta.
    """
    path = folder / f"{split}.starts.npy"
    _, meta = load_tokens(folder, split)
    try:
        starts = np.load(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): delete {folder} and run snakemake again") from None
    counts = meta["splits"][split]
    if starts.shape != (counts["passages"] + 1,) or int(starts[-1]) != counts["tokens"]:
        raise StudyError(f"{path} does not fit meta.json: delete {folder} and run snakemake again")
    return starts


def add_tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the stage ``tokenizer``."""
    parser.add_argument("--spec", type=Path, required=True, help="spec.json of the tokenizer")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of corpora: a bpe is trained on one of them")
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json to write")


def main_tokenizer(args: argparse.Namespace) -> None:
    """Runs the stage ``tokenizer``."""
    spec = read_spec(args.spec, "tokenizer")
    build_tokenizer(spec, args.corpora / spec.corpus.id if spec.corpus else None, args.out)


def add_tokenize_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the stage ``tokenize``."""
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets the token files")
    parser.add_argument("--workers", type=int, default=1, help="processes, for a large corpus")


def main_tokenize(args: argparse.Namespace) -> None:
    """Runs the stage ``tokenize``."""
    tokenize(args.corpus, args.tokenizer, args.out, args.workers)
