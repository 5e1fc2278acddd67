"""What the pages say is so: the tests that docs/reliability.md names are there, and commands print what a page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scalinglaws.cli.app import main

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`((?:[a-z_]+/test_[a-z_]+\.py)?)((?:::test_[a-z0-9_]+)?)`")


def absent(page: str) -> list[str]:
    """Return the tests that a page names and that are not there; one without a file is in the last file of its line."""
    found = []
    for line in page.splitlines():
        file = ""
        for own, test in NAMED.findall(line):
            file = own or file
            path = TESTS / ("" if file.startswith("workflow/") else "unit") / file
            if file and not (path.is_file() and f"def {test.removeprefix('::')}" in path.read_text()):
                found.append(f"{file}{test}")
    return found


def test_the_tests_that_the_page_of_faults_names_are_there() -> None:
    page = PAGE.read_text()
    assert len(NAMED.findall(page)) > 60 and absent(page) == []


@pytest.mark.parametrize("name", ["common/test_none.py", "common/test_files.py::test_none"])
def test_a_name_of_no_test_is_found(name: str) -> None:
    assert absent(f"| a fault | is told | `{name}` |") == [name]


ROOT = TESTS.parent
# A command of the checkout's root and what it prints, in a block of the kind "console".
EXAMPLE = re.compile(
    r"^```console\n\$ scalinglaws (?P<words>(?:[^\n]*\\\n)*[^\n]*)\n(?P<printed>.*?)^```$", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")
PAGES = sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = [(page.stem, *found.group("words", "printed")) for page in PAGES for found in EXAMPLE.finditer(page.read_text())]


def test_the_pages_on_laws_forecasts_and_comparisons_have_examples() -> None:
    assert {"laws", "forecasts", "compare"} <= {page for page, _, _ in EXAMPLES}


@pytest.mark.parametrize(("page", "words", "printed"), EXAMPLES, ids=[f"{page}-{k}" for k, (page, _, _) in enumerate(EXAMPLES)])
def test_a_command_prints_what_a_page_says(
    page: str, words: str, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines may be broken elsewhere, and numbers may differ by 2 %, since the last digits depend on the machine."""
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(words.replace("\\\n", " "))) == 0
    told, said = (NUMBER.split(" ".join(text.split())) for text in (capsys.readouterr().out, printed))
    assert told[::2] == said[::2]
    assert list(map(float, told[1::2])) == pytest.approx(list(map(float, said[1::2])), rel=0.02)
