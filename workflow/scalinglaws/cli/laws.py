"""The command ``fit``, and how laws' options are written on the command line."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scalinglaws.cli.options import OUTPUT, Json, Resamples, Seed, Sums, file_or_output, known_laws
from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import DELTAS, LARGEST_INTEGER, parse_count

if TYPE_CHECKING:
    from scalinglaws.laws.allocation import CriticalBatch


def fit(
    list_laws: Annotated[bool, typer.Option("--list", help="Name the laws and exit.")] = False,
    as_json: Json = False,
    law: Annotated[
        str | None, typer.Option(help="Law to fit; --list names them.", metavar="LAW", autocompletion=known_laws)
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Runs, as .csv, .parquet or .jsonl, with n_params, loss, and tokens or flops.")
    ] = None,
    curves: Annotated[
        Path | None, typer.Option(help="Learning curves, for the laws envelope, kaplan-ns, critical-batch and multi-power.")
    ] = None,
    evals: Annotated[Path | None, typer.Option(help="Losses on several texts, the table evals, for the law mixture.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN,…",
            help="Other names of the table's columns: n_params=params,loss=final_loss. A name with a comma stands in double "
            "quotes: 'loss=\"loss, nats\"'. Can be given several times.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Runs to use: \"n_params > 1e6 and tokens < 1e9\". It has comparisons of columns, numbers and 'texts', and, or, "
            "not, in, between, like and is null. Runs with fit: false are left out unless it names the column fitted.",
        ),
    ] = None,
    exclude_highest: Annotated[
        int, typer.Option(metavar="N", min=0, max=LARGEST_INTEGER, help="Leave out the N runs with the largest losses.")
    ] = 0,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Curves that are predicted and judged instead of fitted, for the law multi-power: \"run in ('a', 'b')\".",
        ),
    ] = None,
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Weight each loss by its own standard error, the column loss_stderr.")
    ] = False,
    critical_batch: Annotated[
        str | None,
        typer.Option(
            metavar="B_STAR,ALPHA_B",
            help="B_crit(L) = B_star/L^(1/alpha_B) in tokens, from which steps_min and flops_min follow; "
            "or the JSON file of a fit of it.",
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,…",
            help="Forecast the loss of a new run there, with intervals: n_params=20M,tokens=2G. For a law of compute, and for "
            "the best run of a compute by the law chinchilla: flops=1e21. The law learning-rate gives the rate and the batch "
            "size of a run there. The law mixture gives losses at shares: books=0.7,mail=0.3, and the best mixture for texts: "
            "for_books=0.5,for_mail=0.5. Can be given several times.",
        ),
    ] = None,
    objective: Annotated[
        Literal["huber", "squared", "absolute"], typer.Option(help="What is summed over the residuals.")
    ] = "huber",
    delta: Annotated[
        float, typer.Option(min=DELTAS[0], max=DELTAS[1], help="Residual from which the Huber function is linear.")
    ] = 1e-3,
    residuals: Annotated[
        Literal["log", "raw"], typer.Option(help="Residuals are differences of log losses, or of losses in nats per token (raw).")
    ] = "log",
    fix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,…", help="Hold a parameter at a value and fit the others: E=1.69. Can be given several times."
        ),
    ] = None,
    bootstrap: Resamples = 1000,
    seed: Seed = 0,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Write a file without parameters where there are too few points.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(callback=file_or_output, help="JSON file to write with all that the fit found; - stands for --json."),
    ] = None,
    with_sums: Sums = False,
) -> None:
    """Fit a scaling law to any table of runs: parameters, intervals, and a sentence for each reason to doubt them.

    A table of the parameters, the reasons and the forecasts is printed; --json prints all that the fit found, and --out writes
    that to a file. Rows that cannot be used are left out, and a sentence says which and why. The same table and options give
    the same bytes.

    \b
    Examples:
      scalinglaws fit --list
      scalinglaws fit --law chinchilla --table runs.csv --columns n_params=N,tokens=D,loss=L --out fit.json
      scalinglaws fit --law power-n --table results/studies/STUDY/tables/runs.parquet --at n_params=1e6
    """
    from scalinglaws.laws.result import fit_table, warning_of_time
    from scalinglaws.laws.select import read_table

    if list_laws:
        print_laws(as_json)
        return
    if law is None or table is None:
        raise typer.BadParameter("give --law and --table (--list names the laws)")
    runs = read_table(table)
    if warning := warning_of_time(law, len(runs)):
        print(f"scalinglaws fit: {warning}", file=sys.stderr)
    result = fit_table(
        runs,
        law,
        curves=read_table(curves) if curves else None,
        evals=read_table(evals) if evals else None,
        objective=objective,
        delta=delta,
        residuals=residuals,
        fixed={name: number("--fix", value) for name, value in mapping("--fix", "VALUE", fix).items()},
        n_bootstrap=bootstrap,
        seed=seed,
        columns=mapping("--columns", "COLUMN", columns),
        exclude_highest=exclude_highest,
        where=where,
        held_out=held_out,
        allow_empty=allow_empty,
        weighted=weighted,
        critical_batch=critical_batch_of(critical_batch),
        at=[{name: quantity("--at", value) for name, value in mapping("--at", "VALUE", [text]).items()} for text in at or []],
    )
    tell(result, None if out == OUTPUT else out, as_json or out == OUTPUT, with_sums)


def tell(result: dict[str, Any], out: Path | None, as_json: bool, with_sums: bool) -> None:
    """Write a fit to a file, where one is given, and print it: as a page for a reader, or as JSON.

    The page has the sentences about rows that were left out among its reasons to doubt; beside JSON they go to stderr.
    """
    from scalinglaws.cli.output import print_json, print_page
    from scalinglaws.common import sums
    from scalinglaws.common.files import write_bytes
    from scalinglaws.report.one_fit import page

    if out is not None:
        data = (json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with sums.listing(sums.beside(out), [out], with_sums):
            write_bytes(out, data)
    if not as_json:
        print_page(page(result))
        return
    for sentence in result.get("table", []):
        print(f"scalinglaws fit: {sentence}", file=sys.stderr)
    print_json(result)


def print_laws(as_json: bool) -> None:
    """Print the laws and the other methods by which a table is fitted, with the runs and the options that each needs."""
    from scalinglaws.cli.output import print_json, print_table
    from scalinglaws.laws.catalogue import LAWS, METHODS
    from scalinglaws.laws.forms import Law
    from scalinglaws.laws.methods import Method

    listed: list[Law | Method] = [*LAWS.values(), *METHODS.values()]
    columns = ("name", "formula", "source", "rule")
    if as_json:
        print_json([{column: getattr(law, column) for column in columns} for law in listed])
        return
    rows = [[law.name, law.formula, law.source, law.rule + options_of(law.name)] for law in listed]
    print_table(("law", "equation", "source", "fitted to"), rows, sentences=True)


def options_of(law: str) -> str:
    """Return, in brackets, the options that give what a law needs beside a table of runs; an empty text where it needs none."""
    from scalinglaws.laws.registry import LAWS

    entry = LAWS.find(law)
    needed = ["--curves"] * entry.curves + ["--evals"] * entry.evals + ["--critical-batch"] * entry.small_batches
    return f" ({', '.join(needed)})" if needed else ""


def mapping(option: str, kind: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Return what an option written as NAME=VALUE,… says, as a dict.

    The option may be given several times. A value, or a whole NAME=VALUE, that holds a comma stands in double quotes, and a
    quotation mark within these is written twice, as in CSV. All after the first equals sign is the value.

    Raises
    ------
    StudyError
        A part is not NAME=VALUE, a quote is not closed, or a name is given twice. The message names the option.
    """
    out: dict[str, str] = {}
    for text in texts or []:
        if text.count('"') % 2:
            raise StudyError(f"{option} has a quotation mark that is never closed: {text}")
        for item in filter(None, (part.strip() for part in PARTS.findall(text))):
            name, equals, value = (part.strip() for part in unquoted(item).partition("="))
            value = unquoted(value)
            if not equals or not name or not value:
                raise StudyError(f"{option} has '{item}': write NAME={kind}, separated by commas")
            if name in out:
                raise StudyError(f"{option} gives {name} twice, {out[name]} and {value}: give it once")
            out[name] = value
    return out


# The parts of a text between commas that stand outside double quotes.
PARTS = re.compile(r'(?:[^,"]|"[^"]*")+')


def unquoted(text: str) -> str:
    """Return a text without the double quotes that stand about the whole of it."""
    whole = re.fullmatch(r'"((?:[^"]|"")*)"', text)
    return whole[1].replace('""', '"') if whole else text


def number(option: str, text: str) -> float:
    """Return the number that an option gives. Raises StudyError that names the option."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise StudyError(f"{option} has '{text}', which is not a finite number")
    return found


def quantity(option: str, text: str) -> float:
    """Return a number written as a config writes it, as 20M or 2^19, or as any other. Raises StudyError that names the option."""
    try:
        return float(parse_count(text))
    except ValueError:
        return number(option, text)


def critical_batch_of(text: str | None) -> CriticalBatch | None:
    """Return B_crit(L) from its two numbers, or from the file of a fit, whose name ends with .json.

    Raises StudyError where the text is neither.
    """
    from scalinglaws.laws.allocation import CriticalBatch
    from scalinglaws.laws.stored import read_critical_batch

    if text is None:
        return None
    if text.endswith(".json"):
        return read_critical_batch(Path(text))
    values = [number("--critical-batch", part) for part in text.split(",")]
    if len(values) != 2 or min(values) <= 0:
        raise StudyError(f"--critical-batch is '{text}': write B_star,alpha_B, two positive numbers (the paper's: 2e8,0.21)")
    return CriticalBatch(*values)
