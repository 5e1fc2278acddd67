"""The files that a study names are looked at while they are still needed, and not afterwards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide import named_files
from scalinglaws.decide.load import of_config
from scalinglaws.study import config, paths
from scalinglaws.study.study import Study

TEXT = b"Some text.\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()
TOKENIZER = b'{"kind": "bytes"}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "books").mkdir()
    (tmp_path / "books/a.txt").write_bytes(TEXT)
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    (tmp_path / "none at all.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(tokenizer: dict[str, Any] | None = None, **source: Any) -> Study:
    corpora = {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"], "sha256": SHA256} | source]}}
    return of_config(config.parse(changed(corpora=corpora, tokenizer=tokenizer or {"kind": "bytes"})))


def touch(name: str) -> None:
    Path("results", name).parent.mkdir(parents=True, exist_ok=True)
    Path("results", name).write_text("{}")


def test_files_that_are_there_are_fine(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    named_files.check(study())
    named_files.check(
        study(tokenizer={"kind": "file", "path": "tokenizer.json", "sha256": hashlib.sha256(TOKENIZER).hexdigest()})
    )
    assert sorted(folder.rglob("*")) == before


def test_names_of_studies_that_some_file_systems_take_for_one_are_refused() -> None:
    touch("studies/Test/report.md")
    with pytest.raises(StudyError, match=r"study: test differs from study Test, .* only in small and capital letters"):
        named_files.check(study())
    touch("studies/test/report.md")
    Path("results/studies/Test/report.md").unlink()
    Path("results/studies/Test").rmdir()
    named_files.check(study())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"files": ["none/*.txt"]}, r"corpora\.books\.sources\[0\]: files: 'none/\*\.txt' matches no file"),
        ({"files": ["books/*.txt", "books/b.txt"]}, r"'books/b\.txt' matches no file"),
        ({"files": ["books"]}, r"'books' is a folder: write books/\*\.txt"),
        ({"files": ["/dev/null"]}, "'/dev/null' matches no file"),
        ({"exclude": ["*.txt"]}, "leaves none of the files"),
        ({"sha256": None}, f"add `sha256: {SHA256}`"),
        ({"sha256": "0" * 64}, f"has sha256 {SHA256}"),
    ],
)
def test_what_is_wrong_with_text_is_found_before_training(source: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        named_files.check(study(**source))


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StudyError, match=r"'books/a\.txt' cannot be read"):
        named_files.check(study())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "none.json"}, r"tokenizer\.path: none\.json is no file"),
        ({"path": "books"}, r"tokenizer\.path: books is a folder"),
        ({"sha256": "0" * 64}, r"tokenizer\.sha256: tokenizer\.json has sha256"),
        (
            {"path": "none at all.json", "sha256": hashlib.sha256(b"{}").hexdigest()},
            r"tokenizer\.path: none at all\.json is not a tokenizer\.json of Hugging Face tokenizers",
        ),
    ],
)
def test_a_tokenizer_that_is_missing_or_another_one(given: dict[str, Any], words: str) -> None:
    whole = {"kind": "file", "path": "tokenizer.json", "sha256": hashlib.sha256(TOKENIZER).hexdigest()}
    with pytest.raises(StudyError, match=words):
        named_files.check(study(tokenizer=whole | given))


@pytest.mark.parametrize("made", ["corpus", "tokens", "runs"])
def test_text_that_is_made_into_results_may_move_away(made: str) -> None:
    found = study(tokenizer={"kind": "bpe", "n_vocab": 300})
    Path("books/a.txt").unlink()
    with pytest.raises(StudyError, match="matches no file"):
        named_files.check(found)
    for run, spec in found.runs.items():
        if made == "corpus":
            touch(f"corpora/{spec.corpus.id}/report.json")
        elif made == "tokens":
            touch(f"tokens/{spec.tokens_id}/meta.json")
        else:
            paths.run_folder(Path("results"), run).mkdir(parents=True)
            touch(f"runs/{run}/metrics.json")
    named_files.check(found)


def test_text_that_a_run_is_still_to_be_evaluated_on_is_needed() -> None:
    data = changed(experiments__size__evaluate=["tales"], corpora__tales={"sources": [{"kind": "files", "files": ["tales.txt"]}]})
    found = of_config(config.parse(data))
    for run, spec in found.runs.items():
        touch(f"runs/{run}/metrics.json")
        touch(f"tokens/{spec.tokens_id}/meta.json")
    with pytest.raises(StudyError, match=r"corpora\.tales\.sources\[0\]: files: 'tales\.txt'"):
        named_files.check(found)
    for run, name in found.evaluations.items():
        touch(paths.evaluation_path(Path(), run, name).as_posix())
    named_files.check(found)
