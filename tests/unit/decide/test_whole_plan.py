"""The whole plan: its JSON meets the schema, money and GPU hours, what laws will have, the disk, and what is rarely meant."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from printed import printed, validator

from scalinglaws.cli.app import main
from scalinglaws.cluster.device import device_of_profile, placeholders
from scalinglaws.decide import disk, plan_words
from scalinglaws.decide.design import law_plans
from scalinglaws.decide.load import of_config
from scalinglaws.decide.rarely import rarely_meant, too_little_room
from scalinglaws.decide.whole_plan import GPU_HERE
from scalinglaws.study import config
from scalinglaws.study.config import Config
from scalinglaws.study.study import Study

ROOT = Path(__file__).parents[3]
SMOKE = str(ROOT / "workflow/studies/smoke.yaml")
STUDY: dict[str, Any] = {
    "study": "test",
    "corpora": {"books": {"sources": [{"kind": "files", "files": ["books/*.txt"]}], "bytes": "11.8M"}},
    "defaults": {"corpus": "books", "n_ctx": 128, "batch_tokens": 2048, "learning_rate": 0.01, "warmup_tokens": "50k"},
    "experiments": {"size": {"grid": {"model": ["2x16", "2x24", "2x32", "2x48"], "tokens": ["1M", "2M", "4M"]}}},
    "fits": {"laws": ["power-n", "chinchilla"]},
}


def made(**changes: Any) -> tuple[Study, Config]:
    given = config.parse(copy.deepcopy(STUDY) | changes)
    return of_config(given), given


def profile(folder: Path, **device: Any) -> Path:
    """Write a profile with this device added to that of profiles/slurm, and return its folder."""
    values = device_of_profile(ROOT / "profiles/slurm").model_dump(exclude_defaults=True) | device  # type: ignore[union-attr]
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"config": [f"device={json.dumps(values)}"]}))
    return folder


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["plan", "--untimed", "--json", *words]) == 0
    found: dict[str, Any] = printed("plan", capsys.readouterr().out)
    return found


def test_the_json_is_that_of_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plans for this machine and for a profile meet it, what lacks a part does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scalinglaws.decide.whole_plan.has_gpu", lambda: False)
    kept = validator("plan")
    here = as_json(capsys, "--configfile", SMOKE)
    there = as_json(capsys, "--configfile", SMOKE, "--profile", str(profile(tmp_path / "p", price_per_hour=2.5)))
    for found in (here, there):
        for name in found:
            assert not kept.is_valid({key: value for key, value in found.items() if key != name})
        for part in ("device", "cost", "disk", "totals"):
            assert not kept.is_valid(found | {part: found[part] | {"more": 1}})
        assert not kept.is_valid(found | {"runs": [{**found["runs"][0], "minutes": -1}]})
    monkeypatch.setattr("scalinglaws.decide.whole_plan.has_gpu", lambda: True)
    assert [line for line in as_json(capsys, "--configfile", SMOKE)["warnings"] if line not in here["warnings"]] == [GPU_HERE]
    assert here["device"]["speed"] == "assumed" and here["cost"]["minutes"] >= here["cost"]["minutes_left"] > 0
    assert here["cost"]["gpu_hours"] is None and there["cost"]["minutes"] is None
    assert {row["gpus"] for row in here["runs"]} == {0} and {row["gpus"] for row in there["runs"]} == {1}
    assert sum(row["gpu_hours"] for row in there["sizes"]) == pytest.approx(there["cost"]["gpu_hours_left"])


def test_money_is_gpu_hours_times_the_price_of_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    h100 = ["--configfile", str(ROOT / "workflow/studies/h100.yaml"), "--profile"]
    free, paid = (as_json(capsys, *h100, str(profile(tmp_path / f"{k}", **more))) for k, more in enumerate(({}, PRICE)))
    assert free["cost"]["price"] is None and free["device"]["price_per_hour"] is None
    cost = paid["cost"]
    assert cost["price"] == pytest.approx(2.5 * cost["gpu_hours"]) and cost["price_left"] == pytest.approx(cost["price"])
    # A GPU of this speed needs so many hours at least, and starts of jobs and launches of kernels no more than this above it.
    assert paid["totals"]["flops_left"] / 989e12 / 3600 < cost["gpu_hours"] < 30
    (line,) = [line for line in plan_words.of_cost(paid["device"], cost) if "price" in line]
    assert line == f"cost at price_per_hour 2.5: {cost['price_left']:,.0f} left of {cost['price']:,.0f}"
    assert plan_words.of_cost(free["device"], free["cost"]) == [
        f"GPU hours left: {cost['gpu_hours_left']:,.1f} of {cost['gpu_hours']:,.1f} on H100, by the profile's utilisation and "
        "bandwidth"
    ]


PRICE = {"price_per_hour": 2.5}


def test_each_law_says_what_it_will_have() -> None:
    """Four sizes at three budgets: the largest budget of each for L(N), all of them for Chinchilla's; counted by hand."""
    lines = plan_words.of_laws(law_plans(made()[0]))
    assert lines == ["law power-n, L(N): 4 runs of 4 sizes", "law chinchilla, L(N, D): 12 runs of 4 sizes, 4 trunks"]
    early = {"stop": "early", "max_tokens": "4M", "schedule": "constant"}
    grid = {"model": ["2x16", "2x24", "2x32", "2x48"], "dataset_tokens": ["64k", "128k", "256k"]}
    study, _ = made(experiments={"data": early | {"grid": grid}}, fits={"laws": ["kaplan-nd", "power-d"]})
    assert plan_words.of_laws(law_plans(study)) == [
        "law kaplan-nd, L(N, D): 12 early-stopped runs of 4 sizes and 3 datasets",
        "law power-d, L(D): 3 early-stopped runs of 1 size and 3 datasets",
    ]


def test_a_law_without_points_says_why() -> None:
    far = {"size": {"grid": {"model": ["2x16", "2x32"], "tokens": ["100M", "200M"]}}}
    study, _ = made(experiments=far, fits={"laws": ["chinchilla", "power-d"]})
    assert plan_words.of_laws(law_plans(study)) == [
        "law power-d, L(D): none, no run is of the kind that it takes",
        "law chinchilla, L(N, D): none, all runs exceed one epoch",
    ]


def test_budgets_far_beyond_the_corpus_are_doubted(tmp_path: Path) -> None:
    grid = {"model": ["2x16"], "tokens": ["4M", "24M", "200M"]}
    (told,) = rarely_meant(*made(experiments={"size": {"grid": grid}}), tmp_path)
    # 94 % of 11.8 MB are the training text, and a token stands for a byte at least.
    assert told.startswith("1 run with budgets of more than 4 epochs, up to 200.0M tokens of a text of ")
    assert "11.9M tokens, which is 16.8 times" in told or "lower tokens, add text" in told
    assert rarely_meant(*made(), tmp_path) == []


def test_other_things_that_are_rarely_meant_are_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").touch()
    corpora = copy.deepcopy(STUDY["corpora"]) | {"mail": {"sources": [{"kind": "files", "files": ["mail/*.txt"]}]}}
    corpora["books"]["sources"][0]["exclude"] = ["books/b*", "books/a*"]
    size = STUDY["experiments"]["size"]
    early = {"stop": "early", "max_tokens": "4M", "schedule": "constant", "grid": {"model": ["2x16"], "dataset_tokens": ["1k"]}}
    study, given = made(corpora=corpora, experiments={"size": size, "again": size, "data": early})
    told = rarely_meant(study, given, tmp_path / "results")
    small = next(run for run, spec in study.runs.items() if spec.dataset_tokens)
    assert [line.partition(":")[0] for line in told] == [
        f"a batch is larger than the data of 1 run ({small})",
        "experiments again and size ask for the same runs",
        "no run uses the text of mail under corpora",
        "corpora.books.sources[0]",
    ]
    assert told[-1].startswith("corpora.books.sources[0]: exclude: 'books/b*' matches none of the files")


@pytest.mark.parametrize("name", ["config", *(f"workflow/studies/{name}" for name in ("paper", "h100", "kaplan2020", "mup"))])
def test_the_studies_of_this_project_are_meant(name: str, tmp_path: Path) -> None:
    given = config.load(ROOT / f"{name}.yaml")
    assert rarely_meant(of_config(given, tmp_path), given, tmp_path) == []


def test_what_a_profile_leaves_to_its_user_is_named() -> None:
    assert placeholders(ROOT / "profiles/slurm") == ["slurm_account"]
    assert placeholders(ROOT / "profiles/default") == []


def test_the_disk_holds_rungs_weights_and_text(tmp_path: Path) -> None:
    study, given = made()
    found = disk.disk(study, given, tmp_path, at_once=2)
    # 12 bytes of a rung for each parameter, with embeddings: N + 256 d + 128 d, and less than a percent of norms and biases.
    sizes = {d: 2 * 12 * d * d + (256 + 128) * d for d in (16, 24, 32, 48)}
    rungs = {trunk: len(steps) for trunk, steps in study.rungs.items()}
    total = sum(12 * sizes[study.trunks[trunk].d_model] * count for trunk, count in rungs.items())
    assert found["rungs"] == pytest.approx(total, rel=0.03)
    assert found["runs"] == pytest.approx(sum(3 * (4 * n + 60_000) for n in sizes.values()), rel=0.03)
    assert found["checkpoints"] == pytest.approx(2 * 2 * 12 * sizes[48], rel=0.03)
    assert found["text"] == 3 * 11_800_000
    assert found["left"] == pytest.approx(sum(found[name] for name in ("text", "rungs", "runs", "checkpoints")), abs=2)
    for run in study.runs:
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "metrics.json").write_text("{}")
    assert disk.disk(study, given, tmp_path, at_once=2)["left"] == 0
    (warned,) = too_little_room(study, tmp_path, found | {"left": 10**10, "free": 10**9}, 2, here=False)
    assert warned.startswith("the study will write some 10.0 GB") and "1.0 GB free" in warned
    assert too_little_room(study, tmp_path / "none", found, 2, here=True) == []
