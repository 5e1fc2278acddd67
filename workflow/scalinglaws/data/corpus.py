"""The stage ``corpus``: cut sources into passages, shuffle and split them without exact duplicates, count near-duplicates.

    python -m scalinglaws corpus --spec SPEC.json --out results/corpora/ID --downloads results/downloads --workers 2

Every passage has a keyed hash of its text. The hash gives the passage's place in the shuffled order and its rank for the
splits, so equal texts fall together (one is kept, and splits are disjoint) and nothing depends on the order of work.
Passages go through bucket files by the prefix of their hash, each of which is sorted in memory, so memory is bounded whatever
the size of the corpus.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common import finished, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes, replacing
from scalinglaws.data.compression import damage, decompressed
from scalinglaws.data.duplicates import NGRAM_WORDS, Overlap, sample
from scalinglaws.data.sources import documents_of, resolve
from scalinglaws.data.work import TextProgress, batched, map_in_order
from scalinglaws.study.spec import CorpusSpec

SPLITS = ("train", "validation", "test")
ZSTD_LEVEL = 3
BATCH = 1 << 22  # characters of documents that are cut at once
SEEN = 1 << 18  # hashes of passages that a process remembers, so that it does not write their copies again
BUCKET = 1 << 25  # bytes of source text that go into one bucket
PARALLEL = 1 << 26  # bytes of source text from which several processes pay
_to_json = json.JSONEncoder(ensure_ascii=False).encode

# Where a passage may end, best first: a blank line, the end of a sentence, any white space.
_BOUNDARIES = (re.compile(r"\n[ \t]*\n"), re.compile(r"[.!?…。！？][\"'”’)\]_]*\s"), re.compile(r"\s"))


def clean(text: str) -> str:
    """Return a text with \\n in place of \\r\\n and \\r, without NUL, and with U+FFFD in place of half surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def passages(text: str, passage_chars: int) -> Iterator[str]:
    """Cut a text into passages of a quarter to the whole of ``passage_chars`` characters, stripped of white space at both ends.

    A cut is put at the last blank line of the allowed range, else at the last end of a sentence, else at the last white
    space, else at the end of the range. Only a text that is short as a whole gives a shorter passage.
    """
    place = 0
    while (left := len(text) - place) > passage_chars:
        high = max(min(passage_chars, left - passage_chars // 2), 1)
        window = text[place + high // 2 : place + high]
        cut = high
        for boundary in _BOUNDARIES:
            if ends := [match.end() for match in boundary.finditer(window)]:
                cut = high // 2 + ends[-1]
                break
        if passage := text[place : place + cut].strip():
            yield passage
        place += cut
    if passage := text[place:].strip():
        yield passage


def split_of(ranks: list[int], validation: float, test: float) -> list[str]:
    """Return the split of each passage of one document, from the passages' 64-bit ranks.

    A document that is long enough to be in every split gives each split its rounded share; a passage of a shorter document falls
    into a split with the probability of that split's share.
    """
    count = len(ranks)
    shares = [share for share in (validation, test) if share]
    if shares and count * min(shares) < 0.5:
        line = [rank / 2**64 for rank in ranks]
        return ["test" if x < test else "validation" if x < test + validation else "train" for x in line]
    splits = ["train"] * count
    in_test, in_validation = round(count * test), round(count * validation)
    for place, index in enumerate(sorted(range(count), key=ranks.__getitem__)[: in_test + in_validation]):
        splits[index] = "test" if place < in_test else "validation"
    return splits


def corrupt(text: str, share: float, digest: bytes) -> str:
    """Replace each character of a text, with probability ``share``, by one of the 95 from space to ~ at random.

    One in 95 replacements leaves an ASCII character as it was. The draws depend on the passage's keyed hash alone.
    """
    random = np.random.default_rng(int.from_bytes(digest))
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4").copy()
    hit = random.random(len(codes)) < share
    codes[hit] = random.integers(ord(" "), ord("~") + 1, int(hit.sum()), dtype=np.uint32)
    return codes.tobytes().decode("utf-32-le")


@functools.lru_cache(maxsize=1)
def _seen(folder: Path) -> set[bytes]:
    """Return the hashes of passages that this process has written to the bucket files in ``folder``, SEEN of them at most."""
    return set()


@dataclass(frozen=True)
class Cutter:
    """A callable that cuts a batch of documents and appends its passages to this process's bucket files in ``folder``.

    A process works on batches in their order, so a copy of a passage that it has written is never the first: it is counted and
    not written. Of the copies that are written, in other processes or after SEEN others, ``_merge`` keeps the first.

    Hashes and splits are those of the clean text, so that a corpus and its corrupted versions are split alike.

    A record is a line of fields between tabs: hash (32 hex digits) and place in the sources (24 digits), split, bytes of
    text, and file and passage as JSON.
    """

    spec: CorpusSpec
    folder: Path
    bucket_bits: int

    def __call__(self, batch: tuple[int, list[tuple[str, str, str]]]) -> tuple[int, int]:
        """Cut a batch, given as its number and its (file, document, text); return its characters and the copies not written."""
        number, documents = batch
        key = f"{self.spec.seed}".encode()
        buckets: dict[int, list[bytes]] = {}
        seen = _seen(self.folder)
        ordinal = copies = 0
        for file, name, text in documents:
            texts = list(passages(clean(text), self.spec.passage_chars))
            hashes = [hashlib.blake2b(passage.encode(), key=key, digest_size=16).digest() for passage in texts]
            ranks = [int.from_bytes(digest[8:]) for digest in hashes]
            splits = split_of(ranks, self.spec.validation, self.spec.test)
            for passage, digest, split in zip(texts, hashes, splits, strict=True):
                ordinal += 1
                if digest in seen:
                    copies += 1
                    continue
                if len(seen) >= SEEN:
                    seen.clear()
                seen.add(digest)
                if self.spec.corruption:
                    passage = corrupt(passage, self.spec.corruption, digest)
                place, size = f"{number:012d}{ordinal:012d}", len(passage.encode())
                content = _to_json({"text": passage, "document": name})
                record = f"{digest.hex()}{place}\t{split}\t{size}\t{json.dumps(file)}\t{content}\n".encode()
                buckets.setdefault(int.from_bytes(digest[:8]) >> (64 - self.bucket_bits), []).append(record)
        for bucket, records in buckets.items():
            with open(self.folder / f"{bucket:06d}.{os.getpid()}", "ab") as stream:
                stream.writelines(records)
        return sum(len(text) for _, _, text in documents), copies


def build(spec: CorpusSpec, out: Path, downloads: Path, workers: int) -> dict[str, Any]:
    """Make {train,validation,test}.jsonl.zst and report.json below ``out``, and return the report.

    The bytes depend on the spec and the sources alone, not on ``workers``. Raises StudyError for sources that cannot be
    read (see ``sources``) and where a split would be empty.
    """
    files = [(file, source) for source in spec.sources for file in resolve(source, downloads)]
    size = sum(file.size for file, _ in files)
    folder = out / ".buckets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        counts: dict[str, int] = Counter()
        documents = _documents(files, counts)
        bits = max(1, (size // BUCKET).bit_length())
        progress = TextProgress(f"corpus {spec.id}: cut", size)
        batches = enumerate(batched(documents, lambda item: len(item[2]), BATCH))
        copies = 0
        for characters, copied in map_in_order(Cutter(spec, folder, bits), batches, workers if size >= PARALLEL else 1):
            progress.add(characters)
            copies += copied
        with finished.making(out / "report.json") as made:
            report = _merge(spec, folder, made, copies)
            report["documents"] = sum(counts.values())
            for name, entry in report["files"].items():
                entry["documents"] = counts[name]
            report["near_duplicates"] = near_duplicates(made, report)
            splits = [made / f"{split}.jsonl.zst" for split in SPLITS]
            sums.finish(made / sums.LIST, splits, made / "report.json", json_bytes(report))
    finally:
        _seen.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _documents(files: list[Any], counts: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    """Yield (file, document, text) of every source in turn, and count the documents of each file in ``counts``."""
    for file, source in files:
        last = None
        for name, text in documents_of(file, source):
            counts[file.name] += name != last
            last = name
            yield file.name, name, text


def _buckets(folder: Path) -> Iterator[tuple[list[bytes], int, int]]:
    """Yield the records of each bucket, sorted and one for each hash, with the number of copies left out and of bytes read.

    Of copies the first in the sources stays. Memory holds the records that stay, however many copies there are.
    """
    names = sorted(folder.iterdir())
    for _, paths in itertools.groupby(names, key=lambda path: path.name.partition(".")[0]):
        first: dict[bytes, bytes] = {}
        count = size = 0
        for path in paths:
            with open(path, "rb") as stream:
                for line in stream:
                    count, size = count + 1, size + len(line)
                    if line < first.setdefault(line[:32], line):
                        first[line[:32]] = line
            path.unlink()
        yield sorted(first.values()), count - len(first), size


def _merge(spec: CorpusSpec, folder: Path, out: Path, copies: int) -> dict[str, Any]:
    """Write the splits from the sorted buckets, one passage of each hash, and count what goes where.

    ``copies`` is the number of passages that are left out already.
    """
    import zstandard

    files: dict[str, dict[str, Counter[str]]] = {}
    removed = copies
    progress = TextProgress(f"corpus {spec.id}: sort", sum(path.stat().st_size for path in folder.iterdir()))
    with ExitStack() as stack:
        streams = {}
        for split in SPLITS:
            raw = stack.enter_context(open(stack.enter_context(replacing(out / f"{split}.jsonl.zst")), "wb"))
            compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
            streams[split] = stack.enter_context(compressor.stream_writer(raw))
        for lines, copied, read in _buckets(folder):
            removed += copied
            for line in lines:
                _, split_name, size, file, record = line.split(b"\t", 4)
                split = split_name.decode()
                streams[split].write(record)
                entry = files.setdefault(json.loads(file), {"bytes": Counter(), "passages": Counter()})
                entry["bytes"][split] += int(size)
                entry["passages"][split] += 1
            progress.add(read)
        totals = {what: _total(files, what) for what in ("bytes", "passages")}
        _refuse_empty(spec, totals["passages"])
    return {"corpus": spec.id, **totals, "duplicates_removed": removed, "files": files}


def _total(files: dict[str, dict[str, Counter[str]]], what: str) -> dict[str, int]:
    return {split: sum(entry[what][split] for entry in files.values()) for split in SPLITS}


def _refuse_empty(spec: CorpusSpec, passages_in: dict[str, int]) -> None:
    wanted = {"train": 1.0 - spec.validation - spec.test, "validation": spec.validation, "test": spec.test}
    for split, count in passages_in.items():
        if wanted[split] > 0 and not count:
            raise StudyError(
                f"corpus {spec.id}: none of its {sum(passages_in.values())} passages fell into the {split} split: "
                f"raise its share, lower `passage_chars` ({spec.passage_chars}), or add text"
            )


def read_split(folder: Path, split: str) -> Iterator[tuple[str, str]]:
    """Yield (text, document) of each passage of a split in the shuffled order, without loading the file as a whole.

    Raises StudyError where the file is missing, damaged or ends too early.
    """
    path = folder / f"{split}.jsonl.zst"
    damaged: tuple[type[Exception], ...] = (*damage("zst"), OSError, ValueError, KeyError, TypeError)
    try:
        with open(path, "rb") as raw, decompressed(raw, "zst") as stream:
            for line in stream:
                record = json.loads(line.decode())
                yield record["text"], record["document"]
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run the corpus stage, or snakemake, which does") from None
    except damaged as error:
        raise StudyError(f"{path} is damaged ({error}): {again(folder)}") from None


def again(folder: Path) -> str:
    """Return the advice that makes a damaged corpus again, with the command of the stage."""
    made = "python -m scalinglaws corpus --spec {0}/spec.json --out {0} --downloads {1}"
    command = made.format(shlex.quote(str(folder)), shlex.quote(str(folder.parent.parent / "downloads")))
    return f"make it again with `{command}` and run snakemake again"


def near_duplicates(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Measure how much of a sample of the validation and test passages shares a 13-gram of words with training."""
    texts = functools.partial(_texts, folder)
    overlap = Overlap({split: sample(texts(split)) for split in ("validation", "test")})
    progress = TextProgress(f"corpus {report['corpus']}: near-duplicates", report["bytes"]["train"])
    for batch in batched(texts("train"), len, BATCH):
        overlap.add(batch)
        progress.add(sum(map(len, batch)))
    return {"ngram_words": NGRAM_WORDS, **overlap.report()}


def _texts(folder: Path, split: str) -> Iterable[str]:
    return (text for text, _ in read_split(folder, split))
