"""The command ``forecast``: what the next model's loss will be, and what to train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scalinglaws.cli.laws import mapping, quantity
from scalinglaws.cli.options import CONFIG, RESULTS, Json, Resamples, Results, Seed, known_laws, named
from scalinglaws.common.errors import StudyError

Numbers = list[str] | None
LEAST, MOST = 1e-6, 1e40  # of what is asked for


def forecast(
    flops: Annotated[
        Numbers, typer.Option(metavar="C", help="Training compute in FLOP, of which the best run is forecast: 1e21.")
    ] = None,
    loss: Annotated[
        Numbers, typer.Option(metavar="L", help="Loss in nats per token: the compute that reaches it is sought.")
    ] = None,
    n_params: Annotated[
        Numbers, typer.Option(metavar="N", help="Size in parameters without embeddings; give as many --tokens, in their order.")
    ] = None,
    tokens: Annotated[Numbers, typer.Option(metavar="D", help="Tokens that a model of --n-params is trained on.")] = None,
    price: Annotated[
        Numbers, typer.Option(metavar="P", help="Price of the training, of which --price-per-hour makes a compute.")
    ] = None,
    price_per_hour: Annotated[
        str | None, typer.Option(metavar="P", help="Price of an hour of the device, in the currency of --price.")
    ] = None,
    served_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="Tokens that the model will read and write after its training: the cheapest model for both is told."
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Study whose fits are asked; by default that of the config file.")
    ] = None,
    configfile: Annotated[
        Path | None,
        typer.Option(help="Config file, whose rules give rate, batch and shape; config.yaml where there is no --table."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Runs to fit instead of a study's fits: .csv, .parquet or .jsonl, as fit takes them.")
    ] = None,
    columns: Annotated[
        Numbers, typer.Option(metavar="NAME=COLUMN,…", help="Other names of the table's columns, as fit takes them.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="CONDITION", help="Runs of the table to use, as fit takes them.")] = None,
    laws: Annotated[
        str | None,
        typer.Option(
            metavar="LAW,…",
            help="Laws to ask, with commas; by default all that state the loss of a run and can be fitted.",
            autocompletion=known_laws,
        ),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Snakemake profile with the device in whose hours the cost is told; an H100 by default.")
    ] = None,
    precision: Annotated[
        Literal["bfloat16", "float32"], typer.Option(help="Precision of the training, for the cost.")
    ] = "bfloat16",
    bootstrap: Resamples = 1000,
    seed: Seed = 0,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Forecast the loss of a model that is not trained yet, and tell the best size, what other sizes cost, and how to train it.

    A compute, a loss, a size with its tokens or a price can each be given several times. The fits of the study are asked, or laws
    are fitted to a table. To register forecasts before their runs are trained, give an experiment "forecast: true".

    \b
    Examples:
      scalinglaws forecast --flops 1e15
      scalinglaws forecast --table runs.csv --loss 2.4 --served-tokens 1T
      scalinglaws forecast --n-params 7G --tokens 1T --table runs.csv --json
    """
    from scalinglaws.cli.forecast_page import page
    from scalinglaws.cli.output import print_json, print_page
    from scalinglaws.cluster.cost import H100
    from scalinglaws.cluster.device import device_of_profile
    from scalinglaws.decide import forecast as ask
    from scalinglaws.decide.answer import Answers
    from scalinglaws.laws.select import read_table

    if bootstrap == 1:
        raise StudyError("--bootstrap is 1: use 0 for no intervals, or at least 2 resamples (1000)")
    hourly = None if price_per_hour is None else positive("--price-per-hour", price_per_hour)
    served = None if served_tokens is None else positive("--served-tokens", served_tokens)
    device = device_of_profile(profile) if profile else H100
    if device is None:
        raise StudyError(f"{profile} describes no device: give one under config, as profiles/slurm does")
    questions = asked(flops, loss, n_params, tokens, price, hourly, device.peak(precision))
    chosen = named("--laws", laws, [*ask.STATING, ask.PROFILES])
    if table is not None and study is not None:
        raise typer.BadParameter("--table is fitted instead of a study's fits: leave --study or --table out")
    if table is None and (columns or where):
        raise typer.BadParameter("--columns and --where are for a table of runs: give --table")
    name, of = "", None
    doubts: list[str] = []
    if table is None or configfile is not None:
        name, of, doubts = described(configfile or CONFIG, study)
    if table is not None:
        more: dict[str, Any] = {"columns": mapping("--columns", "COLUMN", columns), "where": where}
        basis, source = ask.of_runs(read_table(table), bootstrap, seed, chosen, **more), str(table)
    else:
        basis, source = ask.of_study(results / "studies" / name / "fits", bootstrap, seed, chosen), f"study {name}"
    answers = []
    for question in questions:
        found = ask.answer(basis, question, device, precision, served, hourly)
        answers.append(found.model_copy(update={"trained": trained(of, found, results)}))
    out = Answers(source=source, laws=list(basis.laws), answers=answers, doubts=[*basis.doubts, *doubts])
    if as_json:
        print_json(out.model_dump(mode="json"))
    else:
        print_page(page(out))


def positive(option: str, text: str) -> float:
    """Return a positive number, written as a config writes it, as 20M, or as any other.

    Raises StudyError that names the option, also for a number beyond all that is trained, of which a product would overflow.
    """
    value = quantity(option, text)
    if not value > 0:
        raise StudyError(f"{option} is {text}: give a number above 0")
    if not LEAST <= value <= MOST:
        raise StudyError(f"{option} is {text}: give a number from {LEAST:g} to {MOST:g}")
    return value


def asked(
    flops: Numbers, loss: Numbers, n_params: Numbers, tokens: Numbers, price: Numbers, hourly: float | None, peak: float
) -> list[dict[str, float]]:
    """Return the questions of a command line, each with its numbers by name; a price becomes flops too.

    Raises
    ------
    StudyError
        There is none, a number is not positive, or something that belongs to one is missing.
    """
    sizes, budgets = n_params or [], tokens or []
    if len(sizes) != len(budgets):
        raise StudyError(
            f"--n-params is given {len(sizes)} times and --tokens {len(budgets)} times: give one --tokens for each size"
        )
    if price and hourly is None:
        raise StudyError("--price needs --price-per-hour, the price of an hour of the device, to be a compute")
    out: list[dict[str, float]] = [{"flops": positive("--flops", text)} for text in flops or []]
    out += [{"loss": positive("--loss", text)} for text in loss or []]
    out += [
        {"n_params": positive("--n-params", n), "tokens": positive("--tokens", d)} for n, d in zip(sizes, budgets, strict=True)
    ]
    for text in price or []:
        paid = positive("--price", text)
        out.append({"price": paid, "flops": paid / (hourly or 1) * 3600 * peak})
    if not out:
        raise StudyError("nothing is asked: give --flops, --loss, --n-params with --tokens, or --price with --price-per-hour")
    return out


def described(configfile: Path, study: str | None) -> tuple[str, Any, list[str]]:
    """Return the name of the study that is asked, the pattern of its runs, and a sentence where its config is not known.

    The pattern is None where the config file is that of another study, or is not there, or trains nothing.
    """
    from scalinglaws.decide.entry import pattern
    from scalinglaws.study import config

    if study is not None and not configfile.exists():
        return (
            study,
            None,
            [f"Rate, batch and shape are not those of the study, as {configfile} is not there: give --configfile."],
        )
    found = config.load(configfile)
    if study is not None and study != found.study:
        told = f"Rate, batch and shape are not those of the study, as {configfile} is of study {found.study}: give --configfile."
        return study, None, [told]
    return found.study, pattern(found) if found.experiments else None, []


def trained(of: Any, found: Any, results: Path) -> Any:
    """Return how the run of an answer is trained, see ``entry.trained``."""
    from scalinglaws.decide import entry

    return entry.trained(of, found.n_params, found.flops, f"{found.flops:.3g}".replace("+", ""), results / "tokens")
