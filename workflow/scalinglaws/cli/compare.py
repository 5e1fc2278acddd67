"""The command ``compare``: two studies, experiments or tables at equal compute."""

from __future__ import annotations

from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Json, Resamples, Results, Seed

KINDS = "A study by its name or folder, one of its experiments as STUDY:EXPERIMENT, or a table of runs (.csv, .parquet, .jsonl)."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"What is compared. {KINDS}")],
    b: Annotated[str, typer.Argument(metavar="B", help=f"What it is compared with. {KINDS}")],
    where_a: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Runs of A to use: \"architecture = 'llama'\", as --where of fit.")
    ] = None,
    where_b: Annotated[str | None, typer.Option(metavar="CONDITION", help="Runs of B to use.")] = None,
    columns_a: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN,…", help="Other names of the columns of A: n_params=N,loss=final_loss."),
    ] = None,
    columns_b: Annotated[list[str] | None, typer.Option(metavar="NAME=COLUMN,…", help="Other names of the columns of B.")] = None,
    law: Annotated[
        str | None,
        typer.Option(
            metavar="LAW",
            help="Law to fit to both: chinchilla, overtraining, power-c or power-c-offset. Without it, the first that the runs "
            "of both can tell of chinchilla and power-c, or else models at one budget.",
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Compare models at one budget of tokens, such as 6M, by no law of compute."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="FLOP,…", help="Computes at which a law compares: 1e20,1e21. Without it, the range that both have."),
    ] = None,
    bootstrap: Resamples = 1000,
    seed: Seed = 0,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compare two studies, experiments or tables: exponents, losses at equal compute, and the compute-equivalent gain.

    The gain is how many times the compute B needs to have the loss of A. All have 95 % intervals, and what lies beyond the runs
    is marked. Where texts, tokenizers or contexts of the two differ, so that losses cannot be compared, a sentence says so.

    \b
    Examples:
      scalinglaws compare paper laptop
      scalinglaws compare paper:lstm paper:size --tokens 6M
      scalinglaws compare ours.csv theirs.csv --columns-b n_params=N,tokens=D --law chinchilla --at 1e20,1e21
    """
    from scalinglaws.cli.laws import mapping, quantity
    from scalinglaws.cli.output import print_json, print_page
    from scalinglaws.decide.compare import compare as compared
    from scalinglaws.decide.sides import side
    from scalinglaws.report.one_comparison import page

    computes = [quantity("--at", part) for text in at or [] for part in text.split(",") if part.strip()]
    found = compared(
        side("A", a, results, where_a, mapping("--columns-a", "COLUMN", columns_a)),
        side("B", b, results, where_b, mapping("--columns-b", "COLUMN", columns_b)),
        law=law,
        tokens=None if tokens is None else quantity("--tokens", tokens),
        at=computes,
        n_bootstrap=bootstrap,
        seed=seed,
    ).model_dump()
    if as_json:
        print_json(found)
    else:
        print_page(page(found))
