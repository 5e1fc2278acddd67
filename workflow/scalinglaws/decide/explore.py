"""Write ``explore.html``, a page on which a reader looks through a study: its runs, its fits, and forecasts by compute.

The page is one file without anything from a network. explore_runs.py, explore_laws.py and explore_forecast.py say what it shows,
explore_plots.py draws it, and explore_page.py, explore.js and explore.css make it a page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_bytes
from scalinglaws.decide import forecast
from scalinglaws.figures.command import read_fit, read_table
from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.laws.tradeoffs import SURFACES
from scalinglaws.report.tables_of_paper import not_fitted


def write(folder: Path, study: str, n_bootstrap: int, seed: int) -> Path:
    """Write the page of a study into its folder, and return its path. The same tables and fits give the same bytes.

    Parameters
    ----------
    folder
        The folder of the study, which has ``tables/runs.parquet`` and ``fits/LAW.json``.
    study
        The name of the study, for the title.
    n_bootstrap, seed
        Number of resamples for the intervals of laws, and their seed, as the fits were made.

    Raises
    ------
    StudyError
        The table of runs is missing, it or a fit is damaged, or a fit is none that a forecast can be made from.
    """
    out = folder / "explore.html"
    table = folder / "tables" / "runs.parquet"
    if not table.is_file():
        raise StudyError(f"{table} is not there: run the study first (scalinglaws run)")
    # The colours are the figures', whose matplotlib keeps its list of fonts below the home directory unless told otherwise.
    os.environ.setdefault("MPLCONFIGDIR", str((folder / "figures" / ".matplotlib").resolve()))
    fits = {law: read_fit(path) for law in LAW_KINDS if (path := folder / "fits" / f"{law}.json").exists()}
    write_bytes(out, page(read_table(table), fits, folder / "fits", study, n_bootstrap, seed))
    return out


def page(runs: pl.DataFrame, fits: Mapping[str, Fit], folder: Path, study: str, n_bootstrap: int, seed: int) -> bytes:
    """Return the page as bytes; the parameters are those of ``write``, with the table of runs, the fits and their folder."""
    from scalinglaws.decide import explore_forecast, explore_laws, explore_page, explore_plots
    from scalinglaws.decide.explore_runs import PANELS, shown

    basis, lack = basis_of(fits, folder, n_bootstrap, seed)
    steps = explore_forecast.steps(basis) if basis else []
    table = shown(runs, fits)
    source, visible = explore_plots.source_of(table), explore_plots.BooleanFilter(booleans=[True] * len(table), name="visible")
    pictures, parts = [], []
    ends = {"N": [step.n_params for step in steps], "D": [step.tokens for step in steps], "C": [step.flops for step in steps]}
    losses = _losses(table, [step.low for step in steps])
    for panel in PANELS:
        values = table.filter("ok")[panel.column].drop_nulls().to_list()
        x = {"log": explore_plots.limits([*values, *ends[panel.letter]], True), "linear": explore_plots.limits(values, False)}
        y = {"log": explore_plots.limits(losses, True), "linear": explore_plots.limits(losses, False)}
        found = explore_laws.curves(panel, fits, folder, basis, x["log"][1], n_bootstrap, seed)
        pictures.append(explore_plots.plot(panel, source, table, visible, found, steps, (x["log"], y["log"])))
        parts.append(explore_page.Part(panel, found, explore_laws.doubts(panel, fits), x, y))
    document = explore_plots.document(pictures, explore_plots.data_table(source))
    return explore_page.page(study, table, parts, steps, lack, document, explore_plots.marks(table)).encode()


def basis_of(fits: Mapping[str, Fit], folder: Path, n_bootstrap: int, seed: int) -> tuple[forecast.Basis | None, str]:
    """Return the laws that forecast, None where no law of size and tokens was fitted, and a sentence that says so."""
    if not any((fits.get(law) or {}).get("parameters") for law in SURFACES):
        asked = [law for law in SURFACES if law in fits]
        if asked:
            return None, f"Nothing is forecast, as the runs are too few for a fit of {' or '.join(asked)}."
        return None, f"Nothing is forecast. {not_fitted(SURFACES)}"
    return forecast.of_study(folder, n_bootstrap, seed), ""


def _losses(table: pl.DataFrame, more: list[float]) -> list[float]:
    """Return the losses that the axes show: those of runs that did not diverge, with their errors, and of forecasts."""
    ok = table.filter("ok")
    return [*ok["low"], *ok["high"], *(value for value in more if np.isfinite(value))]
