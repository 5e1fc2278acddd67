"""What a study's runs can answer, model shapes of other architectures, and experiments that no law is fitted to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.registry import laws_of
from scalinglaws.study import config, study
from scalinglaws.study.study import Study


def built(**experiments: Any) -> Study:
    data = {
        "study": "test",
        "corpora": {name: {"sources": [{"kind": "files", "files": [f"{name}/*.txt"]}]} for name in ("books", "mail")},
        "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "tokens": "1M"},
        "experiments": experiments,
    }
    return study.build(config.parse(data))


def points(*given: dict[str, Any]) -> dict[str, Any]:
    return {"points": [{"model": "2x32"} | point for point in given]}


@pytest.mark.parametrize(
    ("experiment", "kind"),
    [
        (points({}, {"seed": 1}), "seed"),
        (points({}, {"optimizer": "sgd", "learning_rate": 0.3}), "optimizer"),
        (points({}, {"parametrization": {"name": "mup", "base_width": 16}}), "parametrization"),
        (points({}, {"schedule": "cosine"}, {"schedule": "linear"}), "schedule"),
        (points({}, {"corpus": "mail"}), "quality"),
        (points({}, {"n_ctx": 8}), "context"),
        (points({}, {"learning_rate": 0.02}, {"learning_rate": 0.04}), "rate"),
        (points({}, {"batch_tokens": 4096}, {"batch_tokens": 8192}), "batch"),
        (points({"dataset_tokens": "100k"}), "repetition"),
        (points({"noise_every": 8}), "noise"),
        (points({"model": "2x30", "architecture": "lstm"}), "lstm"),
        (points({"architecture": "recurrent", "model": {"n_layer": 1, "d_model": 32, "n_repeats": 2}}), "recurrent"),
        ({"grid": {"model": ["1x16", "1x32", "2x16", "2x32"]}}, "depth"),
        (points(*({"model": {"n_layer": 2, "d_model": 32, "n_heads": heads}} for heads in (1, 2, 4))), "shape"),
        (points({}) | {"evaluate": ["mail"]}, "transfer"),
    ],
)
def test_each_kind_is_found_in_the_runs_that_make_it(experiment: dict[str, Any], kind: str) -> None:
    made = built(one=experiment)
    assert kind in made.kinds
    assert not {"seed", "optimizer", "schedule", "quality", "context", "lstm", "shape"} - {kind} & made.kinds


def test_runs_that_differ_in_two_things_compare_nothing() -> None:
    made = built(one=points({}, {"seed": 1, "n_ctx": 64}, {"corpus": "mail", "seed": 2}, {"optimizer": "muon", "seed": 3}))
    assert made.kinds == {"size", "curves"}
    shapes = [{"model": {"n_layer": 2, "d_model": 32, "n_heads": heads}, "seed": heads} for heads in (1, 2, 4)]
    assert "shape" not in built(one=points(*shapes)).kinds


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (
            {"architecture": "lstm", "model": {"n_layer": 2, "d_model": 30, "d_ff": 60}},
            "model.d_ff: an architecture lstm has none",
        ),
        ({"architecture": "recurrent"}, "model.n_repeats: architecture recurrent needs it"),
        ({"model": {"n_layer": 2, "d_model": 32, "n_repeats": 2}}, "model.n_repeats: an architecture transformer has none"),
        ({"architecture": "gru"}, "architecture"),
    ],
)
def test_shapes_that_an_architecture_lacks_are_refused(point: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        built(one=points(point))


def test_a_run_is_fitted_where_any_of_its_experiments_is() -> None:
    made = built(one=points({}, {"seed": 1}) | {"fit": False}, two=points({}))
    (shared,) = [run for run, asked in made.experiments.items() if asked == ("one", "two")]
    assert made.fitted == {shared}
    rows = [json.loads(line) for line in made.manifest]
    assert {row["run"]: row["fit"] for row in rows} == {run: run == shared for run in made.runs}


def test_laws_are_fitted_to_what_the_fitted_runs_can_answer() -> None:
    made = built(one=points({}), two=points({"dataset_tokens": "100k"}) | {"fit": False})
    assert "repetition" in made.kinds
    assert "chinchilla" in laws_of(made)
    assert "repetition" not in laws_of(made)
