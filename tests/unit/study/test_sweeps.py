"""Sweeps of the learning rate in a config: their runs, the ids of the runs that use them, and the rates that come of a rule."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import changed
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes
from scalinglaws.study import config, study
from scalinglaws.study.paths import rate_rule_path, run_folder, sweep_path
from scalinglaws.study.spec import RunSpec, run_from_dict
from scalinglaws.study.study import Study
from scalinglaws.study.sweeps import METHOD, Sweep, known_rate, rate_of, read_sweep

RATES = [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2]
OWN: dict[str, Any] = {"sizes": ["1x8", "2x16"], "tokens": "0.5M", "rates": RATES}
SIZES = {"grid": {"model": ["1x8", "2x16", "2x32"], "tokens": ["0.5M", "1M"]}}


def built(sweep: dict[str, Any], experiments: dict[str, Any] | None = None, **paths: Any) -> Study:
    given = {"defaults__learning_rate": {"sweep": sweep}, "experiments": experiments or {"size": SIZES}}
    return study.build(config.parse(changed(**given | paths)), Path("nowhere"))


def refused(sweep: dict[str, Any], experiments: dict[str, Any] | None = None, **paths: Any) -> str:
    with pytest.raises(StudyError) as told:
        built(sweep, experiments, **paths)
    return str(told.value)


def users(made: Study) -> list[RunSpec]:
    return [spec for spec in made.runs.values() if spec.rate_sweep]


def write_rule(results: Path, sweep: str, coefficient: float = 0.5, exponent: float = -0.4, of: str = "") -> None:
    """Write a rule as the stage ``rates`` does."""
    rule = {"sweep": of or sweep, "coefficient": coefficient, "exponent": exponent, "n_params": [768, 6144], "notes": []}
    path = rate_rule_path(results, sweep)
    path.parent.mkdir(parents=True, exist_ok=True)
    sums.finish(sums.beside(path), [], path, json_bytes(rule))


def test_the_runs_of_a_sweep_are_those_of_any_experiment_with_these_rates() -> None:
    made = built(OWN)
    (sweep,) = made.sweeps.values()
    named = {"points": [{"model": m, "tokens": "0.5M", "learning_rate": r} for m in ("1x8", "2x16") for r in RATES]}
    plain = study.build(config.parse(changed(experiments={"rate": named})), Path("nowhere"))
    assert set(sweep.runs) == set(plain.runs) == made.swept and list(sweep.runs) == sorted(sweep.runs)
    assert {made.experiments[run] for run in sweep.runs} == {("learning-rate-sweep",)}
    assert not made.fitted & made.swept and "rate" in made.kinds and "rate" not in made.fitted_kinds
    both = built(OWN, {"size": SIZES, "rate": named})
    assert both.swept <= both.fitted and {both.experiments[run] for run in both.swept} == {("learning-rate-sweep", "rate")}
    assert both.sweeps == made.sweeps


def test_the_id_of_a_sweep_and_no_rate_is_in_the_ids_of_its_users() -> None:
    made = built(OWN)
    (sweep,) = made.sweeps
    assert len(users(made)) == 6 and {spec.rate_sweep for spec in users(made)} == {sweep}
    for spec in users(made):
        assert "learning_rate" not in spec.plain and spec.plain["rate_sweep"] == sweep
        assert run_from_dict(json.loads(spec.canonical)) == spec and spec.trunk.rate_sweep == sweep
    assert {spec.id for spec in users(built(OWN | {"rates": RATES[::-1], "sizes": ["2x16", "1x8"]}))} == {
        spec.id for spec in users(made)
    }
    for other in ({"rates": [*RATES, 6.4e-2]}, {"sizes": ["2x16"]}, {"tokens": "1M"}, {"seeds": [0, 1]}):
        assert not {spec.id for spec in users(built(OWN | other))} & set(made.runs)
    assert Sweep(("a",), METHOD).id != Sweep(("a",), METHOD + 1).id


def test_by_default_rates_lie_about_the_default_rule() -> None:
    made = built({"sizes": ["1x8"], "tokens": "0.5M"})
    rates = sorted(made.runs[run].learning_rate for run in made.swept)
    assert rates == pytest.approx([0.6 * 768**-0.41 * 2.0**k for k in range(-3, 4)], rel=1e-5)
    around = {"sizes": ["1x8"], "tokens": "0.5M", "around": 0.01, "factors": [0.1, 0.3, 1, 3, 10]}
    made = built(around, defaults__optimizer="sgd")
    assert sorted(made.runs[run].learning_rate for run in made.swept) == [0.001, 0.003, 0.01, 0.03, 0.1]


def test_a_sweep_has_the_settings_of_the_runs_that_use_it() -> None:
    early = {"points": [{"model": "2x16", "dataset_tokens": "2^16"}], "stop": "early", "max_tokens": "4M", "noise_every": 4}
    own = {"size": SIZES, "muon": SIZES | {"optimizer": "muon"}, "early": early | {"schedule": "constant"}}
    made = built(OWN, own)
    kinds = {
        name: {(made.runs[run].optimizer, made.runs[run].schedule) for run in made.sweeps[name].runs} for name in made.sweeps
    }
    assert sorted(kinds.values(), key=str) == [{("adamw", "constant")}, {("adamw", "wsd")}, {("muon", "wsd")}]
    for spec in users(made):
        assert kinds[spec.rate_sweep] == {(spec.optimizer, spec.schedule)}
    assert {(s.stop, s.dataset_tokens, s.noise_every, s.tokens) for s in map(made.runs.get, made.swept) if s} == {
        ("budget", None, 0, 500_000)
    }
    shared = built(OWN | {"settings": {"schedule": "wsd"}}, {"size": SIZES, "early": early | {"schedule": "constant"}})
    assert len(shared.sweeps) == 1 and {spec.schedule for spec in users(shared)} == {"wsd", "constant"}


def test_a_sweep_at_the_base_width_of_mup() -> None:
    mup = {"name": "mup", "base_width": 8}
    made = built(OWN | {"sizes": ["1x8"]}, defaults__parametrization=mup)
    assert {made.runs[run].parametrization for run in made.swept} == {spec.parametrization for spec in users(made)} != {()}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": ["1y8"]}, "learning_rate.sweep.sizes[0].model: n_layer x d_model is expected"),
        ({"sizes": [{"n_layer": 1, "d_model": 8, "n_haeds": 2}]}, "learning_rate.sweep.sizes[0]: model.n_haeds: unknown key"),
        ({"tokens": "1k"}, "learning_rate.sweep.sizes[0]: tokens: 1.0k is less than one step"),
        ({"rates": RATES[:4]}, "defaults.learning_rate.sweep.rates: List should have at least 5 items"),
        ({"rates": [*RATES[:4], RATES[0]]}, "rates: 5 different values are needed at least"),
        ({"factors": [1, 2, 3, 4, 5]}, "give either rates, or factors and the rule around which they lie"),
        ({"rates": None, "around": 900}, "learning_rate.sweep: rates of 1.1e+02 to 7.2e+03 at N = 768"),
        ({"raets": RATES}, "defaults.learning_rate.sweep.raets: unknown key: did you mean rates?"),
        ({"settings": {"seed": 3}}, "learning_rate.sweep.settings.seed: a sweep says this by keys of its own"),
        ({"settings": {"decya": 3}}, "learning_rate.sweep.sizes[0].decya: unknown key: did you mean decay?"),
    ],
)
def test_a_wrong_sweep_is_told_by_its_key(changes: dict[str, Any], words: str) -> None:
    given = {key: value for key, value in (OWN | changes).items() if value is not None}
    assert words in refused({key: v for key, v in given.items() if key != "rates" or "around" not in changes})


def test_what_a_sweep_and_a_study_cannot_both_have() -> None:
    assert "the default rates suit the optimizers adamw alone, not muon" in refused(
        {"sizes": ["1x8"], "tokens": "0.5M"}, defaults__optimizer="muon"
    )
    assert "are listed under this name: choose another" in refused(OWN, {"learning-rate-sweep": SIZES})
    ahead = {"forecast": True, "points": [{"model": "2x16", "tokens": "0.5M", "learning_rate": RATES[0]}]}
    assert "experiments.ahead: forecast: true, and run gpt-n6.1k" in refused(OWN, {"size": SIZES, "ahead": ahead})
    assert "step-law" in refused(OWN, defaults__batch_tokens="step-law")  # the budgets of a trunk share one batch


def test_a_rate_follows_from_the_rule(tmp_path: Path) -> None:
    made = built(OWN)
    spec = max(users(made), key=lambda spec: spec.n_params)
    with pytest.raises(StudyError, match=rf"{spec.rate_sweep}\.json does not exist: run snakemake, which makes it"):
        rate_of(spec, tmp_path)
    assert known_rate(spec.id, spec, tmp_path) is None
    write_rule(tmp_path, spec.rate_sweep)
    assert rate_of(spec, tmp_path) == rate_of(spec.trunk, tmp_path) == pytest.approx(0.5 * 24_576**-0.4, rel=1e-5)
    assert known_rate(spec.id, spec, tmp_path) == rate_of(spec, tmp_path)
    assert rate_of(dataclasses.replace(spec, rate_sweep="", learning_rate=0.25), tmp_path) == 0.25
    write_rule(tmp_path, spec.rate_sweep, exponent=3)
    with pytest.raises(StudyError, match=r"gives the rate 7.4e\+12 at N = 24,576: give larger sizes"):
        rate_of(spec, tmp_path)
    write_rule(tmp_path, spec.rate_sweep, of="0123456789")
    with pytest.raises(StudyError, match="is the rule of sweep 0123456789"):
        rate_of(spec, tmp_path)
    path = rate_rule_path(tmp_path, spec.rate_sweep)
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(StudyError, match="is damaged, its sha256 is not the one in"):
        rate_of(spec, tmp_path)
    folder = run_folder(tmp_path, spec.id)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"learning_rate": 0.0125}')
    assert known_rate(spec.id, spec, tmp_path) == 0.0125  # that of a trained run stays, whatever the rule says


def test_the_file_of_a_sweep_is_named_by_its_content(tmp_path: Path) -> None:
    (sweep,) = built(OWN).sweeps.values()
    path = sweep_path(tmp_path, sweep.id)
    path.parent.mkdir(parents=True)
    path.write_text(f"{sweep.canonical}\n")
    assert read_sweep(path) == sweep
    path.write_text(sweep.canonical.replace("s0", "s1"))
    with pytest.raises(StudyError, match="its content is not what its name says"):
        read_sweep(path)
    later = Sweep(sweep.runs, METHOD + 1)
    sweep_path(tmp_path, later.id).write_text(later.canonical)
    with pytest.raises(StudyError, match=f"fits rules by method {METHOD}"):
        read_sweep(sweep_path(tmp_path, later.id))
