"""Figure 4, left: L(N, D) against D, a line a size, with the joint fit of equation 1.5."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures import fitted, style
from scalinglaws.figures.registry import FIGURES

REQUIRES = FIGURES["fig04_loss_vs_data"].requires
EXPONENTS = ("alpha_n", "alpha_d")


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fitted.Fit]) -> Figure:
    """Early-stopped test losses that entered the fit of L(N, D), and the fitted curve of each size."""
    figure, (axis,) = style.panels(style.COLUMN * 1.15, 3.5)
    fit = fits.get("kaplan-nd")
    data = fitted.points(fit, tables["runs"]).drop_nulls(["n_params", "dataset_tokens"])
    scale = style.Scale([int(n) for n in data["n_params"]], "N (non-embedding parameters)")
    for (n_params,), group in data.group_by("n_params", maintain_order=True):
        fitted.error_bars(axis, group, "dataset_tokens", scale(float(n_params)))  # type: ignore[arg-type]
        _curve(axis, fit, float(n_params), data["dataset_tokens"].to_numpy(), scale)  # type: ignore[arg-type]
    style.loss_axis(axis, data["loss"].to_numpy())
    style.log_axis(axis, data["dataset_tokens"].to_numpy(), "D (tokens in the training set)")
    doubt = fitted.unresolved(fit, "kaplan-nd", EXPONENTS)
    if data.is_empty():
        style.sentence(axis, doubt or "not resolved: there are no early-stopped runs to draw")
    else:
        label_fit(axis, fit)
        style.legend_below(axis, [doubt] if doubt else [], width=60)
    scale.bar(figure, [axis])
    return figure


def _curve(axis: Axes, fit: fitted.Fit | None, n_params: float, dataset_tokens: np.ndarray, scale: style.Scale) -> None:
    x = np.geomspace(dataset_tokens.min() / 1.2, dataset_tokens.max() * 1.2, 100)
    loss = fitted.kaplan_nd(fit, n_params, x)
    if loss is not None:
        axis.plot(x, loss, "--", color=scale(n_params), linewidth=0.9, zorder=3)


def label_fit(axis: Axes, fit: fitted.Fit | None) -> None:
    """Legend entries of the joint fit: equation, exponents with intervals, published exponents, number of runs."""
    count = len((fit or {}).get("points") or [])
    axis.plot([], [], "o", color="0.3", markersize=3.6, label=f"{count} early-stopped runs, ±1.96 standard errors of the test loss")
    if fitted.kaplan_nd(fit, 1.0, 1.0) is None:
        return
    equation = r"$L(N,D) = [(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}$"
    lines = [f"fit: {equation}"]
    for name, symbol in (("alpha_n", r"$\alpha_N$"), ("alpha_d", r"$\alpha_D$")):
        value = fitted.published(fit, name)
        beside = "" if value is None else f"; published {value:g}"
        lines.append(f"{symbol} = {fitted.with_interval(fit, name)}{beside}")
    axis.plot([], [], "--", color="0.3", linewidth=0.9, label="\n".join(lines))
