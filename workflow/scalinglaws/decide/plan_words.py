"""The plan of a study in words: the table of its runs, and lines about its laws, its cost and the disk."""

from __future__ import annotations

from collections.abc import Sequence

from scalinglaws.common.numbers import counted, listed, short
from scalinglaws.decide.plan import rate_in_words
from scalinglaws.decide.plan_record import Cost, DevicePlan, Disk, LawPlan, Plan, PredictedRun
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.forms import Law
from scalinglaws.laws.registry import LAWS
from scalinglaws.laws.rules import BEYOND

SYMBOLS = {"n_params": "N", "tokens": "D", "dataset_tokens": "D", "flops": "C", "flops_min": "C_min", "steps_min": "S_min"}
SPEEDS = {"runs": "as its runs were", "timed steps": "as steps were timed", "assumed": "as a laptop's core is assumed to be"}
SPEEDS |= {"runs and timed steps": "as its runs were and steps were timed"}
OF_PROFILE = "by the profile's utilisation and bandwidth"
UNITS = (("EFLOP", 1e9), ("PFLOP", 1e6), ("TFLOP", 1e3), ("GFLOP", 1.0))  # of the table, with the GFLOP of each
MOST_SHOWN = 1000  # of a unit that the largest run must have for the column to be in it
# What the reasons of laws/rules.py are called where every run is left out for one of them.
ALL_OF_THEM = {BEYOND: "all runs exceed one epoch", "one layer": "all models have one layer"}


def amount(value: float) -> str:
    """Write an amount for a column, with two digits where it is small: 0.43, 7.1, 12, 1,234."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def minutes(value: float) -> str:
    """Write minutes for a column: 0.3, 14.2, 1,234."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(value: float) -> str:
    """Write minutes in the unit that suits them: 0.3 minutes, 14 minutes, 3.4 hours, 12 days."""
    if value < 120:
        return f"{value:.2g} minutes" if value < 10 else f"{value:.0f} minutes"
    return f"{value / 60:.1f} hours" if value < 60 * 72 else f"{value / 1440:,.0f} days"


def size(value: float) -> str:
    """Write bytes: 12 kB, 3.4 MB, 1.2 GB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= scale:
            return f"{value / scale:,.1f} {unit}"
    return f"{value / 1e3:,.0f} kB"


def table(plan: Plan) -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Return the table of the runs: the names of its columns, its rows, and the columns that hold numbers."""
    runs = plan["runs"]
    rates, early = any(row["rate_sweep"] for row in runs), any(_ends_early(row) for row in runs)
    gpus = any(row["gpus"] for row in runs)
    unit, scale = next((unit for unit in UNITS if max(row["gflop"] for row in runs) >= MOST_SHOWN * unit[1]), UNITS[-1])
    columns = [
        *("run", "experiments", "N", "D", "budget", "from", unit),
        *(["rate"] if rates else []),
        *("minutes", *(["at most"] if early else []), *(["GPUs"] if gpus else []), "GiB", "state"),
    ]
    rows = [
        (
            row["run"],
            ",".join(row["experiments"]),
            short(row["n_params"]),
            short(row["dataset_tokens"]) if row["dataset_tokens"] else "all",
            short(row["tokens"]),
            short(row["from_tokens"]) if row["from_tokens"] else "-",
            amount(row["gflop"] / scale),
            *([rate_in_words(row)] if rates else []),
            minutes(row["minutes"]),
            *([minutes(row["most_minutes"]) if _ends_early(row) else "-"] if early else []),
            *([str(row["gpus"])] if gpus else []),
            f"{row['memory_gib']:.1f}",
            "to forecast" if row["forecast"] and row["state"] == "to train" else row["state"],
        )
        for row in runs
    ]
    return columns, rows, ["N", "D", "budget", "from", unit, "minutes", "at most", "GPUs", "GiB"]


def _ends_early(row: PredictedRun) -> bool:
    return minutes(row["minutes"]) != minutes(row["most_minutes"])


def of_laws(laws: Sequence[LawPlan]) -> list[str]:
    """Return a line for each law: what it will have to be fitted to, or why that is nothing."""
    return [f"law {_symbols(law['law'])}: {_points(law)}" for law in laws]


def _symbols(name: str) -> str:
    """Return a law with the variables of its equation, as "kaplan-nd, L(N, D)"."""
    law = find(name)
    known = list(dict.fromkeys(SYMBOLS.get(name, "") for name in law.variables)) if isinstance(law, Law) else [""]
    return f"{name}, L({', '.join(known)})" if all(known) else name


def _points(law: LawPlan) -> str:
    entry = LAWS.find(law["law"])
    if not law["points"]:
        reasons = law["left_out"]
        if len(reasons) == 1:
            (reason,) = reasons
            return f"none, {ALL_OF_THEM.get(reason, f'all runs are left out: {reason}')}"
        told = listed([f"{count} ({reason})" for reason, count in reasons.items()])
        return f"none, left out are {told}" if told else "none, no run is of the kind that it takes"
    kind = "early-stopped run" if entry.question == "data" else "run"
    what = counted(law["points"], "point" if entry.curves else kind)
    what += f" of {counted(law['runs'], 'learning curve')}" if entry.curves else ""
    of = [counted(law["sizes"], "size")] if law["sizes"] else []
    of += [counted(law["datasets"], "dataset")] if entry.question in ("data", "repetition") else []
    trunks = f", {counted(law['trunks'], 'trunk')}" if law["trunks"] < law["runs"] else ""
    return f"{what}{f' of {listed(of)}' if of else ''}{trunks}{'; see the warning' if law['lacks'] else ''}"


def of_cost(device: DevicePlan, cost: Cost) -> list[str]:
    """Return lines about the time and the money that the study takes: what is left, and the whole."""
    if cost["minutes_left"] is not None and cost["minutes"] is not None and cost["most_minutes_left"] is not None:
        cores = counted(device["cores"] or 1, "core")
        most = cost["most_minutes_left"]
        early = f"; {duration(most)} at most, if no run stops early" if most > 1.02 * cost["minutes_left"] else ""
        return [
            f"time left: {duration(cost['minutes_left'])} of {duration(cost['minutes'])} on {cores} of {device['name']}{early}",
            f"speed: {SPEEDS[device['speed']]}, {device['start_seconds']:.1f} s for the start of a job",
        ]
    whole, left = cost["gpu_hours"] or 0.0, cost["gpu_hours_left"] or 0.0
    speed = OF_PROFILE if device["speed"] == "assumed" else SPEEDS[device["speed"]]
    lines = [f"GPU hours left: {left:,.1f} of {whole:,.1f} on {device['name']}, {speed}"]
    if cost["price"] is not None and cost["price_left"] is not None:
        left_of = f"{cost['price_left']:,.0f} left of {cost['price']:,.0f}"
        lines.append(f"cost at price_per_hour {device['price_per_hour']:g}: {left_of}")
    return lines


def of_disk(disk: Disk) -> str:
    """Return a line about the disk."""
    parts = listed([f"{size(disk[name])} of {word}" for name, word in PARTS if disk[name]])  # type: ignore[literal-required]
    whole = sum(disk[name] for name, _ in PARTS)  # type: ignore[literal-required]
    free = f"; {size(disk['free'])} are free" if disk["free"] is not None else ""
    return f"disk: {size(whole)} ({parts}), of which {size(disk['left'])} are still to be written{free}"


PARTS = (("text", "text and tokens"), ("rungs", "rungs"), ("runs", "runs"), ("checkpoints", "checkpoints while runs train"))
