"""``python -m scalinglaws fit --law chinchilla --table runs.csv --out fit.json``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_bytes
from scalinglaws.laws.allocation import CriticalBatch
from scalinglaws.laws.catalogue import LAWS, METHODS
from scalinglaws.laws.fit import OBJECTIVES
from scalinglaws.laws.forms import Law
from scalinglaws.laws.methods import Method
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``python -m scalinglaws fit``."""
    parser.add_argument("--list", action="store_true", help="name the laws and exit")
    parser.add_argument("--law", help=f"one of {', '.join((*LAWS, *METHODS))}")
    parser.add_argument("--table", type=Path, help="runs: .csv, .parquet or .jsonl with n_params, loss, and tokens or flops")
    parser.add_argument("--curves", type=Path, help="learning curves, for the laws envelope, kaplan-ns and critical-batch")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAME=COLUMN,…",
        help="where the table has other names: n_params=params,loss=final_loss",
    )
    parser.add_argument("--where", metavar="CONDITION", help='rows to use, in SQL: "n_params > 1e6 and tokens < 1e9"')
    parser.add_argument(
        "--exclude-highest", type=int, default=0, metavar="N", help="leave out the N runs with the largest losses"
    )
    parser.add_argument("--weighted", action="store_true", help="weight each loss by its own standard error (loss_stderr)")
    parser.add_argument(
        "--critical-batch", metavar="B_STAR,ALPHA_B",
        help="B_crit(L) = B_star/L^(1/alpha_B) in tokens, which gives steps_min and flops_min; or the JSON file of a fit of it",
    )  # fmt: skip
    parser.add_argument(
        "--at", action="append", default=[], metavar="NAME=VALUE,…",
        help="predict the loss of a new run there, with intervals: n_params=1e9,tokens=2e10",
    )  # fmt: skip
    parser.add_argument("--objective", choices=OBJECTIVES, default="huber", help="of residuals in log loss, summed")
    parser.add_argument("--delta", type=float, default=1e-3, help="where the Huber function becomes linear")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples of trunks; 0: the fit alone")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--allow-empty", action="store_true", help="too few points give a file without parameters, not an error")
    parser.add_argument("--out", type=Path, help="the JSON file to write; without it the result is printed")


def main(args: argparse.Namespace) -> None:
    """Read the table, fit, write fit.json (the same bytes for the same table and arguments). Raises StudyError."""
    if args.list:
        listed: list[Law | Method] = [*LAWS.values(), *METHODS.values()]
        for law in listed:
            print(f"{law.name:20}{law.formula:48}{law.source}. Fitted to: {law.rule}")
        return
    if args.law is None or args.table is None:
        raise StudyError("fit needs --law and --table (--list names the laws)")
    result = fit_table(
        read_table(args.table), args.law, curves=read_table(args.curves) if args.curves else None,
        objective=args.objective, delta=args.delta, n_bootstrap=args.bootstrap, seed=args.seed,
        columns=_mapping("--columns", "COLUMN", args.columns), exclude_highest=args.exclude_highest, where=args.where,
        allow_empty=args.allow_empty, weighted=args.weighted, critical_batch=_critical_batch(args.critical_batch),
        at=[{name: _number("--at", value) for name, value in _mapping("--at", "VALUE", text).items()} for text in args.at],
    )  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if args.out is None:
        print(text, end="")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.out, text.encode())


def _mapping(option: str, kind: str, text: str) -> dict[str, str]:
    out = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise StudyError(f"{option} has '{item}': write NAME={kind}, separated by commas")
        out[name.strip()] = value.strip()
    return out


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise StudyError(f"{option} has '{text}', which is not a number") from None


def _critical_batch(text: str | None) -> CriticalBatch | None:
    if text is None:
        return None
    if text.endswith(".json"):
        return _fitted_critical_batch(Path(text))
    values = [_number("--critical-batch", part) for part in text.split(",")]
    if len(values) != 2 or min(values) <= 0:
        raise StudyError(f"--critical-batch is '{text}': write B_star,alpha_B, two positive numbers (the paper's: 2e8,0.21)")
    return CriticalBatch(*values)


def _fitted_critical_batch(path: Path) -> CriticalBatch:
    try:
        found = json.loads(path.read_text())["parameters"]
        values = [found[name]["estimate"] for name in ("B_star", "alpha_B")] if found else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"--critical-batch: {path} is not the result of fit --law critical-batch: {error!r}") from None
    return CriticalBatch(*values) if values and None not in values else CriticalBatch(math.nan, math.nan)
