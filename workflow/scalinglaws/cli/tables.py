"""The stage ``aggregate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Results, json_value


def aggregate(
    manifest: Annotated[Path, typer.Option(help="The list of runs, with a line of JSON for each.")],
    results: Results = RESULTS,
    external: Annotated[
        str,
        typer.Option(metavar="JSON", help='Tables of runs made elsewhere: a list of {"path": …, "columns": {ours: theirs}}.'),
    ] = "[]",
    corpora: Annotated[str, typer.Option(metavar="JSON", help="Names of corpora: {id: name}.")] = "{}",
) -> None:
    """Write the Parquet tables of all runs of a study, results/tables/*.parquet.

    \b
    Example:
      scalinglaws aggregate --manifest results/tables/manifest-ID.jsonl --results results
    """
    from scalinglaws.study.config import ExternalRuns
    from scalinglaws.tables.aggregate import write_tables

    elsewhere = [table.model_dump(mode="json") for table in json_value("--external", external, list[ExternalRuns])]
    names = json_value("--corpora", corpora, dict[str, str])
    for line in write_tables(manifest, results, elsewhere, names):
        print(line)
