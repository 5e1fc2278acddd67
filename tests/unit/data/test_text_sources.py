"""A kind of source that a user adds: its keys are checked before anything is read, and its text becomes a corpus."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import of_plugin
from scalinglaws.data.corpus import build, read_split
from scalinglaws.data.formats import File
from scalinglaws.study import config
from scalinglaws.study.spec import Source, corpus_from_dict
from scalinglaws.study.study import corpus_spec
from scalinglaws.study.text_sources import TEXT_SOURCES, TextSource

HASH = "ab" * 32


class Counting(BaseModel):
    """The options of the kind of source ``counted``."""

    model_config = ConfigDict(extra="forbid")
    numbers: int = Field(gt=0)


def counted(source: Source, downloads: Path) -> list[File]:
    """Return one document, whose lines count up to ``numbers``."""
    text = "\n\n".join(f"Line number {i} of the text that counts." for i in range(dict(source.options)["numbers"])).encode()
    return [File("counting.txt", len(text), lambda: io.BytesIO(text))]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEXT_SOURCES, "_entries", dict(TEXT_SOURCES._entries))
    with of_plugin(HASH):
        TEXT_SOURCES.register(TextSource("counting", (), counted, Counting))


def corpus(**options: object) -> dict:
    return {"sources": [{"kind": "counting", "files": ["counting"], "options": options}], "passage_chars": 50}


def test_text_of_a_users_source_becomes_a_corpus(counting: None, tmp_path: Path) -> None:
    spec = corpus_spec(config.CorpusConfig.model_validate(corpus(numbers=400)))
    assert spec.sources[0].plugin == HASH and corpus_from_dict(spec.plain) == spec
    assert spec.id != corpus_spec(config.CorpusConfig.model_validate(corpus(numbers=401))).id
    report = build(spec, tmp_path / "out", tmp_path, 1)
    texts = [text for split in ("train", "validation", "test") for text, _ in read_split(tmp_path / "out", split)]
    assert sorted(int(number) for number in re.findall(r"\d+", " ".join(texts))) == list(range(400))
    assert report["documents"] == 1 and sum(report["passages"].values()) == len(texts) > 300


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "wheels"}, "kind: 'wheels' is unknown: did you mean wheel"),
        ({"kind": "files", "options": {"numbers": 3}}, "has no options"),
        ({"kind": "counting", "options": {"numbers": 0}}, "greater than 0"),
        ({"kind": "counting", "options": {"number": 3}}, "number"),
    ],
)
def test_wrong_sources_are_refused_by_their_path(counting: None, given: dict, said: str) -> None:
    study = {"study": "s", "corpora": {"c": {"sources": [{"files": ["a"], **given}]}}, "defaults": {}, "experiments": {"e": {}}}
    with pytest.raises(StudyError, match=said) as refused:
        config.parse(study)
    assert "corpora.c.sources[0]" in str(refused.value)
