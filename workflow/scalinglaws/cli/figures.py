"""The command ``figure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import Json, Sums, file_to_write, known_figures, known_laws, named


def figure(
    list_figures: Annotated[
        bool, typer.Option("--list", help="List the figures with what each is drawn from, and exit.")
    ] = False,
    as_json: Json = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Figure to draw; --list names them.", autocompletion=known_figures)
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of runs.parquet and the other tables.")] = None,
    fits: Annotated[Path | None, typer.Option(help="Folder of the fits, LAW.json.")] = None,
    out_svg: Annotated[Path | None, typer.Option(callback=file_to_write, help="SVG file to write.")] = None,
    out_png: Annotated[Path | None, typer.Option(callback=file_to_write, help="PNG file to write.")] = None,
    out_pdf: Annotated[Path | None, typer.Option(callback=file_to_write, help="PDF file to write, if wanted.")] = None,
    laws: Annotated[
        str | None,
        typer.Option(metavar="LAW,…", help="Laws that the study fits, with commas; without it those found in --fits."),
    ] = None,
    with_sums: Sums = False,
) -> None:
    """Draw one figure from tables and fits; the same tables and fits give the same bytes.

    \b
    Examples:
      scalinglaws figure --list
      scalinglaws figure --name fig02_learning_curves --tables results/studies/STUDY/tables \\
        --fits results/studies/STUDY/fits --out-svg fig02.svg --out-png fig02.png
    """
    from scalinglaws.figures.command import draw_figure

    if list_figures:
        print_figures(as_json)
        return
    if name is None or tables is None or fits is None or out_svg is None or out_png is None:
        raise typer.BadParameter("give --name, --tables, --fits, --out-svg and --out-png (--list names the figures)")
    chosen = named("--laws", laws, known_laws())
    written = draw_figure(name, tables, fits, out_svg, out_png, out_pdf, chosen, with_sums)
    print(f"{name}: {', '.join(map(str, written))}")


def print_figures(as_json: bool) -> None:
    """Print the figures with their titles, the runs that a study must have for each, and the laws that it draws."""
    from scalinglaws.cli.output import print_json, print_table
    from scalinglaws.common.numbers import listed
    from scalinglaws.figures.registry import FIGURES
    from scalinglaws.study.questions import WORDS

    if as_json:
        fields = ("name", "title", "needs", "tables", "laws")
        print_json([{field: getattr(figure, field) for field in fields} for figure in FIGURES.values()])
        return
    rows = [
        [figure.name, figure.title, listed([WORDS[kind] for kind in figure.needs]), ", ".join(figure.laws)]
        for figure in FIGURES.values()
    ]
    print_table(("figure", "title", "drawn from", "laws"), rows, sentences=True)
