"""The command suggest: its runs, its JSON and its schema, the entry to paste, and what a mistake is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from printed import printed, validator

from fixtures.small_study import changed
from scalinglaws.cli.app import main
from scalinglaws.common import sums
from scalinglaws.common.files import json_bytes
from scalinglaws.decide.candidates import of_config
from scalinglaws.decide.suggestion import Suggestion
from scalinglaws.laws.result import fit_table
from scalinglaws.study import config, study
from scalinglaws.study.ladder import flops_per_step, tokens_to_train

ROOT = Path(__file__).parents[3]
TABLE = ["suggest", "--table", "docs/example.csv", "--bootstrap", "40", "--budget", "1e20", "--most-runs", "6"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results with the fits of the small study, whose losses follow a law, and its config."""
    found = tmp_path_factory.mktemp("results")
    (found / "config.yaml").write_text(yaml.safe_dump(changed()))
    folder = found / "studies" / "test" / "fits"
    folder.mkdir(parents=True)
    runs = [spec for spec in study.build(config.parse(changed())).runs.values() if spec.stop == "budget"]
    n, d = np.array([(spec.n_params, spec.tokens) for spec in runs], float).T
    loss = (1.0 + 20 / n**0.3 + 60 / d**0.3) * np.exp(0.004 * np.random.default_rng(0).standard_normal(len(n)))
    table = pl.DataFrame({"run": [spec.id for spec in runs], "n_params": n, "tokens": d, "loss": loss})
    for law in ("chinchilla", "power-n"):
        path = folder / f"{law}.json"
        sums.finish(sums.beside(path), [], path, json_bytes(fit_table(table, law, n_bootstrap=2)))
    return found


def asked(results: Path, *more: str) -> list[str]:
    return ["suggest", "--results", str(results), "--configfile", str(results / "config.yaml"), "--bootstrap", "40", *more]


def test_the_json_is_that_of_the_schema(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of targets meet it, and what lacks a part does not."""
    monkeypatch.chdir(ROOT)
    kept = validator("suggest")
    for target, kind in (("beta", "parameter"), ("forecast:flops=1e22", "forecast")):
        assert main([*TABLE, "--target", target, "--json"]) == 0
        found = printed("suggest", capsys.readouterr().out)
        assert found["target"]["kind"] == kind and Suggestion(**found)
        for name in found:
            assert not kept.is_valid({key: value for key, value in found.items() if key != name})
        assert 0 < sum(run["flops"] for run in found["runs"]) == pytest.approx(found["spent"]) and found["spent"] <= 1e20
        shares = [1.0, *(run["interval"]["share"] for run in found["runs"])]
        assert shares == sorted(shares, reverse=True) and found["everything"]["interval"]["share"] <= shares[-1] < (
            0.8 if kind == "parameter" else 0.99
        )
        assert found["after"]["share"] == shares[-1] and 1 <= len(found["runs"]) <= 6
        assert all(6 * run["n_params"] * run["tokens"] == pytest.approx(run["flops"]) for run in found["runs"])


def test_the_entry_to_paste_is_read_with_the_config(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(results, "--budget", "2e13", "--target", "alpha", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refused"] is None and found["source"] == "study test" and found["minutes"] > 0
    given = yaml.safe_load((results / "config.yaml").read_text())
    before = study.build(config.parse(given))
    given["experiments"] |= yaml.safe_load(found["block"])
    after = study.build(config.parse(given))
    new = set(after.runs) - set(before.runs)
    assert new == {run["run"] for run in found["runs"]} and new <= after.fitted and new
    assert all(
        (after.runs[run["run"]].n_params, after.runs[run["run"]].seed) == (run["n_params"], run["seed"]) for run in found["runs"]
    )
    # What they take is what the ladder trains more, by its own count of tokens, of runs that share no rung with trained ones.
    runs = {run: after.runs[run] for run in new}
    trunks = {spec.trunk.id for spec in runs.values()}
    shared = [{run: spec for run, spec in runs.items() if spec.trunk.id == trunk} for trunk in sorted(trunks)]
    steps = [(tokens_to_train(group, after.ladder)[0], next(iter(group.values()))) for group in shared]
    assert found["spent"] == pytest.approx(sum(tokens / spec.batch_tokens * flops_per_step(spec) for tokens, spec in steps))
    assert main(asked(results, "--budget", "2e13", "--target", "alpha")) == 0
    told = capsys.readouterr().out
    assert "Target: alpha, by the law chinchilla" in told and "suggest-alpha:" in told and "of a budget of 2.00e13" in told


def test_a_target_of_sizes_alone_takes_runs_of_the_largest_budget(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(results, "--budget", "2e13", "--target", "alpha_N", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["law"] == "power-n" and {round(run["tokens"] / 1e6) for run in found["runs"]} == {8}


def test_candidates_are_new_runs_within_the_budget(results: Path) -> None:
    given = config.load(results / "config.yaml")
    found, own = of_config(given, results, 2e13), study.build(given)
    assert not set(found.runs) & set(own.runs) and (found.costs.more([]) <= 2e13).all()
    assert found.columns["n_params"].max() <= 8.1 * max(spec.n_params for spec in own.runs.values())
    assert {"1x8", "2x16", "2x32"} < {f"{n_layer}x{d_model}" for n_layer, d_model in filter(None, found.models)}
    assert not found.runs or all(spec.id == run for spec, run in zip(found.specs, found.runs, strict=True))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--target", "alfa"], "--target alfa: did you mean alpha? there are e, a, b, alpha, beta, a, b of chinchilla"),
        (["--target", "gamma", "--law", "chinchila"], "did you mean chinchilla"),
        (["--target", "alpha", "--law", "kaplan-nd"], "decayed budgets alone"),
        (["--target", "alpha_C", "--law", "power-c"], "--law power-c was not fitted in study test"),
        (["--target", "forecast"], "a forecast takes flops=C, or n_params=N,tokens=D"),
        (["--target", "forecast:loss=2"], "a forecast takes flops=C"),
        (["--target", "forecast:flops=none"], "--target: flops has 'none'"),
        (["--target", "forecast:flops=1e18", "--law", "power-n"], "no law of power-n states the loss"),
        (["--target", "alpha", "--bootstrap", "0"], "no resamples do not tell how sure alpha is"),
        (["--target", "alpha", "--bootstrap", "1"], "--bootstrap is 1"),
        (["--target", "alpha", "--budget", "1e3"], "no new run of study test fits so many FLOP"),
        (["--target", "alpha", "--budget", "-1"], "--budget is -1: give a number above 0"),
    ],
)
def test_a_mistake_is_one_message(more: list[str], said: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(results, "--budget", "2e13", *more)) == 1
    told = capsys.readouterr().err
    assert told.startswith("scalinglaws suggest: ") and said.lower() in told.lower() and told.count("\n") == 1


def test_candidates_of_a_file_are_those_that_it_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "grid.csv"
    path.write_text("N,D\n1e9,2e10\n1e9,2e10\n2e8,2e11\n5e9,1e12\n")
    more = ["--columns", "n_params=N,tokens=D", "--candidates", str(path), "--target", "beta"]
    table = pl.read_csv("docs/example.csv").rename({"n_params": "N", "tokens": "D"})
    table.write_csv(tmp_path / "runs.csv")
    words = [*TABLE[:2], str(tmp_path / "runs.csv"), *TABLE[3:], *more, "--budget", "1e21"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["everything"]["runs"] == 3 and {run["n_params"] for run in found["runs"]} <= {1e9, 2e8}
    path.write_text("N,D\n1e9,-2\n")
    assert main(words) == 1 and "does not give a positive n_params and tokens in each row" in capsys.readouterr().err
