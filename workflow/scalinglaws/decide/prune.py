"""Rungs that can be deleted: nothing that is done is trained again without them."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.decide.plan import needed_rungs
from scalinglaws.study.paths import rung_path
from scalinglaws.study.study import Study


def spare_rungs(study: Study, results: Path) -> list[Path]:
    """The rungs of the study's trunks that no unfinished run starts from, by trunk and name."""
    kept = {rung_path(results, trunk, step) for trunk, steps in needed_rungs(study, results).items() for step in steps}
    found = [path for trunk in study.trunks for path in sorted((results / "trunks" / trunk).glob("step*.safetensors"))]
    return [path for path in found if path not in kept]
