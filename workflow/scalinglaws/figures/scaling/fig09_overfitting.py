"""Figure 9: L against N, a line a dataset size (left); the collapse of overfitting on N^(α_N/α_D)/D (right)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, groups, law_lines, misfit, scales, style

TITLE = "Overfitting: L(N, D) by size and dataset"
CAPTION = """
Figure 9 of the paper. **a** The test loss of early-stopped runs against model size, with the joint fit of equation 1.5. **b**
Their excess over the same size on the whole split, with equation 4.3; short dashes are the ratio that the fit expects. Bars
show 1.96 standard errors, triangles bounds. The paper's data collapse on this line.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the losses of the fit's runs against N, and δL = L(N, D)/L(N, ∞) − 1 with equation 4.3.

    L(N, ∞) is the measured loss of the same size stopped early on the whole training split.
    """
    figure, (left, right) = style.panels(2)
    fit = fits.get("kaplan-nd")
    data = fit_json.points(fit, tables["runs"]).drop_nulls(["n_params", "dataset_tokens"])
    capped = fit_json.left_out(fit, tables["runs"])
    datasets = [int(d) for d in [*data["dataset_tokens"], *capped["dataset_tokens"]]]
    scale = scales.Scale(datasets, "D (tokens in the training set)", "warm")
    sizes = np.concatenate([data["n_params"].to_numpy(), capped["n_params"].to_numpy()])
    for (tokens,), group in data.group_by("dataset_tokens", maintain_order=True):
        colour = scale(float(tokens))
        law_lines.error_bars(left, group, "n_params", colour)
        x = np.geomspace(sizes.min() / 1.3, sizes.max() * 1.3, 100)
        loss = law_lines.kaplan_nd(fit, x, float(tokens))
        if loss is not None:
            left.plot(x, loss, "--", color=colour, linewidth=0.9, zorder=3)
    law_lines.hollow(left, capped, "n_params", "dataset_tokens", scale)
    style.loss_axis(left, np.concatenate([law_lines.reach(data), capped["loss"].to_numpy()]))
    style.log_axis(left, sizes, "N (non-embedding parameters)")
    doubt = fit_json.unresolved(fit, "kaplan-nd")
    if data.is_empty():
        style.sentence(left, doubt or "not resolved: there are no early-stopped runs to draw")
    else:
        law_lines.label_kaplan_nd(left, fit, len(capped))
        style.legend_below(left, [*law_lines.missed(fit, tables["runs"], "the fit of L(N, D)"), *fit_json.brief(doubt)])
    whole = groups.with_whole(data, capped)
    bounded = set(whole.filter(polars.col("run").is_in(capped["run"].to_list()))["n_params"])
    _collapse(right, fit, groups.overfitting(whole, tables["runs"]), scale, bounded)
    scale.bar(figure, [left, right])
    return figure


def _collapse(axis: Axes, fit: fit_json.Fit | None, data: polars.DataFrame, scale: scales.Scale, bounded: set[float]) -> None:
    """Draw the excess; of the sizes ``bounded`` it is a lower bound, as max_tokens ended their runs on the whole split."""
    axis.set_ylabel(r"$\delta L = L(N,D)/L(N,\infty) - 1$")
    label = r"$N^{\alpha_N/\alpha_D}/D$"
    if data.is_empty():
        style.log_axis(axis, [], label, counts=False)
        return style.sentence(axis, "not resolved: no size has runs on part of the data and on all of it")
    fitted = law_lines.kaplan_nd(fit, 1.0, 1.0) is not None
    exponents = [
        fit_json.parameter(fit, name)["estimate"] if fitted else fit_json.published(fit, name)
        for name in fit_json.EXPONENTS["kaplan-nd"]
    ]
    power = float(exponents[0] or 0) / float(exponents[1] or 1)
    n_params, tokens = data["n_params"].to_numpy(), data["dataset_tokens"].to_numpy()
    x = n_params**power / tokens
    for index, token in enumerate(tokens):
        error = style.Z95 * (data["delta_stderr"][index] or 0.0)
        options: dict[str, Any] = {"fmt": "o", "markersize": 3.6, "elinewidth": 0.7, "color": scale(float(token)), "zorder": 5}
        options |= {"fmt": "^", "markerfacecolor": "white"} if data["n_params"][index] in bounded else {}
        axis.errorbar(x[index], data["delta"][index], yerr=error, **options)
    borrowed = f"the axis has the published exponents, a ratio of {power:.2f}: the fit of L(N, D) has none"
    missed = _predictions(axis, fit, data, x) if fitted else [borrowed]
    if bounded & set(data["n_params"]):
        axis.plot([], [], color="0.3", **law_lines.HOLLOW, label="at least: max_tokens ended the run on the whole split")
    axis.axhline(0, color="0.5", linewidth=0.6)
    style.log_axis(axis, x, label, counts=False)
    style.legend_below(axis, missed)
    return None


def _predictions(axis: Axes, fit: fit_json.Fit | None, data: polars.DataFrame, x: np.ndarray) -> list[str]:
    """Draw equation 4.3 (D = ∞) as a line, and what the same fit says of the measured ratio (D = the whole split).

    Return a note where the latter misses the points.
    """
    n_params, tokens = data["n_params"].to_numpy(), data["dataset_tokens"].to_numpy()
    estimates = [fit_json.parameter(fit, name)["estimate"] for name in ("alpha_N", "alpha_D", "N_c", "D_c")]
    alpha_n, alpha_d, n_c, d_c = (float(value or np.nan) for value in estimates)
    grid = np.geomspace(x.min() / 1.5, x.max() * 1.5, 200)
    curve = (1 + grid * d_c / n_c ** (alpha_n / alpha_d)) ** alpha_d - 1
    axis.plot(grid, curve, "--", color="0.25", label=r"fit: $(1 + (N/N_c)^{\alpha_N/\alpha_D}\,D_c/D)^{\alpha_D} - 1$", zorder=3)
    part, whole = law_lines.kaplan_nd(fit, n_params, tokens), law_lines.kaplan_nd(fit, n_params, data["whole_tokens"].to_numpy())
    if part is None or whole is None:
        return []
    note = "fit against the whole split, as measured"
    axis.plot(x, part / whole - 1, "_", color="0.25", markersize=7, markeredgewidth=0.8, label=note, zorder=6)
    ratio, stderr = 1 + data["delta"].to_numpy(), data["delta_stderr"].cast(polars.Float64).fill_null(np.nan).to_numpy()
    return misfit.note("the fit", ratio, part / whole, stderr / ratio)
