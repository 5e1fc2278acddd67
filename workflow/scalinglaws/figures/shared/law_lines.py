"""How a fitted law and the losses that it was fitted to are drawn: lines with intervals, error bars, legend entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes

from scalinglaws.figures.shared import misfit, style
from scalinglaws.figures.shared.fit_json import POWER_LAWS, Fit, parameter, points, published, with_interval
from scalinglaws.figures.shared.scales import Scale

# The marker of a run whose loss is an upper bound: its budget ended it while its loss still fell.
HOLLOW: dict[str, Any] = {"marker": "^", "markersize": 4.2, "linestyle": "none", "markerfacecolor": "white", "zorder": 5}


def _line(fit: Fit | None, law: str) -> tuple[float, float, float] | None:
    """Return centre, level and exponent of ln L = level − exponent·(ln x − centre); centre is the mean of ln x of the points.

    The level is the mean of the fit's own predictions, so it is known even where the scale of the law is too large for a float
    and stands as null in fit.json.
    """
    form = POWER_LAWS[law]
    data = points(fit).drop_nulls([form.x, "predicted"])
    exponent = parameter(fit, form.exponent)["estimate"]
    if data.is_empty() or exponent is None:
        return None
    return float(data[form.x].log().mean()), float(data["predicted"].log().mean()), exponent  # type: ignore[arg-type]


def kaplan_nd(fit: Fit | None, n_params: np.ndarray | float, dataset_tokens: np.ndarray | float) -> np.ndarray | None:
    """Return the fitted L(N, D) = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D (equation 1.5) in nats per token; None without parameters."""
    found = [parameter(fit, name)["estimate"] for name in ("alpha_N", "alpha_D", "N_c", "D_c")]
    if any(value is None for value in found):
        return None
    alpha_n, alpha_d, n_c, d_c = (float(value) for value in found if value is not None)
    if alpha_d <= 0 or n_c <= 0 or d_c <= 0:
        return None
    return ((n_c / np.asarray(n_params)) ** (alpha_n / alpha_d) + d_c / np.asarray(dataset_tokens)) ** alpha_d


def draw_power_law(
    axis: Axes, fit: Fit | None, law: str, colour: str, name: str, linestyle: str = "--", guide: str | None = "-"
) -> None:
    """Draw the fitted line over the range of its points, the band of its exponent, and the published slope.

    The band is the line turned about the centre of the points (in logarithms) through the 95 % interval of the exponent: at the
    centre, slope and level of a straight-line fit are independent. The published law is drawn as a slope through that centre,
    since its constant has other units; ``guide`` is the style of that line, None for none.
    """
    line = _line(fit, law)
    if line is None:
        return
    form, (centre, level, alpha) = POWER_LAWS[law], line
    seen = points(fit)[form.x].drop_nulls().to_numpy()
    x = np.geomspace(seen.min() / 1.3, seen.max() * 1.3, 100)

    def through_centre(slope: float) -> np.ndarray:
        return np.exp(level - slope * (np.log(x) - centre))

    found = parameter(fit, form.exponent)
    if found["ci_low"] is not None and found["ci_high"] is not None:
        sides = through_centre(found["ci_low"]), through_centre(found["ci_high"])
        axis.fill_between(x, np.minimum(*sides), np.maximum(*sides), color=colour, alpha=0.15, linewidth=0, zorder=1.5)
    symbol = form.symbol
    equation = rf"$({symbol}_c/{symbol})^{{\alpha_{symbol}}}$"
    label = f"{name}: {equation}\n" + rf"$\alpha_{symbol}$ = {with_interval(fit, form.exponent)}"
    axis.plot(x, through_centre(alpha), linestyle=linestyle, color=colour, label=label, zorder=4)
    slope = published(fit, form.exponent)
    if guide and slope is not None:
        label = f"slope published in 2020: {slope:g}"
        axis.plot(x, through_centre(slope), guide, color=style.GUIDE, linewidth=0.7, zorder=1.8, label=label)


def missed(fit: Fit | None, runs: polars.DataFrame, name: str) -> list[str]:
    """Return the note of ``misfit.note`` on the law ``name`` and the points that it was fitted to; none where there is no fit."""
    data = points(fit, runs).drop_nulls("predicted")
    return misfit.note(name, data["loss"].to_numpy(), data["predicted"].to_numpy(), misfit.of_losses(data, runs))


def reach(data: polars.DataFrame) -> np.ndarray:
    """Return the ends of the error bars of ``data``, for an axis that shows them whole."""
    half = style.Z95 * data["loss_stderr"].fill_null(0.0).to_numpy()
    return np.concatenate([data["loss"].to_numpy() - half, data["loss"].to_numpy() + half])


def error_bars(axis: Axes, data: polars.DataFrame, x: str, colour: Any, label: str | None = None, **more: Any) -> None:
    """Draw markers at the losses of ``data``, with ±1.96 standard errors of the test loss where they are known."""
    half = style.Z95 * data["loss_stderr"].fill_null(0.0).to_numpy()
    options: dict[str, Any] = {"fmt": "o", "markersize": 3.6, "elinewidth": 0.7, "capsize": 0, "zorder": 5} | more
    axis.errorbar(data[x].to_numpy(), data["loss"].to_numpy(), yerr=half, color=colour, label=label, **options)


def hollow(axis: Axes, left_out: polars.DataFrame, x: str, colour: str, scale: Scale) -> None:
    """Draw hollow triangles at the runs that a fit leaves out (``fit_json.left_out``), in the colours of a column."""
    for row in left_out.iter_rows(named=True):
        axis.plot(row[x], row["loss"], color=scale(float(row[colour])), **HOLLOW)


def label_kaplan_nd(axis: Axes, fit: Fit | None, n_left_out: int) -> None:
    """Add the legend entries of the joint fit: number of runs, equation, and exponents with intervals and published values.

    ``n_left_out`` is the number of hollow triangles.
    """
    count = len((fit or {}).get("points") or [])
    axis.plot([], [], "o", color="0.3", markersize=3.6, label=f"{count} early-stopped runs, ±1.96 standard errors")
    if n_left_out:
        axis.plot([], [], color="0.3", **HOLLOW, label=f"{n_left_out} left out: max_tokens ended them while the loss still fell")
    if kaplan_nd(fit, 1.0, 1.0) is None:
        return
    equation = r"$L(N,D) = [(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}$"
    lines = [f"fit: {equation}"]
    for name, symbol in (("alpha_N", r"$\alpha_N$"), ("alpha_D", r"$\alpha_D$")):
        value = published(fit, name)
        beside = "" if value is None else f"; published {value:g}"
        lines.append(f"{symbol} = {with_interval(fit, name)}{beside}")
    axis.plot([], [], "--", color="0.3", linewidth=0.9, label="\n".join(lines))
