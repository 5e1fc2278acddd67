"""Write the study on one page, and the table of its exponents, from the folders of tables, fits and figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from scalinglaws.common import sums
from scalinglaws.figures.command import read_fit, read_table
from scalinglaws.figures.registry import FIGURES


def write_exponents(
    fits: Path, laws: Sequence[str], out_fits: Path, out_parquet: Path, out_md: Path, with_sums: bool = False
) -> None:
    """Write every parameter of the fits of ``laws`` to ``out_fits``, and their exponents beside the published ones.

    ``fits`` is the folder of the fits, LAW.json. ``with_sums`` leaves a list of sums beside the Markdown. Raises StudyError where
    a fit is missing or damaged.
    """
    from scalinglaws.report import exponents
    from scalinglaws.tables.schema import FITS
    from scalinglaws.tables.write import write

    found = {law: read_fit(fits / f"{law}.json") for law in laws}
    for path in (out_parquet, out_md):
        path.parent.mkdir(parents=True, exist_ok=True)
    written = [path for path in (out_fits, out_parquet, out_md) if path.parent == out_md.parent]
    with sums.listing(sums.beside(out_md), written, with_sums):
        write(exponents.fit_rows(found), FITS, out_fits)
        exponents.write(exponents.exponents(found), exponents.differences(found), out_parquet, out_md)


def write_report(
    tables: Path,
    fits: Path,
    figures: Path,
    out: Path,
    study: str = "",
    laws: Sequence[str] | None = None,
    drawn: Sequence[str] | None = None,
    kinds: Sequence[str] = (),
    with_sums: bool = False,
) -> None:
    """Write the page as Markdown to ``out``, with links to the figures.

    ``tables``, ``fits`` and ``figures`` are the folders of the tables, of the fits, LAW.json, and of the figures. ``study`` is
    the name of the study, which stands in the title. ``laws`` and ``drawn`` are the laws that the study fits and the figures that
    it draws, or None for those that the folders hold. ``kinds`` are the questions that its runs can answer, which say why other
    figures are not drawn and what a claim takes; without them every claim is measured. ``with_sums`` leaves a list of sums beside
    the page. Raises StudyError where a table or a fit is missing or damaged.
    """
    from scalinglaws.common.files import write_bytes
    from scalinglaws.laws.registry import LAW_KINDS

    # matplotlib, which the modules of figures import, keeps its list of fonts below the home directory unless told otherwise.
    os.environ.setdefault("MPLCONFIGDIR", str(figures / ".matplotlib"))
    from scalinglaws.report.claims.page import section
    from scalinglaws.report.forecasts import section as forecasts_section
    from scalinglaws.report.report import report
    from scalinglaws.tables.read import read_warnings

    laws = [law for law in LAW_KINDS if (fits / f"{law}.json").exists()] if laws is None else laws
    drawn = [name for name in FIGURES if (figures / f"{name}.svg").exists()] if drawn is None else drawn
    read = {name: read_table(tables / f"{name}.parquet") for name in ("runs", "curves", "evals")}
    found = {law: read_fit(fits / f"{law}.json") for law in laws}
    folder = Path(os.path.relpath(figures, out.parent)).as_posix()
    claims = section(read, found, kinds)
    forecasts = forecasts_section(read_table(tables / "forecasts.parquet")) if "forecast" in kinds else []
    page = report(read["runs"], found, kinds, drawn, folder, read_warnings(tables), study, claims, forecasts).encode()
    with sums.listing(sums.beside(out), [out], with_sums):
        write_bytes(out, page)
