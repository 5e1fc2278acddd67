"""The stages ``figure`` (one picture), ``exponents`` (the table of exponents) and ``report`` (the study on one page).

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

from scalinglaws.errors import StudyError
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
    from scalinglaws.figures import style

    wanted = FIGURES[args.name]
    laws = [law for law in wanted.laws if args.laws is None or law in args.laws]
    tables = {name: read_table(args.tables / f"{name}.parquet") for name in wanted.tables}
    present = [law for law in laws if args.laws is not None or (args.fits / f"{law}.json").exists()]
    fits = {law: read_fit(args.fits / f"{law}.json") for law in present}
    with style.style():
        figure = importlib.import_module(wanted.module).draw(tables, fits)
    style.save(figure, args.out_svg, args.out_png, args.out_pdf)
    print(f"{args.name}: {', '.join(str(path) for path in outputs)}")


def add_exponents_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``exponents``."""
    parser.add_argument("--fits", required=True, type=Path, metavar="DIR", help="folder of the fits, LAW.json")
    parser.add_argument("--laws", required=True, nargs="*", metavar="LAW", help="the laws to compare, in this order")
    parser.add_argument("--out-fits", required=True, type=Path, metavar="FILE", help="every parameter of every fit (Parquet)")
    parser.add_argument("--out-parquet", required=True, type=Path, metavar="FILE", help="the comparison (Parquet)")
    parser.add_argument("--out-md", required=True, type=Path, metavar="FILE")


def main_exponents(args: argparse.Namespace) -> None:
    """Write the table of fits and that of exponents. Raises StudyError for a missing or unreadable fit."""
    from scalinglaws import tables
    from scalinglaws.figures import exponents

    fits = {law: read_fit(args.fits / f"{law}.json") for law in args.laws}
    for path in (args.out_parquet, args.out_md):
        path.parent.mkdir(parents=True, exist_ok=True)
    tables.write(exponents.fit_rows(fits), tables.FITS, args.out_fits)
    exponents.write(exponents.exponents(fits), exponents.differences(fits), args.out_parquet, args.out_md)


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``report``."""
    parser.add_argument("--tables", required=True, type=Path, metavar="DIR", help="folder of runs.parquet")
    parser.add_argument("--fits", required=True, type=Path, metavar="DIR", help="folder of the fits, LAW.json")
    parser.add_argument("--figures", required=True, type=Path, metavar="DIR", help="folder of the figures, which are linked")
    parser.add_argument("--laws", nargs="*", metavar="LAW", help="laws that the study fits; by default those found in --fits")
    parser.add_argument("--drawn", nargs="*", metavar="NAME", help="its figures; by default those found in --figures")
    parser.add_argument("--kinds", nargs="*", default=[], metavar="KIND", help="of its runs: why other figures are not drawn")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the page (Markdown)")


def main_report(args: argparse.Namespace) -> None:
    """Write the report. Raises StudyError for a missing or unreadable table or fit."""
    from scalinglaws.figures.report import report
    from scalinglaws.files import write_bytes
    from scalinglaws.laws.names import LAW_KINDS

    laws = [law for law in LAW_KINDS if (args.fits / f"{law}.json").exists()] if args.laws is None else args.laws
    drawn = [name for name in FIGURES if (args.figures / f"{name}.svg").exists()] if args.drawn is None else args.drawn
    runs, fits = read_table(args.tables / "runs.parquet"), {law: read_fit(args.fits / f"{law}.json") for law in laws}
    folder = Path(os.path.relpath(args.figures, args.out.parent)).as_posix()
    write_bytes(args.out, report(runs, fits, args.kinds, drawn, folder).encode())
    print(args.out)


def read_table(path: Path) -> Any:
    """A Parquet table as a polars frame. Raises StudyError where it is missing or no Parquet file."""
    import polars

    if not path.exists():
        raise StudyError(f"{path} does not exist: aggregate the runs first (python -m scalinglaws aggregate, or snakemake)")
    try:
        return polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        raise StudyError(f"{path} is not a readable Parquet table ({error}): delete it and aggregate again") from None


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
