"""Figures of a study that is not finished, from the runs that are there; each picture says of how many.

The tables, fits and figures of an unfinished study lie in ``results/studies/NAME/partial``, and the study's own are left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError, faults_told
from scalinglaws.common.files import write_bytes, write_text
from scalinglaws.common.numbers import counted
from scalinglaws.figures import registry
from scalinglaws.laws import registry as laws
from scalinglaws.study.paths import evaluation_path, has_run, manifest_path, partial_folder
from scalinglaws.study.study import Study

CRITICAL = "critical-batch"  # the law that the laws of S_min and C_min take B_crit(L) from


@dataclass(frozen=True)
class Drawn:
    """What was drawn of an unfinished study.

    Attributes
    ----------
    folder
        The folder that holds ``tables/``, ``fits/`` and ``figures/``.
    runs_done, runs
        Runs that the pictures show, and all runs of the study.
    figures
        Names of the figures that were drawn, in the order of the report.
    warnings
        Sentences about what could not be fitted or drawn.
    """

    folder: Path
    runs_done: int
    runs: int
    figures: list[str]
    warnings: list[str]


def is_there(study: Study, results: Path, run: str) -> bool:
    """Tell whether a run is trained and, where it is to be evaluated on other text, evaluated."""
    name = study.evaluations.get(run)
    return has_run(results, run) and (not name or evaluation_path(results, run, name).exists())


def finished(study: Study, results: Path) -> Study:
    """Return the study of the runs that are trained. A run that has still to be evaluated is in it without its evaluation."""
    there = {run: spec for run, spec in study.runs.items() if has_run(results, run)}
    evaluated = {run for run in there if is_there(study, results, run)}
    return replace(
        study,
        runs=there,
        experiments={run: study.experiments[run] for run in there},
        fitted=study.fitted & there.keys(),
        evaluate={run: study.evaluate[run] if run in evaluated else () for run in there},
        epochs={run: epochs for run, epochs in study.epochs.items() if run in there},
        forecasts=frozenset(),  # a forecast is scored by the finished study
    )


@faults_told()
def draw_partial(study: Study, results: Path) -> Drawn:
    """Aggregate the finished runs of a study, fit its laws to them, and draw the figures that they can feed.

    What an earlier call drew is replaced. The same runs give the same bytes.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results.

    Returns
    -------
    Drawn
        The figures, and sentences about what could not be made.

    Raises
    ------
    StudyError
        No run is there, or a file of a run is damaged.
    """
    from scalinglaws.tables.aggregate import write_tables

    if not study.runs:
        raise StudyError(f"study {study.name} trains no runs, so that nothing of it is partial: draw it without --partial")
    there = finished(study, results)
    if not there.runs:
        raise StudyError(
            f"none of the {counted(len(study.runs), 'run')} of study {study.name} is trained yet: run it (scalinglaws run), and "
            "draw when the first runs are there (scalinglaws plan shows which are)"
        )
    # matplotlib keeps its list of fonts where the workflow has it, and not beside the figures.
    os.environ.setdefault("MPLCONFIGDIR", str((results / "logs" / "matplotlib").resolve()))
    folder = partial_folder(results, study.name)
    shutil.rmtree(folder, ignore_errors=True)
    manifest = manifest_path(folder, there.manifest_id)
    write_text(manifest, "".join(f"{line}\n" for line in there.manifest))
    external = [table.model_dump(mode="json") for table in study.external]
    write_tables(manifest, results, folder / "tables", external, study.corpus_names)
    warnings: list[str] = []
    fitted = fit_laws(there, folder, warnings)
    note = f"partial: {len(there.runs)} of {counted(len(study.runs), 'run')}"
    return Drawn(folder, len(there.runs), len(study.runs), draw_figures(there, folder, fitted, note, warnings), warnings)


def fit_laws(study: Study, folder: Path, warnings: list[str]) -> list[str]:
    """Fit the laws that the runs of a study can feed to the tables in ``folder``; return those that could be fitted."""
    from scalinglaws.laws.result import fit_table
    from scalinglaws.laws.select import read_table
    from scalinglaws.laws.stored import read_critical_batch

    runs, curves, evals = (read_table(folder / "tables" / f"{name}.parquet") for name in ("runs", "curves", "evals"))
    fitted: list[str] = []
    for law in sorted(laws.laws_of(study), key=laws.AT_SMALL_BATCHES.__contains__):
        critical = folder / "fits" / f"{CRITICAL}.json"
        if law in laws.AT_SMALL_BATCHES and CRITICAL not in fitted:
            warnings.append(f"law {law} is not fitted: it takes a fit of {CRITICAL}.")
            continue
        with told(f"law {law} is not fitted", warnings):
            fit = fit_table(
                runs,
                law,
                curves=curves,
                evals=evals,
                objective=study.fits.objective,
                delta=study.fits.delta,
                residuals=study.fits.residuals,
                n_bootstrap=study.fits.bootstrap,
                seed=study.fits.seed,
                allow_empty=True,
                critical_batch=read_critical_batch(critical) if law in laws.AT_SMALL_BATCHES else None,
            )
            out = folder / "fits" / f"{law}.json"
            out.parent.mkdir(parents=True, exist_ok=True)
            with sums.listing(sums.beside(out), [out], True):
                write_bytes(out, (json.dumps(fit, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
            fitted.append(law)
    return fitted


def draw_figures(study: Study, folder: Path, fitted: list[str], note: str, warnings: list[str]) -> list[str]:
    """Draw the figures that a study asks for and that its runs and its fitted laws can feed; return those that were drawn."""
    from scalinglaws.figures.command import draw_figure

    asked, drawn = registry.asked(study.figures), []
    for name in registry.drawable(study.kinds, set(fitted)):
        if name in asked:
            with told(f"{name} is not drawn", warnings):
                svg, png = (folder / "figures" / f"{name}.{kind}" for kind in ("svg", "png"))
                draw_figure(name, folder / "tables", folder / "fits", svg, png, laws=fitted, with_sums=True, note=note)
                drawn.append(name)
    return drawn


@contextlib.contextmanager
def told(what: str, warnings: list[str]) -> Iterator[None]:
    """Go on where runs are too few for one law or figure, with a sentence that says which and why."""
    try:
        yield
    except StudyError as error:
        warnings.append(f"{what}: {error}")
