"""The stages ``exponents`` (the table of exponents) and ``report`` (the study on one page)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scalinglaws.figures.command import read_fit, read_table
from scalinglaws.figures.registry import FIGURES


def add_exponents_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``exponents``."""
    parser.add_argument("--fits", required=True, type=Path, metavar="DIR", help="folder of the fits, LAW.json")
    parser.add_argument("--laws", required=True, nargs="*", metavar="LAW", help="the laws to compare, in this order")
    parser.add_argument("--out-fits", required=True, type=Path, metavar="FILE", help="every parameter of every fit (Parquet)")
    parser.add_argument("--out-parquet", required=True, type=Path, metavar="FILE", help="the comparison (Parquet)")
    parser.add_argument("--out-md", required=True, type=Path, metavar="FILE")


def main_exponents(args: argparse.Namespace) -> None:
    """Write the table of fits and that of exponents. Raises StudyError for a missing or unreadable fit."""
    from scalinglaws.report import exponents
    from scalinglaws.tables import schema as tables

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
    from scalinglaws.common.files import write_bytes
    from scalinglaws.laws.registry import LAW_KINDS
    from scalinglaws.report.report import report

    laws = [law for law in LAW_KINDS if (args.fits / f"{law}.json").exists()] if args.laws is None else args.laws
    drawn = [name for name in FIGURES if (args.figures / f"{name}.svg").exists()] if args.drawn is None else args.drawn
    runs, fits = read_table(args.tables / "runs.parquet"), {law: read_fit(args.fits / f"{law}.json") for law in laws}
    folder = Path(os.path.relpath(args.figures, args.out.parent)).as_posix()
    write_bytes(args.out, report(runs, fits, args.kinds, drawn, folder).encode())
    print(args.out)
