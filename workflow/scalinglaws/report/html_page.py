"""The report of a study as one HTML page to send to someone: its figures with their captions, and the tables of report.md."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_bytes
from scalinglaws.figures.registry import FIGURES

# A line of report.md that links to a figure.
LINK = re.compile(r"- \[.*\]\((?:.*/)?(?P<name>[a-z0-9_]+)\.svg\)")
FIRST, PICTURES, EXPONENTS = "What was run", "Figures", "Exponents beside the published ones"
MISSING = "run the study first (scalinglaws run)"


def write(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a study, and return its path.

    The page holds its figures, so that it can be sent as one file. The same report, figures and exponents give the same bytes.

    Parameters
    ----------
    folder
        The folder of the study, with ``report.md``, ``tables/exponents.md`` and the figures that the report links to.

    Raises
    ------
    StudyError
        One of these is missing or damaged.
    """
    out = folder / "report.html"
    text, exponents = (_read(path).decode() for path in (folder / "report.md", folder / "tables" / "exponents.md"))
    drawn = [found["name"] for line in text.splitlines() if (found := LINK.fullmatch(line)) and found["name"] in FIGURES]
    pictures = {name: _read(folder / "figures" / f"{name}.svg") for name in drawn}
    write_bytes(out, page(text, exponents, pictures).encode())
    return out


def page(text: str, exponents: str, pictures: dict[str, bytes]) -> str:
    """Return the page.

    Parameters
    ----------
    text
        The report in Markdown, as ``report.report`` writes it.
    exponents
        The table of exponents in Markdown.
    pictures
        The figures by name, as SVG, in the order in which they are shown.
    """
    head, *parts = text.split("\n## ")
    heading, _, opening = head.partition("\n")
    title = heading.removeprefix("# ").strip()
    bodies = {name.strip(): body for name, _, body in (part.partition("\n") for part in parts)}
    rest = "\n".join(line for line in bodies.pop(PICTURES, "").splitlines() if not LINK.fullmatch(line))
    drawn = "".join(_figure(name, svg) for name, svg in pictures.items())
    html = {name: _markdown(body) for name, body in bodies.items()}
    html[PICTURES] = drawn + _markdown(rest)
    if exponents.strip():
        html[EXPONENTS] = _markdown(re.sub(r"\A# .*\n", "", exponents))  # the section has a heading of its own
    names = [name for name in (FIRST, PICTURES) if name in html]
    names += [name for name in html if name not in names]
    links = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>\n' for name in names)
    sections = "".join(f'<section id="{_anchor(name)}">\n<h2>{escape(name)}</h2>\n{html[name]}</section>\n' for name in names)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{Path(__file__).with_name("html_page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
{_markdown(opening)}</header>
<nav aria-label="Contents">
<h2>Contents</h2>
<ul>
{links}</ul>
</nav>
{sections}</main>
</body>
</html>
"""


def _read(path: Path) -> bytes:
    """Return the bytes of a result of the study. Raises StudyError where it is missing or not as it was written."""
    if not path.is_file():
        raise StudyError(f"{path} is not there: {MISSING}")
    sums.require_own(path)
    return path.read_bytes()


def _figure(name: str, svg: bytes) -> str:
    """Return a figure with its caption. It is an image of its own, since the ids inside of SVG are those of other figures too."""
    title, data = FIGURES[name].label, base64.b64encode(svg).decode()
    return (
        f'<figure id="figure-{name.replace("_", "-")}">\n'
        f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(title)}">\n'
        f"<figcaption><b>{escape(title)}.</b> {_inline(FIGURES[name].caption)}</figcaption>\n</figure>\n"
    )


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _parser() -> Any:
    """Return a reader of Markdown with tables. HTML in a text, such as the name of a run, is shown and not taken for HTML."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _markdown(text: str) -> str:
    """Return HTML of Markdown, each table in a box that scrolls where it is wider than the page."""
    found = str(_parser().render(text))
    return found.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def _inline(text: str) -> str:
    return str(_parser().renderInline(text))
