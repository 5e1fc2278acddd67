"""Every figure and the report from a small study's real tables: each kind of run, trained here on real text."""

from __future__ import annotations

import contextlib
import html
import json
import re
import struct
from pathlib import Path

import polars

from fixtures import real_study
from fixtures.drawing import draw
from fixtures.pictures import faults
from scalinglaws.figures.registry import FIGURES, drawable
from scalinglaws.figures.shared import style
from scalinglaws.figures.shared.fit_json import POWER_LAWS, parameter, with_interval
from scalinglaws.laws.registry import laws_of

# The exponents whose fitted values a picture's legends give.
SHOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "fig01_compute_data_parameters": {law: (POWER_LAWS[law].exponent,) for law in ("power-c", "power-d", "power-n", "envelope")},
    "fig04_loss_vs_data": {"kaplan-nd": ("alpha_N", "alpha_D"), "kaplan-ns": ("alpha_N", "alpha_S")},
    "fig09_overfitting": {"kaplan-nd": ("alpha_N", "alpha_D")},
    "fig13_compute_min": {law: (POWER_LAWS[law].exponent,) for law in ("power-c", "power-cmin")},
}


def words(svg: str) -> str:
    """Return the text of a picture: its letters are drawn as paths, after a comment that holds the string."""
    return html.unescape(" ".join(re.findall(r"<!-- (.*?) -->", svg, flags=re.DOTALL)))


def sizes(svg: str, png: bytes) -> tuple[list[float], tuple[int, int]]:
    """Return the width and height of a picture in points, and in pixels."""
    head = re.search(r'<svg [^>]*?width="([\d.]+)pt"|$', svg)
    tall = re.search(r'<svg [^>]*?height="([\d.]+)pt"|$', svg)
    assert head and tall
    return [float(head[1]), float(tall[1])], struct.unpack(">II", png[16:24])


def test_a_study_with_every_kind_of_run_draws_every_figure(tmp_path: Path) -> None:
    made = real_study.make(tmp_path)
    assert drawable(made.kinds, set(laws_of(made))) == list(FIGURES)
    inputs = ("--tables", "results/tables", "--fits", "results/fits")
    with contextlib.chdir(tmp_path):
        tables = {
            name: polars.read_parquet(f"results/tables/{name}.parquet") for name in ("runs", "curves", "evals", "forecasts")
        }
        fits = {law: json.loads(Path(f"results/fits/{law}.json").read_text()) for law in laws_of(made)}
        for name in FIGURES:
            out = f"results/figures/{name}"
            real_study.stage("figure", "--name", name, *inputs, "--out-svg", f"{out}.svg", "--out-png", f"{out}.png")
            svg = Path(f"{out}.svg").read_text()
            points, pixels = sizes(svg, Path(f"{out}.png").read_bytes())
            assert all(abs(200 * size / 72 - pixel) < 1 for size, pixel in zip(points, pixels, strict=True)), name
            told = words(svg)
            for law, exponents in SHOWN.get(name, {}).items():
                for exponent in exponents:
                    if parameter(fits[law], exponent)["estimate"] is not None:
                        assert with_interval(fits[law], exponent) in told, (name, law, exponent)
            assert faults(draw(name, tables, fits)) == [], name
            style.plt.close("all")
        laws = ("--laws", ",".join(laws_of(made)), "--kinds", ",".join(made.kinds))
        real_study.stage("report", *inputs, *laws, "--figures", "results/figures", "--out", "results/report.md")
        page = Path("results/report.md").read_text()
    for k in range(1, 7):
        assert f"Table {k}" in page
    for name, figure in FIGURES.items():
        assert re.search(rf"{re.escape(figure.title)}\]\(figures/{name}\.svg\)", page), name
