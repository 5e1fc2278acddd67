"""The stages ``register`` and ``score``: forecasts that are written before their runs are trained, and how they came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Fits, Results, Sums, file_to_write, folder_to_write, known_laws, named

Table = Annotated[Path, typer.Option("--table", help="The table of runs, runs.parquet, that the laws were fitted to.")]
Laws = Annotated[str, typer.Option("--laws", metavar="LAW,…", help="Laws that forecast, with commas.")]
Folder = Annotated[Path, typer.Option("--forecasts", callback=folder_to_write, help="Folder of the study's forecasts.")]


def register(
    spec: Annotated[Path, typer.Option(help="The spec.json of the run.")],
    table: Table,
    fits: Fits,
    laws: Laws,
    forecasts: Folder,
    results: Results = RESULTS,
) -> None:
    """Write what the fits of other runs say about the loss of a run, before it is trained.

    A forecast that is there is never written again. Where the fits say something else by now, a second file is written beside it;
    where the run is trained already, the forecast is marked late.

    \b
    Example:
      scalinglaws register --spec results/runs/RUN/spec.json --table results/studies/STUDY/basis/runs.parquet \\
        --fits results/studies/STUDY/fits --laws chinchilla,power-c --forecasts results/studies/STUDY/forecasts
    """
    from scalinglaws.laws.registered import register as write_forecast
    from scalinglaws.study.plugins import read_run

    chosen = named("--laws", laws, known_laws()) or []
    written = write_forecast(read_run(spec, results), results, table, fits, chosen, forecasts)
    print(written or "no forecast is added: there is one that says the same")


def score(
    manifest: Annotated[Path, typer.Option(help="The list of runs, with a line of JSON for each.")],
    runs: Annotated[Path, typer.Option(help="The table of all runs, runs.parquet, which tells how they came out.")],
    table: Table,
    fits: Fits,
    laws: Laws,
    forecasts: Folder,
    out: Annotated[
        Path, typer.Option(callback=file_to_write, help="Parquet table to write: a row for each law of each forecast.")
    ],
    results: Results = RESULTS,
    with_sums: Sums = False,
) -> None:
    """Compare each forecast with the loss that its run came out with.

    What the fits say by now is registered first, where it is not what an earlier forecast of the run says.

    \b
    Example:
      scalinglaws score --manifest results/studies/STUDY/tables/manifest-ID.jsonl \\
        --runs results/studies/STUDY/tables/runs.parquet --table results/studies/STUDY/basis/runs.parquet \\
        --fits results/studies/STUDY/fits --laws chinchilla --forecasts results/studies/STUDY/forecasts \\
        --out results/studies/STUDY/tables/forecasts.parquet
    """
    from scalinglaws.laws.scored import write_scores

    chosen = named("--laws", laws, known_laws()) or []
    for written in write_scores(manifest, results, runs, table, fits, chosen, forecasts, out, with_sums):
        print(written)
