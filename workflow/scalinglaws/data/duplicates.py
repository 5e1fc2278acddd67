"""Near-duplication: the share of held-out passages and n-grams of words that training text holds too.

Words are what ASCII white space separates, lower-cased. A word's hash is a polynomial of its bytes modulo 2^64, an
n-gram's one of its words' hashes; both come from prefix sums over many passages at once. Among 10^8 n-grams, two that
differ share a hash with probability below 0.001.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from scalinglaws.data.work import batched

NGRAM_WORDS = 13
SAMPLE = 20_000  # held-out passages of a split that are looked at: about 8 million n-grams
SAMPLE_CHARS = 1 << 28  # characters of a split that are looked at: about 50 million n-grams where passages are long
_CHARS = 1 << 18  # characters that are hashed at once
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_FILTER_BITS = 24
_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[[9, 10, 11, 12, 13, 32]] = True


@functools.lru_cache(maxsize=2)
def _powers(length: int) -> tuple[np.ndarray, np.ndarray]:
    tables = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        steps = np.full(length, base, np.uint64)
        steps[0] = 1
        tables.append(np.cumprod(steps, dtype=np.uint64))
    return tables[0], tables[1]


def _slices(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return a polynomial hash of each values[start:end], the sum of value x base^(place - start). Overflow is the modulus."""
    powers, inverses = _powers(1 << max(16, len(values).bit_length()))
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return (sums[ends] - sums[starts]) * inverses[starts]


def ngrams(texts: list[str], words: int = NGRAM_WORDS) -> tuple[np.ndarray, np.ndarray]:
    """Return uint64 hashes of every run of ``words`` words within each text, in order, and the number of them of each text."""
    encoded = [text.lower().encode("utf-8", "replace") for text in texts]
    symbols = np.frombuffer(b"\n" + b"\n".join(encoded) + b"\n", np.uint8)
    space = _IS_SPACE[symbols]
    change = np.flatnonzero(space[1:] != space[:-1]) + 1
    starts, ends = change[::2], change[1::2]
    hashes = _slices(symbols.astype(np.uint64), starts, ends)
    # The hashes of words are mixed, so that an n-gram is not one long polynomial of bytes in which words could trade places.
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    text_starts = np.cumsum([1] + [len(text) + 1 for text in encoded[:-1]])
    owner = np.searchsorted(text_starts, starts, side="right") - 1
    first = np.arange(max(len(starts) - words + 1, 0))
    first = first[owner[first] == owner[first + words - 1]]
    return _slices(hashes, first, first + words), np.bincount(owner[first], minlength=len(texts))


def sample(texts: Iterable[str]) -> Iterator[str]:
    """Yield the first SAMPLE passages of a split, or fewer where they come to SAMPLE_CHARS characters before."""
    total = 0
    for text in itertools.islice(texts, SAMPLE):
        yield text
        total += len(text)
        if total >= SAMPLE_CHARS:
            return


class Overlap:
    """Held-out passages by split, with which training text is compared. It holds about 20 bytes for each held-out n-gram."""

    def __init__(self, held_out: dict[str, Iterable[str]]) -> None:
        self.hashes: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = {}
        for split, texts in held_out.items():
            parts = [ngrams(batch) for batch in batched(texts, len, _CHARS)]
            self.hashes[split] = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in parts)])
            self.counts[split] = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in parts)])
        self.known = np.unique(np.concatenate([np.empty(0, np.uint64), *self.hashes.values()]))
        self.seen = np.zeros(len(self.known), bool)
        # Most training n-grams are in no held-out passage: a table of the hashes' high bits rules them out cheaply.
        self.filter = np.zeros(1 << _FILTER_BITS, bool)
        self.filter[self._slot(self.known)] = True

    @staticmethod
    def _slot(hashes: np.ndarray) -> np.ndarray:
        return hashes >> np.uint64(64 - _FILTER_BITS)

    def add(self, texts: Iterable[str]) -> None:
        """Mark the held-out n-grams that these training passages contain."""
        if not len(self.known):
            return
        for batch in batched(texts, len, _CHARS):
            hashes, _ = ngrams(batch)
            hashes = hashes[self.filter[self._slot(hashes)]]
            places = np.minimum(np.searchsorted(self.known, hashes), len(self.known) - 1)
            self.seen[places[self.known[places] == hashes]] = True

    def report(self) -> dict[str, dict[str, float | int]]:
        """Return, for each split, the passages looked at and the fractions of passages and of n-grams shared with training."""
        out: dict[str, dict[str, float | int]] = {}
        for split, hashes in self.hashes.items():
            counts = self.counts[split]
            shared = self.seen[np.searchsorted(self.known, hashes)]
            owner = np.repeat(np.arange(len(counts)), counts)
            out[split] = {
                "passages": len(counts),
                "ngrams": len(hashes),
                "passages_shared": _ratio(len(np.unique(owner[shared])), len(counts)),
                "ngrams_shared": _ratio(int(shared.sum()), len(hashes)),
            }
        return out


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
