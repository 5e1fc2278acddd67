"""The stage ``rates``: the rule for the learning rate that a sweep gives to other runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Results, Sums, file_to_write


def rates(
    sweep: Annotated[Path, typer.Option(help="The list of the sweep's runs, results/rates/sweeps/ID.json.")],
    out: Annotated[Path, typer.Option(callback=file_to_write, help="JSON file to write: the rule.")],
    results: Results = RESULTS,
    with_sums: Sums = False,
) -> None:
    """Fit the learning rate c·N^a to the runs of a sweep: the rate at which other runs are trained.

    The best rate of each size is the lowest point of a quadratic in the log of the rate. Nothing is written where it lies at the
    end of the rates, or where noise leaves it open.

    \b
    Example:
      scalinglaws rates --sweep results/rates/sweeps/ID.json --out results/rates/ID.json
    """
    from scalinglaws.laws.swept_runs import write_rule

    print("\n".join(write_rule(sweep, results, out, with_sums)))
