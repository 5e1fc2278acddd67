"""Passages, splits, duplicates and their report; the same bytes from any number of processes."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.data import corpus, duplicates
from scalinglaws.data.corpus import SPLITS
from scalinglaws.data.duplicates import Overlap, ngrams
from scalinglaws.study.spec import CorpusSpec, Source

WORDS = ["the", "whale", "of", "sea", "ship", "and", "a", "captain", "storm", "calm", "white", "green", "deep", "sailed"]


def prose(seed: int, paragraphs: int) -> str:
    rng = random.Random(seed)
    sentences = (" ".join(rng.choices(WORDS, k=rng.randint(4, 15))).capitalize() + "." for _ in range(paragraphs * 4))
    return "\n\n".join(" ".join(next(sentences) for _ in range(4)) for _ in range(paragraphs))


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusSpec:
    """Write six invented books; the last repeats the paragraphs of the first, one a file's worth, among its own."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        Path(f"book{number}.txt").write_text(prose(number, 120), encoding="utf-8")
    rows = [{"text": "A line that is said twice."}, {"text": "A line that is said twice."}, {"text": "Another."}]
    Path("lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return specify()


def specify(**fields: object) -> CorpusSpec:
    content = b"".join(path.read_bytes() for path in sorted(Path().glob("book*.txt")))
    sources = (
        Source("files", ("book*.txt",), sha256=hashlib.sha256(content).hexdigest()),
        Source("files", ("lines.jsonl",), sha256=hashlib.sha256(Path("lines.jsonl").read_bytes()).hexdigest()),
    )
    defaults = {"passage_chars": 500, "validation": 0.1, "test": 0.1, "seed": 0}
    return CorpusSpec(sources, **{**defaults, **fields})  # type: ignore[arg-type]


def splits(folder: Path) -> dict[str, list[tuple[str, str]]]:
    return {split: list(corpus.read_split(folder, split)) for split in SPLITS}


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab.\n \té。"), max_size=300), st.integers(1, 60))
def test_passages_keep_every_letter_in_order(text: str, passage_chars: int) -> None:
    cut = list(corpus.passages(text, passage_chars))
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(passage == passage.strip() and 0 < len(passage) <= passage_chars for passage in cut)


def test_passages_end_at_the_best_boundary() -> None:
    a, b = "A sentence. " * 30, "Another one! " * 30
    assert list(corpus.passages(f"{a.strip()}\n\n{b.strip()}", 500)) == [a.strip(), b.strip()]
    assert all(passage.endswith(".") for passage in corpus.passages(a * 9, 500))
    assert all(len(passage) > 125 for passage in corpus.passages(a * 9, 500))
    assert next(corpus.passages("word " * 30, 100)).endswith("word")
    assert [len(passage) for passage in corpus.passages("x" * 250, 100)] == [100, 100, 50]


def test_clean() -> None:
    assert corpus.clean("a\r\nb\rc\0d\ud800e\ud83d\ude00") == "a\nb\ncd\ufffde😀"


def test_splits_are_disjoint_shares_of_every_book(books: CorpusSpec, tmp_path: Path) -> None:
    report = corpus.build(books, tmp_path / "out", tmp_path / "downloads", 1)
    by_split = splits(tmp_path / "out")
    texts = [text for split in SPLITS for text, _ in by_split[split]]
    assert len(set(texts)) == len(texts)
    assert {split: len(items) for split, items in by_split.items()} == report["passages"]
    sizes = {split: sum(len(text.encode()) for text, _ in items) for split, items in by_split.items()}
    assert sizes == report["bytes"]
    for number in range(6):
        for split in SPLITS:
            count = sum(name == f"book{number}.txt" for _, name in by_split[split])
            assert count == report["files"][f"book{number}.txt"]["passages"][split] > 0
    assert report["passages"]["test"] == pytest.approx(0.1 * len(texts), rel=0.1)
    assert report["duplicates_removed"] == 1
    assert report["documents"] == 9
    assert report["files"]["lines.jsonl"]["documents"] == 3
    # Shuffled: the first quarter of the training stream holds passages of every book.
    assert len({name for _, name in by_split["train"][: len(by_split["train"]) // 4]}) >= 6
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_same_bytes_from_processes_buckets_and_source_order(
    books: CorpusSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.build(books, tmp_path / "one", tmp_path / "downloads", 1)
    monkeypatch.setattr(corpus, "PARALLEL", 0)
    monkeypatch.setattr(corpus, "BATCH", 40_000)
    monkeypatch.setattr(corpus, "BUCKET", 10_000)
    corpus.build(books, tmp_path / "two", tmp_path / "downloads", 2)
    for name in [f"{split}.jsonl.zst" for split in SPLITS] + ["report.json"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    corpus.build(specify(seed=1), tmp_path / "other", tmp_path / "downloads", 1)
    assert splits(tmp_path / "other")["train"] != splits(tmp_path / "one")["train"]


def test_a_clean_corpus_is_what_it_was_before_corruption_existed(books: CorpusSpec, tmp_path: Path) -> None:
    corpus.build(books, tmp_path / "out", tmp_path / "downloads", 1)
    digest = hashlib.sha256(repr(splits(tmp_path / "out")).encode()).hexdigest()
    assert (books.id, digest) == ("files-619116b855", "e54cdc63854c7c85025ac92ad35fb499cf6f4a87464e1bfb04fae9fc42b71b1b")


def test_corruption_keeps_the_splits_and_replaces_its_share(
    books: CorpusSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_report = corpus.build(books, tmp_path / "clean", tmp_path / "downloads", 1)
    report = corpus.build(specify(corruption=0.2), tmp_path / "one", tmp_path / "downloads", 1)
    assert report["passages"] == clean_report["passages"]
    assert report["duplicates_removed"] == clean_report["duplicates_removed"] == 1
    clean, corrupted = splits(tmp_path / "clean"), splits(tmp_path / "one")
    for split in SPLITS:
        assert [(name, len(text)) for text, name in clean[split]] == [(name, len(text)) for text, name in corrupted[split]]
        pairs = [
            pair for (was, _), (now, _) in zip(clean[split], corrupted[split], strict=True) for pair in zip(was, now, strict=True)
        ]
        # One in 95 draws gives a printable character back.
        expected = sum(0.2 * (1 - was.isprintable() / 95) for was, _ in pairs)
        changed = [now for was, now in pairs if was != now]
        assert abs(len(changed) - expected) < 4 * math.sqrt(len(pairs) * 0.2 * 0.8), split
        if split == "train":
            counts = Counter(now for now in changed if now not in "etaoinshrl .")  # the text is made of these
            assert set(counts) <= {chr(code) for code in range(32, 127)}
            assert all(abs(count - len(pairs) * 0.2 / 95) < 5 * math.sqrt(len(pairs) * 0.2 / 95) for count in counts.values())
    monkeypatch.setattr(corpus, "PARALLEL", 0)
    monkeypatch.setattr(corpus, "BATCH", 40_000)
    corpus.build(specify(corruption=0.2), tmp_path / "two", tmp_path / "downloads", 2)
    for name in [f"{split}.jsonl.zst" for split in SPLITS] + ["report.json"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_corrupt_knows_characters_not_bytes() -> None:
    text = "é。😀\n" * 5000
    first, same, other = corpus.corrupt(text, 0.3, b"a"), corpus.corrupt(text, 0.3, b"a"), corpus.corrupt(text, 0.3, b"b")
    assert first == same != other and len(first) == len(text)
    changed = sum(was != now for was, now in zip(text, first, strict=True))
    assert abs(changed - 0.3 * len(text)) < 4 * math.sqrt(0.3 * 0.7 * len(text))
    assert corpus.corrupt("", 0.3, b"a") == ""


def test_near_duplication_is_found(books: CorpusSpec, tmp_path: Path) -> None:
    alone = corpus.build(books, tmp_path / "alone", tmp_path / "downloads", 1)["near_duplicates"]
    # A seventh book: the first in capitals, cut at other places.
    Path("book6.txt").write_text("A new beginning of it.\n\n" + Path("book0.txt").read_text().upper())
    shared = corpus.build(specify(), tmp_path / "shared", tmp_path / "downloads", 1)["near_duplicates"]
    assert alone["test"]["passages_shared"] < 0.05
    assert 0.2 < shared["test"]["passages_shared"] < 0.4
    assert shared["test"]["ngrams_shared"] > 0.15


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.sampled_from("aé \n"), max_size=60), max_size=6), st.integers(1, 4))
def test_ngrams_equal_those_of_sets_of_words(texts: list[str], words: int) -> None:
    hashes, counts = ngrams(texts, words)
    grams = [tuple(spaced[i : i + words]) for spaced in (text.split() for text in texts) for i in range(len(spaced) - words + 1)]
    assert len(hashes) == counts.sum() == len(grams)
    assert len(counts) == len(texts)
    assert len(set(zip(hashes.tolist(), grams, strict=True))) == len(set(grams)) == len(set(hashes.tolist()))


def test_overlap_against_sets(books: CorpusSpec) -> None:
    train, test = [prose(0, 40), prose(1, 40)], [prose(1, 2), prose(7, 2), "too short"]

    def grams(text: str) -> list[tuple[str, ...]]:
        words = text.lower().split()
        return [tuple(words[i : i + 13]) for i in range(len(words) - 12)]

    overlap = Overlap({"test": test})
    overlap.add(train)
    known = {gram for text in train for gram in grams(text)}
    shared = [[gram in known for gram in grams(text)] for text in test]
    assert overlap.report()["test"] == {
        "passages": 3,
        "ngrams": sum(map(len, shared)),
        "passages_shared": round(sum(map(any, shared)) / 3, 6),
        "ngrams_shared": round(sum(map(sum, shared)) / sum(map(len, shared)), 6),
    }


def test_the_sample_of_held_out_passages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SAMPLE", 4)
    monkeypatch.setattr(duplicates, "SAMPLE_CHARS", 10)
    assert list(duplicates.sample(["a"] * 9)) == ["a"] * 4
    assert list(duplicates.sample(["abcdef"] * 9)) == ["abcdef"] * 2


def test_a_split_without_passages_is_refused(books: CorpusSpec, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="`passage_chars`"):
        corpus.build(specify(passage_chars=10**6, test=0.001), tmp_path / "out", tmp_path / "downloads", 1)
    assert not list((tmp_path / "out").glob("*.zst"))
    report = corpus.build(specify(validation=0.0), tmp_path / "out", tmp_path / "downloads", 1)
    assert report["passages"]["validation"] == 0


def test_stage_and_damaged_split(books: CorpusSpec, tmp_path: Path) -> None:
    Path("spec.json").write_text(books.canonical)
    assert main(["corpus", "--spec", "spec.json", "--out", "out", "--downloads", "downloads"]) == 0
    Path("out/test.jsonl.zst").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"test.jsonl.zst is damaged"):
        list(corpus.read_split(Path("out"), "test"))
    with pytest.raises(StudyError, match="does not exist"):
        list(corpus.read_split(Path("nowhere"), "test"))
