"""Mixtures by tokens: the order of passages, the files, and the text of a tokenizer, each against a plain loop over texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.data import corpus, mixture, tokenizer
from scalinglaws.data.batches import Split
from scalinglaws.data.token_files import load_starts, load_tokens
from scalinglaws.data.tokenize import tokenize
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, Source, TokenizerSpec

BYTES = TokenizerSpec("bytes")


def greedy(lengths: list[list[int]], weights: list[float]) -> list[int]:
    """Return the order by the rule as it is written: the next passage is of the corpus with the least tokens/weight so far."""
    taken, places = [0] * len(lengths), [0] * len(lengths)
    out: list[int] = []
    while True:
        k = min(range(len(lengths)), key=lambda k: taken[k] / weights[k])
        if places[k] == len(lengths[k]):
            return out
        out.append(k)
        taken[k] += lengths[k][places[k]]
        places[k] += 1


@pytest.mark.parametrize("weights", [[0.7, 0.3], [0.5, 0.25, 0.25], [0.02, 0.98]])
def test_the_order_is_that_of_the_rule_and_every_beginning_has_the_shares(weights: list[float]) -> None:
    rng = np.random.default_rng(len(weights))
    lengths = [rng.integers(1, 200, 300) for _ in weights]
    found = mixture.order(lengths, weights)
    assert found.tolist() == greedy([each.tolist() for each in lengths], weights)
    counts = [np.cumsum(found == k) for k in range(len(weights))]
    taken = np.array([np.concatenate([[0], np.cumsum(each)])[count] for each, count in zip(lengths, counts, strict=True)])
    ideal = np.outer(weights, taken.sum(axis=0))
    assert np.abs(taken - ideal).max() <= 200  # a passage
    # It ends where the next passage would be one of a corpus that has none left.
    assert any(count[-1] == len(each) for count, each in zip(counts, lengths, strict=True))


def test_a_smaller_mixture_is_the_beginning_of_a_larger_one() -> None:
    rng = np.random.default_rng(1)
    long = [rng.integers(1, 50, 400) for _ in range(2)]
    short = mixture.order([each[:100] for each in long], [0.6, 0.4])
    assert short.tolist() == mixture.order(long, [0.6, 0.4])[: len(short)].tolist()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MixtureSpec]:
    """Return a folder of results with two tokenized corpora, and a mixture of them."""
    folder = tmp_path_factory.mktemp("mixture")
    texts = {"tales": "Once upon a time there lived a miller. ", "mail": "Dear editor, I write to you about the 7 things. "}
    parts = []
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        path.write_text("".join(f"{k} {text}" for k in range(200 if name == "tales" else 80)))
        source = Source("files", (str(path),), sha256=tokenizer.sha256([path]))
        parts.append(CorpusSpec((source,), 60, 0.2, 0.2, 0))
    (folder / "tokenizers").mkdir()
    tokenizer.build_tokenizer(BYTES, None, folder / "tokenizers" / "tokenizer.json")
    for part in parts:
        corpus.build(part, folder / "corpora" / part.id, folder / "downloads", 1)
        tokenize(
            folder / "corpora" / part.id, folder / "tokenizers" / "tokenizer.json", folder / "tokens" / part.id / BYTES.id, 1
        )
    parts.sort(key=lambda part: part.id)
    spec = MixtureSpec(tuple(parts), (0.7, 0.3))
    (folder / "corpora" / spec.id).mkdir()
    (folder / "corpora" / spec.id / "spec.json").write_text(spec.canonical)
    return folder, spec


def mixed(folder: Path, spec: MixtureSpec) -> Path:
    out = folder / "tokens" / spec.id / BYTES.id
    mixture.mix(spec, folder / "corpora", folder / "tokens", BYTES.id, out)
    return out


def test_the_files_have_the_passages_of_both_in_turn_and_whole(made: tuple[Path, MixtureSpec]) -> None:
    folder, spec = made
    out = mixed(folder, spec)
    meta = json.loads((out / "meta.json").read_text())
    for split in corpus.SPLITS:
        texts = [[text for text, _ in corpus.read_split(folder / "corpora" / part.id, split)] for part in spec.corpora]
        order = greedy([[len(text.encode()) + 1 for text in each] for each in texts], list(spec.weights))
        streams = [iter(each) for each in texts]
        wanted = [next(streams[k]) for k in order]
        tokens, _ = load_tokens(out, split)
        assert bytes(tokens.astype(np.uint8)).decode() == "".join(f"{text}\0" for text in wanted)
        counts = meta["splits"][split]
        assert counts["bytes"] == sum(len(text.encode()) for text in wanted) and counts["passages"] == len(wanted)
        shares = [meta["mixture"]["tokens"][part.id][split] for part in spec.corpora]
        assert sum(shares) == counts["tokens"]
        ended = meta["mixture"]["ends_with"][split]
        (k,) = (k for k, part in enumerate(spec.corpora) if part.id == ended)
        assert order.count(k) == len(texts[k])
        if split != "train":
            ends = np.flatnonzero(tokens == 0) + 1
            np.testing.assert_array_equal(load_starts(out, split), [0, *ends])
    assert Split(out, "test", 16, 10_000).tokens_per_byte == meta["splits"]["test"]["tokens"] / meta["splits"]["test"]["bytes"]
    assert mixture.mixture_of(folder / "corpora" / spec.id) == spec
    assert mixture.mixture_of(folder / "corpora" / spec.corpora[0].id) is None


def test_small_blocks_give_the_same_bytes(made: tuple[Path, MixtureSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spec = made
    whole = (mixed(folder, spec) / "train.bin").read_bytes()
    monkeypatch.setattr(mixture, "BLOCK", 50)
    assert (mixed(folder, spec) / "train.bin").read_bytes() == whole


def test_a_tokenizer_reads_the_passages_in_turn_by_their_bytes(made: tuple[Path, MixtureSpec]) -> None:
    folder, spec = made
    texts = [[text for text, _ in corpus.read_split(folder / "corpora" / part.id, "train")] for part in spec.corpora]
    streams = [iter(each) for each in texts]
    order = greedy([[len(text.encode()) for text in each] for each in texts], list(spec.weights))
    assert list(mixture.training_texts(folder / "corpora" / spec.id)) == [next(streams[k]) for k in order]
    one = spec.corpora[0]
    assert list(mixture.training_texts(folder / "corpora" / one.id)) == texts[0]
    bpe = TokenizerSpec("bpe", 270, spec)
    tokenizer.build_tokenizer(bpe, folder / "corpora" / spec.id, folder / "bpe.json")
    assert json.loads((folder / "bpe.json").read_text())["model"]["vocab"]


def test_a_corpus_that_is_not_tokenized_is_named(made: tuple[Path, MixtureSpec], tmp_path: Path) -> None:
    folder, spec = made
    with pytest.raises(StudyError, match=r"train\.bin does not exist|meta\.json"):
        mixture.mix(spec, folder / "corpora", tmp_path, BYTES.id, tmp_path / "out")
