"""Figure 4: L(N, D) against D with the fit of equation 1.5; learning curves against S_min with that of equation 1.6."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import batch_laws, fit_json, law_lines, scales, style

TITLE = "L(N, D) against D, and L(N, S)"
CAPTION = """
Figure 4 of the paper. The test loss of early-stopped runs against their training set, with the joint fit of equation 1.5, and,
where it is fitted, learning curves against the least number of steps, with equation 1.6. Bars show 1.96 standard errors,
triangles bounds. The paper found exponents of 0.076 (N), 0.103 (D), then 0.077 (N), 0.76 (S).
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the losses that entered the fit of L(N, D) with the fitted curve of each size.

    A right panel has the points of learning curves that entered the fit of L(N, S), where the study has it.
    """
    steps = fits.get("kaplan-ns")
    figure, axes = style.panels() if steps is None else style.panels(2)
    fit = fits.get("kaplan-nd")
    data = fit_json.points(fit, tables["runs"]).drop_nulls(["n_params", "dataset_tokens"])
    capped, curves = fit_json.left_out(fit, tables["runs"]), step_points(steps)
    sizes = [int(n) for n in [*data["n_params"], *capped["n_params"], *curves["n_params"]]]
    scale = scales.Scale(sizes, "N (non-embedding parameters)")
    _against_data(axes[0], fit, data, scale, tables["runs"])
    if steps is not None:
        _against_steps(axes[1], steps, curves, scale, tables["runs"])
    scale.bar(figure, axes)
    return figure


def _against_data(
    axis: Axes, fit: fit_json.Fit | None, data: polars.DataFrame, scale: scales.Scale, runs: polars.DataFrame
) -> None:
    capped = fit_json.left_out(fit, runs)
    tokens = np.concatenate([data["dataset_tokens"].to_numpy(), capped["dataset_tokens"].to_numpy()])
    for (n_params,), group in data.group_by("n_params", maintain_order=True):
        law_lines.error_bars(axis, group, "dataset_tokens", scale(float(n_params)))
        _curve(axis, fit, float(n_params), tokens, scale)
    law_lines.hollow(axis, capped, "dataset_tokens", "n_params", scale)
    style.loss_axis(axis, np.concatenate([law_lines.reach(data), capped["loss"].to_numpy()]))
    style.log_axis(axis, tokens, "D (tokens in the training set)")
    doubt = fit_json.unresolved(fit, "kaplan-nd")
    if data.is_empty():
        style.sentence(axis, doubt or "not resolved: there are no early-stopped runs to draw")
    else:
        law_lines.label_kaplan_nd(axis, fit, len(capped))
        style.legend_below(axis, [*law_lines.missed(fit, runs, "the fit of L(N, D)"), *fit_json.brief(doubt)])


def _curve(axis: Axes, fit: fit_json.Fit | None, n_params: float, dataset_tokens: np.ndarray, scale: scales.Scale) -> None:
    x = np.geomspace(dataset_tokens.min() / 1.2, dataset_tokens.max() * 1.2, 100)
    loss = law_lines.kaplan_nd(fit, n_params, x)
    if loss is not None:
        axis.plot(x, loss, "--", color=scale(n_params), linewidth=0.9, zorder=3)


def step_points(fit: fit_json.Fit | None) -> polars.DataFrame:
    """Return the points of the fit of L(N, S), sorted, with columns trunk, n_params, steps_min and loss."""
    schema = {"trunk": polars.String, "n_params": polars.Float64, "steps_min": polars.Float64, "loss": polars.Float64}
    rows = [{name: point.get(name) for name in schema} for point in (fit or {}).get("points", [])]
    return polars.DataFrame(rows, schema=schema, strict=False).drop_nulls().sort("n_params", "trunk", "steps_min")


def _against_steps(axis: Axes, fit: fit_json.Fit, data: polars.DataFrame, scale: scales.Scale, runs: polars.DataFrame) -> None:
    law = batch_laws.loss_ns(fit)
    for trunk in data.partition_by("trunk", maintain_order=True):
        axis.plot(trunk["steps_min"], trunk["loss"], color=scale(trunk["n_params"][0]), linewidth=0.7, zorder=3)
    for size in data.partition_by("n_params", maintain_order=True):
        if law:
            seen = size["steps_min"].to_numpy()
            x = np.geomspace(seen.min(), seen.max(), 80)
            axis.plot(x, law.loss(size["n_params"][0], x), "--", color=scale(size["n_params"][0]), linewidth=1.1, zorder=4)
    style.loss_axis(axis, data["loss"].to_numpy())
    style.log_axis(axis, data["steps_min"].to_numpy(), r"$S_{min}$ (steps)")
    doubt = fit_json.unresolved(fit, "kaplan-ns")
    if data.is_empty():
        nothing = "not resolved: no point of a learning curve entered the fit of L(N, S)"
        return style.sentence(axis, *fit_json.brief(doubt or nothing))
    count = data["trunk"].n_unique()
    axis.plot([], [], color="0.3", linewidth=0.7, label=f"{count} learning curves after warm-up and before the decay")
    if law:
        lines = [r"fit: $L(N,S_{min}) = (N_c/N)^{\alpha_N} + (S_c/S_{min})^{\alpha_S}$"]
        for name, symbol in (("alpha_N", r"$\alpha_N$"), ("alpha_S", r"$\alpha_S$")):
            beside = "" if (value := fit_json.published(fit, name)) is None else f"; published {value:g}"
            lines.append(f"{symbol} = {fit_json.with_interval(fit, name)}{beside}")
        axis.plot([], [], "--", color="0.3", linewidth=1.1, label="\n".join(lines))
    return style.legend_below(axis, [*batch_laws.missed(data, law, runs), *fit_json.brief(doubt)])
