"""The commands ``report`` and ``exponents``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import Fits, Sums, file_to_write, known_figures, known_laws, named, names


def report(
    tables: Annotated[Path, typer.Option(help="Folder of the tables: runs, curves and evals.")],
    fits: Fits,
    figures: Annotated[Path, typer.Option(help="Folder of the figures, to which the page links.")],
    out: Annotated[Path, typer.Option(callback=file_to_write, help="Page to write, in Markdown.")],
    laws: Annotated[
        str | None,
        typer.Option(metavar="LAW,…", help="Laws that the study fits, with commas; without it those found in --fits."),
    ] = None,
    drawn: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Figures of the study, with commas; without it those found in --figures."),
    ] = None,
    study: Annotated[str, typer.Option(metavar="NAME", help="Name of the study, for the title of the page.")] = "",
    kinds: Annotated[
        str,
        typer.Option(metavar="KIND,…", help="Questions that the runs answer, with commas, to say what figures and claims lack."),
    ] = "",
    with_sums: Sums = False,
) -> None:
    """Write the study on one page: what was run, the paper's tables with its numbers, its claims, reasons to doubt, figures.

    \b
    Example:
      scalinglaws report --study STUDY --tables results/studies/STUDY/tables --fits results/studies/STUDY/fits \\
        --figures results/studies/STUDY/figures --out results/studies/STUDY/report.md
    """
    from scalinglaws.report.command import write_report

    fitted, pictures = named("--laws", laws, known_laws()), named("--drawn", drawn, known_figures())
    write_report(tables, fits, figures, out, study, fitted, pictures, names(kinds) or [], with_sums)
    print(out)


def exponents(
    fits: Fits,
    laws: Annotated[str, typer.Option(metavar="LAW,…", help="Laws to compare, with commas, in this order.")],
    out_fits: Annotated[Path, typer.Option(callback=file_to_write, help="Parquet table to write: every parameter of every fit.")],
    out_parquet: Annotated[
        Path, typer.Option(callback=file_to_write, help="Parquet table to write: fitted and published exponents.")
    ],
    out_md: Annotated[Path, typer.Option(callback=file_to_write, help="The same comparison to write as Markdown.")],
    with_sums: Sums = False,
) -> None:
    """Write the fitted exponents beside the published ones.

    \b
    Example:
      scalinglaws exponents --fits results/studies/STUDY/fits --laws power-n,power-c \\
        --out-fits fits.parquet --out-parquet exponents.parquet --out-md exponents.md
    """
    from scalinglaws.report.command import write_exponents

    write_exponents(fits, named("--laws", laws, known_laws()) or [], out_fits, out_parquet, out_md, with_sums)
