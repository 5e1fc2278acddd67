"""The stage ``figure``: one picture.

python -m scalinglaws figure --name fig02_learning_curves --tables results/tables --fits results/fits \\
    --out-svg fig02.svg --out-png fig02.png
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError
from scalinglaws.figures.registry import FIGURES


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``figure``."""
    parser.add_argument("--name", required=True, metavar="NAME", help=f"one of {', '.join(FIGURES)}")
    parser.add_argument("--tables", required=True, type=Path, metavar="DIR", help="folder of runs.parquet and curves.parquet")
    parser.add_argument("--fits", required=True, type=Path, metavar="DIR", help="folder of the fits, LAW.json")
    parser.add_argument("--laws", nargs="*", metavar="LAW", help="laws that the study fits; by default those found in --fits")
    parser.add_argument("--out-svg", required=True, type=Path, metavar="FILE")
    parser.add_argument("--out-png", required=True, type=Path, metavar="FILE")
    parser.add_argument("--out-pdf", type=Path, metavar="FILE")


def main_figure(args: argparse.Namespace) -> None:
    """Draw one figure. Raises StudyError for an unknown name and for a missing or unreadable table or fit."""
    if args.name not in FIGURES:
        raise StudyError(f"there is no figure '{args.name}': use one of {', '.join(FIGURES)}")
    outputs = [path for path in (args.out_svg, args.out_png, args.out_pdf) if path]
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    # matplotlib keeps its list of fonts below the home directory unless told otherwise.
    os.environ.setdefault("MPLCONFIGDIR", str(args.out_svg.parent / ".matplotlib"))
    from scalinglaws.figures.shared import style

    wanted = FIGURES[args.name]
    laws = [law for law in wanted.laws if args.laws is None or law in args.laws]
    tables = {name: read_table(args.tables / f"{name}.parquet") for name in wanted.tables}
    present = [law for law in laws if args.laws is not None or (args.fits / f"{law}.json").exists()]
    fits = {law: read_fit(args.fits / f"{law}.json") for law in present}
    with style.style():
        figure = importlib.import_module(wanted.module).draw(tables, fits)
    style.save(figure, args.out_svg, args.out_png, args.out_pdf)
    print(f"{args.name}: {', '.join(str(path) for path in outputs)}")


def read_table(path: Path) -> Any:
    """A table of the study as a polars frame. Raises StudyError where it is missing, damaged or of another version."""
    from scalinglaws.tables.read import read_own  # polars takes long to import, and asking for help needs none

    return read_own(path)


def read_fit(path: Path) -> dict[str, Any]:
    """A fit.json. Raises StudyError where it is missing or not JSON."""
    if not path.exists():
        raise StudyError(f"{path} does not exist: fit the law first (python -m scalinglaws fit --law {path.stem}, or snakemake)")
    try:
        fit = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StudyError(f"{path} is not JSON ({error}): delete it and fit again") from None
    if not isinstance(fit, dict):
        raise StudyError(f"{path} is not a fit: delete it and fit again")
    return fit
