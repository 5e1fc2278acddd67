"""The stage ``aggregate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scalinglaws.cli.options import RESULTS, Results


def json_value(option: str, text: str, kind: type) -> Any:
    """Return the value of an option that is written as JSON. A value of another kind is a wrong command line."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"it is not JSON: {error}", param_hint=option) from None
    if not isinstance(value, kind):
        raise typer.BadParameter(f"it is no {'list' if kind is list else 'object'}: {text}", param_hint=option)
    return value


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
    from scalinglaws.tables.aggregate import write_tables

    elsewhere, names = json_value("--external", external, list), json_value("--corpora", corpora, dict)
    for line in write_tables(manifest, results, elsewhere, names):
        print(line)
