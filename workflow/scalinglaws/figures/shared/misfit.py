"""One rule for all figures that draw a law with its data: when the law misses the data by more than their noise, a note says so.

A law misses its points where the root mean square of the residuals ln(measured/drawn) is more than ``FACTOR`` times the noise of
a point and more than ``LEAST``. The noise of a point is the stated standard error of the test loss together with the scatter
between seeds, both as shares of the loss. ``LEAST`` keeps a law silent that is right to the width of a marker, and it decides
alone where the noise is not known.
"""

from __future__ import annotations

import numpy as np
import polars
from numpy.typing import ArrayLike, NDArray

from scalinglaws.figures.shared import seed_noise

FACTOR = 2.0  # times the noise; four points scatter as far by chance in one figure out of 300
LEAST = 0.01  # root mean square of the log residuals below which no figure shows a misfit
SMALLEST = 3  # fewest points that can miss a law

Array = NDArray[np.float64]


def note(what: str, measured: ArrayLike, drawn: ArrayLike, noise: ArrayLike | None = None) -> list[str]:
    """Return a note for a figure where a law misses its points; no note where it does not.

    Parameters
    ----------
    what : the law as the note names it, for example "the fit of L(N)".
    measured, drawn : the points that the figure shows, and the law at each of them, both positive. Pairs with a value that is
        not finite are left out.
    noise : the standard error of each point as a share of it, such as ``of_losses`` returns; None or NaN where it is not known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = np.log(np.asarray(measured, np.float64) / np.asarray(drawn, np.float64))
    known = np.full(residuals.shape, np.nan) if noise is None else np.broadcast_to(np.asarray(noise, np.float64), residuals.shape)
    kept = np.isfinite(residuals)
    if kept.sum() < SMALLEST:
        return []
    rms, scatter = _rms(residuals[kept]), _rms(known[kept & np.isfinite(known)])
    if rms <= LEAST or (np.isfinite(scatter) and rms <= FACTOR * scatter):
        return []
    beside = f", {_digits(rms / scatter)} times their noise" if scatter > 0 else ""
    return [f"{what} misses its points: {_digits(100 * np.expm1(rms))} % rms{beside}"]


def of_losses(points: polars.DataFrame, runs: polars.DataFrame | None = None) -> Array:
    """Return the noise of the losses of ``points`` as a share of them, NaN where nothing is known of it.

    Parameters
    ----------
    points : a table with the columns n_params, loss and, where it is known, loss_stderr.
    runs : the table of runs, whose scatter between seeds (``seed_noise.noise``) is added; None leaves it out.
    """
    loss = points["loss"].to_numpy()
    stated = np.full(len(points), np.nan)
    if "loss_stderr" in points.columns:
        stated = points["loss_stderr"].cast(polars.Float64).fill_null(np.nan).to_numpy() / loss
    seeds = np.full(len(points), np.nan)
    if runs is not None and len(points) and not runs.is_empty():
        found = seed_noise.noise(runs, float(points["n_params"].median()))  # type: ignore[arg-type]
        seeds[:] = found[0] if found else np.nan
    both = np.hypot(np.nan_to_num(stated), np.nan_to_num(seeds))
    return np.where(np.isnan(stated) & np.isnan(seeds), np.nan, both)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _digits(value: float) -> str:
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
