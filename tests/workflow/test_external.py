"""A study of runs made elsewhere, which trains nothing: tables, fits, figures and a report from a table alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalinglaws.decide.load import load
from scalinglaws.decide.partial import draw_figures, fit_laws
from scalinglaws.figures.registry import drawable
from scalinglaws.laws.registry import laws_of
from scalinglaws.study.paths import manifest_path
from scalinglaws.tables.aggregate import write_tables
from workflow.conftest import ROOT, copy_workflow

E, A, B, ALPHA, BETA = 1.7, 400.0, 410.0, 0.34, 0.28  # Chinchilla's parametric loss, near the constants of 2022
PUBLISHED = ROOT.parent / "shared" / "validation"
STUDY = """study: theirs
external_runs: [{path: PATH, columns: {n_params: params}}]
fits: {laws: [chinchilla, power-n, power-c], bootstrap: 20}
figures: [fig01_compute_data_parameters, fig02_learning_curves]
"""


def test_a_table_alone_is_fitted_drawn_and_reported(tmp_path: Path) -> None:
    made = copy_workflow(tmp_path / "w")
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 8).round(), np.geomspace(1e8, 1e11, 6).round()))
    noise = np.exp(np.random.default_rng(0).normal(0, 1e-3, n.size))
    loss = (E + A * n**-ALPHA + B * d**-BETA) * noise
    pl.DataFrame({"params": n, "tokens": d, "loss": loss}).write_csv(made.folder / "theirs.csv")
    (made.folder / "external.yaml").write_text(STUDY.replace("PATH", "theirs.csv"))
    told = made.call(sys.executable, "-m", "scalinglaws", "plan", "--configfile", "external.yaml").stdout
    assert told.startswith("study theirs: 0 runs, and those in theirs.csv\n")
    made.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", "external.yaml", "--cores", "2")
    own = made.folder / "results/studies/theirs"
    fit = json.loads((own / "fits/chinchilla.json").read_text())
    found = [fit["parameters"][name]["estimate"] for name in ("alpha", "beta", "E")]
    assert found == pytest.approx([ALPHA, BETA, E], rel=0.05)
    assert sorted(path.name for path in own.glob("figures/*.svg")) == ["fig01_compute_data_parameters.svg"], (
        "no curves, no figure"
    )
    assert "48 runs of 48 trunks" in (own / "report.md").read_text()
    assert not list(made.folder.glob("results/runs/*")) and made.jobs(study="external.yaml") == {}


@pytest.mark.parametrize("name", ["forecast/gadre.csv", "isoflop/last.csv"])
def test_published_tables_are_read_fitted_and_drawn(name: str, tmp_path: Path) -> None:
    """Tables of real runs that lie beside the repository, for their licence does not let them lie in it."""
    if not (path := PUBLISHED / name).exists():
        pytest.skip(f"the published table {name} is not beside the repository")
    (tmp_path / "study.yaml").write_text(STUDY.replace("PATH", str(path)).replace("columns: {n_params: params}", "columns: {}"))
    study, folder = load(tmp_path / "study.yaml", tmp_path), tmp_path / "own"
    warnings: list[str] = []
    manifest, tables = manifest_path(folder, study.manifest_id), folder / "tables"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    write_tables(manifest, tmp_path, tables, [table.model_dump(mode="json") for table in study.external], {})
    assert len(pl.read_parquet(tables / "runs.parquet")) == len(pl.read_csv(path))
    fitted = fit_laws(study, folder, warnings)
    assert fitted == list(laws_of(study)) and warnings == []
    drawn = draw_figures(study, folder, fitted, "", warnings)
    assert drawn == ["fig01_compute_data_parameters"] and warnings == []
    assert "fig02_learning_curves" not in drawable(study.kinds, set(fitted))
