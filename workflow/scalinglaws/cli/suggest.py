"""The command ``suggest``: which runs to add next for one number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import CONFIG, RESULTS, Json, Resamples, Results, Seed, known_laws
from scalinglaws.common.errors import StudyError

OPENING = "forecast:"  # how a target begins that is a forecast
MOST_RUNS = 200  # of a suggestion


def suggest(
    target: Annotated[
        str,
        typer.Option(
            metavar="TARGET",
            help="What is to be known better: a parameter, such as alpha, alpha_N or E, or the loss of a run, "
            "forecast:flops=1e21 or forecast:n_params=7G,tokens=1T.",
        ),
    ],
    budget: Annotated[str, typer.Option(metavar="C", help="Training compute in FLOP that may be spent: 1e18.")],
    law: Annotated[
        str | None,
        typer.Option(
            metavar="LAW",
            help="Law of the target; by default the first of the fitted ones that has it.",
            autocompletion=known_laws,
        ),
    ] = None,
    most_runs: Annotated[int, typer.Option(metavar="N", min=1, max=MOST_RUNS, help="The most runs to add.")] = 24,
    configfile: Annotated[
        Path | None, typer.Option(help="Config file of the study; config.yaml where there is no --table.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Runs to fit instead of a study's fits: .csv, .parquet or .jsonl, as fit takes them.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COLUMN,…", help="Other names of the table's columns, as fit takes them.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="CONDITION", help="Runs of the table to use, as fit takes them.")] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="Table of runs that could be added, with n_params and tokens; a grid about those of --table by default."
        ),
    ] = None,
    bootstrap: Resamples = 1000,
    seed: Seed = 0,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Suggest which runs to add: those that most narrow the interval of one number for their FLOP, as an entry for config.yaml.

    The fits of the study say how sure the number is and what each run that the config could ask for would tell of it; a rung
    that is there costs nothing. With --table, laws are fitted to a table of runs made elsewhere.

    \b
    Examples:
      scalinglaws suggest --budget 1e14 --target alpha_N
      scalinglaws suggest --budget 1e18 --target forecast:flops=1e21 --table runs.csv
      scalinglaws suggest --budget 1e20 --target beta --table runs.csv --candidates grid.csv --json
    """
    from scalinglaws.cli.forecast import positive
    from scalinglaws.cli.laws import mapping
    from scalinglaws.cli.output import print_json, print_page
    from scalinglaws.decide import suggest as ask
    from scalinglaws.decide.candidates import of_config, of_file, of_table
    from scalinglaws.laws.select import read_table
    from scalinglaws.report.one_suggestion import page
    from scalinglaws.study import config as config_model

    flops, quantities = positive("--budget", budget), None
    if bootstrap == 1:
        raise StudyError("--bootstrap is 1: use at least 2 resamples (1000)")
    if target.startswith(OPENING) or target == OPENING[:-1]:
        given = mapping("--target", "NUMBER", [target.removeprefix(OPENING)] if target.startswith(OPENING) else [])
        quantities = {name: positive(f"--target: {name}", value) for name, value in given.items()}
    asked = ask.target(target, law, quantities)
    if table is None:
        if columns or where or candidates:
            raise typer.BadParameter("--columns, --where and --candidates are for a table of runs: give --table")
        config = config_model.load(configfile or CONFIG)
        basis = ask.basis_of_study(config.study, results / "studies" / config.study / "fits", bootstrap, seed)
        chosen = ask.law_of(asked, basis)
        found, based = of_config(config, results, flops), basis.laws[chosen]()
    else:
        if configfile is not None:
            raise typer.BadParameter("--table is fitted instead of a study's fits: leave --configfile or --table out")
        names = mapping("--columns", "COLUMN", columns)
        basis = ask.basis_of_table(read_table(table), str(table), bootstrap, seed, names, where)
        based = basis.laws[ask.law_of(asked, basis)]()
        found = of_file(candidates, names, flops) if candidates else of_table(based.points, flops)
    answer = ask.suggest(basis.source, based, asked, found, flops, most_runs, results, seed).model_dump()
    if as_json:
        print_json(answer)
    else:
        print_page(page(answer))
