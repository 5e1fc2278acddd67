"""The environment of the jobs that the workflow starts: they use this Python and this checkout, keep what they finish,
and write nothing to the home."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from pathlib import Path

from scalinglaws.common import finished
from scalinglaws.common.errors import StudyError, faults_told

SNAKEMAKE = "9.20"  # the oldest version that the workflow runs with
RECORDS = ".snakemake"  # the folder in which Snakemake keeps its locks and what it knows of outputs
# Libraries that the Snakefile needs besides Snakemake; those of the jobs are installed with them.
LIBRARIES = ("numpy", "psutil", "pydantic", "typer", "yaml", "torch")


def check() -> None:
    """Check Snakemake: its version, whether it can keep its records, and whether its Python has the libraries of the workflow.

    Raises WorkflowError, which Snakemake prints without a traceback.
    """
    from snakemake.exceptions import WorkflowError
    from snakemake.utils import min_version

    min_version(SNAKEMAKE)
    try:
        with faults_told():
            os.makedirs(RECORDS, exist_ok=True)
            if not os.access(RECORDS, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.path.abspath(RECORDS))
    except StudyError as error:
        raise WorkflowError(str(error)) from None

    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise WorkflowError(
            f"Snakemake runs with {sys.executable}, which has no {', '.join(missing)}: run `make install`, then `make results`, "
            "or .venv/bin/python -m snakemake"
        )


def prepare() -> None:
    """Make ``python -m scalinglaws`` of a job's shell the interpreter and the package of this process, installed or not."""
    package_root = str(Path(__file__).resolve().parents[2])
    for name, first in (("PATH", str(Path(sys.executable).parent)), ("PYTHONPATH", package_root)):
        rest = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != first]
        os.environ[name] = os.pathsep.join([first, *rest])
    os.environ[finished.VARIABLE] = "1"
    os.environ.setdefault("MPLCONFIGDIR", os.path.abspath("results/logs/matplotlib"))
