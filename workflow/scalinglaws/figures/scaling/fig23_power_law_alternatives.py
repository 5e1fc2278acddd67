"""Figure 23: L(N) as a power law, beside a logarithmic and an exponential law with as many parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from scalinglaws.figures.shared import fit_json, law_lines, misfit, style

TITLE = "Power law and alternatives for L(N)"
CAPTION = """
Figure 23 of the paper. **a** The loss against model size, with a power law, a logarithm and an exponential of two parameters
each, fitted by least squares in log loss. **b** The residuals of each of them. Bars show 1.96 standard errors of the test loss.
The paper found that the power law fits better than the logarithm.
"""
LEAST = 3  # fewest sizes: any law of two parameters passes through two points


@dataclass(frozen=True)
class Alternative:
    """A law of two parameters, fitted by least squares in log loss."""

    label: str
    colour: str
    marker: str
    linestyle: str
    fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


def fit_power(n: np.ndarray, loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit L = k N^−α, a straight line in ln N and ln L."""
    slope, level = np.polyfit(np.log(n), np.log(loss), 1)
    return lambda x: np.exp(level + slope * np.log(x))


def fit_exponential(n: np.ndarray, loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit L = k e^(−N/n), a straight line in N and ln L."""
    slope, level = np.polyfit(n, np.log(loss), 1)
    return lambda x: np.exp(level + slope * x)


def fit_logarithm(n: np.ndarray, loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit L = a − b ln N by least squares in ln L.

    With u = ln N − mean(ln N) it is ln L = ln a' + ln(1 − c u). Given c, ln a' is the mean of what is left, so only c is
    searched, within the range where the loss stays positive.
    """
    centre = np.log(n).mean()
    u, y = np.log(n) - centre, np.log(loss)

    def squares(c: float) -> float:
        return float(np.var(y - np.log1p(-c * u)))

    edge = 0.999 / np.abs(u).max()
    c = float(minimize_scalar(squares, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-12}).x)
    level = np.exp(np.mean(y - np.log1p(-c * u)))
    return lambda x: level * (1 - c * (np.log(x) - centre))


ALTERNATIVES = (
    Alternative(r"power law $L = kN^{-\alpha}$", style.FIT, "o", "--", fit_power),
    Alternative(r"logarithm $L = a - b\,\ln N$", style.COLOURS[0], "s", "-.", fit_logarithm),
    Alternative(r"exponential $L = k\,e^{-N/n}$", style.SECOND, "^", ":", fit_exponential),
)


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the points of the fit of L(N) with the three laws, and the relative residuals of each law.

    The residuals of the power law carry the error bars of the test loss.
    """
    figure, (left, right) = style.panels(2)
    fit = fits.get("power-n")
    data = fit_json.points(fit, tables["runs"]).drop_nulls("n_params")
    n, loss = data["n_params"].to_numpy(), data["loss"].to_numpy()
    style.loss_axis(left, law_lines.reach(data))
    for axis in (left, right):
        style.log_axis(axis, n, "N (non-embedding parameters)")
    right.set_ylabel("Residual, loss/fit − 1 (%)")
    doubt = fit_json.unresolved(fit, "power-n")
    if data["n_params"].n_unique() < LEAST:
        for axis in (left, right):
            style.sentence(axis, doubt or f"not resolved: {LEAST} sizes are needed to tell laws apart, there are {len(data)}")
        return figure
    law_lines.error_bars(left, data, "n_params", "0.2", f"{len(data)} runs, ±1.96 standard errors")
    for law in ALTERNATIVES:
        _law(left, right, law, data)
    right.axhline(0, color="0.5", linewidth=0.6)
    drawn, noise = fit_power(n, loss)(n), misfit.of_losses(data, tables["runs"])
    style.legend_below(left, [*misfit.note("the power law", loss, drawn, noise), *fit_json.brief(doubt)])
    style.legend_below(right, [_verdict(n, loss)])
    return figure


def _law(left: Axes, right: Axes, law: Alternative, data: polars.DataFrame) -> None:
    n, loss = data["n_params"].to_numpy(), data["loss"].to_numpy()
    predict = law.fit(n, loss)
    x = np.geomspace(n.min() / 1.3, n.max() * 1.3, 200)
    left.plot(x, predict(x), linestyle=law.linestyle, color=law.colour, label=law.label)
    residual = 100 * (loss / predict(n) - 1)
    error = 100 * style.Z95 * (data["loss_stderr"].fill_null(0.0).to_numpy() / loss) if law.fit is fit_power else None
    label = f"{law.label.split(' $')[0]}: {rms(n, loss, law):.2g} % rms"
    options: dict[str, Any] = {
        "linestyle": law.linestyle,
        "marker": law.marker,
        "markersize": 3.6,
        "linewidth": 0.8,
        "elinewidth": 0.7,
    }
    right.errorbar(n, residual, yerr=error, color=law.colour, label=label, **options)


def rms(n: np.ndarray, loss: np.ndarray, law: Alternative) -> float:
    """Return the root mean square of the residuals of log loss, in percent."""
    return float(100 * np.sqrt(np.mean(np.log(loss / law.fit(n, loss)(n)) ** 2)))


def _verdict(n: np.ndarray, loss: np.ndarray) -> str:
    """Return a sentence on which law fits best; a law is called better where its residual is under half of the next one's."""
    ranked = sorted((rms(n, loss, law), law.label.split(" $")[0]) for law in ALTERNATIVES)
    (best, first), (next_best, second) = ranked[0], ranked[1]
    if best < next_best / 2:
        return f"the {first} fits best"
    return f"not resolved: {first} and {second} fit about equally well on {len(n)} points"
