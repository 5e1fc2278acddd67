"""Warnings before anything is trained: what a design cannot tell is said, and a sound one is not doubted."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import launch
from scalinglaws.data.pinned import sha256
from scalinglaws.decide.design import of_law, warnings
from scalinglaws.decide.load import of_config
from scalinglaws.decide.planned import planned_curves, planned_runs
from scalinglaws.laws.result import fit_table
from scalinglaws.study import config, study
from scalinglaws.study.study import Study

SHA = hashlib.sha256(b"").hexdigest()
ROOT = Path(__file__).parents[3]
SHARED = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"], "sha256": SHA}], "bytes": "1G"}},
    "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "warmup_tokens": "50k"},
}
SIZES = {"2x16": 6144, "2x24": 13_824, "2x32": 24_576, "3x48": 82_944, "4x64": 196_608}
MODELS = list(SIZES)


def made(laws: Any, **experiments: dict[str, Any]) -> Study:
    given: dict[str, Any] = copy.deepcopy(SHARED) | {"experiments": experiments, "fits": {"laws": laws}}
    return study.build(config.parse(given))


def early(**grid: Any) -> dict[str, Any]:
    return {"stop": "early", "patience": 3, "max_tokens": "4M", "schedule": "constant", "grid": grid}


def swept(models: list[str], batches: list[int]) -> dict[str, Any]:
    return {"schedule": "constant", "grid": {"model": models, "batch_tokens": batches, "tokens": ["1M"]}}


def proportional(models: list[str], factors: list[float]) -> list[dict[str, Any]]:
    """Return points whose tokens are so many times 100 tokens per parameter."""
    return [{"model": model, "tokens": int(100 * SIZES[model] * factor)} for model in models for factor in factors]


@pytest.mark.parametrize(
    ("name", "doubted"),
    [
        ("config", ""),
        ("workflow/studies/paper", ""),
        ("workflow/studies/h100", ""),
        ("workflow/studies/kaplan2020", "power-n power-c power-cmin chinchilla"),  # budgets of several epochs
        ("workflow/studies/smoke", "power-n power-d power-c kaplan-nd chinchilla"),  # two models at two budgets
    ],
)
def test_the_studies_of_this_project_give_no_false_alarm(name: str, doubted: str, tmp_path: Path) -> None:
    found = warnings(of_config(config.load(ROOT / f"{name}.yaml"), tmp_path))
    assert [sentence.split()[1] for sentence in found] == doubted.split()


def test_tokens_in_proportion_to_size_do_not_identify_two_terms() -> None:
    for law in ("chinchilla", "overtraining"):
        line = made([law], size={"points": proportional(MODELS, [1.0, 1.15])})
        (found,) = warnings(line)
        assert found.startswith(f"law {law} cannot tell its terms apart: budgets follow model sizes within a factor of 1.1")
        assert "tokens per parameter go from 100 to 115" in found and "over a factor of 3" in found
        assert warnings(made([law], size={"points": proportional(MODELS, [1.0, 4.0])})) == []


def test_a_design_on_a_bent_line_is_seen_as_well() -> None:
    """D ∝ N^0.5 has tokens per parameter that vary, and still no answer."""
    tokens = {model: 2e6 * (n / 6144) ** 0.5 for model, n in SIZES.items()}
    points = [{"model": model, "tokens": int(budget)} for model, budget in tokens.items()]
    (found,) = warnings(made(["chinchilla"], size={"points": points}))
    assert "will have 5 points for its 5 parameters and needs 6" in found
    points += [{"model": model, "tokens": int(1.1 * int(budget))} for model, budget in tokens.items()]
    (found,) = warnings(made(["chinchilla"], size={"points": points}))
    assert "budgets follow model sizes within a factor of 1.1 (tokens per parameter go from 57.5 to 358)" in found


@pytest.mark.parametrize(
    ("law", "experiment", "said"),
    [
        ("power-n", {"grid": {"model": ["2x16", "2x32"], "tokens": ["2M"]}},
         "will have 2 points for its 2 parameters and needs 3"),
        ("power-n", {"grid": {"model": ["1x16", "1x32", "1x48"], "tokens": ["2M"]}},
         "will have no points: it takes final losses"),
        ("power-n-offset", {"grid": {"model": ["2x16", "2x32"], "tokens": ["2M"], "seed": [0, 1]}},
         "will have 2 of the 3 model sizes that identify it: add models"),
        ("power-n", {"points": [{"model": {"n_layer": 2, "d_model": d}, "tokens": "2M"} for d in (32, 34, 36)]},
         "has model sizes that span a factor of 1.27 only: spread them over 3 at least"),
        ("chinchilla", {"grid": {"model": ["2x16", "2x32"], "tokens": ["1M", "2M", "4M", "8M"], "seed": [0, 1]}},
         "will have 2 of the 3 model sizes that identify it"),
        ("power-c", {"grid": {"model": ["2x16", "2x32"], "tokens": ["1M", "2M", "4M", "8M"]}},
         "will have 2 trunks, and intervals take 3: add models or seeds"),
        ("power-d", early(model=["2x32"], dataset_tokens=["64k", "128k", "all"]),
         "will have 2 points for its 2 parameters and needs 3: it takes early-stopped runs of the largest model"),
        ("kaplan-nd", early(model=["2x16", "2x32"], dataset_tokens=["64k", "all"]), "left out: 2 (early-stopped on all the data"),
        ("kaplan-nd", early(model=MODELS, dataset_tokens=["all"]), "will have no points"),
        ("isoflop", {"grid": {"model": MODELS, "tokens": ["1M", "4M"]}},
         "will have 0 profiles of at least 3 sizes at one compute"),
        ("critical-batch", swept(["2x16", "1x16"], [1024, 2048]),
         "is named under fits.laws and will not be fitted: it takes three batch sizes of one model"),
        ("critical-batch", swept(["1x16"], [512, 2048, 8192]),
         "will have no points"),
        ("critical-batch", swept(["2x16"], [512, 1024, 2048]),
         "has batch sizes that span a factor of 4 at 6.14e+03 parameters, less than 32"),
        ("repetition", {"grid": {"model": MODELS, "tokens": ["1M", "4M"]}}, "it takes budgets of more than one epoch"),
    ],
)  # fmt: skip
def test_what_a_law_lacks_is_said_with_its_numbers(law: str, experiment: dict[str, Any], said: str) -> None:
    (found,) = warnings(made([law], own=experiment))
    assert found.startswith(f"law {law} ") and said in found


def test_profiles_of_equal_compute_are_counted() -> None:
    def profiles(computes: tuple[float, ...], sizes: int) -> Study:
        models = list(SIZES.items())[:sizes]
        points = [{"model": model, "tokens": int(c / (6 * n))} for c in computes for model, n in models]
        return made(["isoflop"], size={"points": points})

    assert warnings(profiles((2e11, 8e11, 3.2e12), 5)) == []
    (two,) = warnings(profiles((8e11, 3.2e12), 5))
    assert "will have 2 profiles only" in two
    (few,) = warnings(profiles((2e11, 8e11, 3.2e12), 4))
    assert "will have 3 of 3 profiles of fewer than 5 sizes" in few


def test_runs_that_laws_are_not_fitted_to_do_not_count() -> None:
    grid = {"model": MODELS, "tokens": ["1M", "4M"]}
    (found,) = warnings(made(["power-n"], size={"fit": False, "grid": grid}))
    assert "will not be fitted: it takes budgets on all the data, in experiments with fit: true" in found
    assert warnings(made(["power-n"], size={"grid": grid})) == []


def test_a_fit_of_the_planned_table_says_the_same() -> None:
    """The warnings follow from the laws' own rules: with losses, the same table has the points that they count."""
    for dataset_tokens, enough in ((["64k", "128k"], False), (["64k", "128k", "256k"], True)):
        one = made("all", data=early(model=["2x32"], dataset_tokens=dataset_tokens))
        runs = planned_runs(one)
        assert bool(of_law("power-d", runs, None)) != enough
        if enough:
            assert fit_table(runs, "power-d", n_bootstrap=0)["n_points"] == 3
        else:
            with pytest.raises(StudyError, match="2 points are left: it needs at least 3"):
                fit_table(runs, "power-d", n_bootstrap=0)


def test_planned_curves_end_before_the_decay_and_feed_the_envelope() -> None:
    one = made("all", size={"schedule": "wsd", "decay": 0.25, "grid": {"model": MODELS, "tokens": ["1M", "4M"]}})
    curves = planned_curves(one)
    assert curves["tokens"].max() == pytest.approx(0.75 * 4e6, abs=2048) and set(curves["phase"]) == {"stable"}
    assert of_law("envelope", planned_runs(one), curves) == []


def test_runs_made_elsewhere_count(tmp_path: Path) -> None:
    given: Any = copy.deepcopy(SHARED) | {"fits": {"laws": ["power-n"]}}
    given["experiments"] = {"size": {"grid": {"model": ["2x16"], "tokens": ["2M"]}}}
    (alone,) = warnings(study.build(config.parse(given)))
    assert "will have 1 point for its 2 parameters" in alone
    table = tmp_path / "theirs.csv"
    table.write_text("n_params,tokens,loss\n1e5,2e6,3.1\n1e6,2e6,2.9\n1e7,2e6,2.8\n")
    given["external_runs"] = [{"path": str(table)}]
    assert warnings(study.build(config.parse(given))) == []


def test_plan_and_run_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    given: Any = copy.deepcopy(SHARED) | {"fits": {"laws": ["power-n"]}}
    given["experiments"] = {"size": {"grid": {"model": ["2x16"], "tokens": ["2M"]}}}
    Path("books").mkdir()
    Path("books/a.txt").write_text("text\n")
    given["corpora"]["books"]["sources"][0]["sha256"] = sha256([Path("books/a.txt")])
    Path("one.json").write_text(json.dumps(given))
    assert main(["plan", "--configfile", "one.json", "--untimed"]) == 0
    assert "\nwarning: law power-n will have 1 point" in capsys.readouterr().out
    assert main(["plan", "--configfile", "one.json", "--json", "--untimed"]) == 0
    assert [text[:21] for text in json.loads(capsys.readouterr().out)["warnings"]] == ["law power-n will have"]
    monkeypatch.setattr(launch.profile, "check_snakefile", lambda more: None)
    monkeypatch.setattr(launch.subprocess, "Popen", _stop)
    with pytest.raises(InterruptedError):
        launch.run(Path("one.json"), 1, [], Path("results"))
    assert "[test] warning: law power-n will have 1 point" in capsys.readouterr().err


def _stop(*_: Any, **__: Any) -> None:
    raise InterruptedError
