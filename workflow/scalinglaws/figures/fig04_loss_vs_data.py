"""Figure 4, left: L(N, D) against D, a line a size, with the joint fit of equation 1.5."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures import fitted, style
from scalinglaws.figures.registry import FIGURES

REQUIRES = FIGURES["fig04_loss_vs_data"].requires


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fitted.Fit]) -> Figure:
    """Early-stopped test losses that entered the fit of L(N, D), and the fitted curve of each size."""
    figure, (axis,) = style.panels(style.COLUMN * 1.15, 3.5)
    fit = fits.get("kaplan-nd")
    data = fitted.points(fit, tables["runs"]).drop_nulls(["n_params", "dataset_tokens"])
    scale = style.Scale([int(n) for n in data["n_params"]], "N (non-embedding parameters)")
    for (n_params,), group in data.group_by("n_params", maintain_order=True):
        fitted.error_bars(axis, group, "dataset_tokens", scale(float(n_params)))
        _curve(axis, fit, float(n_params), data["dataset_tokens"].to_numpy(), scale)
    style.loss_axis(axis, fitted.reach(data))
    style.log_axis(axis, data["dataset_tokens"].to_numpy(), "D (tokens in the training set)")
    doubt = fitted.unresolved(fit, "kaplan-nd", fitted.JOINT)
    if data.is_empty():
        style.sentence(axis, doubt or "not resolved: there are no early-stopped runs to draw")
    else:
        fitted.label_kaplan_nd(axis, fit)
        style.legend_below(axis, [doubt] if doubt else [], width=60)
    scale.bar(figure, [axis])
    return figure


def _curve(axis: Axes, fit: fitted.Fit | None, n_params: float, dataset_tokens: np.ndarray, scale: style.Scale) -> None:
    x = np.geomspace(dataset_tokens.min() / 1.2, dataset_tokens.max() * 1.2, 100)
    loss = fitted.kaplan_nd(fit, n_params, x)
    if loss is not None:
        axis.plot(x, loss, "--", color=scale(n_params), linewidth=0.9, zorder=3)
