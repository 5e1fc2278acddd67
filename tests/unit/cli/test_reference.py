"""The reference pages of the documentation are those that the code makes, and that of the commands says what --help says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scalinglaws.cli.app import FILES, main
from scalinglaws.cli.reference import commands_page, pages

ROOT = Path(__file__).parents[3]


def files(folder: Path) -> dict[str, str]:
    """Return the text of each file below a folder by its path from there."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_pages_are_those_that_the_code_makes() -> None:
    found = files(ROOT / "docs" / "reference")
    made = pages()
    assert found.keys() == made.keys()
    assert [name for name, text in made.items() if found[name] != text] == [], "run: scalinglaws reference"


def test_the_command_writes_the_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "--to", str(tmp_path / "new" / "pages")]) == 0
    assert files(tmp_path / "new" / "pages") == pages()
    assert str(tmp_path / "new" / "pages" / "config.md") in capsys.readouterr().out


@pytest.mark.parametrize("name", ["fit", "run", "plan", "train"])
def test_the_page_has_every_option_that_help_lists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    told = set(re.findall(r"^ +(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    section = re.split(r"^##+ ", commands_page().partition(f"\n### {name}\n")[2], flags=re.MULTILINE)[0]
    assert told and told == {
        option for row in re.findall(r"^\| (`-.*?`) \|", section, re.MULTILINE) for option in row.split("`")
    } - {"", " ", "-- SNAKEMAKE_ARGUMENT"}


def test_every_command_has_a_section() -> None:
    assert re.findall(r"^### (.+)$", commands_page(), re.MULTILINE) == list(FILES)
