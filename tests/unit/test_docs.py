"""The tests that docs/reliability.md names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
