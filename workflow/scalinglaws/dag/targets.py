"""What ``rule all`` asks for, part by part."""

from __future__ import annotations

from collections.abc import Collection

from scalinglaws.dag.context import RESULTS, Context
from scalinglaws.study import paths

TABLES = ("runs", "curves", "evals", "timings")
EXPONENTS = ("fits.parquet", "exponents.parquet", "exponents.md")  # in the folder of tables


def runs(context: Context, among: Collection[str] | None = None) -> list[str]:
    """Return the files that say that each run is there: its metrics, or the marker of the bundle that trains it.

    ``among`` are the runs that are asked for, or None for all, with the markers of the bundles that evaluate some as well.
    """
    wanted = context.study.runs.keys() if among is None else among
    alone = [
        f"{RESULTS}/runs/{run}/metrics.json" for run in context.study.runs if run in wanted and run not in context.bundle_of_run
    ]
    bundles = {name for run, name in context.bundle_of_run.items() if run in wanted}
    named = context.bundles if among is None else [name for name in context.bundles if name in bundles]
    return alone + [f"{RESULTS}/bundles/{name}.done" for name in named]


def evaluations(context: Context) -> list[str]:
    """Return the evaluation outputs that no bundle produces."""
    return [
        f"{RESULTS}/evals/{run}/{name}.json"
        for run, name in context.study.evaluations.items()
        if (run, name) not in context.bundle_of_evaluation
    ]


def manifest(context: Context) -> str:
    """Return the file that lists the runs of the tables."""
    return str(paths.manifest_path(context.folder, context.study.manifest_id))


def tables(context: Context) -> list[str]:
    """Return the tables of all runs."""
    return [f"{context.folder}/tables/{table}.parquet" for table in TABLES]


def forecasts(context: Context) -> list[str]:
    """Return the first forecast of each run that is forecast."""
    return [f"{context.folder}/forecasts/{run}.json" for run in sorted(context.study.forecasts)]


def scores(context: Context) -> list[str]:
    """Return the table of forecasts and how they came out, in a study that has some."""
    return [f"{context.folder}/tables/forecasts.parquet"] if context.study.forecasts else []


def forecasting_fits(context: Context) -> list[str]:
    """Return the fit of each law that forecasts."""
    return [f"{context.folder}/fits/{law}.json" for law in context.forecasting]


def fits(context: Context) -> list[str]:
    """Return the fit of each law."""
    return [f"{context.folder}/fits/{law}.json" for law in context.laws]


def exponents(context: Context) -> list[str]:
    """Return the tables of fitted exponents, where any law is fitted."""
    return [f"{context.folder}/tables/{name}" for name in EXPONENTS] if context.laws else []


def figures(context: Context) -> list[str]:
    """Return the files of every figure, SVG and PNG."""
    return [f"{context.folder}/figures/{figure}.{suffix}" for figure in context.figures for suffix in ("svg", "png")]


def report(context: Context) -> list[str]:
    """Return the report of the study, where any law is fitted."""
    return [f"{context.folder}/report.md"] if context.laws else []
