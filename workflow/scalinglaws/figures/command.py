"""Draw one figure of the registry from the folders of tables and fits."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.read import read_object
from scalinglaws.figures.registry import FIGURES

# What the values of a fit are where it has them, and the items of those that hold several.
KINDS: dict[str, type | tuple[type, ...]] = {"n_points": int, "n_trunks": int, "r2": (int, float, type(None)), "flags": list}
KINDS |= {"points": list, "conventions": (dict, type(None)), "resamples": (dict, type(None))}
KINDS |= dict.fromkeys(("parameters", "exponents", "published", "objective", "held_out"), dict)
ITEMS: dict[str, type] = {"flags": str, "points": dict, "parameters": dict, "exponents": dict}
FIT_AGAIN = "delete it and fit again (run snakemake, which does)"


def draw_figure(
    name: str,
    tables: Path,
    fits: Path,
    svg: Path,
    png: Path,
    pdf: Path | None = None,
    laws: Sequence[str] | None = None,
    with_sums: bool = False,
    note: str = "",
) -> list[Path]:
    """Draw a figure and return the files that were written.

    ``tables`` is the folder of runs.parquet and the other tables, and ``fits`` that of the fits, LAW.json. ``laws`` are those
    that the study fits, or None for all whose fits are in the folder. ``with_sums`` leaves a list of sums beside the SVG.
    ``note`` is a line above the panels, such as how many runs of an unfinished study are drawn.
    Raises StudyError for an unknown name, and for a table or fit that is missing or damaged.
    """
    if name not in FIGURES:
        raise StudyError(f"there is no figure '{name}': {proposal(name, FIGURES)}")
    outputs = [path for path in (svg, png, pdf) if path]
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    # matplotlib keeps its list of fonts below the home directory unless told otherwise.
    os.environ.setdefault("MPLCONFIGDIR", str(svg.parent / ".matplotlib"))
    from scalinglaws.figures.shared import style

    wanted = FIGURES[name]
    read = {table: read_table(tables / f"{table}.parquet") for table in wanted.tables}
    if laws is None:
        present = [law for law in wanted.laws if (fits / f"{law}.json").exists()]
    else:
        present = [law for law in wanted.laws if law in laws]
    fitted = {law: read_fit(fits / f"{law}.json") for law in present}
    with style.style():
        figure = importlib.import_module(wanted.module).draw(read, fitted)
        if note:
            figure.suptitle(note, fontsize="medium", color=style.FIT)
    with sums.listing(sums.beside(svg), [path for path in outputs if path.parent == svg.parent], with_sums):
        style.save(figure, svg, png, pdf)
    return outputs


def read_table(path: Path) -> Any:
    """Read a table of the study as a polars frame. Raises StudyError where it is missing, damaged or of another version."""
    from scalinglaws.tables.read import read_own  # polars takes long to import, and asking for help needs none
    from scalinglaws.tables.schema import check_columns

    table = read_own(path)
    check_columns(path, table.columns)
    return table


def read_fit(path: Path) -> dict[str, Any]:
    """Read a fit.json. Raises StudyError where it is missing or damaged."""
    if not path.exists():
        raise StudyError(f"{path} does not exist: fit the law first (python -m scalinglaws fit --law {path.stem}, or snakemake)")
    sums.require_own(path)
    fit = read_object(path, FIT_AGAIN)
    for name, value in fit.items():
        whole = isinstance(value, KINDS.get(name, object))
        if whole and name in ITEMS:
            whole = all(isinstance(item, ITEMS[name]) for item in (value.values() if isinstance(value, dict) else value))
        if not whole:
            raise StudyError(f"{path} is no fit, its {name} is of another kind: {FIT_AGAIN}")
    return fit
