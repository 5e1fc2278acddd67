"""Mixtures in a config: what is refused, what names a run, what it is measured on, and where a mixture ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide import design
from scalinglaws.decide.plan import ends_of_mixtures, plan_totals
from scalinglaws.study import config, study
from scalinglaws.study.spec import MixtureSpec, run_from_dict

TALES = {"sources": [{"kind": "files", "files": ["tales.txt"]}], "bytes": "4M", "validation": 0.1, "test": 0.1}


def data(sources: Any, **paths: Any) -> dict[str, Any]:
    """Return the config of a study with one experiment, two budgets on the mixture of these ``sources``."""
    grid = {"model": ["2x16"], "corpus": ["mix"], "tokens": ["0.5M", "1M"]}
    experiments = {"mixed": {"grid": grid}}
    return changed(corpora__tales=TALES, corpora__mix={"sources": sources}, experiments=experiments, **paths)


def build(made: dict[str, Any], tokens: Path = Path("nowhere")) -> study.Study:
    return study.build(config.parse(made), tokens)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (data({"books": 0.7, "tails": 0.3}), "corpora.mix.sources: tails is not one of corpora: did you mean tales"),
        (data({"books": 0.7, "tales": 0}), "corpora.mix.sources.tales: it should be greater than 0"),
        (data({"books": 0.7, "tales": "much"}), "corpora.mix.sources.tales"),
        (data({"books": 1}), "corpora.mix.sources"),
        (data({"books": 1e-8, "tales": 1}), "corpora.mix.sources.books: 1e-08 is less than 1e-06 of the sum"),
        (data({"books": 1, "tales": 1}, corpora__books2={"sources": {"mix": 1, "tales": 1}}), "sources: mix is a mixture itself"),
        (
            data({"again": 1, "tales": 1}, corpora__again=TALES | {"bytes": "2M"}),
            "corpora.mix.sources: again and tales are one text",
        ),
        (changed(corpora__mix={"sources": {"books": 1, "tales": 1}, "seed": 1}), "corpora.mix.seed: unknown key"),
        (data({"books": 0.5, "tales": 0.5}, defaults__dataset_tokens="8M"), "dataset_tokens: 8.0M is larger than the training"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_its_key(made: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError) as told:
        build(made)
    assert words in str(told.value)


def test_a_mixture_is_its_corpora_and_their_shares() -> None:
    made = build(data({"books": 7, "tales": 3}))
    (spec,) = {run.corpus for run in made.runs.values()}
    assert isinstance(spec, MixtureSpec) and sorted(spec.weights) == [0.3, 0.7]
    assert [part.id for part in spec.corpora] == sorted(part.id for part in spec.corpora)
    assert spec.id.startswith("mixture-") and made.corpus_names[spec.id] == "mix"
    again = build(data({"tales": 0.3, "books": 0.7}))
    assert again.runs.keys() == made.runs.keys()
    assert not build(data({"books": 6, "tales": 4})).runs.keys() & made.runs.keys()
    for run in made.runs.values():
        assert run_from_dict(json.loads(run.canonical)) == run


def test_a_mixture_is_measured_on_each_of_its_corpora() -> None:
    made = build(data({"books": 7, "tales": 3}))
    parts = sorted(spec.id for spec in made.corpora.values() if not isinstance(spec, MixtureSpec))
    assert len(parts) == 2
    for folders in made.evaluate.values():
        assert [folder.partition("/")[0] for folder in folders] == parts


def test_a_mixture_ends_with_the_first_of_its_corpora() -> None:
    made = build(data({"books": 0.5, "tales": 0.5}))
    # Of 4 MB at most 1.01 · 0.8 are trained on, which is half of the mixture.
    tokens, corpus = made.mixtures["mix"]
    assert corpus == "tales" and tokens == pytest.approx(2 * 4e6 * 0.808, rel=1e-6)
    assert ends_of_mixtures(plan_totals(made, Path("nowhere"))["mixtures"]) == [
        "mixture mix: 6.5M training tokens at most, where tales has no more text"
    ]
    assert build(data({"books": 0.9, "tales": 0.1})).mixtures["mix"][1] == "books"


def test_the_sizes_of_tokenized_corpora_are_exact(tmp_path: Path) -> None:
    made = build(data({"books": 0.5, "tales": 0.5}))
    tokenizer = next(iter(made.tokenizers))
    for corpus, size in (("books", 900_000), ("tales", 700_000)):
        name = next(id_ for id_, known in made.corpus_names.items() if known == corpus)
        folder = tmp_path / name / tokenizer
        folder.mkdir(parents=True)
        splits = {split: {"tokens": size} for split in ("train", "validation", "test")}
        (folder / "meta.json").write_text(json.dumps({"splits": splits}))
    found = build(data({"books": 0.5, "tales": 0.5}), tmp_path)
    assert found.mixtures == {"mix": (1_400_000, "tales")}
    assert found.epochs == {}
    repeated = build(data({"books": 0.2, "tales": 0.8}), tmp_path)
    # 1M tokens are more than the 875k of this mixture: text is repeated, and the plan says so.
    assert sorted(round(epochs, 2) for epochs in repeated.epochs.values()) == [1.14]


def test_a_design_of_too_few_mixtures_is_told() -> None:
    made = data({"books": 0.7, "tales": 0.3}, fits={"laws": ["mixture"]})
    grid = {"model": ["2x16"], "corpus": ["mix", "books", "tales"], "tokens": ["1M"]}
    made["experiments"] = {"mixed": {"grid": grid, "evaluate": ["books", "tales"]}}
    found = build(made)
    assert "mixture" in found.kinds and "quality" in found.kinds  # two corpora alone
    assert any("has 3 parameters for each text" in sentence and "2 mixtures" in sentence for sentence in design.warnings(found))
    made["experiments"]["mixed"]["grid"]["corpus"] = ["mix", "tales"]
    assert "mixture" not in build(made).kinds and "quality" not in build(made).kinds
