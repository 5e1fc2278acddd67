"""docs/extending.md, block by block: a user's model, optimizer and text are trained, evaluated, fitted by a new law and drawn."""

import collections
import json
import re
from pathlib import Path

import polars as pl
import pytest

from scalinglaws.tables.read import read_own
from workflow.conftest import ROOT, Workflow, copy_workflow

PAGE = ROOT / "docs" / "extending.md"
OWN = ("my_model.py", "my_optimizer.py", "my_text.py", "my_study.yaml")
# Where a registry's line goes: before its first entry of this form.
ENTRIES = {"laws/registry.py": "        Entry(", "figures/registry.py": "        _figure("}


def blocks() -> dict[str, str]:
    """Return file -> its block on the page, whose first line names it; a line for a registry has ": a line of" after the name."""
    found = re.findall(r"^```(?:python|yaml)\n# (.+?)\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return dict(found)


def test_blocks_are_small_and_all_there() -> None:
    names = [name.partition(":")[0] for name in blocks()]
    assert sorted(names) == sorted(
        [*OWN]
        + [f"workflow/scalinglaws/{room}" for room in ("laws/power_tokens.py", "figures/scaling/loss_vs_tokens.py", *ENTRIES)]
    )
    assert all(text.count("\n") < 60 for text in blocks().values())


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Copy the workflow, add the page's files, and run it as the page says."""
    made = copy_workflow(tmp_path_factory.mktemp("extended") / "w")
    for name, text in blocks().items():
        file, _, line = name.partition(": a line of ")
        path = made.folder / file
        if line:
            first = ENTRIES[file.removeprefix("workflow/scalinglaws/")]
            before, found, after = path.read_text().partition(first)
            assert found, f"{file} has no line that starts with {first!r}"
            path.write_text(before + text + found + after)
        else:
            path.write_text(text)
    made.run("--cores", "2", study="my_study.yaml")
    return made


def specs(extended: Workflow) -> dict[str, dict]:
    folders = (extended.folder / "results" / "runs").glob("*/spec.json")
    return {path.parent.name: json.loads(path.read_text()) for path in folders}


def test_runs_are_the_users_models_and_learn(extended: Workflow) -> None:
    runs = read_own(extended.folder / "results/studies/mine/tables/runs.parquet")
    assert len(runs) == 9 and set(runs["architecture"]) == {"gated-conv"} and set(runs["status"]) == {"ok"}
    assert all(run.startswith("gated-conv-n") for run in runs["run"])
    # N by hand: n_layer (2 · kernel + 1) d_model².
    assert sorted(set(runs["n_params"])) == sorted([2 * 9 * 8**2, 2 * 7 * 16**2, 2 * 9 * 24**2])
    assert set(runs["options"]) == {'{"kernel": 3}', '{"kernel": 4}'}
    assert set(runs["optimizer_options"]) == {'{"memory": 0.95}'}
    # Sums in words have few letters: guessing by their frequencies costs about 2.9 nats, and what follows a word is mostly known.
    assert runs["loss"].max() < 1.0  # type: ignore[operator]
    evals = read_own(extended.folder / "results/studies/mine/tables/evals.parquet").filter(pl.col("position").is_null())
    assert set(evals["corpus_name"]) == {"sums", "others"}


def test_plugins_are_kept_and_part_of_identity(extended: Workflow) -> None:
    kept = {path.stem for path in (extended.folder / "results" / "plugins").glob("*.py")}
    assert len(kept) == 3
    for run, spec in specs(extended).items():
        assert len(spec["plugins"]) == 2 and set(spec["plugins"]) < kept, run  # the plug-in of the text belongs to its corpus
        assert spec["corpus"]["sources"][0]["plugin"] in kept - set(spec["plugins"])


def test_the_new_law_is_fitted_and_the_new_figure_drawn(extended: Workflow) -> None:
    fit = json.loads((extended.folder / "results/studies/mine/fits/power-t.json").read_text())
    assert fit["n_points"] == 3 and fit["parameters"]["alpha_T"]["estimate"] > 0
    assert {point["run"] for point in fit["points"]} <= set(specs(extended))
    drawn = {path.name for path in (extended.folder / "results/studies/mine/figures").glob("*.svg")}
    assert drawn == {"fig01_compute_data_parameters.svg", "fig02_learning_curves.svg", "loss_vs_tokens.svg"}
    assert "Loss against tokens processed" in (extended.folder / "results/studies/mine/report.md").read_text()
    words = (extended.folder / "results/studies/mine/figures/fig02_learning_curves.svg").read_text()
    assert "not resolved" not in words


def test_an_edited_model_is_trained_again_and_nothing_else(extended: Workflow) -> None:
    assert extended.jobs(study="my_study.yaml") == {}
    model = extended.folder / "my_model.py"
    before = model.read_text()
    model.write_text(before + "\n# The same computation under another hash.\n")
    try:
        jobs = collections.Counter(extended.jobs(study="my_study.yaml"))
    finally:
        model.write_text(before)
    assert jobs["train"] == 9 and jobs["corpus"] == jobs["tokenize"] == 0
    assert extended.jobs(study="my_study.yaml") == {}


def test_a_wrong_option_is_refused_before_anything_runs(extended: Workflow) -> None:
    path = extended.folder / "my_study.yaml"
    wrong = extended.folder / "wrong.yaml"
    for given, said in (("kernel: 0", "model.kernel"), ("kernels: 3", "did you mean kernel"), ("memory: 2", "memory")):
        old = "memory: 0.95" if given.startswith("memory") else "kernel: 3"
        wrong.write_text(path.read_text().replace(old, given))
        told = extended.run("-n", study="wrong.yaml", check=False)
        assert told.returncode and said in told.stdout + told.stderr, (given, told.stderr[-2000:])
        assert "Traceback" not in told.stderr
    assert Path(wrong).exists()
