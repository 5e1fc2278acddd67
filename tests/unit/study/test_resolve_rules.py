"""Rules of rates and batches and the parametrization of a config, as they reach the specs of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.common.errors import StudyError
from scalinglaws.study import config, study
from scalinglaws.study.spec import RunSpec, run_from_dict

MUP: dict[str, Any] = {"name": "mup", "base_width": 16}


def built(**paths: Any) -> list[RunSpec]:
    """Return the runs of the experiment ``size`` of STUDY with some keys changed, by size and budget."""
    data = changed(**paths)
    made = study.build(config.parse(data), Path("nowhere"))
    runs = [run for name, run in made.runs.items() if "size" in made.experiments[name]]
    return sorted(runs, key=lambda run: (run.n_params, run.tokens))


def ids(**paths: Any) -> set[str]:
    return {run.id for run in built(**paths)}


def refused(**paths: Any) -> str:
    with pytest.raises(StudyError) as told:
        built(**paths)
    return str(told.value)


def test_the_standard_parametrization_renames_no_run_and_mup_all() -> None:
    assert ids() == ids(defaults__parametrization="standard")
    ours = built(defaults__parametrization=MUP)
    assert not ids() & {run.id for run in ours}
    assert {run.parametrization for run in ours} == {(("base_head_width", 16), ("base_width", 16), ("name", "mup"))}
    for run in ours:
        assert json.loads(run.canonical)["parametrization"] == {"base_head_width": 16, "base_width": 16, "name": "mup"}
        assert run_from_dict(json.loads(run.canonical)) == run
    assert "parametrization" not in built()[0].plain


def test_bases_tell_runs_apart_and_defaults_do_not() -> None:
    assert ids(defaults__parametrization=MUP) == ids(defaults__parametrization=MUP | {"base_head_width": 16})
    for other in ({"base_width": 8}, {"base_head_width": 8}, {"base_depth": 2}):
        assert not ids(defaults__parametrization=MUP) & ids(defaults__parametrization=MUP | other)
    # A base that is narrower than a head of 16 has one head.
    assert dict(built(defaults__parametrization=MUP | {"base_width": 8})[0].parametrization)["base_head_width"] == 8


def test_both_parametrizations_in_a_grid_answer_a_question() -> None:
    data = changed(experiments__size__grid__parametrization=["standard", MUP])
    made = study.build(config.parse(data), Path("nowhere"))
    assert "parametrization" in made.kinds and "rate" not in made.kinds
    assert "parametrization" not in study.build(config.parse(STUDY), Path("nowhere")).kinds


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mup", "defaults.parametrization: muP needs the width at which the rate is tuned: write {name: mup, base_width: 32}"),
        ({"name": "mup"}, "defaults.parametrization.base_width: is missing"),
        (MUP | {"base_widht": 3}, "defaults.parametrization.base_widht: unknown key: did you mean base_width?"),
        (MUP | {"base_width": 0}, "defaults.parametrization.base_width"),
        (MUP | {"base_depth": True}, "defaults.parametrization.base_depth"),
        ("ntk", "defaults.parametrization"),
    ],
)
def test_a_wrong_parametrization_is_told_by_its_key(given: Any, words: str) -> None:
    assert words in refused(defaults__parametrization=given)


def test_what_mup_is_not_derived_for_is_refused_by_its_place() -> None:
    told = refused(defaults__parametrization=MUP, experiments__size__optimizer="muon")
    assert "experiments.size.grid" in told
    assert "parametrization: mup has no rules for optimizer muon: use one of adamw, sgd" in told
    assert "architecture lstm" in refused(defaults__parametrization=MUP, defaults__architecture="lstm")


def test_rules_of_rate_and_batch_follow_the_budget() -> None:
    runs = built(defaults__schedule="cosine", defaults__learning_rate="step-law", defaults__batch_tokens="step-law")
    for run in runs:
        assert run.learning_rate == pytest.approx(1.79 * run.n_params**-0.713 * run.tokens**0.307, rel=1e-5)
        assert run.batch_tokens % 128 == 0 and abs(run.batch_tokens - 0.58 * run.tokens**0.571) <= 64
    assert len({run.batch_tokens for run in runs}) == 5 and all(isinstance(run.batch_tokens, int) for run in runs)


def test_a_batch_of_a_rule_is_whole_micro_batches() -> None:
    law = {"coefficient": 2, "tokens_exponent": 0.5}
    runs = built(defaults__schedule="linear", defaults__batch_tokens=law, defaults__micro_batch_tokens=512)
    assert [run.batch_tokens for run in runs[:5]] == [1536, 2048, 3072, 4096, 5632]  # 1414, 2000, 2828, 4000 and 5657 tokens


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [
        (
            "learning_rate",
            "step-law",
            "learning_rate: step-law: under schedule wsd all budgets share one stable phase, so the rate",
        ),
        (
            "batch_tokens",
            "step-law",
            "batch_tokens: step-law: under schedule wsd all budgets share one stable phase, so the batch",
        ),
        ("batch_tokens", {"coefficient": 1, "tokens_exponent": 0.5}, "batch_tokens.tokens_exponent: under schedule wsd"),
    ],
)
def test_rules_that_follow_the_budget_are_refused_where_budgets_share_a_trunk(key: str, given: Any, words: str) -> None:
    told = refused(**{f"defaults__{key}": given})
    assert words in told and "experiments.size.grid" in told and "use schedule cosine, linear or constant" in told
    assert built(**{f"defaults__{key}": given, "defaults__schedule": "cosine"})


def test_a_batch_rule_without_a_budget_exponent_shares_trunks() -> None:
    law = {"coefficient": 2048, "tokens_exponent": 0}
    assert ids(defaults__batch_tokens=law) == ids()


def test_a_rule_beyond_all_bounds_is_refused() -> None:
    law = {"coefficient": "1e30", "tokens_exponent": 10}
    assert "batch_tokens: the rule gives" in refused(defaults__schedule="cosine", defaults__batch_tokens=law)
    large = {"coefficient": 5, "tokens_exponent": 1}
    assert "is less than one step of batch_tokens" in refused(defaults__schedule="cosine", defaults__batch_tokens=large)
