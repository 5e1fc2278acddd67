"""The report as a page to send: all that report.md and the captions say, in one file, with nothing that a study can break."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.figures.registry import FIGURES
from scalinglaws.report import html_page
from scalinglaws.report.markdown import table
from scalinglaws.report.report import figures

DRAWN = ["fig01_compute_data_parameters", "fig03_allocation"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><g id="same"/></svg>'
ROWS = [["size", "12", "a <b>bold</b> run | x"], ["data", "3", "none"]]


class Reader(HTMLParser):
    """Collects the cells of tables and the text of a page, and fails where an element is not closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def report() -> str:
    """Return a report in Markdown, with links as the real one has them."""
    links = figures({"size"}, {"power-n"}, DRAWN, "figures")
    lines = ["# Report of the study small", "", "Losses are in nats per token.", "", "## Table 4: the laws", "", "Fitted."]
    lines += ["", "## What was run", "", "12 runs.", "", *table(("experiment", "runs", "note"), ROWS), "", "## Figures", ""]
    return "\n".join([*lines, *links, ""])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a study, with sums of the files as the workflow leaves them."""
    found = tmp_path / "small"
    for name in ("tables", "figures"):
        (found / name).mkdir(parents=True)
    (found / "report.md").write_text(report())
    (found / "tables" / "exponents.md").write_text("\n".join(table(("law", "alpha"), [["power-n", "0.07"]])))
    for name in DRAWN:
        (found / "figures" / f"{name}.svg").write_bytes(SVG)
        sums.record(sums.beside(found / "figures" / f"{name}.svg"), [found / "figures" / f"{name}.svg"])
    sums.record(found / "report.sha256", [found / "report.md"])
    sums.record(found / "tables" / "exponents.sha256", [found / "tables" / "exponents.md"])
    return found


def test_the_page_has_the_figures_with_captions_and_the_tables(folder: Path) -> None:
    path = html_page.write(folder)
    first = path.read_bytes()
    reader = Reader()
    reader.feed(first.decode())
    assert reader.open == []
    assert reader.cells == ["experiment", "runs", "note", *ROWS[0], *ROWS[1], "law", "alpha", "power-n", "0.07"]
    for name in DRAWN:
        caption = FIGURES[name].caption.replace("**", "")
        assert f"{FIGURES[name].title}." in reader.text and " ".join(caption.split()) in " ".join(reader.text.split())
    assert reader.links.count(f"data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}") == len(DRAWN)
    inside = [link.removeprefix("#") for link in reader.links if link.startswith("#")]
    assert len(inside) + len(DRAWN) == len(reader.links) and set(inside) <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)
    assert inside == ["what-was-run", "figures", "table-4-the-laws", "exponents-beside-the-published-ones"]
    assert ".svg" not in reader.text and "Not drawn:" in reader.text and "<b>bold" not in first.decode()
    assert html_page.write(folder).read_bytes() == first
    assert not re.search(r"url\(|@import|<script", first.decode())


def test_what_is_missing_or_damaged_is_told(folder: Path) -> None:
    (folder / "figures" / f"{DRAWN[1]}.svg").write_bytes(b"<svg/>")
    with pytest.raises(StudyError, match=r"fig03_allocation\.svg is damaged"):
        html_page.write(folder)
    (folder / "figures" / f"{DRAWN[1]}.svg").unlink()
    with pytest.raises(StudyError, match=r"fig03_allocation\.svg is not there: run the study first"):
        html_page.write(folder)
    (folder / "report.md").unlink()
    with pytest.raises(StudyError, match=r"report\.md is not there"):
        html_page.write(folder)
