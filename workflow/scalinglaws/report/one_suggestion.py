"""One suggestion of runs on a page for a reader: the target, the runs in order with its interval, and the entry to paste."""

from __future__ import annotations

from typing import Any

from scalinglaws.common.numbers import as_printed, between, counted, number, short
from scalinglaws.report.one_fit import LOSS_DIGITS, Block, Table

Values = dict[str, Any]


def page(found: Values) -> list[Block]:
    """Return the page of a suggestion, what ``suggest --json`` prints, as paragraphs, lists and tables in their order."""
    digits = LOSS_DIGITS if found["target"]["kind"] == "forecast" else 3
    blocks: list[Block] = [_target(found, digits), _budget(found, digits)]
    if found["runs"]:
        blocks += [_runs(found, digits), _everything(found, digits)]
    if found["block"]:
        blocks += ["To train them, paste this under experiments:", found["block"].rstrip()]
    elif found["runs"]:
        blocks.append("There is no entry for a config, as no shape has some of these sizes.")
    if found["refused"]:
        blocks.append(f"The study refuses this entry as it stands: {found['refused']}")
    if found["doubts"]:
        return [*blocks, "Reasons to doubt it:", found["doubts"]]
    return [*blocks, "No reason to doubt it was found."]


def _target(found: Values, digits: int) -> str:
    of, unit = found["target"], f" {found['target']['unit']}" if found["target"]["unit"] else ""
    where = ""
    if of["at"]:
        where = f" at {', '.join(f'{name} = {as_printed(value)}' for name, value in of['at'].items())}"
    return (
        f"Target: {of['name']}{where}, by the law {found['law']}, {found['formula']}, fitted to "
        f"{counted(found['n_points'], 'run')} of {found['source']}. It is {number(of['estimate'], digits)}{unit}, 95 % interval "
        f"{_ends(found['before'], digits)}."
    )


def _budget(found: Values, digits: int) -> str:
    took = "" if found["minutes"] is None else f", some {number(found['minutes'])} minutes of one core of this machine"
    return (
        f"{counted(len(found['runs']), 'run')} of {number(found['spent'])} FLOP, of a budget of {number(found['budget'])}{took}: "
        f"the interval is expected to be {_ends(found['after'], digits)}, {100 * found['after']['share']:.3g} % as wide."
    )


def _runs(found: Values, digits: int) -> Table:
    rows = []
    for k, run in enumerate(found["runs"]):
        size = [run["model"] or "", number(run["n_params"]), short(round(run["tokens"])), str(run["seed"])]
        cost = [number(run["flops"]), f"{100 * run['budget_share']:.3g} %"]
        rows.append([str(k + 1), *size, *cost, _ends(run["interval"], digits), f"{100 * run['interval']['share']:.3g} %"])
    columns = ("", "model", "N", "tokens", "seed", "FLOP", "of the budget", "interval with it", "width")
    return Table(columns, rows, ("", "N", "tokens", "seed", "FLOP", "of the budget", "width")).filled()


def _everything(found: Values, digits: int) -> str:
    of = found["everything"]
    return (
        f"All {counted(of['runs'], 'candidate')} together, {number(of['flops'])} FLOP, would make it "
        f"{_ends(of['interval'], digits)}, {100 * of['interval']['share']:.3g} % as wide."
    )


def _ends(interval: Values, digits: int) -> str:
    """Write an interval in words; an end beyond the range of floats is open."""
    low, high = interval["low"], interval["high"]
    if low is not None and high is not None:
        return between(low, high, digits)
    return f"above {number(low, digits)}" if low is not None else f"below {number(high, digits)}" if high is not None else "open"
