"""The stage ``aggregate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Results, folder_to_write, json_value


def aggregate(
    manifest: Annotated[Path, typer.Option(help="The list of runs, with a line of JSON for each.")],
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder to write the tables to.")],
    results: Results = RESULTS,
    external: Annotated[
        str,
        typer.Option(metavar="JSON", help='Tables of runs made elsewhere: a list of {"path": …, "columns": {ours: theirs}}.'),
    ] = "[]",
    corpora: Annotated[str, typer.Option(metavar="JSON", help="Names of corpora: {id: name}.")] = "{}",
    basis_alone: Annotated[bool, typer.Option("--basis-alone", help="Take only the runs that forecasts follow from.")] = False,
) -> None:
    """Write the Parquet tables of all runs of a study, runs.parquet, curves.parquet and so on.

    \b
    Example:
      scalinglaws aggregate --manifest results/studies/STUDY/tables/manifest-ID.jsonl --out results/studies/STUDY/tables
    """
    from scalinglaws.study.config import ExternalRuns
    from scalinglaws.tables.aggregate import write_tables

    elsewhere = [table.model_dump(mode="json") for table in json_value("--external", external, list[ExternalRuns])]
    names = json_value("--corpora", corpora, dict[str, str])
    for line in write_tables(manifest, results, out, elsewhere, names, basis_alone):
        print(line)
