"""Registered forecasts: what the fits of other runs say about a run, in a file that is written before the run is trained.

The first forecast of a run is ``RUN.json``. It is never written again. Where a later fit says something else, that is a second
file, ``RUN.DIGITS.json``, named by ten hex digits of its own sha256. A forecast that was written when the run was there already
is marked late. Beside each lies the list of its sum, without which it is not read: a file that was edited is not scored.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import json_bytes
from scalinglaws.common.read import read_object
from scalinglaws.laws.registry import LAWS
from scalinglaws.study.forecasts import quantities
from scalinglaws.study.paths import has_run
from scalinglaws.study.spec import RunSpec

FIT_AGAIN = "delete it and run snakemake, which fits again"
# Name of a factor -> the quantity of which it is one: that of the run, divided by the largest among the runs of the fit.
FACTORS = {"compute_factor": "flops", "n_factor": "n_params", "tokens_factor": "tokens"}
OF_LAW = {"fit": str, "flags": list} | dict.fromkeys(("loss", "low", "high", *FACTORS), (float, int, type(None)))


def register(spec: RunSpec, results: Path, table: Path, fits: Path, laws: Sequence[str], folder: Path) -> Path | None:
    """Write what fits say about a run, where no forecast of it says the same yet.

    Parameters
    ----------
    spec
        The run.
    results
        The folder of results, which tells whether the run is trained already: then the forecast is late.
    table
        The table of runs, runs.parquet, that the laws were fitted to.
    fits, laws
        The folder of the fits, LAW.json, and the laws to take, in this order. Each fit holds its prediction for the run.
    folder
        The folder of the study's forecasts.

    Returns
    -------
    Path or None
        The file that was written; None where the run has its first forecast and none is to be added.

    Raises
    ------
    StudyError
        A fit or a forecast is missing or was changed, or a law was fitted to this very run.
    """
    stated, first = statement(spec, table, fits, laws), folder / f"{spec.id}.json"
    late = has_run(results, spec.id)
    if first.exists():
        if any(_losses(read(path)) == _losses(stated) for path in files_of(folder, spec.id)):
            return None
        data = _bytes(stated, late)
        first = folder / f"{spec.id}.{hashlib.sha256(data).hexdigest()[:10]}.json"
    else:
        data = _bytes(stated, late and not _was_registered(first, _bytes(stated, late=False)))
    sums.finish(sums.beside(first), [], first, data)
    return first


def _was_registered(path: Path, data: bytes) -> bool:
    """Tell whether a forecast of this content was there before: its list of sums is left where the file itself was deleted."""
    listed = (sums.read(sums.beside(path)) or {}).get(path.name)
    if listed is not None and listed != hashlib.sha256(data).hexdigest():
        print(f"warning: {path} was deleted, and the fits do not say any more what it said: it is lost", file=sys.stderr)
    return listed == hashlib.sha256(data).hexdigest()


def _bytes(stated: dict[str, Any], late: bool) -> bytes:
    return json_bytes({"run": stated["run"], "late": late} | stated)


def statement(spec: RunSpec, table: Path, fits: Path, laws: Sequence[str]) -> dict[str, Any]:
    """Return what fits say about a run: its quantities, the sum of the table of runs, and an item for each law.

    The item of a law has ``loss`` in nats per token and the 95 % interval of a new run's loss, ``low`` to ``high``, null where
    the law was not fitted or has no interval; FACTORS; the ``flags`` of the fit, and ``fit``, the sha256 of its file.

    The parameters and errors are those of ``register``.
    """
    if not table.is_file():
        raise StudyError(f"{table} does not exist: aggregate the runs first (python -m scalinglaws aggregate, or snakemake)")
    if not laws:
        raise StudyError(f"no law is to forecast run {spec.id}: name one at least, such as chinchilla")
    place, of_laws = quantities(spec), {}
    for law in laws:
        at = {name: place[name] for name in LAWS.find(law).states}
        path = fits / f"{law}.json"
        fit = _read_fit(path, spec.id)
        said = [item for item in fit.get("predictions", []) if item.get("at") == at]
        if not said and fit["parameters"]:
            raise StudyError(f"{path} says nothing about run {spec.id}: {FIT_AGAIN}")
        found = said[0] if said else {}
        largest = {name: [point[of] for point in fit["points"] if point.get(of)] for name, of in FACTORS.items()}
        of_laws[law] = {
            **{name: found.get(of) for name, of in (("loss", "loss"), ("low", "run_low"), ("high", "run_high"))},
            **{name: place[FACTORS[name]] / max(values) if values else None for name, values in largest.items()},
            "flags": fit["flags"],
            "fit": sums.sha256_of(path),
        }
    return {"run": spec.id, **place, "table": sums.sha256_of(table), "laws": of_laws}


def _read_fit(path: Path, run: str) -> dict[str, Any]:
    """Read the fit of a law. Raises StudyError where it is missing, damaged, no such fit, or one of the run itself."""
    sums.require_own(path)
    fit = read_object(path, FIT_AGAIN)
    kinds = {"parameters": dict, "points": list, "flags": list}
    lists = [*fit.get("points", []), *fit.get("predictions", [])] if isinstance(fit.get("points"), list) else [None]
    if any(not isinstance(fit.get(name), kind) for name, kind in kinds.items()) or not all(isinstance(of, dict) for of in lists):
        raise StudyError(f"{path} is no fit of an equation: {FIT_AGAIN}")
    if any(run in (point.get("run"), point.get("trunk")) for point in fit["points"]):
        raise StudyError(f"{path} was fitted to run {run} itself, which it is to forecast: {FIT_AGAIN}")
    return fit


def _losses(stated: dict[str, Any]) -> dict[str, tuple[float | None, ...]]:
    """Return what a forecast says of the loss, by law: forecasts that agree in it are one."""
    return {law: (item["loss"], item["low"], item["high"]) for law, item in stated["laws"].items()}


def files_of(folder: Path, run: str) -> list[Path]:
    """Return the forecasts of a run that are there: the first, then the others by name."""
    later = re.compile(rf"{re.escape(run)}\.[0-9a-f]{{10}}\.json")
    first = folder / f"{run}.json"
    return [*([first] if first.exists() else []), *sorted(path for path in folder.glob("*.json") if later.fullmatch(path.name))]


def read(path: Path) -> dict[str, Any]:
    """Read a forecast.

    Raises
    ------
    StudyError
        It was changed since it was written, has no list of its sum, or is no forecast.
    """
    if path.name not in (sums.read(sums.beside(path)) or {}):
        raise StudyError(
            f"{path} has no sum in {sums.beside(path).name}, so that nothing tells whether it was changed: delete it and run "
            "snakemake, which makes another and marks it late where the run is there"
        )
    sums.require_own(path)
    found = read_object(path)
    laws = found.get("laws")
    sound = isinstance(laws, dict) and all(
        isinstance(item, dict) and all(isinstance(item.get(name), kind) for name, kind in OF_LAW.items())
        for item in laws.values()
    )
    if not sound or not isinstance(found.get("late"), bool) or not path.name.startswith(f"{found.get('run')}."):
        raise StudyError(f"{path} is no forecast of the run in its name: {sums.REPAIR}")
    return found
