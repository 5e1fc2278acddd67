"""The command ``figure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import Fits, Sums, file_to_write, known_figures, names


def figure(
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Figure to draw; a wrong name lists all.", autocompletion=known_figures)
    ],
    tables: Annotated[Path, typer.Option(help="Folder of runs.parquet and the other tables.")],
    fits: Fits,
    out_svg: Annotated[Path, typer.Option(callback=file_to_write, help="SVG file to write.")],
    out_png: Annotated[Path, typer.Option(callback=file_to_write, help="PNG file to write.")],
    out_pdf: Annotated[Path | None, typer.Option(callback=file_to_write, help="PDF file to write, if wanted.")] = None,
    laws: Annotated[
        str | None,
        typer.Option(metavar="LAW,…", help="Laws that the study fits, with commas; without it those found in --fits."),
    ] = None,
    with_sums: Sums = False,
) -> None:
    """Draw one figure from tables and fits; the same tables and fits give the same bytes.

    \b
    Example:
      scalinglaws figure --name fig02_learning_curves --tables results/studies/STUDY/tables \\
        --fits results/studies/STUDY/fits --out-svg fig02.svg --out-png fig02.png
    """
    from scalinglaws.figures.command import draw_figure

    written = draw_figure(name, tables, fits, out_svg, out_png, out_pdf, names(laws), with_sums)
    print(f"{name}: {', '.join(map(str, written))}")
