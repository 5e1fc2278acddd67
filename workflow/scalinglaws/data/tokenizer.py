"""Tokenizers: bytes, a byte-level BPE that is trained here, or a given tokenizer.json; and the encoder that uses one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scalinglaws.common import finished, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.data.mixture import folders_of, training_texts
from scalinglaws.data.pinned import sha256
from scalinglaws.study.spec import TokenizerSpec

EOT = "<|endoftext|>"
EOT_NAMES = (EOT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>")
CHECKED = 16  # texts of a batch with the token for unknown text that are decoded
TRAIN_BYTES = 10**9  # most bytes of the training split that a BPE is trained on, which bounds its memory


def build_tokenizer(spec: TokenizerSpec, corpus: Path | None, out: Path) -> None:
    """Write the tokenizer.json of a spec. ``corpus`` is the folder of the corpus that a bpe is trained on.

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
        raise StudyError(f"tokenizer: kind: {spec.kind!r} is unknown: {proposal(spec.kind, ('bytes', 'bpe', 'file'))}")
    with finished.making(out) as folder:
        sums.finish(sums.beside(folder / out.name), [], folder / out.name, content.encode())


def train_bpe(n_vocab: int, corpus: Path) -> str:
    """Train a byte-level BPE of n_vocab tokens on the training split and return its JSON; its token 0 is the end of text.

    The same text gives the same bytes. Raises StudyError where n_vocab is below 257 or above what the text gives.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if n_vocab < 257:
        raise StudyError(f"tokenizer: n_vocab is {n_vocab}, but 256 bytes and the end of text need at least 257")
    for folder in folders_of(corpus):
        sums.require(folder / sums.LIST, ["train.jsonl.zst"])
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
    for text in training_texts(corpus):
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


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the library tokenizers raises into a StudyError that begins with ``what``.

    It raises nothing narrower than Exception, and where its Rust code panics, a PanicException, which is no Exception.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise StudyError(f"{what} ({error}): use another tokenizer") from None
        raise


class Encoder:
    """Turns text into token ids by a tokenizer.json of Hugging Face, or by {"kind": "bytes"}: 256 tokens, end of text 0."""

    def __init__(self, path: Path) -> None:
        """Raises StudyError where the file cannot be read, or names no end of text."""
        self.path = path
        try:
            content = path.read_text(encoding="utf-8")
            self.bytes = json.loads(content) == {"kind": "bytes"}
        except (OSError, ValueError, RecursionError) as error:
            raise StudyError(f"{path} is not a tokenizer.json ({error})") from None
        if self.bytes:
            self.n_vocab, self.eot = 256, 0
        else:
            self._load(path, content)
        self.dtype = np.dtype("<u2" if self.n_vocab <= 1 << 16 else "<u4")

    def _load(self, path: Path, content: str) -> None:
        # One thread a process: --workers says how many processes there are.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer, decoders

        with told(f"{path} is not a tokenizer.json of Hugging Face tokenizers"):
            self.tokenizer = Tokenizer.from_str(content)
        given = json.loads(content)
        if given["model"].get("dropout"):  # tokens of the same text are the same tokens
            given["model"]["dropout"] = None
            self.tokenizer = Tokenizer.from_str(json.dumps(given))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # Text that spells a special token is text.
        self.tokenizer.encode_special_tokens = True
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        self.n_vocab = max(vocabulary.values(), default=0) + 1
        named = [name for name in EOT_NAMES if name in vocabulary]
        if not named:
            raise StudyError(f"{path} has no end-of-text token: it needs one of {', '.join(EOT_NAMES)}")
        self.eot = vocabulary[named[0]]
        self.unknown = given["model"].get("unk_id", vocabulary.get(given["model"].get("unk_token")))
        if self.tokenizer.decoder is None and "ByteLevel" in json.dumps(given.get("pre_tokenizer")):
            self.tokenizer.decoder = decoders.ByteLevel()

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, each followed by the end of text, and the number of ids of each text with its end."""
        if self.bytes:
            parts = [np.frombuffer(text.encode() + b"\0", np.uint8) for text in texts]
        else:
            with told(f"{self.path} cannot encode the text"):
                encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            parts = [np.array([*encoding.ids, self.eot], self.dtype) for encoding in encodings]
        lengths = np.array([len(part) for part in parts], np.uint64)
        return np.concatenate(parts).astype(self.dtype), lengths

    def decode(self, ids: np.ndarray) -> str:
        """Return the text that the ids of one passage stand for; the ids do not include the end of text."""
        if self.bytes:
            return bytes(ids.tolist()).decode()
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def lost(self, texts: list[str], ids: np.ndarray, lengths: np.ndarray, every: bool) -> tuple[str, str] | None:
        """Return the place of the first text that its ids do not give back, and what they give, or None where there is none.

        ``ids`` and ``lengths`` are those that ``encode`` returns for the texts. Without ``every``, only texts with the token for
        unknown text are looked at, CHECKED of them at most.
        """
        if self.bytes or not (every or self.unknown is not None):
            return None
        ends = np.cumsum(lengths, dtype=np.int64)
        looked = range(len(texts))
        if not every:
            looked = np.unique(np.searchsorted(ends, np.flatnonzero(ids == self.unknown), side="right"))[:CHECKED].tolist()
        parts = [ids[ends[i] - int(lengths[i]) : ends[i] - 1].tolist() for i in looked]
        with told(f"{self.path} cannot decode its tokens"):
            decoded = self.tokenizer.decode_batch(parts, skip_special_tokens=False)
        for i, back in zip(looked, decoded, strict=True):
            if back != texts[i]:
                return _difference(texts[i], back)
        return None


def _difference(text: str, back: str) -> tuple[str, str]:
    """Return 40 characters of two texts from shortly before the first that differs."""
    same = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
    start = max(0, same - 10)
    return text[start : start + 40], back[start : start + 40]
