"""Which checkpoints of trunks can be deleted: rungs that no run of the study needs any more. Nothing that is done retrains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scalinglaws.decide.status import needed_rungs
from scalinglaws.study.paths import rung_path
from scalinglaws.study.study import Study


@dataclass(frozen=True)
class SpareRung:
    """A checkpoint of a trunk that no run needs any more: its trunk, its file and the size of that file in bytes."""

    trunk: str
    path: Path
    size: int


def spare_rungs(study: Study, results: Path) -> list[SpareRung]:
    """List the rungs of the study's trunks that no unfinished run needs.

    Parameters
    ----------
    study
        The study: trunks that it does not name are left alone.
    results
        The folder of results.

    Returns
    -------
    list of SpareRung
        By trunk and file name. Rungs below the start of a run that is not trained yet are kept, in case its own is lost.
    """
    needed = needed_rungs(study, results)
    kept = {rung_path(results, trunk, step) for trunk, steps in needed.items() for step in steps}
    found = [(trunk, path) for trunk in study.trunks for path in sorted((results / "trunks" / trunk).glob("step*.safetensors"))]
    return [SpareRung(trunk, path, path.stat().st_size) for trunk, path in found if path not in kept]


def delete(spare: Iterable[SpareRung]) -> None:
    """Delete these rungs."""
    for rung in spare:
        rung.path.unlink()


def describe_spare(spare: list[SpareRung], deleted: bool) -> str:
    """Write the rungs as text: a line for each file, then their number and size."""
    size = sum(rung.size for rung in spare) / 1e6
    told = "deleted" if deleted else "could be deleted (--yes does)"
    return "\n".join([*(str(rung.path) for rung in spare), f"{len(spare)} rungs, {size:.1f} MB {told}"])
