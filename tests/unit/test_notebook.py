"""The notebook of the documentation: its cells run one after the other, and print what it says they print."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import polars as pl
import pytest

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK = DOCS / "notebook.ipynb"
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def run(cells: list[dict[str, Any]]) -> list[str]:
    """Run the cells of code in one namespace, as Jupyter does; return what each printed."""
    names: dict[str, Any] = {}
    printed = []
    for cell in cells:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
        printed.append(told.getvalue())
    figure = names["figure"]
    axes = figure.axes[0]
    assert len(axes.lines) == 2 * len(axes.get_legend().get_texts()) > 2, "a line and points for each number of tokens"
    plt.close(figure)
    return printed


def said(cell: dict[str, Any]) -> str:
    """Return the text that is stored as the output of a cell."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def test_the_notebook_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last cell reads the tables of studies, of which there is one here. Numbers may differ by 2 %."""
    matplotlib.use("Agg")
    nbformat.validate(nbformat.read(NOTEBOOK, 4))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "example.csv").write_bytes((DOCS / "example.csv").read_bytes())
    tables = tmp_path / "results" / "studies" / "mine" / "tables"
    tables.mkdir(parents=True)
    runs = {"fitted": [True, True, False], "status": ["ok", "diverged", "ok"], "loss": [2.5, None, 2.25]}
    pl.DataFrame(runs).write_parquet(tables / "runs.parquet")
    monkeypatch.chdir(tmp_path / "docs")

    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    *printed, last = run(cells)
    assert last == "mine: 3 runs, 1 of them for laws, lowest loss 2.250\n"
    assert said(cells[-1]) == ""
    told, stored = (NUMBER.split("".join(texts)) for texts in (printed, map(said, cells[:-1])))
    assert len(told) > 20 and told[::2] == stored[::2]
    assert list(map(float, told[1::2])) == pytest.approx(list(map(float, stored[1::2])), rel=0.02)
