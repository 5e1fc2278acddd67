"""Every command in a block of shell of the README and the pages is one of the package, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scalinglaws.cli.app import FILES, group

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Return the words of each command of ``scalinglaws`` and ``make`` in the blocks of shell of a page."""
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True) for part in parts if part.startswith(("scalinglaws ", "make "))]


def faults(words: list[str]) -> list[str]:
    """Return what of a command is not there: a command, an option or a target."""
    program, name, *rest = words
    if program == "make":
        targets = TARGET.findall((ROOT / "Makefile").read_text())
        return [word for word in words[1:] if "=" not in word and word not in targets]
    if name.startswith("--"):
        return [] if name in ("--help", "--version", "--install-completion") else [name]
    if name not in FILES:
        return [name]
    known = {option for each in group().get_command(None, name).params for option in each.opts} | {"--help"}
    own = rest[: rest.index("--")] if "--" in rest else rest
    return [word for word in own if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    assert [(words, wrong) for words in commands(page.read_text()) if (wrong := faults(words))] == []


def test_the_pages_for_beginners_have_commands() -> None:
    assert all(len(commands((ROOT / "docs" / name).read_text())) >= 3 for name in ("tutorial.md", "howto.md"))


@pytest.mark.parametrize(
    "line", ["scalinglaws guess", "scalinglaws plan --config x.yaml", "make result", "scalinglaws fit --law chinchilla --att n=1"]
)
def test_what_is_not_there_is_found(line: str) -> None:
    assert faults(commands(f"```sh\n{line}  # a remark\n```")[0])
