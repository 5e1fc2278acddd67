"""The Makefile passes on what its user gives as it is, and uses the package of its own folder wherever that has been moved to."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMES = ["my config.yaml", "it's.yaml", 'a "b".yaml', "$HOME `id` $(id).yaml", "a;b&c|d.yaml", "ä*?[x].yaml", "a\\b#c.yaml"]


def make(*words: str, folder: Path = ROOT) -> str:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-C", str(folder), *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_one_word_whatever_it_holds(name: str) -> None:
    for target, option, variable in (
        ("results", "--configfile", "CONFIG"),
        ("results", "--cores", "CORES"),
        ("plan", "--profile", "PROFILE"),
        ("report", "--configfile", "CONFIG"),
        ("explore", "--configfile", "CONFIG"),
        ("test-cluster", "-k", "TESTS"),
        ("test-gpu", "-k", "TESTS"),
        ("test-gpu", "--device", "DEVICE"),
    ):
        told = make("-n", "--old-file", ".venv/installed", target, f"{variable}={name}")
        words = shlex.split([line for line in told.splitlines() if " -m " in line][-1])
        assert words[words.index(option) + 1] == name
    assert f"CONFIG={name} CORES=2 " in make("help", f"CONFIG={name}")


def test_a_checkout_that_was_moved_uses_its_own_package(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s $a new "folder"'
    (folder / "workflow/scalinglaws").mkdir(parents=True)
    shutil.copy2(ROOT / "Makefile", folder)
    for name in ("envs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "workflow/scalinglaws/__init__.py").touch()
    (folder / "workflow/scalinglaws/__main__.py").write_text("import sys; print(__file__, sys.argv[1:])")
    (folder / "workflow/scalinglaws/__init__.py").touch()
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (folder / ".venv/installed").write_text("/the/old/folder\n")
    told = make("plan", "CONFIG=my config.yaml", folder=folder)
    assert f"{folder}/workflow/scalinglaws/__main__.py ['plan', '--configfile', 'my config.yaml', '--cores', '2']" in told
    assert "it up again" in make("-n", "install", folder=folder) and python.exists(), "a dry run deletes nothing"
