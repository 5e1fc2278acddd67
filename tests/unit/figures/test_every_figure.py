"""Every figure and the report from a small study's real tables: each kind of run, trained here on real text."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fixtures import real_study
from scalinglaws.figures.registry import FIGURES, drawable
from scalinglaws.laws.registry import laws_of


def test_a_study_with_every_kind_of_run_draws_every_figure(tmp_path: Path) -> None:
    made = real_study.make(tmp_path)
    assert drawable(made.kinds, set(laws_of(made))) == list(FIGURES)
    inputs = ("--tables", "results/tables", "--fits", "results/fits")
    with contextlib.chdir(tmp_path):
        for name in FIGURES:
            out = f"results/figures/{name}"
            real_study.stage("figure", "--name", name, *inputs, "--out-svg", f"{out}.svg", "--out-png", f"{out}.png")
            assert Path(f"{out}.png").stat().st_size > 10_000, name
        laws = ("--laws", ",".join(laws_of(made)), "--kinds", ",".join(made.kinds))
        real_study.stage("report", *inputs, *laws, "--figures", "results/figures", "--out", "results/report.md")
        page = Path("results/report.md").read_text()
    for k in range(1, 7):
        assert f"Table {k}" in page
    for name in FIGURES:
        assert f"figures/{name}.svg" in page
