"""Figure 19: S_min and E_min needed to reach each of several losses, against model size."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, scales, style
from scalinglaws.laws.allocation import LossNS
from scalinglaws.laws.forms import Array

LAWS = ("critical-batch", "kaplan-ns")
TITLE = "Steps and tokens needed against model size"
CAPTION = """
Figure 19 of the paper. The least steps (**a**, at large batches) and the least tokens (**b**, at small batches) to each of
several losses against model size, from learning curves before the decay of the rate. Dashed lines are the fit of equation 1.6.
The paper found that larger models need fewer steps and fewer tokens.
"""
LOSSES = 6  # number of losses


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw S_min and E_min = S_min B_crit as measured on the curves of each size, and as the fit of L(N, S_min) has them."""
    figure, (steps, tokens) = style.panels(2)
    law, critical = batch_laws.loss_ns(fits.get("kaplan-ns")), batch_laws.critical_batch(fits.get("critical-batch"))
    points = fit_json.points(fits.get("kaplan-ns")).drop_nulls("steps_min")
    found = batch_laws.reached(points, batch_laws.shared_losses(points, LOSSES))
    scale = scales.LossScale(found["loss"].to_list())
    notes = [*batch_laws.missed(found, law, tables["runs"]), *batch_laws.doubts(fits, LAWS)]
    for axis, label in ((steps, r"$S_{min}$ (steps)"), (tokens, r"$E_{min}$ (tokens)")):
        axis.set_xlabel("N (non-embedding parameters)")
        axis.set_ylabel(label)
        empty = found.is_empty() or critical is None
        if critical is not None and not empty:
            times = critical.tokens if axis is tokens else np.ones_like
            _panel(axis, found, law, times, scale)
            style.log_axis(axis, found["n_params"].to_list(), "N (non-embedding parameters)")
            factor = np.asarray(times(found["loss"].to_numpy()), np.float64)
            style.upright_log_axis(axis, [*(found["low"].to_numpy() * factor), *(found["high"].to_numpy() * factor)], label)
        batch_laws.say(axis, notes if axis is steps or empty else [], empty, "no loss is reached by two sizes")
    scale.bar(figure, [steps, tokens])
    return figure


def _panel(axis: Axes, found: polars.DataFrame, law: LossNS | None, times: Any, scale: scales.LossScale) -> None:
    sizes: Array = found["n_params"].to_numpy()
    x = np.geomspace(sizes.min() / 1.3, sizes.max() * 1.3, 100)
    options: dict[str, Any] = {"fmt": "o", "markersize": 3.6, "elinewidth": 0.7, "capsize": 0, "zorder": 5}
    for (loss,), rows in found.group_by("loss", maintain_order=True):
        factor = float(times(np.array([float(loss)]))[0])
        best, low, high = (rows[name].to_numpy() * factor for name in ("steps_min", "low", "high"))
        axis.errorbar(rows["n_params"], best, yerr=style.sides(best, low, high), color=scale(float(loss)), **options)
        if law is not None:
            line = law.steps_to(x, np.full(len(x), float(loss))) * factor
            axis.plot(x, np.where(np.isfinite(line), line, np.nan), "--", color=scale(float(loss)), linewidth=0.9, zorder=3)
    most = int(found["curves"].max())  # type: ignore[arg-type]
    label = "one curve a size" if most == 1 else f"mean and range over up to {most} curves a size"
    axis.plot([], [], "o", color="0.3", markersize=3.6, label=label)
    if law is not None:
        axis.plot([], [], "--", color="0.3", linewidth=0.9, label=r"fit: $L = (N_c/N)^{\alpha_N} + (S_c/S_{min})^{\alpha_S}$")
