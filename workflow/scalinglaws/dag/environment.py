"""The environment of the jobs that the workflow starts: they use this Python and this checkout, keep what they finish,
and write nothing to the home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scalinglaws.common import finished


def prepare() -> None:
    """Make ``python -m scalinglaws`` of a job's shell the interpreter and the package of this process, installed or not."""
    package_root = str(Path(__file__).resolve().parents[2])
    for name, first in (("PATH", str(Path(sys.executable).parent)), ("PYTHONPATH", package_root)):
        rest = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != first]
        os.environ[name] = os.pathsep.join([first, *rest])
    os.environ[finished.VARIABLE] = "1"
    os.environ.setdefault("MPLCONFIGDIR", os.path.abspath("results/logs/matplotlib"))
