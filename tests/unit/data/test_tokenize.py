"""Tokenizers and token files: text comes back, counts add up, damage is noticed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import scalinglaws
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.data import token_files, tokenize, tokenizer
from scalinglaws.data.batches import Split, doubts
from scalinglaws.data.corpus import SPLITS, read_split
from scalinglaws.study.spec import CorpusSpec, Source, TokenizerSpec

TEXTS = {
    "train": [f"The {i}th voyage of the ship – naïve, 漢字 and 😀.\n\nIt sailed {i * i} miles." for i in range(300)],
    "validation": ["A text that spells <|endoftext|> itself.", "ship"],
    "test": ["The voyage of the ship.", "Ünïcode 漢字\t\n end", "x"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a corpus below corpus/, as the corpus stage does, and a BPE tokenizer of it to bpe.json."""
    folder = tmp_path_factory.mktemp("tokens")
    corpus = folder / "corpus"
    corpus.mkdir()
    for split, texts in TEXTS.items():
        lines = "".join(json.dumps({"text": text, "document": "d"}) + "\n" for text in texts).encode()
        (corpus / f"{split}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(lines))
    report = {
        "passages": {split: len(texts) for split, texts in TEXTS.items()},
        "bytes": {split: sum(len(text.encode()) for text in texts) for split, texts in TEXTS.items()},
    }
    (corpus / "report.json").write_text(json.dumps(report))
    tokenizer.build_tokenizer(bpe(300), corpus, folder / "bpe.json")
    tokenizer.build_tokenizer(TokenizerSpec("bytes"), None, folder / "bytes.json")
    return folder


def bpe(n_vocab: int) -> TokenizerSpec:
    return TokenizerSpec("bpe", n_vocab, CorpusSpec((Source("files", ("x",)),), 100, 0.1, 0.1, 0))


@pytest.mark.parametrize(("name", "n_vocab"), [("bytes", 256), ("bpe", 300)])
def test_token_files_give_the_text_back(folder: Path, name: str, n_vocab: int) -> None:
    out = folder / name
    meta = tokenize.tokenize(folder / "corpus", folder / f"{name}.json", out, 1)
    encoder = tokenizer.Encoder(folder / f"{name}.json")
    assert (meta["n_vocab"], meta["dtype"], meta["eot"]) == (n_vocab, "uint16", 0)
    for split in SPLITS:
        ids, loaded = token_files.load_tokens(out, split)
        assert loaded == meta
        counts = meta["splits"][split]
        assert ids.dtype == np.uint16 and ids.shape == (counts["tokens"],) and ids.max() < n_vocab
        assert counts["bytes"] == sum(len(text.encode()) for text in TEXTS[split])
        assert counts["sha256"] == hashlib.sha256((out / f"{split}.bin").read_bytes()).hexdigest()
        ends = np.flatnonzero(ids == meta["eot"])
        assert len(ends) == counts["passages"] == len(TEXTS[split])
        starts = np.concatenate([[0], ends + 1])
        assert [encoder.decode(ids[a:b]) for a, b in zip(starts, ends, strict=False)] == TEXTS[split]
        if split != "train":
            np.testing.assert_array_equal(token_files.load_starts(out, split), starts)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["meta.json", "train.bin", "validation.bin", "test.bin", "validation.starts.npy", "test.starts.npy", "SHA256SUMS"]
    )


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_comes_back(folder: Path, text: str) -> None:
    for name in ("bytes", "bpe"):
        encoder = _encoders.setdefault(name, tokenizer.Encoder(folder / f"{name}.json"))
        ids, lengths = encoder.encode([text])
        assert ids[-1] == encoder.eot not in ids[:-1]
        assert lengths.tolist() == [len(ids)]
        assert encoder.decode(ids[:-1]) == text


_encoders: dict[str, tokenizer.Encoder] = {}


def test_same_tokenizer_and_tokens_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, with another hash seed, trains the same tokenizer; two processes encode as one does."""
    train = "import sys; from pathlib import Path; from scalinglaws.data import tokenizer\n"
    train += f"print(tokenizer.train_bpe(300, Path({str(folder / 'corpus')!r})), end='')"
    environment = {"PYTHONPATH": str(Path(scalinglaws.__file__).parents[1]), "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", train], capture_output=True, check=True, env=environment)
    assert again.stdout == (folder / "bpe.json").read_bytes()
    one = tokenize.tokenize(folder / "corpus", folder / "bpe.json", folder / "one", 1)
    monkeypatch.setattr(tokenize, "PARALLEL", 10_000)
    monkeypatch.setattr(tokenize, "BATCH", 1000)
    assert tokenize.tokenize(folder / "corpus", folder / "bpe.json", folder / "two", 2) == one


def test_vocabulary_sizes(folder: Path) -> None:
    vocabulary = json.loads((folder / "bpe.json").read_text())["model"]["vocab"]
    assert len(vocabulary) == 300 and vocabulary["<|endoftext|>"] == 0
    with pytest.raises(StudyError, match=r"at least 257"):
        tokenizer.build_tokenizer(bpe(256), folder / "corpus", folder / "no.json")
    with pytest.raises(StudyError, match=r"gives only [0-9]+ tokens"):
        tokenizer.build_tokenizer(bpe(50_000), folder / "corpus", folder / "no.json")
    with pytest.raises(StudyError, match="--corpus"):
        tokenizer.build_tokenizer(bpe(300), None, folder / "no.json")
    assert not (folder / "no.json").exists()


def given_tokenizer(folder: Path, name: str, vocabulary: dict[str, int]) -> TokenizerSpec:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.save(str(folder / name))
    return TokenizerSpec("file", path=name, sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest())


def test_given_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    wanted = given_tokenizer(folder, "given.json", {"<unk>": 5, "The": 1, "ship": 70_000, "</s>": 3, "of": 2})
    tokenizer.build_tokenizer(wanted, None, folder / "copy.json")
    meta = tokenize.tokenize(folder / "corpus", folder / "copy.json", folder / "given", 1)
    assert (meta["n_vocab"], meta["dtype"], meta["eot"]) == (70_001, "uint32", 3)
    ids, _ = token_files.load_tokens(folder / "given", "test")
    assert ids.dtype == np.uint32
    # The whole text, though the file says to truncate it.
    assert ids[:8].tolist() == [1, 5, 2, 5, 70_000, 5, 3, 5]


def test_given_tokenizer_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    no_end = given_tokenizer(folder, "no_end.json", {"<unk>": 0, "a": 1})
    Path("broken.json").write_text("{}")
    broken = TokenizerSpec("file", path="broken.json", sha256=hashlib.sha256(b"{}").hexdigest())
    for wanted, message in [
        (no_end, "no end-of-text token"),
        (broken, "not a tokenizer.json"),
        (TokenizerSpec("file", path="nowhere.json", sha256="0"), "`path: nowhere.json`"),
        (TokenizerSpec("file", path="no_end.json", sha256="0" * 64), rf"sha256 {no_end.sha256}.*{'0' * 64}"),
        (TokenizerSpec("file", path="no_end.json"), f"add `sha256: {no_end.sha256}`"),
        (TokenizerSpec("words"), "kind: 'words' is unknown"),
    ]:
        with pytest.raises(StudyError, match=message):
            tokenizer.build_tokenizer(wanted, None, folder / "no.json")


def test_a_tokenizer_that_fails_is_one_sentence(tmp_path: Path) -> None:
    def words(**fields: object) -> str:
        made = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return json.dumps({**json.loads(made.to_str()), **fields})

    panic = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}
    for content, said in [
        (words(), r"given.json cannot encode the text \(WordLevel error: Missing \[UNK\] token"),
        (words(**panic), "given.json is not a tokenizer.json of Hugging Face tokenizers"),
        (words(pre_tokenizer={"type": "FixedLength", "length": 0}), "given.json cannot encode the text"),
        ("[" * 100_000, "given.json is not a tokenizer.json"),
        (Tokenizer(models.BPE()).to_str(), "given.json has no end-of-text token"),
    ]:
        (tmp_path / "given.json").write_text(content)
        with pytest.raises(StudyError, match=said):
            tokenizer.Encoder(tmp_path / "given.json").encode(["a b"])


def test_dropout_of_a_tokenizer_is_off(tmp_path: Path) -> None:
    model = models.BPE(vocab={"a": 0, "b": 1, "ab": 2, "</s>": 3}, merges=[("a", "b")], dropout=0.5)
    Tokenizer(model).save(str(tmp_path / "given.json"))
    ids, _ = tokenizer.Encoder(tmp_path / "given.json").encode(["ab" * 200])
    assert ids.tolist() == [2] * 200 + [3]


def test_damage_is_noticed(folder: Path) -> None:
    out = folder / "damaged"
    tokenize.tokenize(folder / "corpus", folder / "bytes.json", out, 1)
    (out / "test.bin").write_bytes((out / "test.bin").read_bytes()[:-1])
    with pytest.raises(StudyError, match=r"test.bin has [0-9]+ bytes, not [0-9]+: run `scalinglaws verify --repair`"):
        token_files.load_tokens(out, "test")
    (out / "train.bin").unlink()
    with pytest.raises(StudyError, match=r"train.bin does not exist"):
        token_files.load_tokens(out, "train")
    (out / "SHA256SUMS").unlink()  # as in token files of an earlier version
    (out / "validation.starts.npy").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"validation.starts.npy cannot be read"):
        token_files.load_starts(out, "validation")
    meta = json.loads((out / "meta.json").read_text())
    for field, value in (("tokens", "x"), ("tokens", -1), ("bytes", 0), ("bytes", [1]), ("passages", None), ("passages", 10**30)):
        test = meta["splits"]["test"] | {field: value}
        (out / "meta.json").write_text(json.dumps(meta | {"splits": meta["splits"] | {"test": test}}))
        with pytest.raises(StudyError, match=r"meta\.json has a count of test that cannot be"):
            token_files.load_tokens(out, "test")
    for content, message in [
        ("{", "is damaged"),
        ("{}", "not one of token files"),
        ('{"dtype": "uint16", "splits": {"test": {}}}', "lacks"),
    ]:
        (out / "meta.json").write_text(content)
        with pytest.raises(StudyError, match=message):
            token_files.load_tokens(out, "test")


def test_short_corpus_is_noticed(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "corpus").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "train.jsonl.zst").read_bytes()
    (tmp_path / "train.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=r"train.jsonl.zst"):
        tokenize.tokenize(tmp_path, folder / "bytes.json", tmp_path / "out", 1)


def test_stages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("spec.json").write_text(TokenizerSpec("bytes").canonical)
    assert main(["tokenizer", "--spec", "spec.json", "--corpora", ".", "--out", "made/tokenizer.json"]) == 0
    assert main(["tokenize", "--corpus", "corpus", "--tokenizer", "made/tokenizer.json", "--out", "staged"]) == 0
    assert token_files.load_tokens(Path("staged"), "test")[1]["n_vocab"] == 256


def test_training_reads_tokens_without_heavy_imports() -> None:
    heavy = "{'tokenizers', 'zstandard', 'pyarrow', 'huggingface_hub', 'torch'}"
    code = f"import sys, scalinglaws.data.token_files, scalinglaws.data.batches; print(sorted({heavy} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(Path(scalinglaws.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


def lossy(kind: str) -> Tokenizer:
    """Return a tokenizer that loses what ``kind`` says, or nothing."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = None if kind == "no decoder" else decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if kind == "lower":
        made.normalizer = normalizers.Lowercase()
    elif kind == "strip":
        made.normalizer = normalizers.Replace("–", "")
    elif kind == "bytes missing":
        alphabet = [letter for letter in alphabet if letter != "ð"]  # the first byte of an emoji
    elif kind == "late":  # only the last passages of the training split hold what is unknown
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        alphabet = sorted({letter for texts in TEXTS.values() for text in texts for letter in text} - {"9"})
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + 2, special_tokens=["</s>", "<unk>"], initial_alphabet=alphabet)
    made.train_from_iterator([], trainer)
    return made


@pytest.mark.parametrize("kind", ["nothing", "no decoder", "lower", "strip", "bytes missing", "late"])
def test_a_tokenizer_that_loses_text_is_flagged(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tokenize, "BATCH", 200)  # the first batch of a split is a few passages
    lossy(kind).save(str(tmp_path / "given.json"))
    meta = tokenize.tokenize(folder / "corpus", tmp_path / "given.json", tmp_path / "tokens", 1)
    whole = kind in ("nothing", "no decoder")
    assert meta.get("lossless", True) is whole and json.loads((tmp_path / "tokens" / "meta.json").read_text()) == meta
    assert ("does not give the text back" in capsys.readouterr().err) is not whole
    assert (Split(tmp_path / "tokens", "test", 4, 100).tokens_per_byte is None) is not whole
    if not whole:
        example = meta["lossy_example"]
        assert example["split"] == "train" and any(example["text"] in text for text in TEXTS["train"])
        assert example["text"] != example["back"]


def test_doubts_about_losses_on_small_splits() -> None:
    def meta(test: tuple[int, int], train: tuple[int, int]) -> dict:
        return {"splits": {name: {"tokens": n, "passages": p} for name, (n, p) in {"test": test, "train": train}.items()}}

    assert doubts(meta((10_000, 20), (10**6, 2000)), 128, 4096) == []
    (one,) = doubts(meta((200, 2), (10**6, 2000)), 128, 4096)
    assert "one window of 128 tokens" in one and "eval_tokens" not in one
    assert "or eval_tokens" in doubts(meta((10_000, 20), (10**6, 2000)), 128, 200)[0]
    assert "one passage" in doubts(meta((10_000, 1), (10**6, 2000)), 128, 4096)[0]
    (short,) = doubts(meta((10_000, 20), (10**6, 10_000)), 128, 4096)
    assert "100 tokens on average, and n_ctx is 128" in short


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "trailing"])
def test_a_damaged_corpus_is_named_with_the_command_that_makes_it_again(folder: Path, tmp_path: Path, damage: str) -> None:
    whole = (folder / "corpus" / "train.jsonl.zst").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
    damaged = {"cut": whole[:-3], "flipped": flipped, "emptied": b"", "trailing": whole + b"garbage"}[damage]
    (tmp_path / "train.jsonl.zst").write_bytes(damaged)
    with pytest.raises(
        StudyError, match=rf"train.jsonl.zst .*make it again with `python -m scalinglaws corpus --spec {tmp_path}/spec.json"
    ):
        list(read_split(tmp_path, "train"))
