"""Registered forecasts: written once, before the run; later ones beside them; late ones marked; edited ones refused; scored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from fixtures.small_runs import small_spec
from scalinglaws.cli.app import main
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.laws import registered
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.registry import LAWS
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.scored import write_scores
from scalinglaws.study.forecasts import quantities

SPEC = small_spec()
AT = quantities(SPEC)
LAW = ("chinchilla",)


class Results:
    """A folder of results: the spec of a run, the table of the fitted runs, a fit written by hand, and the study's forecasts."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "forecasts"
        (root / "fits").mkdir()
        self.run = root / "runs" / SPEC.id
        self.run.mkdir(parents=True)
        (self.run / "spec.json").write_text(SPEC.canonical)
        self.table = root / "fitted.parquet"
        polars.DataFrame({"run": ["a"], "loss": [3.0]}).write_parquet(self.table)
        self.says(2.0, 1.9, 2.2)

    def says(self, loss: float, low: float, high: float, **more: Any) -> None:
        """Write the fit anew, with a prediction of the run; the largest of two points has a quarter of its N and half its D."""
        near = {"run": "a", "n_params": AT["n_params"] / 4, "tokens": AT["tokens"] / 2, "flops": AT["flops"] / 8}
        points = [near, near | {"run": "b", "flops": AT["flops"] / 16}]
        place = {name: AT[name] for name in ("n_params", "tokens")}
        said = {"at": place, "loss": loss, "run_low": low, "run_high": high}
        fit = {"parameters": {"E": {}}, "points": points, "flags": ["Few trunks.", "Wide."], "predictions": [said]} | more
        (self.root / "fits/chinchilla.json").write_text(json.dumps(fit))

    def train(self) -> None:
        (self.run / "metrics.json").write_text("{}")

    def register(self) -> Path | None:
        return registered.register(SPEC, self.root, self.table, self.root / "fits", LAW, self.folder)

    def score(self, loss: float | None) -> list[dict[str, Any]]:
        manifest = self.root / "manifest-x.jsonl"
        entries: list[dict[str, Any]] = [
            {"run": run, "experiments": [], "fit": False, "evaluations": None} for run in ("a", SPEC.id)
        ]
        manifest.write_text("".join(json.dumps(entry | {"forecast": entry["run"] == SPEC.id}) + "\n" for entry in entries))
        runs, out = self.root / "runs.parquet", self.root / "forecasts.parquet"
        polars.DataFrame({"run": ["a", SPEC.id], "loss": [3.0, loss]}).write_parquet(runs)
        write_scores(manifest, self.root, runs, self.table, self.root / "fits", LAW, self.folder, out, with_sums=True)
        assert sums.look(sums.beside(out), [out.name]).listed
        return polars.read_parquet(out).to_dicts()


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def test_a_forecast_says_what_the_fit_says_and_from_which_files(results: Results) -> None:
    path = results.register()
    assert path == results.folder / f"{SPEC.id}.json"
    found = json.loads(path.read_text())
    (item,) = found.pop("laws").values()
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (results.table, results.root / "fits/chinchilla.json")]
    assert found == {"run": SPEC.id, "late": False, **AT, "table": hashes[0]}
    factors = {"compute_factor": 8.0, "n_factor": 4.0, "tokens_factor": 2.0}
    flags = ["Few trunks.", "Wide."]
    assert item == {"loss": 2.0, "low": 1.9, "high": 2.2, **factors, "flags": flags, "fit": hashes[1]}
    assert {"n_params": SPEC.n_params, "tokens": 2560, "flops": 6 * SPEC.n_params * 2560} == AT


def test_a_forecast_is_never_rewritten_and_a_later_fit_adds_one(results: Results) -> None:
    first = results.register()
    assert first is not None
    data = first.read_bytes()
    results.says(2.0, 1.9, 2.2, excluded=["another file that says the same"])
    assert results.register() is None
    results.says(2.05, 1.9, 2.2)
    second = results.register()
    assert second is not None and second.name == f"{SPEC.id}.{hashlib.sha256(second.read_bytes()).hexdigest()[:10]}.json"
    results.train()
    assert results.register() is None  # what was said before the run is not late
    results.says(2.07, 1.9, 2.2)
    third = results.register()
    files = registered.files_of(results.folder, SPEC.id)
    assert files[0] == first and set(files[1:]) == {second, third}
    assert [registered.read(path)["late"] for path in (first, second, third) if path] == [False, False, True]
    assert first.read_bytes() == data


def test_a_forecast_after_the_run_is_late(results: Results) -> None:
    results.train()
    path = results.register()
    assert path is not None and path.name == f"{SPEC.id}.json" and registered.read(path)["late"]


def test_a_deleted_forecast_comes_back_where_the_fits_still_say_it(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    first = results.register()
    assert first is not None
    data = first.read_bytes()
    results.train()
    first.unlink()
    assert results.register() == first and first.read_bytes() == data  # its sum was written before the run
    first.unlink()
    results.says(2.3, 2.2, 2.4)
    assert results.register() == first and registered.read(first)["late"]
    assert "it is lost" in capsys.readouterr().err


def test_an_edited_forecast_is_refused(results: Results) -> None:
    path = results.register()
    assert path is not None
    data = path.read_bytes()
    path.write_bytes(data.replace(b"2.0", b"2.1"))
    for call in (lambda: registered.read(path), results.register, lambda: results.score(2.1)):
        with pytest.raises(StudyError, match=rf"{path.name} is damaged, its sha256"):
            call()
    path.write_bytes(data)
    sums.beside(path).unlink()
    with pytest.raises(StudyError, match="nothing tells whether it was changed"):
        results.score(2.1)


def test_scores_are_those_computed_by_hand(results: Results) -> None:
    results.register()
    (row,) = results.score(2.1)
    assert (row["run"], row["law"], row["file"], row["late"]) == (SPEC.id, "chinchilla", f"{SPEC.id}.json", False)
    assert (row["loss_forecast"], row["low"], row["high"], row["loss"]) == (2.0, 1.9, 2.2, 2.1)
    assert row["error"] == pytest.approx(-0.1 / 2.1) and row["inside"] is True
    assert (row["compute_factor"], row["n_factor"], row["tokens_factor"]) == (8.0, 4.0, 2.0)
    assert row["flags"] == "Few trunks.; Wide."
    (row,) = results.score(1.5)
    assert row["error"] == pytest.approx(1 / 3) and row["inside"] is False
    (row,) = results.score(None)  # it diverged, or is still to come
    assert row["error"] is None and row["inside"] is None
    results.train()
    results.says(1.6, 1.4, 1.8)  # a fitted run was added later
    first, second = results.score(1.5)
    assert (first["inside"], first["late"], second["inside"], second["late"]) == (False, False, True, True)


def test_what_cannot_be_said_is_told(results: Results) -> None:
    results.says(2.0, 1.9, 2.2, points=[{"run": SPEC.id}])
    with pytest.raises(StudyError, match=f"was fitted to run {SPEC.id} itself"):
        results.register()
    results.says(2.0, 1.9, 2.2, predictions=[])
    with pytest.raises(StudyError, match=f"says nothing about run {SPEC.id}"):
        results.register()
    results.says(2.0, 1.9, 2.2, predictions=[], parameters={}, flags=["Not fitted: too few points"])
    path = results.register()
    assert path is not None
    item = registered.read(path)["laws"]["chinchilla"]
    assert item["loss"] is None and item["flags"] == ["Not fitted: too few points"]
    (row,) = results.score(2.0)
    assert row["error"] is None and row["inside"] is None


def test_laws_that_forecast_take_what_is_known_of_a_run() -> None:
    stating = {entry.name: entry.states for entry in LAWS.values() if entry.states}
    assert stating == {name: find(name).variables for name in stating} and set(stating) >= {"chinchilla", "power-c"}
    assert all(set(names) <= set(AT) for names in stating.values())


def test_the_stages_give_back_a_planted_law(results: Results) -> None:
    sizes, budgets = (1e3, 4e3, 16e3, 64e3), (2e5, 8e5, 32e5)
    rows = [
        {"run": f"{n}-{d}", "n_params": n, "tokens": d, "loss": 1.5 + 3 / n**0.2 + 20 / d**0.3} for n in sizes for d in budgets
    ]
    place = {name: AT[name] for name in ("n_params", "tokens")}
    fit = fit_table(polars.DataFrame(rows), "chinchilla", n_bootstrap=50, at=[{"n_params": 9.0, "tokens": 9.0}, place])
    (results.root / "fits/chinchilla.json").write_text(json.dumps(fit))
    options = ["--table", str(results.table), "--fits", str(results.root / "fits"), "--laws", "chinchilla"]
    options += ["--results", str(results.root), "--forecasts", str(results.folder)]
    assert main(["register", "--spec", str(results.run / "spec.json"), *options]) == 0
    item = json.loads((results.folder / f"{SPEC.id}.json").read_text())["laws"]["chinchilla"]
    truth = 1.5 + 3 / AT["n_params"] ** 0.2 + 20 / AT["tokens"] ** 0.3
    stated = fit["predictions"][1]
    assert stated["law_loss"] == pytest.approx(truth, rel=1e-3) and item["low"] <= truth <= item["high"]
    assert (item["loss"], item["low"], item["high"]) == tuple(stated[name] for name in ("loss", "run_low", "run_high"))
    assert item["compute_factor"] == pytest.approx(AT["flops"] / (6 * 64e3 * 32e5))
