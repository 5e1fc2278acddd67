"""Which checkpoints of trunks can be deleted: the rungs that no run of the study needs any more."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.decide.status import needed_rungs
from scalinglaws.study.paths import rung_path
from scalinglaws.study.study import Study


def spare_rungs(study: Study, results: Path) -> list[Path]:
    """List the rungs of a study that can be deleted: nothing that is done is trained again without them.

    Parameters
    ----------
    study
        The study. Trunks of other studies are left alone.
    results
        The folder of results.

    Returns
    -------
    list of Path
        Files of rungs, sorted by trunk and name. The rung that an unfinished run starts from is not among them, nor are those
        below it, from which it can be made again.
    """
    kept = {rung_path(results, trunk, step) for trunk, steps in needed_rungs(study, results).items() for step in steps}
    found = [path for trunk in study.trunks for path in sorted((results / "trunks" / trunk).glob("step*.safetensors"))]
    return [path for path in found if path not in kept]
