"""Config, identity and ladder: what is refused, what renames a run, and exact counts of what the ladder saves."""

import copy
import dataclasses
import hashlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from fixtures.small_study import STUDY, changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
from scalinglaws.decide.schema import config_schema
from scalinglaws.laws.registry import laws_of
from scalinglaws.study import config, ladder, spec, study


def build(data, tokens_root=Path("nowhere")):
    return study.build(config.parse(data), tokens_root)


TALES = {"sources": [{"kind": "files", "files": ["tales.txt"]}], "bytes": "2k"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            changed(defaults__n_ctx="2^20", defaults__batch_tokens="2^20", experiments__size__grid__tokens=["8M"]),
            ["n_ctx: 1048576 tokens", "test split of corpus books"],
        ),
        (
            changed(corpora__tales=TALES, experiments__size__evaluate=["tales"]),
            ["size", "n_ctx: 128 tokens", "test split of corpus tales, which has 120 at most"],
        ),
        (changed(experiments__size__evaluate=["book"]), ["evaluate: book is not one of corpora: did you mean books? Use one of"]),
        (changed(defaults__n_cxt=3), ["defaults.n_cxt", "unknown key", "n_ctx"]),
        (changed(experiments__size__gird={}), ["experiments.size.gird", "unknown key", "grid"]),
        (changed(defaults__n_ctx="many"), ["defaults.n_ctx", "whole number", "'many'"]),
        (changed(defaults__optimizer="adamv"), ["defaults.optimizer: 'adamv' is unknown", "did you mean adamw?"]),
        (changed(experiments__size__grid__optimizer=["sgd", "soap"]), ["size.grid.optimizer[1]", "use one of adamw, sgd"]),
        (
            changed(defaults__optimizer_options={"momentum": 0.9}),
            ["experiments.size", "optimizer_options.momentum", "optimizer adamw has no such option"],
        ),
        (changed(defaults__learning_rate="kaplann"), ["defaults.learning_rate", "'kaplann'"]),
        (changed(defaults__learning_rate=-1), ["defaults.learning_rate", "greater than 0"]),
        (changed(defaults__learning_rate={"coefficient": 1}), ["defaults.learning_rate.exponent", "is missing"]),
        (changed(plugins=["absent.py"]), ["plugins: absent.py", "No such file"]),
        (changed(defaults__beta2=1.5), ["defaults.beta2", "less than 1"]),
        (changed(experiments__size__grid__model=["2x16", "2y3"]), ["experiments.size.grid.model[1]", "2x32"]),
        (
            changed(experiments__size__grid__model=[{"n_layer": 2, "d_model": 30, "n_heads": 4}]),
            ["size", "n_heads", "30"],
        ),
        (
            changed(experiments__data__grid__dataset_tokens=["20M"]),
            ["experiments.data", "dataset_tokens", "20.0M", "books"],
        ),
        (changed(experiments__size__grid__tokens=[1000]), ["experiments.size", "tokens: 1.0k", "one step"]),
        (
            changed(defaults__learning_rate={"coefficient": 1, "exponent": -0.2, "tokens_exponent": 0.3}),
            ["tokens_exponent", "wsd"],
        ),
        (changed(defaults__warmup_tokens="1M"), ["warmup_tokens", "decay"]),
        (changed(defaults__corpus="bookz"), ["corpus", "bookz", "books"]),
        (changed(experiments__size__evaluate=["tales"]), ["evaluate", "tales"]),
        (changed(experiments__data__schedule="wsd"), ["experiments.data", "schedule", "early"]),
        (changed(experiments__size__max_tokens="1M"), ["experiments.size", "max_tokens"]),
        (changed(defaults__batch_tokens=1000), ["batch_tokens", "multiple of n_ctx"]),
        (
            changed(corpora__books__sources=[{"kind": "wheel", "files": ["a"], "package": "x", "version": "1"}]),
            ["sha256"],
        ),
        (changed(experiments={}), ["experiments"]),
        (["not a mapping"], ["mapping"]),
    ],
)
def test_mistakes_are_refused_by_the_path_of_the_key(data, words):
    with pytest.raises(StudyError) as refused:
        of_config(config.parse(data), Path("nowhere"))
    for word in words:
        assert word in str(refused.value)


def test_id_is_the_hash_of_its_file():
    for run, item in build(STUDY).runs.items():
        text = item.canonical
        assert run.endswith(hashlib.sha256(text.encode()).hexdigest()[:10])
        assert spec.run_from_dict(json.loads(text)) == item


def test_nothing_but_numbers_changes_an_id():
    runs = set(build(STUDY).runs)
    reordered = dict(reversed(list(copy.deepcopy(STUDY).items())))
    reordered["experiments"] = {"renamed": STUDY["experiments"]["data"], "other": STUDY["experiments"]["size"]}
    assert set(build(reordered).runs) == runs
    renamed = json.loads(json.dumps(STUDY).replace('"books"', '"texts"'))
    assert set(build(renamed).runs) == runs
    assert set(build(changed(ladder__base="300k")).runs) == runs
    assert not set(build(changed(defaults__seed=1)).runs) & runs
    more = build(changed(experiments__size__grid__tokens=["0.5M", "1M", "2M", "3M", "4M", "8M"]))
    assert len(set(more.runs) - runs) == 3
    assert runs <= set(more.runs)


def test_a_later_field_renames_nothing():
    """A field at its neutral value is left out of the hash, so that a field added today renames no run."""
    run = next(iter(build(STUDY).runs.values()))
    assert "dropout" not in run.plain
    assert "dropout" in dataclasses.replace(run, dropout=0.1).plain
    assert set(spec.NEUTRAL[spec.RunSpec]) <= {field.name for field in dataclasses.fields(spec.RunSpec)}


def test_frozen_ids():
    """These are the ids of a released version: a change here retrains the studies of every user."""
    source = spec.Source("files", ("a.txt",), sha256="0" * 64)
    corpus = spec.CorpusSpec((source,), 2000, 0.03, 0.03, 0, recipe=1)
    run = spec.RunSpec(
        n_layer=2,
        d_model=16,
        n_heads=1,
        d_ff=64,
        d_attn=16,
        corpus=corpus,
        tokenizer=spec.TokenizerSpec("bytes", recipe=1),
        n_ctx=128,
        batch_tokens=2048,
        learning_rate=0.01,
        warmup_tokens=100_000,
        schedule="wsd",
        precision="float32",
        threads=1,
        seed=0,
        eval_tokens=2**18,
        curve_tokens=2**15,
        tokens=8_000_000,
        decay=0.2,
        recipe=1,
    )
    assert run.id == "gpt-n6.1k-t8.0M-s0-0c402876a5"


def test_dropout_has_a_recipe_of_its_own():
    for dropout, recipe in ((0.0, spec.RECIPE), (0.1, spec.DROPOUT_RECIPE)):
        assert {run.recipe for run in build(changed(defaults__dropout=dropout)).runs.values()} == {recipe}


def test_a_run_of_two_experiments_is_one_run():
    data = changed(experiments__again={"grid": {"model": ["2x16"], "tokens": ["8M"]}})
    both = build(data)
    assert set(both.runs) == set(build(STUDY).runs)
    assert ("again", "size") in both.experiments.values()


def test_ladder_saves_exactly_what_was_counted():
    size = {run: item for run, item in build(STUDY).runs.items() if item.stop == "budget"}
    with_ladder, alone = ladder.tokens_to_train(size, config.Ladder(base=400_000))
    # Three sizes; steps of budgets 0.5, 1, 2, 4, 8 M at 2048 tokens, stable phases of 0.8 of them, counted by hand.
    steps = [244, 488, 976, 1953, 3906]
    stable = [195, 390, 781, 1562, 3125]
    assert alone == 3 * 2048 * sum(steps)
    assert with_ladder == 3 * 2048 * (3125 + sum(steps) - sum(stable))
    assert alone / with_ladder >= 1.6


@pytest.mark.parametrize(("base", "ratio"), [(400_000, 2.0), (100_000, 1.5), (12_345, 1.2), (3000, 3.0)])
def test_rungs_are_whole_ascending_steps_below_the_decay(base, ratio):
    settings = config.Ladder(base=base, ratio=ratio)
    for item in build(STUDY).runs.values():
        start = ladder.start_of(item, settings)
        if item.stop == "early":
            assert start == 0
            continue
        steps = ladder.rungs(settings, item.batch_tokens, item.stable_steps)
        assert steps == sorted(set(steps)) and all(step >= 1 for step in steps)
        assert start == (steps[-1] if steps else 0) <= item.stable_steps
        assert [ladder.below(step, item.batch_tokens, settings) for step in steps] == [0, *steps[:-1]]
        exact = [Fraction(base) * Fraction(repr(ratio)) ** k / item.batch_tokens for k in range(60)]
        assert set(steps) == {int(step) for step in exact if 1 <= int(step) <= item.stable_steps}


def test_learning_rate_rules():
    by_size = {item.n_params: item.learning_rate for item in build(STUDY).runs.values()}
    for n, rate in by_size.items():
        assert rate == pytest.approx(min(0.01, 0.05 * n**-0.15), rel=1e-5)
        assert rate == float(f"{rate:.6g}")
    kaplan = build(changed(defaults__learning_rate="kaplan"))
    smallest = next(item for item in kaplan.runs.values() if item.n_params == 768)
    assert smallest.learning_rate == pytest.approx(0.003239 - 0.0001395 * 6.643789733, rel=1e-5)


def test_exact_corpus_size_is_used_once_it_is_known(tmp_path):
    one = next(item for item in build(STUDY).runs.values())
    folder = tmp_path / one.tokens_id
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"splits": {"train": {"tokens": 60_000}}}))
    with pytest.raises(StudyError, match=r"65\.5k is larger .* 60\.0k tokens"):
        build(STUDY, tmp_path)


def test_longest_path_first():
    made = build(STUDY)
    big = next(run for run in made.runs if "n24.6k-t8.0M" in run)
    trunk = made.trunk_ids[big]
    rungs = ladder.rungs(made.ladder, 2048, made.starts[big])
    priorities = [made.priority_of_rung(trunk, step) for step in rungs]
    assert priorities == sorted(priorities, reverse=True)
    assert priorities[-1] > made.priority_of_run(big) > 0


def test_study_imports_nothing_heavy():
    heavy = ("torch", "matplotlib", "polars", "scipy")
    code = f"import sys, scalinglaws.study.study; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_study_in_the_repository_is_valid():
    root = Path(__file__).parents[3]
    for path in [root / "config.yaml", *sorted((root / "workflow" / "studies").glob("*.yaml"))]:
        assert study.build(config.load(path), Path("nowhere")).runs
        assert "config.schema.json" in path.read_text().splitlines()[0]


def test_schema_file_is_that_of_the_model():
    path = Path(__file__).parents[3] / "workflow" / "config.schema.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(config_schema()))


def test_broken_yaml_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("study: [unclosed")
    with pytest.raises(StudyError, match=r"bad\.yaml is not YAML"):
        config.load(tmp_path / "bad.yaml")
    with pytest.raises(StudyError, match="--configfile"):
        config.load(tmp_path / "absent.yaml")
    assert yaml.safe_load("a: 1e9")["a"] == "1e9"  # why parse_count takes strings


def test_laws_follow_the_kinds_of_runs() -> None:
    """Three batch sizes of one model feed the laws of B_crit; budgets beyond the dataset feed the law of repetition."""
    data = copy.deepcopy(STUDY)
    data["experiments"] = {"size": STUDY["experiments"]["size"]}
    assert build(data).kinds == {"size", "curves"} and "critical-batch" not in laws_of(build(data))
    data["experiments"]["batch"] = {
        "grid": {"model": ["2x16"], "tokens": ["1M"], "batch_tokens": [1024, 2048, 4096]}, "schedule": "constant",
    }  # fmt: skip
    assert build(data).kinds == {"size", "curves", "batch"}
    assert {"critical-batch", "power-cmin", "kaplan-ns"} <= set(laws_of(build(data)))
    data["experiments"]["repeat"] = {"grid": {"model": ["2x16"], "tokens": ["1M", "2M"], "dataset_tokens": ["500k"]}}
    assert build(data).kinds == {"size", "curves", "batch", "repetition"} and "repetition" in laws_of(build(data))


def test_options_of_plugins_are_part_of_identity_and_survive_a_file(tmp_path):
    plain = next(iter(build(STUDY).runs.values()))
    chosen = dataclasses.replace(plain, options=(("kernel", 3), ("wide", True)), plugins=("ab" * 32,))
    assert chosen.id != plain.id and '"options":{"kernel":3,"wide":true}' in chosen.canonical and "options" not in plain.canonical
    (tmp_path / "spec.json").write_text(chosen.canonical)
    assert spec.read_spec(tmp_path / "spec.json") == chosen
